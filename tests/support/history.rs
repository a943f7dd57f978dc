//! What happens to rows of a table, for tests that make it up at random: changes, and the records in which each tool reports them.

mod shape;
mod tool;

use serde_json::{Value, json};

pub use shape::{Documents, MERGED, Shape};
pub use tool::{ReportedRecord, Tool};

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The primary key.
    pub id: u32,
    /// One of a few values.
    pub kind: &'static str,
    /// A text.
    pub name: String,
    /// A small number.
    pub count: u8,
    /// The row of another table that this one belongs to. Tables either have this column in all rows or in none.
    pub parent: Option<u32>,
}

impl Row {
    /// Cells by name, each as JSON.
    pub fn cells(&self) -> Value {
        let mut cells = json!({ "id": self.id, "kind": self.kind, "name": self.name, "count": self.count });
        if let Some(parent) = self.parent {
            cells["parent"] = parent.into();
        }
        cells
    }
}

/// A change in the database.
#[derive(Clone, Debug)]
pub enum Change {
    /// One row.
    Row {
        /// The table in the database `shop`.
        table: &'static str,
        /// The row before; `None` for an insert.
        before: Option<Row>,
        /// The row after; `None` for a delete.
        after: Option<Row>,
    },
    /// All rows of a table are removed.
    Truncate {
        /// The table in the database `shop`.
        table: &'static str,
    },
}

impl Change {
    /// The table that it concerns.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Row { table, .. } | Self::Truncate { table } => table,
        }
    }
}
