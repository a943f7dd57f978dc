//! One record being decoded, with the decoder's state, and the steps that all formats share.

use crate::error::{DecodeError, FailedRows};
use crate::image::{check_key, convert, image_by_name, image_in_order};
use crate::json::{Cursor, JsonError};
use crate::row::{Cell, Ignored, Operation, Row, RowBatch, SourcePosition};
use crate::table::{NewShape, Tables};
use crate::value::Dialect;

/// The result of decoding a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its rows were appended to the batch.
    Rows,
    /// Some of its rows were appended to the batch; the others cannot be decoded.
    SomeRows(FailedRows),
    /// It has no rows.
    Ignored(Ignored),
}

/// Buffers that are reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The names of the key's columns, each followed by a 0.
    pub key: Vec<u8>,
    /// The signature of a shape; see [`begin_signature`].
    pub signature: Vec<u8>,
    /// The images of a message with several rows.
    pub images: Vec<Image>,
    /// The positions of the old values of those rows.
    pub old: Vec<Option<usize>>,
}

/// A row image found in a message, whose shape may not be known yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// The position of its object in the arena.
    pub start: usize,
    /// The index of its first cell, if it was read with the expected shape.
    pub cells: Option<u32>,
}

/// One record being decoded, with the state `S` that its format keeps for the topic.
pub(crate) struct RecordContext<'a, S> {
    /// The record batch's bytes.
    pub arena: &'a [u8],
    /// The record's index in the batch.
    pub record: u32,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// At the start of the message; its text ends with the message.
    pub cursor: Cursor<'a>,
    /// The topic's name.
    pub topic: &'a str,
    pub state: S,
    pub tables: &'a mut Tables,
    pub buffers: &'a mut Buffers,
}

/// A change event without its record and table.
pub(crate) struct Change {
    pub operation: Operation,
    pub before: Option<u32>,
    pub after: Option<u32>,
    pub before_is_complete: bool,
    pub position: SourcePosition,
}

