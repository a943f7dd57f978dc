//! What happens in the source: changes of tables, the records about them, and the documents that must come of it.

use std::collections::{BTreeMap, BTreeSet};

use rowmill_tests::captures::Record;
use rowmill_tests::history::{Change, Documents, MERGED, ReportedRecord, Row, Shape, Tool};
use serde_json::{Value, json};

const TOOLS: [Tool; 5] = [Tool::Canal, Tool::Debezium, Tool::DebeziumWithSchema, Tool::Unwrapped, Tool::Maxwell];
const KINDS: [&str; 3] = ["a", "b", "c"];
/// Rows of this kind fail in the plugin, in workloads with poison.
const POISON: &str = "z";

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    pub tool: Tool,
    pub shape: Shape,
    /// Whether deleted documents stay, marked as deleted.
    pub is_soft: bool,
    /// Whether some rows fail in the plugin until it is replaced.
    pub has_poison: bool,
    pub changes: Vec<Change>,
}

impl Workload {
    /// A workload of up to this many changes.
    pub fn random(random: &mut fastrand::Rng, largest: usize) -> Self {
        let tool = *random.choice(&TOOLS).expect("there are tools");
        // Unwrapped updates have no before image, so only documents with the default ID and index can follow a row.
        let shapes: &[Shape] = match tool {
            Tool::Unwrapped => &[Shape::Keep, Shape::Filter, Shape::Edit],
            _ => &[
                Shape::Keep,
                Shape::Filter,
                Shape::Edit,
                Shape::Index,
                Shape::Id,
                Shape::Copies,
                Shape::FilterAndIndexAndId,
                Shape::Merge,
                Shape::Merge,
            ],
        };
        let shape = *random.choice(shapes).expect("there are shapes");
        let follows_rows = matches!(shape, Shape::Keep | Shape::Filter | Shape::Edit);
        // Without a before image there is nothing to mark, and merged documents have no mark.
        let is_soft = tool != Tool::Unwrapped && shape != Shape::Merge && random.u8(..4) == 0;
        // If a before image fails, only documents with the default ID and index are deleted (docs/delivery.md).
        let has_poison = follows_rows && random.u8(..3) == 0;
        let mut workload = Self { tool, shape, is_soft, has_poison, changes: Vec::new() };
        workload.changes = workload.some_changes(random, largest);
        workload
    }

