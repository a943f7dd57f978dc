//! Rows for a plugin: read from captured records or from lines of JSON, or built in code.

mod captured;
mod lines;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use rowmill_rows::DeclaredTypes;
use rowmill_sandbox::{ColumnKind, Table};
use serde_json::{Map, Value};

pub use rowmill_rows::Operation;

/// The cells of a row: one JSON value per column, empty if the source did not send the column.
pub type Image = Vec<Vec<u8>>;

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The index of its table version in [`Input::tables`].
    pub table: usize,
    /// What happened; never a truncate, which plugins do not receive.
    pub operation: Operation,
    /// The before image; `None` also for updates whose source does not send it.
    pub before: Option<Image>,
    /// The after image.
    pub after: Option<Image>,
}

/// Rows and their tables.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The table versions; the `id` of a table is its index here.
    pub tables: Vec<Table>,
    /// The rows in order, each with its origin (a line or an offset; empty if built in code). A record that cannot be decoded has
    /// the reason instead of the row.
    pub rows: Vec<(String, Result<Row, String>)>,
}

impl Input {
    /// Reads a file: lines of JSON that start with the description of a table, or records of Canal, Debezium or Maxwell.
    ///
    /// # Errors
    /// The file cannot be read or is neither; the message names the line and what was expected.
    pub fn read(path: &Path, reading: &Reading) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::parse(&bytes, &name, reading).with_context(|| path.display().to_string())
    }

    /// Reads the bytes of a file; `name` is the topic of events without one.
    ///
    /// # Errors
    /// See [`Input::read`].
    pub fn parse(bytes: &[u8], name: &str, reading: &Reading) -> anyhow::Result<Self> {
        let has_table = lines::begins_with_table(bytes);
        ensure!(
            reading.types.is_empty() || !has_table && reading.table.is_none(),
            "types can be declared for records of Canal, Debezium or Maxwell only; these are rows, and the description of their table contains the types"
        );
        match &reading.table {
            Some(table) => lines::parse_of_table(bytes, table),
            None if has_table => lines::parse(bytes),
            None => captured::parse(bytes, name, reading.types.clone()),
        }
    }

    /// The rows as lines of JSON, which [`Input::parse`] can read.
    pub fn to_ndjson(&self) -> String {
        lines::write(self)
    }

    /// The number of rows and the tables, for users.
    pub fn summary(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(Table::full_name).collect();
        format!("{} of {}", count(self.rows.len(), "row"), names.join(", "))
    }

    fn push(&mut self, origin: impl Into<String>, row: Result<Row, String>) {
        self.rows.push((origin.into(), row));
    }
}

/// Information that a file of rows does not contain.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The table of lines without a description; the kinds of their columns are unknown.
    pub table: Option<String>,
    /// The column types of captured records, as in `[tables]` of the gateway's configuration.
    pub types: DeclaredTypes,
}

impl Reading {
    /// Declares the types in a file with the content of `[tables]` in the gateway's configuration:
    ///
    /// ```toml
    /// ["shop.trade"]
    /// buyer_id = "bigint unsigned"
    /// ```
    ///
    /// # Errors
    /// The file cannot be read, or names a type that MySQL does not have.
    pub fn declare(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.declare_text(&text).with_context(|| path.display().to_string())
    }

