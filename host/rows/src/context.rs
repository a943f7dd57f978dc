//! What a format's decoder works on: one record, what is known of its topic, and the steps that formats share.

use crate::error::DecodeError;
use crate::image::{check_key, convert, image_by_name, image_in_order};
use crate::json::{JsonError, Walk};
use crate::row::{Cell, Ignored, Operation, Row, RowBatch, SourcePosition};
use crate::table::{NewShape, Tables};
use crate::value::Dialect;

/// What became of a record that could be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has rows; they are in the batch.
    Rows,
    Ignored(Ignored),
}

/// Memory that is used again for every record.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The names of the key's columns, a 0 behind each.
    pub key: Vec<u8>,
    pub signature: Vec<u8>,
    pub images: Vec<Image>,
    pub old: Vec<Option<usize>>,
}

/// An image that was met on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// Where its object begins.
    pub start: usize,
    /// Its cells, if it was walked along the expected shape.
    pub cells: Option<u32>,
}

/// One record being decoded, with the state `S` that its format keeps of the topic.
pub(crate) struct Work<'a, S> {
    /// The record batch's bytes.
    pub arena: &'a [u8],
    /// The record's number in the batch.
    pub record: u32,
    pub key: Option<&'a [u8]>,
    /// At the start of the message, ends where it ends.
    pub walk: Walk<'a>,
    /// The topic's name.
    pub topic: &'a str,
    pub state: S,
    pub tables: &'a mut Tables,
    pub buffers: &'a mut Buffers,
}

/// The parts of a row that all formats tell.
pub(crate) struct Change {
    pub operation: Operation,
    pub before: Option<u32>,
    pub after: Option<u32>,
    pub before_is_whole: bool,
    pub position: SourcePosition,
}

