//! Tests a plugin without a gateway: rows from JSON, and a decoder for the plugin's answers.
//!
//! The decoder is written from the contract and shares no code with the document builders.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::contract::{Batch, Column, ColumnKind, Output, Table};
use crate::native::Driver;
use crate::plugin::{Changes, Drive, Images};
use crate::row::Operation;

/// A table with this full name. Kinds are named as in the contract (`"unsigned-integer"`); the first column is the key.
///
/// # Panics
/// If a kind is unknown.
pub fn table<'a>(full_name: &str, columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Table {
    let (database, name) = full_name.split_once('.').unwrap_or(("", full_name));
    Table {
        id: 1,
        database: database.to_owned(),
        name: name.to_owned(),
        columns: columns
            .into_iter()
            .map(|(name, kind)| Column { name: name.to_owned(), kind: kind_of(kind) })
            .collect(),
        key: vec![0],
    }
}

fn kind_of(kind: &str) -> ColumnKind {
    use ColumnKind as K;
    match kind {
        "unknown" => K::Unknown,
        "integer" => K::Integer,
        "unsigned-integer" => K::UnsignedInteger,
        "boolean" => K::Boolean,
        "bit" => K::Bit,
        "float" => K::Float,
        "double" => K::Double,
        "decimal" => K::Decimal,
        "date" => K::Date,
        "time" => K::Time,
        "date-time" => K::DateTime,
        "timestamp" => K::Timestamp,
        "text" => K::Text,
        "binary" => K::Binary,
        "enumeration" => K::Enumeration,
        "set" => K::Set,
        "json" => K::Json,
        _ => panic!("no column kind '{kind}'"),
    }
}

/// An image from a JSON object; missing columns are absent.
type Image = BTreeMap<String, Box<RawValue>>;

/// A plugin under test. `Harness::<MyPlugin>` for a [`Transform`](crate::Transform), [`ChangeHarness`] for a
/// [`ChangeTransform`](crate::ChangeTransform).
pub type Harness<T> = Tested<Images<T>>;

/// A [`ChangeTransform`](crate::ChangeTransform) under test.
pub type ChangeHarness<T> = Tested<Changes<T>>;

/// The implementation of [`Harness`] and [`ChangeHarness`].
#[derive(Debug)]
pub struct Tested<D> {
    driver: Driver<D>,
}

impl<D: Drive> Tested<D> {
    /// The plugin with these settings; an error is the plugin's message.
    pub fn new(settings: &Value) -> Result<Self, String> {
        let mut driver = Driver::new();
        driver.configure(&settings.to_string())?;
        Ok(Self { driver })
    }

    /// The plugin's verdict on a row, a JSON object. An error is the plugin's message about the table.
    pub fn row(&mut self, table: &Table, row: &str) -> Result<Verdict, String> {
        self.rows(table, &[row]).map(|mut verdicts| verdicts.remove(0))
    }

    /// The plugin's verdicts on several rows in one batch.
    pub fn rows(&mut self, table: &Table, rows: &[&str]) -> Result<Vec<Verdict>, String> {
        let asked = self.driver.define_table(table)?;
        let images: Vec<Image> = rows.iter().map(|row| image(row)).collect();
        let mut batch = Batch { table: table.id, count: rows.len() as u32, ..Batch::default() };
        images.iter().for_each(|image| put(&mut batch, table, &asked, Some(image)));
        let output = self.driver.transform(&batch);
        let mut reader = Reader::new(&output, table);
        let verdicts = images.iter().map(|image| reader.verdict(image)).collect();
        reader.ends();
        Ok(verdicts)
    }

    /// The plugin's verdict on a change. Columns of documents refer to the after image, or in a delete to the before image.
    pub fn change(
        &mut self,
        table: &Table,
        operation: Operation,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<Verdict, String> {
        let asked = self.driver.define_table(table)?;
        let (before, after) = (before.map(image), after.map(image));
        let mut batch = Batch { table: table.id, count: 1, ..Batch::default() };
        batch.operations.push(operation as u8);
        put(&mut batch, table, &asked, before.as_ref());
        put(&mut batch, table, &asked, after.as_ref());
        let output = self.driver.transform(&batch);
        let mut reader = Reader::new(&output, table);
        let verdict = reader.verdict(&after.or(before).unwrap_or_default());
        reader.ends();
        Ok(verdict)
    }
}

fn image(row: &str) -> Image {
    serde_json::from_str(row).unwrap_or_else(|e| panic!("the row is no JSON object: {e}"))
}

fn put(batch: &mut Batch, table: &Table, asked: &[u32], image: Option<&Image>) {
    for &column in asked {
        let name = &table.columns[column as usize].name;
        if let Some(cell) = image.and_then(|image| image.get(name)) {
            batch.bytes.extend_from_slice(cell.get().as_bytes());
        }
        batch.cells.push(batch.bytes.len() as u32);
    }
}

/// A plugin's verdict on a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The row is passed on.
    Keep,
    /// The row is filtered out.
    Drop,
    /// The row is passed on with these cells replaced; `None` is absent.
    Edit(BTreeMap<String, Option<Value>>),
    /// The row gives these documents.
    Documents(Vec<Doc>),
    /// The row fails, for this reason.
    Fail(String),
}

