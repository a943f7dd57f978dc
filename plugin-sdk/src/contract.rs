//! The records of the contract as plain structs, equal to those of `wit/rowmill-plugin.wit` on every target.

use std::borrow::Cow;

/// What the values of a column are, and how a cell spells them. A cell is always exactly one JSON value, in UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Not known to the host: the value is as the source spelled it.
    #[default]
    Unknown,
    /// A JSON number without fraction, possibly beyond 2^53.
    Integer,
    /// The same without sign, up to 2^64-1.
    UnsignedInteger,
    /// `true` or `false`.
    Boolean,
    /// The bits as an unsigned number.
    Bit,
    /// A JSON number of single precision.
    Float,
    /// A JSON number of double precision.
    Double,
    /// A JSON string with all digits of the declared scale: `"99.90"`.
    Decimal,
    /// `"2026-03-04"`.
    Date,
    /// `"-12:34:56.789"`; hours may exceed 23.
    Time,
    /// Without a zone: `"2026-03-04T05:06:07.123456"`.
    DateTime,
    /// In UTC: `"2026-03-04T05:06:07Z"`.
    Timestamp,
    /// A JSON string.
    Text,
    /// Bytes as base64 in a JSON string.
    Binary,
    /// The label as a JSON string.
    Enumeration,
    /// The labels joined by commas, a JSON string.
    Set,
    /// Any JSON value: the column's own content.
    Json,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// What its values are.
    pub kind: ColumnKind,
}

/// One version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The number by which batches name this table version.
    pub id: u32,
    /// The database; empty where the source does not tell it.
    pub database: String,
    /// The table's name without the database.
    pub name: String,
    /// All columns.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in the key's order: numbers of `columns`.
    pub key: Vec<u32>,
}

impl Table {
    /// `database.table`, or the table alone where the database is not told.
    pub fn full_name(&self) -> Cow<'_, str> {
        if self.database.is_empty() {
            Cow::Borrowed(&self.name)
        } else {
            Cow::Owned([self.database.as_str(), ".", &self.name].concat())
        }
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether a pattern names this table: `database.table`, in which each `*` stands for any text. A pattern without a
    /// point is matched against the table's name alone.
    pub fn matches(&self, pattern: &str) -> bool {
        matches(pattern, &self.full_name(), &self.name)
    }

    /// Whether the table has a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }
}

/// Whether a pattern names the table of these names.
pub(crate) fn matches(pattern: &str, full_name: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), if pattern.contains('.') { full_name } else { name }.as_bytes())
}

/// Whether `text` is as `pattern` says, in which each `*` stands for any text.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one byte of text later.
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            (p, t) = (after_star, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// What a plugin wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Single row images, without their operation.
    #[default]
    Image,
    /// Whole changes: operation, image before, image after.
    Change,
}

/// An index that a plugin may write to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The name, in which each `*` stands for any text; empty for the index that the host's configuration names.
    pub name: String,
    /// The mapping with which the host creates the index: a JSON object as Elasticsearch takes it under `mappings`.
    pub mapping: Option<String>,
}

/// What a plugin says of itself. `Description::default()` is all tables and the configured index.
///
/// Name, version and mode are filled in by the SDK from the trait that the plugin implements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The plugin's name, from its `NAME`.
    pub name: String,
    /// The plugin's version, from its `VERSION`.
    pub version: String,
    /// Patterns of the tables of which it wants rows; empty means all.
    pub tables: Vec<String>,
    /// What it wants to see.
    pub mode: Mode,
    /// The indices that it may write to besides the configured one.
    pub indices: Vec<Index>,
    /// A JSON Schema of the settings.
    pub settings_schema: Option<String>,
}

impl Description {
    /// Wants rows of the tables that these patterns name: `database.table`, `*` for any text; a pattern without a
    /// point is matched against the table's name alone.
    pub fn tables<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.tables.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// May write to the indices that this pattern names.
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.indices.push(Index { name: name.into(), mapping: None });
        self
    }

    /// May write to the indices that this pattern names, created with this mapping where they do not exist. An empty
    /// name gives the mapping for the index that the host's configuration names.
    pub fn index_with_mapping(mut self, name: impl Into<String>, mapping: impl Into<String>) -> Self {
        self.indices.push(Index { name: name.into(), mapping: Some(mapping.into()) });
        self
    }

    /// Tells people and tools the JSON Schema of the settings.
    pub fn settings_schema(mut self, schema: impl Into<String>) -> Self {
        self.settings_schema = Some(schema.into());
        self
    }
}

/// Some images of rows (mode image) or some changes (mode change) of one table version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The table version, as defined before.
    pub table: u32,
    /// How many images (changes) there are.
    pub count: u32,
    /// Mode change: the operation of each change. Mode image: empty.
    pub operations: Vec<u8>,
    /// The end of each cell in `bytes`; a cell begins where the one before it ends.
    pub cells: Vec<u32>,
    /// The cells' bytes.
    pub bytes: Vec<u8>,
}

/// What a plugin says of a batch, in the flat encoding that the contract describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// One verdict for each image (change), as words.
    pub verdicts: Vec<u32>,
    /// The field names that documents use: ranges of `bytes`.
    pub names: Vec<u32>,
    /// The bytes of all ranges.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expect: bool) {
        let table = Table { database: "shop".into(), name: "trade_2026".into(), ..Table::default() };
        assert_eq!(table.matches(pattern), expect, "{pattern}");
    }

    #[test]
    fn patterns() {
        check("shop.trade_2026", true);
        check("trade_2026", true);
        check("shop.trade", false);
        check("trade_*", true);
        check("*", true);
        check("*.*", true);
        check("s*.t*e_*6", true);
        check("*.trade", false);
        check("", false);
        check("crm.*", false);
        check("*2026*", true);
    }
}
