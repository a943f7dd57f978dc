//! Rows: the one model that every format decodes to.

use std::sync::Arc;

use crate::types::ColumnType;

/// One column's value: a range of bytes that holds exactly one JSON value of the column's type; or absent.
///
/// The bytes are in the record batch's arena if the value needed no conversion, else in the [`RowBatch::scratch`] arena.
/// An absent cell (the source did not send the column) differs from NULL (`null`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    start: u32,
    len: u32,
}

const IN_SCRATCH: u32 = 1 << 31;

/// Arenas must be shorter than this many bytes, so that cells can point into them.
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

    /// Whether the value was converted.
    pub(crate) fn is_in_scratch(self) -> bool {
        self.start & IN_SCRATCH != 0
    }

    /// The range of the value in its arena.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        let start = (self.start & !IN_SCRATCH) as usize;
        start..start + self.len as usize
    }

    /// The range of the value in the record batch's bytes; `None` if it is absent or was converted.
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
    /// The row was inserted.
    Insert = 0,
    /// The row was updated.
    Update = 1,
    /// The row was deleted.
    Delete = 2,
    /// A snapshot or backfill read the row.
    Snapshot = 3,
    /// The table was truncated. There is no image.
    Truncate = 4,
}

/// A column of a table version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: Arc<str>,
    /// The type of its values.
    pub column_type: ColumnType,
}

/// One version of a table's definition. When columns, types or key change, a new version follows; each row refers to its
/// version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableVersion {
    /// The database; empty if the format does not name it.
    pub database: Arc<str>,
    /// The table's name without the database.
    pub name: Arc<str>,
    /// The columns, in the order of an image's cells.
    pub columns: Vec<Column>,
    /// The primary key: indexes of `columns`, in the key's order. Empty if there is no key or the format does not name it.
    pub key: Vec<u32>,
}

impl TableVersion {
    /// `database.table`, or the table's name if the database is unknown.
    pub fn full_name(&self) -> String {
        if self.database.is_empty() { self.name.to_string() } else { format!("{}.{}", self.database, self.name) }
    }
}

/// The position of a change in the binlog, as exactly as the format reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePosition {
    /// The event's position in the binlog, and the row's order within it.
    Binlog {
        /// The number at the end of the file's name (`binlog.000042` is 42).
        file: u64,
        /// The event's position in the file, in bytes.
        position: u64,
        /// The order of rows with the same event position.
        row: RowInEvent,
    },
    /// The time of the statement, in milliseconds since 1970 (often whole seconds).
    Time {
        /// Milliseconds since 1970.
        milliseconds: i64,
        /// When the tool made the message, in milliseconds since 1970 (Canal's `ts`); 0 if the format does not report it.
        sent: i64,
        /// The transaction's number in its GTID (Canal's `gtid`); 0 if the format does not report it.
        transaction: u64,
    },
    /// The format reports no position.
    Unknown,
}

impl SourcePosition {
    /// The time of the statement, in milliseconds since 1970, where the format reports nothing finer.
    pub fn time(milliseconds: i64) -> Self {
        Self::Time { milliseconds, sent: 0, transaction: 0 }
    }
}

/// The order of rows whose binlog position is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowInEvent {
    /// The row's number in the event, from 0 (Debezium).
    InEvent(u32),
    /// The row's number in its transaction, from 0 (Maxwell's `xoffset`).
    InTransaction(u64),
    /// The last row of its transaction (Maxwell's `commit`).
    LastOfTransaction,
}

/// One change event of a row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The record that it comes from: an index into [`crate::RecordBatch::records`].
    pub record: u32,
    /// Its table version: an index into the decoder's [`crate::Decoder::tables`].
    pub table: u32,
    /// The kind of change.
    pub operation: Operation,
    /// The before image: the index of its first cell in [`RowBatch::cells`]. There is one cell per column.
    pub before: Option<u32>,
    /// The after image, likewise.
    pub after: Option<u32>,
    /// Whether `before` has all columns that the source has. False for an update whose before image is missing or has only
    /// the key (unwrapped Debezium, row image MINIMAL).
    pub before_is_complete: bool,
    /// The position of the change in the binlog.
    pub position: SourcePosition,
}

/// Kinds of records that are not row changes and need no further work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A record without a value.
    Tombstone,
    /// A heartbeat.
    Heartbeat,
    /// Begin or end of a transaction.
    Transaction,
    /// The text of a statement (Canal `QUERY`).
    Statement,
    /// A change of a table's definition; the rows that follow describe the new one.
    SchemaChange,
    /// Any other message without a row (Debezium `m`, Maxwell's `bootstrap-start`).
    Other,
}

/// A record that cannot be decoded, or some of whose rows cannot, with the reason.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// Index into [`crate::RecordBatch::records`].
    pub record: u32,
    /// Why.
    pub error: crate::DecodeError,
}

/// The rows of one record batch. Reuse it for the next batch: [`RowBatch::clear`] keeps the allocations.
#[derive(Debug, Default)]
pub struct RowBatch {
    /// The bytes of converted values.
    pub scratch: Vec<u8>,
    /// The cells of all images.
    pub cells: Vec<Cell>,
    /// The rows, in the order of their records.
    pub rows: Vec<Row>,
    /// Records without a row: the record's index and its kind.
    pub ignored: Vec<(u32, Ignored)>,
    /// Records that cannot be decoded, or of which some rows cannot.
    pub undecodable: Vec<Undecodable>,
}

impl RowBatch {
    /// Clears the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.scratch.clear();
        self.cells.clear();
        self.rows.clear();
        self.ignored.clear();
        self.undecodable.clear();
    }
}
