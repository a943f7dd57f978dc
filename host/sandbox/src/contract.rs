//! The contract's records as plain Rust, shared by sandboxed and native guests.

/// The contract's version that this host speaks.
pub const CONTRACT_VERSION: &str = "1.0.0";

/// What the values of a column are, and so how a cell spells them; `wit/rowmill-plugin.wit` says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the contract's own words, described there")]
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

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The name in the contract.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
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
    /// The name, in which each `*` stands for any text; empty for the index that the configuration names.
    pub name: String,
    /// The mapping with which the index is created, a JSON object.
    pub mapping: Option<String>,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Short and unique in a gateway.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// Patterns of the tables of which it wants rows; empty means all.
    pub tables: Vec<String>,
    /// What it wants to see.
    pub mode: Mode,
    /// The indices that it may write to.
    pub indices: Vec<Index>,
    /// A JSON Schema of the settings.
    pub settings_schema: Option<String>,
}

/// A column as a plugin is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// How its cells are spelled.
    pub kind: ColumnKind,
}

/// A table version as a plugin is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The number by which batches name it.
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
    /// A table version of columns with their kinds, by the kinds' names in the contract; another name counts as
    /// `unknown`.
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
    /// How many images or changes.
    pub count: u32,
    /// One byte a change; empty in the mode `image`.
    pub operations: Vec<u8>,
    /// End of each cell in `bytes`.
    pub cells: Vec<u32>,
    /// The cells.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Empties the batch and keeps its memory.
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

/// What a guest answers to a batch, not yet checked.
#[derive(Clone, Debug, Default)]
pub struct RawOutput {
    /// The verdicts' words.
    pub verdicts: Vec<u32>,
    /// Ranges of the field names.
    pub names: Vec<u32>,
    /// The bytes of all ranges.
    pub bytes: Vec<u8>,
}

/// Why a call into a guest gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest refused, with its own words.
    #[error("{0}")]
    Refused(String),
    /// The guest trapped or broke a limit; its instance must not be used again.
    #[error("{0}")]
    Trapped(String),
}

/// Something that can transform batches: a sandboxed instance, or native code in a benchmark or test harness.
pub trait Guest: Send {
    /// Tells the guest a table version; answers the columns that it wants to read.
    ///
    /// # Errors
    /// The guest refuses the table, or traps.
    fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, CallError>;

    /// Transforms a batch.
    ///
    /// # Errors
    /// The guest traps or breaks a limit.
    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError>;

    /// Bytes of memory that the guest has of its own; `None` for one that shares this process' memory.
    fn memory_bytes(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_own_names() {
        for (name, kind) in ColumnKind::NAMES {
            assert_eq!((kind.name(), ColumnKind::from_name(name)), (name, Some(kind)));
        }
        assert_eq!(ColumnKind::from_name("bigint"), None);
    }
}
