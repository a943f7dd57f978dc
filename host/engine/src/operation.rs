//! Document operations: what the engine makes of rows, and a sink writes.

use std::sync::Arc;

use rowmill_rows::Span;

/// What an operation does to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the whole document.
    Index,
    /// Delete the whole document.
    Delete,
    /// Write one table's part of a merged document.
    Merge,
    /// Remove one table's part from a merged document.
    MergeRemove,
    /// Write one item of an array in a merged document.
    PutItem,
    /// Remove one item of an array from a merged document.
    RemoveItem,
    /// Delete all documents that older rows of the table left. Has no document ID.
    Truncate,
}

impl Action {
    /// Number of actions: `action as usize` is always below it.
    pub const COUNT: usize = 7;

    /// All actions, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Index, Self::Delete, Self::Merge, Self::MergeRemove, Self::PutItem, Self::RemoveItem, Self::Truncate];

    /// The actions that write or delete one document.
    pub const OF_DOCUMENTS: [Self; 6] =
        [Self::Index, Self::Delete, Self::Merge, Self::MergeRemove, Self::PutItem, Self::RemoveItem];

    /// Returns true if the action is one of those on merged documents.
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

/// The number of an index; see [`crate::Indices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexNumber(pub u32);

/// The plugin generation that made an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its generation.
    pub generation: u64,
}

/// One operation. Its spans are ranges of the batch's [`Operations::bytes`].
#[derive(Clone, Debug)]
pub struct Operation {
    /// What the operation does.
    pub action: Action,
    /// The index that the document is in.
    pub index: IndexNumber,
    /// The document's id, UTF-8.
    pub id: Span,
    /// The routing value, if any.
    pub routing: Option<Span>,
    /// The item of a merged document, as members of a JSON object (`"array":"lines","key":"17"`). Empty for operations on
    /// whole documents and parts.
    pub item: Span,
    /// The document's body, or the item's, one line of JSON; empty for deletes.
    pub body: Span,
    /// The external version.
    pub version: u64,
    /// The record that it came from: an index into the batch's records.
    pub record: u32,
    /// The table that it came from: an index into [`Operations::tables`].
    pub table: u16,
    /// The plugin that made it: an index into [`Operations::producers`]; `u16::MAX` for the host.
    pub producer: u16,
    /// Whether a truncate of the table leaves the document: it records a change, as an audit trail does, and is not an image
    /// of a row.
    pub outlives_truncates: bool,
    /// Whether this is a soft delete: its action is [`Action::Index`], and the body says that the row is deleted.
    pub is_soft_delete: bool,
}

impl Operation {
    /// Returns true if the operation deletes the document, or removes a part of it. At equal versions a write beats a
    /// removal: one change can delete and write the same document, and both may arrive in any order.
    pub fn is_removal(&self) -> bool {
        self.is_soft_delete || matches!(self.action, Action::Delete | Action::MergeRemove | Action::RemoveItem)
    }
}

/// The operations of one batch of records, in the order of the records.
#[derive(Debug, Default)]
pub struct Operations {
    /// The operations.
    pub list: Vec<Operation>,
    /// Document IDs, routing values, items and bodies; the operations' spans are ranges of it.
    pub bytes: Vec<u8>,
    /// Full names of the tables (`database.table`).
    pub tables: Vec<Arc<str>>,
    /// The plugin generations that made the operations.
    pub producers: Vec<Producer>,
}

impl Operations {
    /// The text of a span of [`Operations::bytes`].
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }

    /// The number of a table among [`Operations::tables`]; it is added if it is new.
    pub(crate) fn table_number(&mut self, full_name: &Arc<str>) -> u16 {
        // Nearly always the last one: a batch is of one partition.
        let known = self.tables.iter().rposition(|known| Arc::ptr_eq(known, full_name) || known == full_name);
        let number = known.unwrap_or_else(|| {
            self.tables.push(full_name.clone());
            self.tables.len() - 1
        });
        number as u16
    }

    /// Removes all operations and bytes; the memory is kept for the next batch.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.tables.clear();
        self.producers.clear();
    }
}
