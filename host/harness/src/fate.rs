//! From a verdict to what Rowmill does for the row, as if the plugin were alone in the chain.

use rowmill_sandbox::{
    ColumnNames, DefaultId, DocumentOperation, Item, NameRules, Output, Table, Verdict, single_line,
};
use serde_json::value::RawValue;

use crate::input::{Image, Operation, Row};
use crate::outcome::{ItemKey, Outcome};

/// What became of one image.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It goes on with these cells.
    Kept(Image),
    /// It is filtered.
    Dropped,
    /// These documents.
    Documents(Vec<Written>),
    /// The row fails.
    Failed(String),
}

/// A document with all that is said of it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    operation: &'static str,
    /// What takes it away again; `None` for a delete.
    undone_by: Option<&'static str>,
    index: String,
    id: String,
    routing: Option<String>,
    item: Option<ItemKey>,
    body: Option<Vec<u8>>,
}

impl Fate {
    /// What a verdict makes of an image.
    pub fn of(answer: &Result<Output, String>, at: u32, table: &Table, image: Option<&Image>) -> Self {
        let (output, Some(image)) = (answer, image) else { return Self::Dropped };
        let output = match output {
            Ok(output) => output,
            Err(reason) => return Self::Failed(reason.clone()),
        };
        match output.verdict(at) {
            Verdict::Keep => Self::Kept(image.clone()),
            Verdict::Drop => Self::Dropped,
            Verdict::Edit(edits) => {
                let mut edited = image.clone();
                for (column, value) in edits {
                    edited[column as usize] = value.to_vec();
                }
                Self::Kept(edited)
            }
            Verdict::Documents(documents) => {
                let names = ColumnNames::new(table.columns.iter().map(|column| column.name.as_str()));
                let cell = |column: u32| &image[column as usize][..];
                let mut written = Vec::new();
                for document in documents {
                    let (operation, undone_by) = match document.operation {
                        DocumentOperation::Index => ("index", Some("delete")),
                        DocumentOperation::Merge => ("merge", Some("merge-remove")),
                        DocumentOperation::Delete => ("delete", None),
                        DocumentOperation::PutItem => ("put-item", Some("remove-item")),
                        DocumentOperation::RemoveItem => ("remove-item", None),
                    };
                    let id = match document.id.map_or_else(|| usual_id(table, image), |id| Ok(id.to_string())) {
                        Ok(id) => id,
                        Err(reason) => return Self::Failed(reason),
                    };
                    let body = undone_by.map(|_| {
                        let mut body = Vec::new();
                        document.write_body(&mut body, &names, cell);
                        body
                    });
                    written.push(Written {
                        operation,
                        undone_by,
                        index: document
                            .index
                            .map_or_else(|| NameRules::default().index_of_table(&table.name), str::to_string),
                        id,
                        routing: document.routing.map(str::to_string),
                        item: document.item.map(item_key),
                        body,
                    });
                }
                Self::Documents(written)
            }
            Verdict::Fail(reason) => Self::Failed(single_line(reason)),
            Verdict::Refused(reason) => Self::Failed(format!("broke the contract: {reason}")),
        }
    }

    /// The documents that the image is, with the operation that writes them; an error fails the row.
    fn written(&self, table: &Table) -> Result<Vec<Written>, String> {
        match self {
            Self::Documents(written) => Ok(written.clone()),
            Self::Dropped => Ok(Vec::new()),
            Self::Failed(reason) => Err(reason.clone()),
            Self::Kept(image) => {
                let names = ColumnNames::new(table.columns.iter().map(|column| column.name.as_str()));
                let mut body = Vec::new();
                names.write_body(&mut body, |column: u32| &image[column as usize][..]);
                Ok(vec![Written {
                    operation: "keep",
                    undone_by: Some("delete"),
                    index: NameRules::default().index_of_table(&table.name),
                    id: usual_id(table, image)?,
                    routing: None,
                    item: None,
                    body: Some(body),
                }])
            }
        }
    }
}

