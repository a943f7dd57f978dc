//! Writes an audit document for every change, and keeps a deleted row's document with `"is_deleted": true`.
//!
//! It needs to know what happened to a row, so it uses the mode `change`: it sees both images and the operation, and handles
//! deletes and changed keys itself.

use std::cell::RefCell;
use std::fmt::Write as _;

use rowmill_sdk::{Change, ChangeTransform, Columns, Description, Document, Fail, Operation, Out, Row, Table};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct AuditTrail {
    settings: Settings,
    /// The audited table versions. The tag of a row is the number of its version, from 1.
    tables: RefCell<Vec<Known>>,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The audited tables: `database.table` or `table`, where `*` matches any text.
    tables: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tables: vec!["*".to_owned()] }
    }
}

/// The columns of a table version, and the columns of its key.
#[derive(Debug, PartialEq)]
struct Known {
    columns: Vec<String>,
    key: Vec<String>,
}

impl ChangeTransform for AuditTrail {
    const NAME: &'static str = "audit-trail";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().index_with_mapping("audit", include_str!("mapping.json"))
    }

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.tables.is_empty() {
            return Err("settings: 'tables' is empty; leave it out to audit all tables".to_owned());
        }
        Ok(Self { settings, tables: RefCell::default() })
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        if !self.settings.tables.iter().any(|pattern| table.matches(pattern)) {
            return Ok(Columns::none());
        }
        if table.key.is_empty() {
            return Err(format!(
                "table {} has no primary key, so audit documents cannot identify its rows",
                table.full_name()
            ));
        }
        let known = Known {
            columns: table.columns.iter().map(|column| column.name.clone()).collect(),
            key: table.key.iter().map(|&place| table.columns[place as usize].name.clone()).collect(),
        };
        let mut tables = self.tables.borrow_mut();
        let place = tables.iter().position(|other| *other == known).unwrap_or(tables.len());
        if place == tables.len() {
            tables.push(known);
        }
        Ok(Columns::all().tag(place as u32 + 1))
    }

    fn change(&self, change: &Change<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let tables = self.tables.borrow();
        let Some(row) = change.row() else { return Ok(()) };
        // Tag 0 is a table that is not audited: its rows go on to the next plugin.
        let Some(known) = (row.tag() as usize).checked_sub(1).and_then(|place| tables.get(place)) else {
            out.keep();
            return Ok(());
        };
        let key = known.key_of(row)?;

        // The document of the row: the host copies it from the after image, or for a delete from the before image.
        out.document().all().boolean("is_deleted", change.operation == Operation::Delete);

        // In the mode `change`, the plugin also handles changed keys: it marks the document of the old key.
        if let (Some(before), Some(_)) = (&change.before, &change.after) {
            // Without a before image, all its cells are absent.
            let old_key = if before.is_absent(known.key[0].as_str())? { key.clone() } else { known.key_of(before)? };
            if old_key != key {
                let mut old = out.document();
                old.id(&old_key);
                known.copy(before, &mut old)?;
                old.boolean("is_deleted", true);
            }
        }
        if change.operation == Operation::Snapshot {
            return Ok(());
        }
        known.audit(change, row, &key, out)
    }
}

impl Known {
    /// The row's key in the form of the default ID: the values joined by `|`.
    fn key_of(&self, row: &Row<'_>) -> Result<String, Fail> {
        let mut key = String::new();
        for (place, column) in self.key.iter().enumerate() {
            let value = row
                .scalar(column.as_str())?
                .ok_or_else(|| row.wrong(column.as_str(), "is part of the key and is missing"))?;
            let _ = write!(key, "{}{value}", if place > 0 { "|" } else { "" });
        }
        Ok(key)
    }

    fn audit(&self, change: &Change<'_>, row: &Row<'_>, key: &str, out: &mut Out<'_>) -> Result<(), Fail> {
        let operation = match change.operation {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Snapshot => "snapshot",
        };
        // A change that is read twice must produce the same document, so the ID depends on the change alone.
        let mut hash = Fnv::default();
        for column in &self.columns {
            for image in [&change.before, &change.after].into_iter().flatten() {
                hash.add(image.raw(column.as_str())?);
            }
        }
        let mut audit = out.document();
        audit
            .index("audit")
            .id(format_args!("{}|{key}|{operation}|{:016x}", row.table(), hash.0))
            .text("table", row.table())
            .text("key", key)
            .text("operation", operation);
        if let (Some(before), Some(after)) = (&change.before, &change.after) {
            let mut changed = Vec::new();
            for column in &self.columns {
                if before.raw(column.as_str())? != after.raw(column.as_str())? {
                    changed.push(column.as_str());
                }
            }
            audit.texts("changed", changed);
        }
        for (name, image) in [("before", &change.before), ("after", &change.after)] {
            if let Some(image) = image {
                audit.object(name, |object| self.copy(image, object))?;
            }
        }
        Ok(())
    }

    /// Copies the cells of an image under their column names.
    fn copy(&self, image: &Row<'_>, into: &mut Document<'_, '_>) -> Result<(), Fail> {
        for column in &self.columns {
            let cell = image.raw(column.as_str())?;
            if !cell.is_empty() {
                into.raw(column, cell);
            }
        }
        Ok(())
    }
}

/// FNV-1a: short, and the same everywhere.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        // 0xff cannot occur in UTF-8, so it separates cells.
        for &byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

rowmill_sdk::export!(change AuditTrail);
