//! Document operations: what the transform stage hands to the sink.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rowmill_rows::{RecordBatch, Span};

use crate::checkpoint::Ticket;

/// Records with their claim on the watermark; shared by everything that came out of them.
#[derive(Debug)]
pub struct SourceBatch {
    /// The records.
    pub records: RecordBatch,
    /// Settled piece by piece.
    pub ticket: Arc<Ticket>,
}

/// What is done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the whole document.
    Index,
    /// Delete the whole document.
    Delete,
    /// Write one table's part of a merged document.
    Merge,
    /// Take one table's part out of a merged document.
    MergeRemove,
    /// Write one item of an array in a merged document.
    PutItem,
    /// Take one item of an array out of a merged document.
    RemoveItem,
    /// Delete whatever older rows of the table left. Has no id.
    Truncate,
}

impl Action {
    /// How many there are: `action as usize` is below it.
    pub const COUNT: usize = 7;

    /// All that write one document.
    pub const OF_DOCUMENTS: [Self; 6] =
        [Self::Index, Self::Delete, Self::Merge, Self::MergeRemove, Self::PutItem, Self::RemoveItem];

    /// Whether it concerns a merged document.
    pub fn is_merge(self) -> bool {
        matches!(self, Self::Merge | Self::MergeRemove | Self::PutItem | Self::RemoveItem)
    }

    /// The name in metrics and summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::MergeRemove => "merge-remove",
            Self::PutItem => "put-item",
            Self::RemoveItem => "remove-item",
            Self::Truncate => "truncate",
        }
    }
}

/// A number for an index' name; see [`crate::indices::Indices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexNumber(pub u32);

/// A number for what produced an operation: a plugin's generation, or the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its generation.
    pub generation: u64,
}

/// One operation; its bytes are in its batch.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What is done.
    pub action: Action,
    /// The index.
    pub index: IndexNumber,
    /// The document's id, UTF-8.
    pub id: Span,
    /// The routing value, if any.
    pub routing: Option<Span>,
    /// Of an item of a merged document: which, as members of a JSON object (`"array":"lines","key":"17"`). Empty for all
    /// other operations.
    pub item: Span,
    /// The document's body, or the item's, one line of JSON; empty for deletes.
    pub body: Span,
    /// The external version.
    pub version: u64,
    /// The record that it came from: an index into the batch's records.
    pub record: u32,
    /// The table that it came from: an index into [`OperationBatch::tables`].
    pub table: u16,
    /// The plugin that made it: an index into [`OperationBatch::producers`]; `u16::MAX` for the host.
    pub producer: u16,
    /// Whether its document is no image of a row but tells of a change, as an audit trail does: a truncate of the table
    /// is nothing to it.
    pub outlives_truncates: bool,
}

/// The operations of one source batch, in the order of its records.
#[derive(Debug)]
pub struct OperationBatch {
    /// Where they came from.
    pub source: Arc<SourceBatch>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Ids, routing values and bodies.
    pub bytes: Vec<u8>,
    /// Full names of the tables.
    pub tables: Vec<Arc<str>>,
    /// The plugins.
    pub producers: Vec<Producer>,
    /// Operations without an outcome; the sink counts them down.
    pub without_outcome: AtomicU32,
}

impl OperationBatch {
    /// An empty batch.
    pub fn new(source: Arc<SourceBatch>) -> Self {
        Self {
            source,
            operations: Vec::new(),
            bytes: Vec::new(),
            tables: Vec::new(),
            producers: Vec::new(),
            without_outcome: AtomicU32::new(0),
        }
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }
}