impl<'a, S> Work<'a, S> {
    /// The same record with the state of its format.
    pub fn with_state<T>(self, state: T) -> Work<'a, T> {
        let Self { arena, record, key, walk, topic, tables, buffers, state: _ } = self;
        Work { arena, record, key, walk, topic, state, tables, buffers }
    }

    /// A walk over the message from `start`, a position in the arena.
    pub fn walk_at(&self, start: usize) -> Walk<'a> {
        let mut walk = self.walk.clone();
        walk.go_to(start);
        walk
    }

    /// Where the image's cells are once its shape is known, in their final spelling.
    #[inline]
    pub fn settle(
        &mut self,
        image: Image,
        expected: Option<u32>,
        shape: u32,
        skip: fn(&[u8]) -> bool,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        let first_cell = match image.cells {
            Some(cells) if expected == Some(shape) => cells,
            _ => self.walk_again(image.start, shape, skip, out)?,
        };
        convert(self.tables, shape, first_cell as usize, self.arena, out)?;
        check_key(self.tables, shape, first_cell as usize, out)?;
        Ok(first_cell)
    }

    #[cold]
    fn walk_again(
        &mut self,
        start: usize,
        shape: u32,
        skip: fn(&[u8]) -> bool,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        let mut walk = self.walk_at(start);
        let first_cell = out.cells.len();
        let known = &self.tables.shapes[shape as usize];
        if !image_in_order(&mut walk, known, out)? {
            out.cells.resize(first_cell + known.n_columns(), Cell::ABSENT);
            image_by_name(&mut walk, self.tables, shape, first_cell, out, skip)?;
        }
        Ok(first_cell as u32)
    }

    /// The shape of a row that only its names describe. `types` tells more, where the format has it.
    #[cold]
    pub fn shape_of_names(
        &mut self,
        dialect: Dialect,
        database: &[u8],
        table: &[u8],
        start: usize,
        skip: fn(&[u8]) -> bool,
    ) -> Result<u32, DecodeError> {
        let object = self.walk_at(start);
        let signature = &mut self.buffers.signature;
        begin_signature(signature, dialect, database, table, &self.buffers.key);
        let mut walk = object.clone();
        let mut first = true;
        walk.enter_object()?;
        while let Some((from, to)) = walk.member(&mut first)? {
            walk.value()?;
            let name = &walk.bytes()[from..to];
            if !skip(name) {
                signature.extend_from_slice(name);
                signature.push(0);
            }
        }
        if let Some(known) = self.tables.find(signature) {
            return Ok(known);
        }
        let mut columns = Vec::new();
        let mut walk = object;
        let mut first = true;
        walk.enter_object()?;
        while let Some((from, to)) = walk.member(&mut first)? {
            walk.value()?;
            let name = &walk.bytes()[from..to];
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
        match self.tables.find_wider(&new) {
            Some(shape) => Ok(shape),
            None => self.tables.add(&self.buffers.signature, new),
        }
    }

    /// The names that [`Buffers::key`] holds.
    pub fn key_columns(&self) -> Vec<Vec<u8>> {
        self.buffers.key.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// The whole before image: the after image with what the update changed laid over it.
    pub fn lay_over(
        &mut self,
        mut walk: Walk<'_>,
        after: u32,
        n_columns: usize,
        shape: u32,
        out: &mut RowBatch,
    ) -> Result<u32, DecodeError> {
        // First the old values alone, so that only they are converted; then the others from the after image.
        let before = out.cells.len();
        out.cells.resize(before + n_columns, Cell::ABSENT);
        image_by_name(&mut walk, self.tables, shape, before, out, no_skip)?;
        convert(self.tables, shape, before, self.arena, out)?;
        for column in 0..n_columns {
            if out.cells[before + column].is_absent() {
                out.cells[before + column] = out.cells[after as usize + column];
            }
        }
        Ok(before as u32)
    }

    /// Appends a row.
    pub fn push_row(&self, version: u32, change: Change, out: &mut RowBatch) {
        let Change { operation, before, after, before_is_whole, position } = change;
        out.rows.push(Row { record: self.record, table: version, operation, before, after, before_is_whole, position });
    }

    /// Appends the row that says that a table was emptied.
    pub fn push_truncate(&mut self, database: &[u8], table: &[u8], position: SourcePosition, out: &mut RowBatch) {
        let version = self.tables.any_version(database, table);
        let operation = Operation::Truncate;
        let change = Change { operation, before: None, after: None, before_is_whole: true, position };
        self.push_row(version, change, out);
    }

    /// The version of a shape.
    pub fn version(&self, shape: u32) -> u32 {
        self.tables.shapes[shape as usize].version
    }
}

/// Steps over an image, along the shape that is expected if there is one. `None` if it is no object.
#[inline]
pub(crate) fn image(
    tables: &Tables,
    walk: &mut Walk<'_>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<Option<Image>, JsonError> {
    let (start, first_cell) = (walk.at(), out.cells.len() as u32);
    if walk.peek() != b'{' {
        walk.value()?;
        return Ok(None);
    }
    if let Some(shape) = expected
        && image_in_order(walk, &tables.shapes[shape as usize], out)?
    {
        return Ok(Some(Image { start, cells: Some(first_cell) }));
    }
    walk.value()?;
    Ok(Some(Image { start, cells: None }))
}

/// What every signature begins with.
pub(crate) fn begin_signature(signature: &mut Vec<u8>, dialect: Dialect, database: &[u8], table: &[u8], key: &[u8]) {
    signature.clear();
    signature.push(dialect as u8);
    for part in [database, table, key] {
        signature.extend_from_slice(&(part.len() as u32).to_le_bytes());
        signature.extend_from_slice(part);
    }
}

/// No member of the object is anything but a column.
pub(crate) fn no_skip(_name: &[u8]) -> bool {
    false
}

/// What is between the quotes of a string; empty for any other value.
pub(crate) fn inside(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => b"",
    }
}

/// The number that digits say.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The number at the end of a binlog file's name.
pub(crate) fn binlog_number(name: &[u8]) -> Option<u64> {
    let dot = name.iter().rposition(|&b| b == b'.')?;
    number(&name[dot + 1..])
}
