//! The contract's records as plain Rust types, shared by sandboxed and native guests.

/// The contract version that this host supports.
pub const CONTRACT_VERSION: &str = "1.0.0";

/// A column's type, which determines the JSON of its cells as defined in `wit/rowmill-plugin.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "described in the contract")]
pub enum ColumnKind {
    Unknown,
    Integer,
    UnsignedInteger,
    Boolean,
    Bit,
    Float,
    Double,
    Decimal,
    Date,
    Time,
    DateTime,
    Timestamp,
    Text,
    Binary,
    Enumeration,
    Set,
    Json,
}

impl ColumnKind {
    /// All kinds, with their names in the contract.
    pub const NAMES: [(&'static str, Self); 17] = [
        ("unknown", Self::Unknown),
        ("integer", Self::Integer),
        ("unsigned-integer", Self::UnsignedInteger),
        ("boolean", Self::Boolean),
        ("bit", Self::Bit),
        ("float", Self::Float),
        ("double", Self::Double),
        ("decimal", Self::Decimal),
        ("date", Self::Date),
        ("time", Self::Time),
        ("date-time", Self::DateTime),
        ("timestamp", Self::Timestamp),
        ("text", Self::Text),
        ("binary", Self::Binary),
        ("enumeration", Self::Enumeration),
        ("set", Self::Set),
        ("json", Self::Json),
    ];

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The name in the contract.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
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
    /// The name, in which each `*` matches any text; empty for the index from the configuration.
    pub name: String,
    /// The mapping for creating the index, a JSON object.
    pub mapping: Option<String>,
}

/// A plugin's description of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// A short name, unique within a gateway.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// Patterns of the tables whose rows it wants; empty means all.
    pub tables: Vec<String>,
    /// The input that it asks for.
    pub mode: Mode,
    /// The indices that it may write to.
    pub indices: Vec<Index>,
    /// A JSON Schema of the settings.
    pub settings_schema: Option<String>,
}

/// A column, as described to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
}

/// A table version, as described to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The number that batches refer to.
    pub id: u32,
    /// The database; may be empty.
    pub database: String,
    /// The table's name.
    pub name: String,
    /// All columns.
    pub columns: Vec<Column>,
    /// The columns of the primary key.
    pub key: Vec<u32>,
}

impl Table {
    /// A table version with these columns: name and the contract's name of the kind. An unknown kind becomes `unknown`.
    pub fn new<'a>(
        id: u32,
        database: &str,
        name: &str,
        columns: impl IntoIterator<Item = (&'a str, &'a str)>,
        key: &[u32],
    ) -> Self {
        Self {
            id,
            database: database.to_string(),
            name: name.to_string(),
            columns: columns
                .into_iter()
                .map(|(name, kind)| Column {
                    name: name.to_string(),
                    kind: ColumnKind::from_name(kind).unwrap_or(ColumnKind::Unknown),
                })
                .collect(),
            key: key.to_vec(),
        }
    }

    /// `database.table`, or the table alone.
    pub fn full_name(&self) -> String {
        if self.database.is_empty() { self.name.clone() } else { format!("{}.{}", self.database, self.name) }
    }
}

/// A batch of images as the contract encodes it; see `wit/rowmill-plugin.wit` for the encoding.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The table version's number.
    pub table: u32,
    /// The number of images or changes.
    pub count: u32,
    /// One byte per change; empty in `image` mode.
    pub operations: Vec<u8>,
    /// The end of each cell in `bytes`.
    pub cells: Vec<u32>,
    /// The bytes of the cells.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Clears the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.operations.clear();
        self.cells.clear();
        self.bytes.clear();
    }

    /// The images `from..to` of this batch, each of which has `cells_per_image` cells.
    pub fn slice(&self, from: u32, to: u32, cells_per_image: usize) -> Self {
        let cells = &self.cells[from as usize * cells_per_image..to as usize * cells_per_image];
        let start = match from as usize * cells_per_image {
            0 => 0,
            first => self.cells[first - 1],
        };
        let end = cells.last().copied().unwrap_or(start);
        Self {
            table: self.table,
            count: to - from,
            operations: self.operations.get(from as usize..to as usize).unwrap_or_default().to_vec(),
            cells: cells.iter().map(|cell_end| cell_end - start).collect(),
            bytes: self.bytes[start as usize..end as usize].to_vec(),
        }
    }
}

/// A guest's answer to a batch, not validated yet.
#[derive(Clone, Debug, Default)]
pub struct RawOutput {
    /// The verdicts' words.
    pub verdicts: Vec<u32>,
    /// Ranges of the field names.
    pub names: Vec<u32>,
    /// The bytes of all ranges.
    pub bytes: Vec<u8>,
}

/// Why a call of a guest failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest returned an error.
    #[error("{0}")]
    Refused(String),
    /// The guest trapped or exceeded a limit; its instance must not be used again.
    #[error("{0}")]
    Trapped(String),
}

/// Something that can transform batches: a sandboxed instance, or native code in a benchmark or test harness.
pub trait Guest: Send {
    /// Defines a table version. Returns the columns that the guest wants to read.
    ///
    /// # Errors
    /// The guest rejects the table or traps.
    fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, CallError>;

    /// Transforms a batch.
    ///
    /// # Errors
    /// The guest traps or exceeds a limit.
    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError>;

    /// Bytes of the guest's own memory; `None` for a native guest, which uses the memory of this process.
    fn memory_bytes(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_names_correspond() {
        for (name, kind) in ColumnKind::NAMES {
            assert_eq!((kind.name(), ColumnKind::from_name(name)), (name, Some(kind)));
        }
        assert_eq!(ColumnKind::from_name("bigint"), None);
    }
}