    /// Declares the types in the text of a file.
    pub(crate) fn declare_text(&mut self, text: &str) -> anyhow::Result<()> {
        let tables: BTreeMap<String, BTreeMap<String, String>> = toml::from_str(text)?;
        for (table, columns) in &tables {
            for (column, mysql_type) in columns {
                let declared = self.types.declare(table, column, mysql_type);
                declared.map_err(|error| anyhow!("{table}: {column}: {error}"))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Builds rows of one table in code.
///
/// ```
/// use rowmill_harness::Rows;
/// use serde_json::json;
///
/// let input = Rows::of("shop.orders", [("id", "bigint unsigned"), ("state", "varchar(20)")])
///     .insert(json!({"id": 1, "state": "open"}))
///     .update(json!({"id": 1, "state": "open"}), json!({"id": 1, "state": "paid"}))
///     .delete(json!({"id": 1, "state": "paid"}))
///     .input();
/// assert_eq!(input.rows.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Rows(Input);

impl Rows {
    /// Rows of the table with this name. Columns have a MySQL type (`bigint unsigned`) or a kind of the contract
    /// (`unsigned-integer`); the first column is the key.
    ///
    /// # Panics
    /// A type is unknown.
    #[track_caller]
    pub fn of<'a>(full_name: &str, columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let columns = columns.into_iter().map(|(name, kind)| (name.to_string(), kind.to_string()));
        match lines::table(0, full_name, columns.collect(), None) {
            Ok(table) => Self(Input { tables: vec![table], rows: Vec::new() }),
            Err(error) => panic!("table {full_name}: {error:#}"),
        }
    }

    /// Sets the columns of the primary key, in order.
    ///
    /// # Panics
    /// The table has no such column.
    #[track_caller]
    #[must_use]
    pub fn key<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let table = &mut self.0.tables[0];
        let place = |name: &str| {
            let place = table.columns.iter().position(|column| column.name == name);
            place.unwrap_or_else(|| panic!("table {} has no column {name}", table.full_name())) as u32
        };
        table.key = columns.into_iter().map(place).collect();
        self
    }

    /// Adds an inserted row, an object of its columns; an omitted column is absent.
    ///
    /// # Panics
    /// The row does not fit the table.
    #[track_caller]
    #[must_use]
    pub fn insert(self, row: Value) -> Self {
        self.push(Operation::Insert, None, Some(row))
    }

    /// Adds a row that a backfill read.
    ///
    /// # Panics
    /// The row does not fit the table.
    #[track_caller]
    #[must_use]
    pub fn snapshot(self, row: Value) -> Self {
        self.push(Operation::Snapshot, None, Some(row))
    }

    /// Adds an updated row: the before image and the after image.
    ///
    /// # Panics
    /// A row does not fit the table.
    #[track_caller]
    #[must_use]
    pub fn update(self, before: Value, after: Value) -> Self {
        self.push(Operation::Update, Some(before), Some(after))
    }

    /// Adds a deleted row.
    ///
    /// # Panics
    /// The row does not fit the table.
    #[track_caller]
    #[must_use]
    pub fn delete(self, row: Value) -> Self {
        self.push(Operation::Delete, Some(row), None)
    }

    /// The rows.
    pub fn input(self) -> Input {
        self.0
    }

    #[track_caller]
    fn push(mut self, operation: Operation, before: Option<Value>, after: Option<Value>) -> Self {
        let table = &self.0.tables[0];
        let image = |row: Value| lines::image_of_value(table, &row).unwrap_or_else(|error| panic!("{error:#}"));
        let row = Row { table: 0, operation, before: before.map(image), after: after.map(image) };
        self.0.push("", Ok(row));
        self
    }
}

/// A row image as an object of its columns, for users.
pub(crate) fn object_of(table: &Table, image: &Image) -> Value {
    let cells = table.columns.iter().zip(image).filter(|(_, cell)| !cell.is_empty());
    let fields: Map<String, Value> =
        cells.map(|(column, cell)| (column.name.clone(), serde_json::from_slice(cell).unwrap_or_default())).collect();
    Value::Object(fields)
}

/// Describes cells of this kind, to follow the word "expected".
fn spelling(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Unknown | ColumnKind::Json => "a JSON value",
        ColumnKind::Integer => "an integer",
        ColumnKind::UnsignedInteger | ColumnKind::Bit => "an integer of at least 0",
        ColumnKind::Boolean => "true or false",
        ColumnKind::Float | ColumnKind::Double => "a number",
        ColumnKind::Decimal => "its digits as a string, \"9.90\"",
        ColumnKind::Date => "a string, \"2026-03-04\"",
        ColumnKind::Time => "a string, \"12:34:56\"",
        ColumnKind::DateTime => "a string, \"2026-03-04T05:06:07\"",
        ColumnKind::Timestamp => "a string, \"2026-03-04T05:06:07Z\"",
        ColumnKind::Text | ColumnKind::Enumeration => "a string",
        ColumnKind::Binary => "its bytes as base64 in a string",
        ColumnKind::Set => "the labels in a string, \"vip,gift\"",
    }
}

#[cfg(test)]
mod tests;
