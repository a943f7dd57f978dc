//! Rows: the one model that every format decodes to.

use std::sync::Arc;

use crate::types::ColumnType;

/// One column's value: exactly one JSON value of its final type, as a range of bytes; or absent.
///
/// The bytes are in the record batch's arena when the message already spells the value as it shall be, else in the
/// [`RowBatch::scratch`] arena. Absent (the source did not send the column) and NULL (`null`) are two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    start: u32,
    len: u32,
}

const IN_SCRATCH: u32 = 1 << 31;

/// Arenas must be shorter, in bytes, for cells to point into them.
pub(crate) const ARENA_LIMIT: usize = IN_SCRATCH as usize;

impl Cell {
    /// The source did not send this column.
    pub const ABSENT: Self = Self { start: 0, len: 0 };

    /// A value at `start..end` of the record batch's arena.
    pub fn in_records(start: usize, end: usize) -> Self {
        debug_assert!(end > start && end < IN_SCRATCH as usize);
        Self { start: start as u32, len: (end - start) as u32 }
    }

    /// A value at `start..end` of the scratch arena.
    pub fn in_scratch(start: usize, end: usize) -> Self {
        debug_assert!(end > start && end < IN_SCRATCH as usize);
        Self { start: start as u32 | IN_SCRATCH, len: (end - start) as u32 }
    }

    /// Whether the value had to be spelled anew.
    pub(crate) fn is_in_scratch(self) -> bool {
        self.start & IN_SCRATCH != 0
    }

    /// Where a value of the record batch's arena begins and ends.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        let start = (self.start & !IN_SCRATCH) as usize;
        start..start + self.len as usize
    }

    /// Where the value stands in the record batch's bytes; `None` if it is absent or was spelled anew.
    #[inline]
    pub fn range_in_records(self) -> Option<std::ops::Range<usize>> {
        (!self.is_absent() && !self.is_in_scratch()).then(|| self.range())
    }

    /// Whether the source did not send this column.
    pub fn is_absent(self) -> bool {
        self.len == 0
    }

    /// The value's bytes, given both arenas; empty if absent.
    #[inline]
    pub fn bytes<'a>(self, records: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
        let (arena, start) =
            if self.start & IN_SCRATCH == 0 { (records, self.start) } else { (scratch, self.start & !IN_SCRATCH) };
        &arena[start as usize..start as usize + self.len as usize]
    }
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// A new row.
    Insert = 0,
    /// A changed row.
    Update = 1,
    /// A removed row.
    Delete = 2,
    /// A row as a snapshot or backfill read it.
    Snapshot = 3,
    /// All rows of the table are gone; has no image.
    Truncate = 4,
}

/// A column of a table version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: Arc<str>,
    /// What the values are.
    pub column_type: ColumnType,
}

/// One shape of a table. A changed shape is a new version; rows name the version that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableVersion {
    /// The database, empty where the format does not tell it.
    pub database: Arc<str>,
    /// The table's name without the database.
    pub name: Arc<str>,
    /// The columns in the order of an image's cells.
    pub columns: Vec<Column>,
    /// The primary key: numbers of `columns`, in the key's order. Empty where the table has none or it is not told.
    pub key: Vec<u32>,
}

impl TableVersion {
    /// `database.table`, or the table alone.
    pub fn full_name(&self) -> String {
        if self.database.is_empty() { self.name.to_string() } else { format!("{}.{}", self.database, self.name) }
    }
}

/// Where a change stands in the binlog, as far as the format tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePosition {
    /// Number of the binlog file, position of the event in it, and place of the row.
    Binlog {
        /// The number at the end of the file's name (`binlog.000042` is 42).
        file: u64,
        /// The event's position in the file, in bytes.
        position: u64,
        /// What orders rows of one event.
        row: RowInEvent,
    },
    /// The time of the statement, in milliseconds since 1970 (often whole seconds).
    Time {
        /// Milliseconds since 1970.
        milliseconds: i64,
    },
    /// The format tells nothing.
    Unknown,
}

/// What orders the rows of one binlog event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowInEvent {
    /// The row's number in the event, from 0 (Debezium).
    InEvent(u32),
    /// The row's number in its transaction, from 0 (Maxwell's `xoffset`).
    InTransaction(u64),
    /// The last row of its transaction (Maxwell's `commit`).
    LastOfTransaction,
}

/// One row change.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The record that told it: an index into [`crate::RecordBatch::records`].
    pub record: u32,
    /// Its table version: an index into the decoder's [`crate::Decoder::tables`].
    pub table: u32,
    /// What happened.
    pub operation: Operation,
    /// The image before the change: where its cells begin in [`RowBatch::cells`]. One cell a column.
    pub before: Option<u32>,
    /// The image after the change.
    pub after: Option<u32>,
    /// Whether `before` holds all columns that the source has. False for an update of which the format
    /// tells only the key or nothing (unwrapped Debezium, row image MINIMAL).
    pub before_is_whole: bool,
    /// Where the change stands in the binlog.
    pub position: SourcePosition,
}

/// A record that is no row change and is settled by being seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A record without a value.
    Tombstone,
    /// A heartbeat.
    Heartbeat,
    /// Begin or end of a transaction.
    Transaction,
    /// A statement's text (Canal `QUERY`).
    Statement,
    /// A change of a table's shape; the rows that follow tell the new one.
    SchemaChange,
    /// Any other message of the tool that carries no row (Debezium `m`, Maxwell's `bootstrap-start`).
    Other,
}

/// A record that cannot be decoded, with a reason that a person can read.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// Index into [`crate::RecordBatch::records`].
    pub record: u32,
    /// Why.
    pub error: crate::DecodeError,
}

/// The rows of one record batch. Reused from batch to batch: [`RowBatch::clear`] keeps the allocations.
#[derive(Debug, Default)]
pub struct RowBatch {
    /// Values that had to be spelled anew.
    pub scratch: Vec<u8>,
    /// The cells of all images.
    pub cells: Vec<Cell>,
    /// The rows in the order of their records.
    pub rows: Vec<Row>,
    /// Records without a row, by kind.
    pub ignored: Vec<(u32, Ignored)>,
    /// Records that cannot be decoded.
    pub undecodable: Vec<Undecodable>,
}

impl RowBatch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.scratch.clear();
        self.cells.clear();
        self.rows.clear();
        self.ignored.clear();
        self.undecodable.clear();
    }
}