/// What became of the two images of a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fates {
    pub before: Option<Fate>,
    pub after: Option<Fate>,
    /// The plugin answered for the whole change: the image before says nothing more.
    answered: bool,
}

impl Fates {
    /// Takes over what a plugin of the mode `change` said.
    pub fn set_change(&mut self, answer: &Result<Output, String>, at: u32, table: &Table, row: &Row) {
        // Columns of documents, and edits, are those of the image after, or of a delete the image before.
        let fate = Fate::of(answer, at, table, row.after.as_ref().or(row.before.as_ref()));
        self.answered = !matches!(fate, Fate::Kept(_));
        if self.answered || row.after.is_some() {
            self.before = row.before.clone().filter(|_| !self.answered).map(Fate::Kept);
            self.after = Some(fate);
        } else {
            self.before = Some(fate);
        }
    }

    /// The row's outcomes: what is written, and what is deleted because only the row as it was gives it. `others` are the
    /// indices that the plugin names without a `*`.
    pub fn outcomes(self, number: usize, row: &Row, table: &Table, others: &[&str]) -> Vec<Outcome> {
        match self.try_outcomes(number, row, table, others) {
            Ok(outcomes) if outcomes.is_empty() => vec![Outcome::new(number, "drop")],
            Ok(outcomes) => outcomes,
            Err(reason) => vec![Outcome::because(number, "fail", reason)],
        }
    }

    fn try_outcomes(self, number: usize, row: &Row, table: &Table, others: &[&str]) -> Result<Vec<Outcome>, String> {
        if let Some(Fate::Failed(reason)) = &self.before {
            return Err(reason.clone());
        }
        let written = self.after.as_ref().map_or(Ok(Vec::new()), |fate| fate.written(table))?;
        let mut keys: Vec<(String, String, Option<ItemKey>)> = Vec::new();
        let mut outcomes = Vec::new();
        if written.is_empty() && self.after.is_some() {
            outcomes.push(Outcome::new(number, "drop"));
        }
        for document in written {
            keys.push((document.index.clone(), document.id.clone(), document.item.clone()));
            outcomes.push(Outcome {
                index: Some(document.index),
                id: Some(document.id),
                routing: document.routing,
                item: document.item,
                body: document.body.and_then(raw),
                ..Outcome::new(number, document.operation)
            });
        }
        let mut delete =
            |operation: &str, index: String, id: String, routing: Option<String>, item: Option<ItemKey>| {
                let key = (index, id, item);
                if !keys.contains(&key) {
                    keys.push(key.clone());
                    let (index, id, item) = key;
                    outcomes.push(Outcome {
                        index: Some(index),
                        id: Some(id),
                        routing,
                        item,
                        ..Outcome::new(number, operation)
                    });
                }
            };
        if let Some(before) = &self.before {
            for document in before.written(table)? {
                if let Some(operation) = document.undone_by {
                    delete(operation, document.index, document.id, document.routing, document.item);
                }
            }
        } else if row.operation == Operation::Update
            && !self.answered
            && let Some(after) = &row.after
        {
            // The source does not tell how the row was: all places are cleared where it would be under its usual id.
            let id = usual_id(table, after)?;
            let own = NameRules::default().index_of_table(&table.name);
            for index in std::iter::once(own.as_str()).chain(others.iter().copied()) {
                delete("delete", index.to_string(), id.clone(), None, None);
            }
        }
        Ok(outcomes)
    }
}

fn item_key(item: Item<'_>) -> ItemKey {
    ItemKey { array: serde_json::from_slice(item.array()).unwrap_or_default(), key: item.key.to_string() }
}

fn raw(body: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(body).ok().and_then(|body| RawValue::from_string(body).ok())
}

fn usual_id(table: &Table, image: &Image) -> Result<String, String> {
    let columns = table.columns.iter().map(|column| column.name.as_str());
    let id = DefaultId::new(&table.full_name(), columns, &table.key, None, &NameRules::default())?;
    let mut out = Vec::new();
    id.write(&mut out, |column| &image[column as usize])?;
    String::from_utf8(out).map_err(|_| format!("the id of a row of {} is not UTF-8", table.full_name()))
}
