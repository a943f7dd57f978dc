//! The records of the contract as plain structs, equal to those of `wit/rowmill-plugin.wit` on every target.

use std::borrow::Cow;

/// A column's type, which determines the JSON of its cells. A cell is always exactly one JSON value, in UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Unknown to the host: the value is passed on as the source sent it.
    #[default]
    Unknown,
    /// A JSON number without fraction, possibly beyond 2^53.
    Integer,
    /// An unsigned integer up to 2^64-1.
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
    /// Its type.
    pub kind: ColumnKind,
}

/// One version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The number that batches use to refer to this table version.
    pub id: u32,
    /// The database; empty if the source does not report it.
    pub database: String,
    /// The table's name without the database.
    pub name: String,
    /// All columns.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in the key's order: indexes of `columns`.
    pub key: Vec<u32>,
}

impl Table {
    /// `database.table`, or the table's name if the database is unknown.
    pub fn full_name(&self) -> Cow<'_, str> {
        if self.database.is_empty() {
            Cow::Borrowed(&self.name)
        } else {
            Cow::Owned([self.database.as_str(), ".", &self.name].concat())
        }
    }

    /// The column with this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether a pattern matches this table: `database.table`, in which each `*` matches any text. A pattern without a dot is
    /// matched against the table's name alone.
    pub fn matches(&self, pattern: &str) -> bool {
        matches(pattern, &self.full_name(), &self.name)
    }

    /// Whether the table has a column with this name.
    pub fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }
}

/// Whether a pattern matches a table with these names.
pub(crate) fn matches(pattern: &str, full_name: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), if pattern.contains('.') { full_name } else { name }.as_bytes())
}

/// Whether `pattern`, in which each `*` matches any text, matches `text`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // After a mismatch, continue behind the last star, one byte of text later.
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

/// The input that a plugin asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Single row images, without their operation.
    #[default]
    Image,
    /// Change events: operation, before image, after image.
    Change,
}

/// An index that a plugin may write to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The name, in which each `*` matches any text; empty for the index from the host's configuration.
    pub name: String,
    /// The mapping with which the host creates the index: a JSON object in the form of Elasticsearch's
    /// `mappings`.
    pub mapping: Option<String>,
}

/// A plugin's description of itself. `Description::default()` means all tables and the index from the configuration.
///
/// The SDK sets name, version and mode from the trait that the plugin implements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The plugin's name, from its `NAME`.
    pub name: String,
    /// The plugin's version, from its `VERSION`.
    pub version: String,
    /// Patterns of the tables whose rows it wants; empty means all.
    pub tables: Vec<String>,
    /// The input that it asks for.
    pub mode: Mode,
    /// The indices that it may write to besides the configured one.
    pub indices: Vec<Index>,
    /// A JSON Schema of the settings.
    pub settings_schema: Option<String>,
}

impl Description {
    /// Asks for rows of the tables that match these patterns: `database.table`, in which `*` matches any text. A pattern
    /// without a dot is matched against the table's name alone.
    pub fn tables<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.tables.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Declares that the plugin may write to indices that match this pattern.
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.indices.push(Index { name: name.into(), mapping: None });
        self
    }

    /// Likewise, with the mapping for creating indices that do not exist. An empty name sets the mapping of the index from the
    /// host's configuration.
    pub fn index_with_mapping(mut self, name: impl Into<String>, mapping: impl Into<String>) -> Self {
        self.indices.push(Index { name: name.into(), mapping: Some(mapping.into()) });
        self
    }

    /// Sets the JSON Schema of the settings, for users and tools.
    pub fn settings_schema(mut self, schema: impl Into<String>) -> Self {
        self.settings_schema = Some(schema.into());
        self
    }
}

/// Row images (`image` mode) or change events (`change` mode) of one table version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The table version, as defined before.
    pub table: u32,
    /// The number of images (changes).
    pub count: u32,
    /// `change` mode: the operation of each change. `image` mode: empty.
    pub operations: Vec<u8>,
    /// The end of each cell in `bytes`; a cell begins at the end of the one before it.
    pub cells: Vec<u32>,
    /// The bytes of the cells.
    pub bytes: Vec<u8>,
}

/// A plugin's answer to a batch, in the flat encoding of the contract.
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