impl Verdict {
    /// The body of the only document.
    ///
    /// # Panics
    /// If the verdict is not one document.
    #[track_caller]
    pub fn document(&self) -> Value {
        match self {
            Self::Documents(documents) if documents.len() == 1 => Value::Object(documents[0].body.clone()),
            other => panic!("expected one document, got {other:?}"),
        }
    }

    /// The reason of a failure.
    ///
    /// # Panics
    /// If the verdict is not a failure.
    #[track_caller]
    pub fn reason(&self) -> &str {
        match self {
            Self::Fail(reason) => reason,
            other => panic!("expected a failure, got {other:?}"),
        }
    }
}

/// A document operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc {
    /// `index`, `merge`, `delete`, `put-item` or `remove-item`.
    pub operation: &'static str,
    /// The index, if the plugin sets one.
    pub index: Option<String>,
    /// The id, if the plugin sets one.
    pub id: Option<String>,
    /// The routing value.
    pub routing: Option<String>,
    /// Of an item: the array and the item's key.
    pub item: Option<(String, String)>,
    /// The body.
    pub body: Map<String, Value>,
}

/// Decodes the words of an answer. Panics if they violate the contract.
struct Reader<'a> {
    output: &'a Output,
    table: &'a Table,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(output: &'a Output, table: &'a Table) -> Self {
        Self { output, table, at: 0 }
    }

    fn ends(&self) {
        assert_eq!(self.at, self.output.verdicts.len(), "words are left after the last verdict");
    }

    fn word(&mut self) -> u32 {
        self.at += 1;
        self.output.verdicts[self.at - 1]
    }

    fn range(&mut self) -> &'a [u8] {
        let (start, n) = (self.word() as usize, self.word() as usize);
        &self.output.bytes[start..start + n]
    }

    fn text(&mut self) -> String {
        text_of(self.range())
    }

    fn json(&mut self) -> Value {
        let bytes = self.range();
        assert!(!bytes.contains(&b'\n'), "a value holds a line break");
        value_of(bytes)
    }

    fn column(&mut self) -> &'a str {
        let number = self.word() as usize;
        &self.table.columns[number].name
    }

    fn name(&mut self) -> String {
        let at = self.word() as usize * 2;
        let (start, n) = (self.output.names[at] as usize, self.output.names[at + 1] as usize);
        text_of(&self.output.bytes[start..start + n])
    }

    fn verdict(&mut self, image: &Image) -> Verdict {
        match self.word() {
            0 => Verdict::Keep,
            1 => Verdict::Drop,
            2 => {
                let mut cells = BTreeMap::new();
                for _ in 0..self.word() {
                    let column = self.column().to_owned();
                    let bytes = self.range();
                    let value = (!bytes.is_empty()).then(|| value_of(bytes));
                    assert!(cells.insert(column, value).is_none(), "a cell is edited twice");
                }
                Verdict::Edit(cells)
            }
            3 => {
                let n = self.word();
                Verdict::Documents((0..n).map(|_| self.document(image)).collect())
            }
            4 => Verdict::Fail(self.text()),
            other => panic!("no verdict {other}"),
        }
    }

    fn document(&mut self, image: &Image) -> Doc {
        let operation = ["index", "merge", "delete", "put-item", "remove-item"][self.word() as usize];
        let flags = self.word();
        assert!(flags < 8, "unknown flags {flags}");
        let index = (flags & 1 != 0).then(|| self.text());
        let id = (flags & 2 != 0).then(|| self.text());
        let routing = (flags & 4 != 0).then(|| self.text());
        let item = operation.ends_with("item").then(|| (self.name(), self.text()));
        let n = self.word();
        let mut open = vec![(String::new(), Map::new())];
        for _ in 0..n {
            self.piece(image, &mut open);
        }
        assert_eq!(open.len(), 1, "an object is not ended");
        let body = open.remove(0).1;
        Doc { operation, index, id, routing, item, body }
    }

    fn piece(&mut self, image: &Image, open: &mut Vec<(String, Map<String, Value>)>) {
        let mut fields = Vec::new();
        match self.word() {
            0 => {
                let column = self.column();
                fields.extend(image.get(column).map(|cell| (column.to_owned(), value_of(cell.get().as_bytes()))));
            }
            1 => {
                let name = self.name();
                let column = self.column();
                fields.extend(image.get(column).map(|cell| (name, value_of(cell.get().as_bytes()))));
            }
            2 => fields.push((self.name(), self.json())),
            3 => {
                let n = self.word();
                let except: Vec<&str> = (0..n).map(|_| self.column()).collect();
                for column in self.table.columns.iter().map(|c| c.name.as_str()).filter(|c| !except.contains(c)) {
                    fields.extend(image.get(column).map(|cell| (column.to_owned(), value_of(cell.get().as_bytes()))));
                }
            }
            4 => open.push((self.name(), Map::new())),
            5 => {
                assert!(open.len() > 1, "an object ends that did not begin");
                fields.extend(open.pop().map(|(name, object)| (name, Value::Object(object))));
            }
            other => panic!("no piece {other}"),
        }
        let Some((_, object)) = open.last_mut() else {
            return;
        };
        for (name, value) in fields {
            assert!(object.insert(name.clone(), value).is_none(), "the field '{name}' stands twice");
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|e| panic!("not UTF-8: {e}"))
}

fn value_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("not a JSON value: {e}"))
}
