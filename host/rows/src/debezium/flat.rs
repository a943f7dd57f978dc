//! Unwrapped Debezium rows (`ExtractNewRecordState`) and the messages without rows that look like one.
//!
//! Members whose name begins with `__`, Debezium's default prefix, are metadata; all others are columns.

use super::row::{key_columns, position, shape};
use super::state::{Work, not_debezium};
use crate::context::{Change, Image, Outcome, inside};
use crate::error::DecodeError;
use crate::image::columns_in_order;
use crate::json::{JsonError, Walk};
use crate::row::{Ignored, Operation, RowBatch};

/// What a message turned out to be.
pub(super) enum Found {
    Outcome(Outcome),
    /// An envelope whose members come in an unusual order.
    Envelope,
}

/// The metadata, as it stands in the message.
#[derive(Default)]
struct Meta<'a> {
    any: bool,
    op: &'a [u8],
    is_deleted: bool,
    database: &'a [u8],
    table: &'a [u8],
    file: &'a [u8],
    position: &'a [u8],
    row: &'a [u8],
    milliseconds: &'a [u8],
}

/// Whether a member is metadata.
fn is_meta(name: &[u8]) -> bool {
    name.starts_with(b"__")
}

impl<'a> Meta<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        self.any = true;
        match name {
            b"__op" => self.op = inside(value),
            b"__deleted" => self.is_deleted = matches!(value, b"\"true\"" | b"true"),
            b"__table" | b"__source_table" => self.table = inside(value),
            b"__db" | b"__source_db" => self.database = inside(value),
            b"__file" | b"__source_file" => self.file = inside(value),
            b"__pos" | b"__source_pos" => self.position = value,
            b"__row" | b"__source_row" => self.row = value,
            b"__source_ts_ms" => self.milliseconds = value,
            _ => {}
        }
    }
}

pub(super) fn decode<'a>(
    work: &mut Work<'a>,
    walk: &mut Walk<'a>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Found, DecodeError> {
    let expected = work.state.topic.shape;
    let (start, first_cell) = (walk.clone(), out.cells.len() as u32);
    if let Some(number) = expected
        && columns_in_order(walk, &work.tables.shapes[number as usize], out)?
    {
        if let Some(meta) = rest_is_meta(walk)? {
            let image = Image { start: start.at(), cells: Some(first_cell) };
            return row(work, meta, image, expected, schema, out).map(Found::Outcome);
        }
        out.cells.truncate(first_cell as usize);
        *walk = start.clone();
    }
    let image = Image { start: start.at(), cells: None };
    let (meta, names) = members(walk)?;
    if !meta.any {
        match names {
            Names::Envelope => return Ok(Found::Envelope),
            Names::Ignored(kind) => return Ok(Found::Outcome(Outcome::Ignored(kind))),
            Names::Row => {
                // Nothing tells that this is a row. It may only be one if the record's key names columns of it.
                key_columns(work);
                let key = work.key_columns();
                if key.is_empty() || !has_all(start, &key)? {
                    return not_debezium(
                        "an envelope with `op` and `source`, or an unwrapped row with `__op`, `__deleted` or its \
                         key's columns",
                    );
                }
            }
        }
    }
    row(work, meta, image, expected, schema, out).map(Found::Outcome)
}

/// Reads what follows the last column; `None` if there is another member that is a column.
fn rest_is_meta<'a>(walk: &mut Walk<'a>) -> Result<Option<Meta<'a>>, JsonError> {
    let mut meta = Meta::default();
    let bytes = walk.bytes();
    while let Some((from, to)) = walk.member(&mut false)? {
        let (value_from, value_to) = walk.value()?;
        if !is_meta(&bytes[from..to]) {
            return Ok(None);
        }
        meta.note(&bytes[from..to], &bytes[value_from..value_to]);
    }
    Ok(Some(meta))
}

/// What the names of a message without metadata say.
enum Names {
    Row,
    Envelope,
    Ignored(Ignored),
}

fn members<'a>(walk: &mut Walk<'a>) -> Result<(Meta<'a>, Names), JsonError> {
    let mut meta = Meta::default();
    let (mut n, mut n_times, mut envelope, mut ddl, mut transaction, mut notice) = (0, 0, 0, 0, 0, 0);
    let bytes = walk.bytes();
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        let (value_from, value_to) = walk.value()?;
        let value = &bytes[value_from..value_to];
        n += 1;
        match &bytes[from..to] {
            b"op" if value[0] == b'"' => envelope += 1,
            b"source" if value[0] == b'{' => {
                envelope += 1;
                ddl += 1;
            }
            b"ddl" | b"tableChanges" => ddl += 1,
            b"status" | b"event_count" | b"id" => transaction += 1,
            b"aggregate_type" | b"additional_data" => notice += 1,
            b"ts_ms" | b"ts_us" | b"ts_ns" => n_times += 1,
            name if is_meta(name) => meta.note(name, value),
            _ => {}
        }
    }
    let names = if envelope == 2 {
        Names::Envelope
    } else if ddl >= 2 {
        Names::Ignored(Ignored::SchemaChange)
    } else if transaction == 3 {
        Names::Ignored(Ignored::Transaction)
    } else if notice == 2 {
        Names::Ignored(Ignored::Other)
    } else if n > 0 && n == n_times {
        Names::Ignored(Ignored::Heartbeat)
    } else {
        Names::Row
    };
    Ok((meta, names))
}

/// Whether the object has a member for each name.
fn has_all(mut walk: Walk<'_>, names: &[Vec<u8>]) -> Result<bool, JsonError> {
    let (mut first, mut n_found) = (true, 0);
    walk.enter_object()?;
    while let Some((from, to)) = walk.member(&mut first)? {
        walk.value()?;
        n_found += names.iter().filter(|n| **n == walk.bytes()[from..to]).count();
    }
    Ok(n_found >= names.len())
}

fn row(
    work: &mut Work<'_>,
    meta: Meta<'_>,
    image: Image,
    expected: Option<u32>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    let topic = work.topic;
    let (database, table) = names_of_topic(topic.as_bytes(), meta.table);
    let database = if meta.database.is_empty() { database } else { meta.database };
    let position = position(meta.file, meta.position, meta.row, meta.milliseconds);
    let operation = match (meta.op, meta.is_deleted) {
        (b"d", _) | (_, true) => Operation::Delete,
        (b"c", _) => Operation::Insert,
        (b"r", _) => Operation::Snapshot,
        (b"t", _) => {
            work.push_truncate(database, table, position, out);
            return Ok(Outcome::Rows);
        }
        (b"u", _) => Operation::Update,
        // Not told: what holds for an update holds for all.
        (b"", _) => Operation::Update,
        _ => return not_debezium("`__op` c, u, d, r or t"),
    };
    key_columns(work);
    let shape = shape(work, expected, schema, (database, table), image, is_meta)?;
    let cells = Some(work.settle(image, expected, shape, is_meta, out)?);
    let (before, after) = if operation == Operation::Delete { (cells, None) } else { (None, cells) };
    let before_is_whole = operation != Operation::Update;
    let change = Change { operation, before, after, before_is_whole, position };
    work.push_row(work.version(shape), change, out);
    Ok(Outcome::Rows)
}

/// Database and table by the topic's name, `prefix.database.table`. The database is told only if the table agrees.
fn names_of_topic<'a>(topic: &'a [u8], table: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let mut parts = topic.rsplit(|&b| b == b'.');
    let last = parts.next().unwrap_or_default();
    let before = parts.next().unwrap_or_default();
    if table.is_empty() || table == last { (before, last) } else { (b"", table) }
}
