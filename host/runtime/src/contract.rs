//! The contract's records as plain Rust, shared by sandboxed and native guests.

use crate::bindings::rowmill::plugin::types;

pub use types::{ColumnKind, Description, Index, Mode};

/// The contract's version that this host speaks.
pub const CONTRACT_VERSION: &str = "1.0.0";

/// A column as a plugin is told of it.
#[derive(Clone, Debug)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// How its cells are spelled.
    pub kind: ColumnKind,
}

/// A table version as a plugin is told of it.
#[derive(Clone, Debug)]
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
}