impl<'a, S> RecordContext<'a, S> {
    /// The same record with its format's state.
    pub fn with_state<T>(self, state: T) -> RecordContext<'a, T> {
        let Self { arena, record, key, cursor, topic, tables, buffers, state: _ } = self;
        RecordContext { arena, record, key, cursor, topic, state, tables, buffers }
    }

    /// A cursor over the message at `start`, a position in the arena.
    pub fn cursor_at(&self, start: usize) -> Cursor<'a> {
        let mut cursor = self.cursor.clone();
        cursor.seek(start);
        cursor
    }

    /// Converts the cells of an image whose shape is known, and checks its key. An image that was not read with this shape is
    /// read again. Returns the index of the first cell.
    #[inline]
    pub fn finish_image(
        &mut self,
        image: Image,
        expected: Option<u32>,
        shape: u32,
        skip: fn(&[u8]) -> bool,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        let first_cell = match image.cells {
            Some(cells) if expected == Some(shape) => cells,
            _ => self.scan_again(image.start, shape, skip, out)?,
        };
        convert(self.tables, shape, first_cell as usize, self.arena, out)?;
        check_key(self.tables, shape, first_cell as usize, out)?;
        Ok(first_cell)
    }

    /// Learns from inserts which columns the table's rows have, and checks that an update has them. `image` is the image that
    /// [`Self::finish_image`] finished, and `cells` its result.
    #[inline]
    pub fn check_columns(
        &mut self,
        (operation, position): (Operation, SourcePosition),
        shape: u32,
        (image, cells): (Image, u32),
        out: &RowBatch,
    ) -> Result<(), DecodeError> {
        // An image that was read in the order of its shape has a value in each column.
        let absent = match image.cells == Some(cells) {
            true => None,
            false => {
                let n_columns = self.tables.shapes[shape as usize].n_columns();
                out.cells[cells as usize..][..n_columns].iter().position(|cell| cell.is_absent())
            }
        };
        match operation {
            Operation::Insert | Operation::Snapshot => self.tables.note_complete(shape, position, absent.is_some()),
            Operation::Update => self.tables.check_complete(shape, position, absent)?,
            Operation::Delete | Operation::Truncate => {}
        }
        Ok(())
    }

    #[cold]
    fn scan_again(
        &mut self,
        start: usize,
        shape: u32,
        skip: fn(&[u8]) -> bool,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        let mut cursor = self.cursor_at(start);
        let first_cell = out.cells.len();
        let known = &self.tables.shapes[shape as usize];
        if !image_in_order(&mut cursor, known, out)? {
            out.cells.resize(first_cell + known.n_columns(), Cell::ABSENT);
            image_by_name(&mut cursor, self.tables, shape, first_cell, out, skip)?;
        }
        Ok(first_cell as u32)
    }

    /// The shape of a row that only its column names describe.
    #[cold]
    pub fn shape_of_names(
        &mut self,
        dialect: Dialect,
        database: &[u8],
        table: &[u8],
        start: usize,
        skip: fn(&[u8]) -> bool,
    ) -> Result<u32, DecodeError> {
        let object = self.cursor_at(start);
        let signature = &mut self.buffers.signature;
        begin_signature(signature, dialect, database, table, &self.buffers.key);
        let mut cursor = object.clone();
        let mut first = true;
        cursor.enter_object()?;
        while let Some((from, to)) = cursor.next_member(&mut first)? {
            cursor.skip_value()?;
            let name = &cursor.bytes()[from..to];
            if !skip(name) {
                signature.extend_from_slice(name);
                signature.push(0);
            }
        }
        if let Some(known) = self.tables.find(signature) {
            return Ok(known);
        }
        let mut columns = Vec::new();
        let mut cursor = object;
        let mut first = true;
        cursor.enter_object()?;
        while let Some((from, to)) = cursor.next_member(&mut first)? {
            cursor.skip_value()?;
            let name = &cursor.bytes()[from..to];
            if !skip(name) {
                columns.push((name.to_vec(), None));
            }
        }
        let new = NewShape {
            dialect,
            database,
            table,
            columns,
            key_columns: self.key_columns(),
            key: &self.buffers.key,
            types: b"",
        };
        match self.tables.find_superset(&new) {
            Some(shape) => Ok(shape),
            None => self.tables.add(&self.buffers.signature, new),
        }
    }

    /// The column names in [`Buffers::key`].
    pub fn key_columns(&self) -> Vec<Vec<u8>> {
        self.buffers.key.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// Builds the complete before image: the after image, overlaid with the old values that the message has.
    pub fn complete_before_image(
        &mut self,
        mut cursor: Cursor<'_>,
        after: u32,
        n_columns: usize,
        shape: u32,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        // Only the old values need conversion; the others are copied from the after image, which is converted already.
        let before = out.cells.len();
        out.cells.resize(before + n_columns, Cell::ABSENT);
        image_by_name(&mut cursor, self.tables, shape, before, out, no_skip)?;
        convert(self.tables, shape, before, self.arena, out)?;
        for column in 0..n_columns {
            if out.cells[before + column].is_absent() {
                out.cells[before + column] = out.cells[after as usize + column];
            }
        }
        Ok(before as u32)
    }

    /// The change of a row of which the message has one image, finished in `cells`, and the old values of an update at `old`.
    pub fn change_of_image(
        &mut self,
        (operation, position): (Operation, SourcePosition),
        shape: u32,
        cells: u32,
        old: Option<usize>,
        out: &mut RowBatch,
    ) -> Result<Change, DecodeError> {
        let mut change = Change { operation, before: None, after: Some(cells), before_is_complete: true, position };
        match (operation, old) {
            (Operation::Delete, _) => (change.before, change.after) = (Some(cells), None),
            (Operation::Update, Some(start)) => {
                let cursor = self.cursor_at(start);
                let n_columns = self.tables.shapes[shape as usize].n_columns();
                change.before = Some(self.complete_before_image(cursor, cells, n_columns, shape, out)?);
            }
            (Operation::Update, None) => change.before_is_complete = false,
            _ => {}
        }
        Ok(change)
    }

    /// Appends a row.
    pub fn push_row(&self, version: u32, change: Change, out: &mut RowBatch) {
        let Change { operation, before, after, before_is_complete, position } = change;
        out.rows.push(Row {
            record: self.record,
            table: version,
            operation,
            before,
            after,
            before_is_complete,
            position,
        });
    }

    /// Appends the row for a truncated table.
    pub fn push_truncate(&mut self, database: &[u8], table: &[u8], position: SourcePosition, out: &mut RowBatch) {
        let version = self.tables.latest_version(database, table);
        let operation = Operation::Truncate;
        let change = Change { operation, before: None, after: None, before_is_complete: true, position };
        self.push_row(version, change, out);
    }

    /// The table version of a shape.
    pub fn version(&self, shape: u32) -> u32 {
        self.tables.shapes[shape as usize].version
    }
}

/// Reads an image with the expected shape, or skips it if there is none or it does not match. `None` if the value is not an
/// object.
#[inline]
pub(crate) fn read_image(
    tables: &Tables,
    cursor: &mut Cursor<'_>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<Option<Image>, JsonError> {
    let (start, first_cell) = (cursor.position(), out.cells.len() as u32);
    if cursor.peek() != b'{' {
        cursor.skip_value()?;
        return Ok(None);
    }
    if let Some(shape) = expected
        && image_in_order(cursor, &tables.shapes[shape as usize], out)?
    {
        return Ok(Some(Image { start, cells: Some(first_cell) }));
    }
    cursor.skip_value()?;
    Ok(Some(Image { start, cells: None }))
}

/// Begins the signature of a shape: dialect, database, table and key.
pub(crate) fn begin_signature(signature: &mut Vec<u8>, dialect: Dialect, database: &[u8], table: &[u8], key: &[u8]) {
    signature.clear();
    signature.push(dialect as u8);
    for part in [database, table, key] {
        signature.extend_from_slice(&(part.len() as u32).to_le_bytes());
        signature.extend_from_slice(part);
    }
}

/// For objects whose members are all columns.
pub(crate) fn no_skip(_name: &[u8]) -> bool {
    false
}

/// The text between the quotes of a string; empty for any other value.
pub(crate) fn inside(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => b"",
    }
}

/// Parses decimal digits; `None` if there are other bytes, no digits, or more than 64 bits.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The number at the end of a binlog file's name: 42 of `binlog.000042`.
pub(crate) fn binlog_number(name: &[u8]) -> Option<u64> {
    let dot = name.iter().rposition(|&b| b == b'.')?;
    number(&name[dot + 1..])
}