    fn tables(&self) -> &'static [&'static str] {
        match self.shape {
            Shape::Merge => &["order", "line"],
            _ => &["thing"],
        }
    }

    /// Whether truncates are applied.
    pub fn truncates(&self) -> bool {
        self.tool.tells_truncates() && self.shape != Shape::Merge && !self.is_soft
    }

    fn some_changes(&self, random: &mut fastrand::Rng, largest: usize) -> Vec<Change> {
        let count = random.usize(1..=largest);
        let keys = random.u32(1..=(count as u32 / 4).clamp(2, 60));
        let mut rows: BTreeMap<(&'static str, u32), Row> = BTreeMap::new();
        let mut changes = Vec::new();
        while changes.len() < count {
            let table = *random.choice(self.tables()).expect("there are tables");
            if self.truncates() && random.u32(..60) == 0 {
                rows.retain(|(other, _), _| *other != table);
                changes.push(Change::Truncate { table });
                continue;
            }
            let id = random.u32(..keys);
            let before = rows.remove(&(table, id));
            let new = self.row(random, table, keys);
            let after = match &before {
                None => Some(Row { id, ..new }),
                Some(_) if random.u8(..5) == 0 => None,
                // The key changes, if the new one is free.
                Some(_) if random.u8(..6) == 0 && !rows.contains_key(&(table, new.id)) && new.id != id => Some(new),
                Some(old) => Some(Row { id, ..new }).filter(|new| new != old).or_else(|| Some(changed(old))),
            };
            if let Some(after) = &after {
                rows.insert((table, after.id), after.clone());
            }
            changes.push(Change::Row { table, before, after });
        }
        changes
    }

    fn row(&self, random: &mut fastrand::Rng, table: &str, keys: u32) -> Row {
        let kind = match self.has_poison && random.u8(..6) == 0 {
            true => POISON,
            false => random.choice(KINDS).expect("there are kinds"),
        };
        let name = std::iter::repeat_with(|| random.choice(['x', 'y']).expect("a character")).take(2).collect();
        let parent = (table == "line").then(|| random.u32(..keys));
        Row { id: random.u32(..keys), kind, name, count: random.u8(..4), parent }
    }

    /// The records in the order of the source.
    pub fn records(&self) -> Vec<Record> {
        self.reported().into_iter().map(|reported| reported.record).collect()
    }

    /// The same with the changes that they report.
    pub fn reported(&self) -> Vec<ReportedRecord> {
        self.tool.records(&self.changes)
    }

    /// How many operations the plugin makes of a record; `None` if this depends on its settings.
    pub fn operations(&self, reported: &ReportedRecord) -> Option<u64> {
        let is_truncate = matches!(self.changes[reported.change], Change::Truncate { .. });
        match self.shape {
            Shape::Keep | Shape::Edit if is_truncate => Some(u64::from(self.truncates())),
            Shape::Keep | Shape::Edit => Some(reported.operations),
            _ => None,
        }
    }

    /// The documents of the tables after these changes.
    fn documents<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> Documents {
        let mut rows: BTreeMap<(&'static str, u32), &Row> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Truncate { table } => rows.retain(|(other, _), _| other != table),
                Change::Row { table, before, after } => {
                    if let Some(row) = before {
                        rows.remove(&(*table, row.id));
                    }
                    rows.extend(after.iter().map(|row| ((*table, row.id), row)));
                }
            }
        }
        let rows = rows.into_iter().map(|((table, _), row)| (table, row));
        self.shape.documents(rows, self.truncates())
    }

    /// Which documents a change writes or deletes; `None` if it may be any.
    fn touched(&self, change: &Change) -> Option<BTreeSet<(String, String)>> {
        let Change::Row { table, before, after } = change else { return None };
        let images = before.iter().chain(after);
        Some(images.flat_map(|row| self.shape.documents([(*table, row)], false).into_keys()).collect())
    }

    /// The plugin's settings, a JSON object. Poisonous rows fail only before the plugin is fixed.
    pub fn settings(&self, is_fixed: bool) -> Value {
        let mut settings = self.shape.settings();
        if self.has_poison && !is_fixed {
            settings["poison"] = json!(["kind", POISON]);
        }
        settings
    }

    /// The same as lines of TOML, before the plugin is fixed.
    pub fn settings_text(&self) -> String {
        let poison = if self.has_poison { format!("poison = [\"kind\", \"{POISON}\"]\n") } else { String::new() };
        self.shape.settings_text() + &poison
    }

    /// The topics of the tables.
    pub fn topics(&self) -> Vec<String> {
        self.tables().iter().map(|table| format!("tool.shop.{table}")).collect()
    }

    /// The workload in lines: what it is, and each change.
    pub fn lines(&self) -> String {
        let head = format!("{:?}", Self { changes: Vec::new(), ..self.clone() });
        let changes = self.changes.iter().map(|change| format!("{change:?}"));
        [head].into_iter().chain(changes).collect::<Vec<_>>().join("\n")
    }

    /// The routes in the configuration.
    pub fn routes(&self) -> String {
        let delete = if self.is_soft { "soft" } else { "hard" };
        let truncate = if self.truncates() { "apply" } else { "ignore" };
        let route = |table: &&str| {
            let index = if self.shape == Shape::Merge { MERGED } else { table };
            format!(
                "[[routes]]\ntable = \"shop.{table}\"\nindex = \"{index}\"\ndelete = \"{delete}\"\ntruncate = \"{truncate}\"\n"
            )
        };
        self.tables().iter().map(route).collect()
    }

    /// What is wrong with these documents at the end; they are everything in the store except Rowmill's own indices.
    pub fn difference(&self, found: Documents) -> Option<String> {
        self.compare(found, self.documents(self.changes.iter()), &BTreeSet::new())
    }

    /// What is wrong with these documents while only the changes that `is_settled` accepts must have been applied, and others may
    /// have been.
    pub fn early_difference(&self, found: Documents, is_settled: impl Fn(usize) -> bool) -> Option<String> {
        let (settled, others): (Vec<_>, Vec<_>) = (0..self.changes.len()).partition(|number| is_settled(*number));
        let mut touched = BTreeSet::new();
        for number in others {
            touched.extend(self.touched(&self.changes[number])?);
        }
        self.compare(found, self.documents(settled.into_iter().map(|number| &self.changes[number])), &touched)
    }

    fn compare(&self, found: Documents, wanted: Documents, except: &BTreeSet<(String, String)>) -> Option<String> {
        let is_marked = |document: &Value| document["is_deleted"] == true;
        let mut found: Documents = found.into_iter().filter(|(_, document)| !is_marked(document)).collect();
        if self.shape == Shape::Merge {
            for document in found.values_mut() {
                document.as_object_mut().map(|fields| fields.remove("_rowmill"));
                if document["lines"].as_array().is_some_and(Vec::is_empty) {
                    document.as_object_mut().map(|fields| fields.remove("lines"));
                }
            }
            // A merged document stays, empty, since it holds the versions of its removed parts.
            found.retain(|_, document| document.as_object().is_some_and(|fields| !fields.is_empty()));
        }
        let keys: BTreeSet<_> = found.keys().chain(wanted.keys()).filter(|key| !except.contains(*key)).collect();
        let lines = keys.into_iter().filter_map(|key| match (found.get(key), wanted.get(key)) {
            (None, Some(document)) => Some(format!("missing: {key:?} {document}")),
            (Some(document), None) => Some(format!("should not be there: {key:?} {document}")),
            (Some(one), Some(other)) if one != other => Some(format!("wrong: {key:?} is {one}, not {other}")),
            _ => None,
        });
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The row with another count.
fn changed(row: &Row) -> Row {
    Row { count: (row.count + 1) % 4, ..row.clone() }
}
