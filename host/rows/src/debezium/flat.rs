//! Unwrapped Debezium rows (`ExtractNewRecordState`), and messages without rows that look like them.
//!
//! Members whose name begins with `__`, Debezium's default prefix, are metadata; all others are columns.

use super::row::{key_columns, position, shape};
use super::state::{RecordContext, not_debezium};
use crate::context::{Change, Image, Outcome, inside};
use crate::error::DecodeError;
use crate::image::columns_in_order;
use crate::json::{Cursor, JsonError};
use crate::row::{Ignored, Operation, RowBatch};

/// The kind of message that was found.
pub(super) enum Found {
    /// A row, or a message without rows.
    Outcome(Outcome),
    /// An envelope whose members come in an unusual order.
    Envelope,
}

/// The metadata, as written in the message.
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
    context: &mut RecordContext<'a>,
    cursor: &mut Cursor<'a>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Found, DecodeError> {
    let expected = context.state.topic.shape;
    let (start, first_cell) = (cursor.clone(), out.cells.len() as u32);
    if let Some(number) = expected
        && columns_in_order(cursor, &context.tables.shapes[number as usize], out)?
    {
        if let Some(meta) = rest_is_meta(cursor)? {
            let image = Image { start: start.position(), cells: Some(first_cell) };
            return row(context, meta, image, expected, schema, out).map(Found::Outcome);
        }
        out.cells.truncate(first_cell as usize);
        *cursor = start.clone();
    }
    let image = Image { start: start.position(), cells: None };
    let (meta, names) = members(cursor)?;
    if !meta.any {
        match names {
            Names::Envelope => return Ok(Found::Envelope),
            Names::Ignored(kind) => return Ok(Found::Outcome(Outcome::Ignored(kind))),
            Names::Row => {
                // Without metadata it is a row only if it has all columns that the record's key names.
                key_columns(context);
                let key = context.key_columns();
                if key.is_empty() || !has_all(start, &key)? {
                    return not_debezium(
                        "an envelope with `op` and `source`, or an unwrapped row with `__op`, `__deleted` or its \
                         key's columns",
                    );
                }
            }
        }
    }
    row(context, meta, image, expected, schema, out).map(Found::Outcome)
}

/// Reads the members behind the last column; `None` if one of them is a column.
fn rest_is_meta<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Meta<'a>>, JsonError> {
    let mut meta = Meta::default();
    let bytes = cursor.bytes();
    while let Some((from, to)) = cursor.next_member(&mut false)? {
        let (value_from, value_to) = cursor.skip_value()?;
        if !is_meta(&bytes[from..to]) {
            return Ok(None);
        }
        meta.note(&bytes[from..to], &bytes[value_from..value_to]);
    }
    Ok(Some(meta))
}

/// The kind of a message without metadata, by its members.
enum Names {
    Row,
    Envelope,
    Ignored(Ignored),
}

fn members<'a>(cursor: &mut Cursor<'a>) -> Result<(Meta<'a>, Names), JsonError> {
    let mut meta = Meta::default();
    let (mut n, mut n_times, mut envelope, mut ddl, mut transaction, mut notice) = (0, 0, 0, 0, 0, 0);
    let bytes = cursor.bytes();
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let (value_from, value_to) = cursor.skip_value()?;
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
fn has_all(mut cursor: Cursor<'_>, names: &[Vec<u8>]) -> Result<bool, JsonError> {
    let (mut first, mut n_found) = (true, 0);
    cursor.enter_object()?;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        cursor.skip_value()?;
        n_found += names.iter().filter(|n| **n == cursor.bytes()[from..to]).count();
    }
    Ok(n_found >= names.len())
}

fn row(
    context: &mut RecordContext<'_>,
    meta: Meta<'_>,
    image: Image,
    expected: Option<u32>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    let topic = context.topic;
    let (database, table) = names_of_topic(topic.as_bytes(), meta.table);
    let database = if meta.database.is_empty() { database } else { meta.database };
    let position = position(meta.file, meta.position, meta.row, meta.milliseconds);
    let operation = match (meta.op, meta.is_deleted) {
        (b"d", _) | (_, true) => Operation::Delete,
        (b"c", _) => Operation::Insert,
        (b"r", _) => Operation::Snapshot,
        (b"t", _) => {
            context.push_truncate(database, table, position, out);
            return Ok(Outcome::Rows);
        }
        (b"u", _) => Operation::Update,
        // Unknown. Treating a row as an update is correct for every operation that writes it.
        (b"", _) => Operation::Update,
        _ => return not_debezium("`__op` c, u, d, r or t"),
    };
    key_columns(context);
    let shape = shape(context, expected, schema, (database, table), image, is_meta)?;
    let cells = Some(context.finish_image(image, expected, shape, is_meta, out)?);
    let (before, after) = if operation == Operation::Delete { (cells, None) } else { (None, cells) };
    let before_is_complete = operation != Operation::Update;
    let change = Change { operation, before, after, before_is_complete, position };
    context.push_row(context.version(shape), change, out);
    Ok(Outcome::Rows)
}

/// Database and table from the topic's name, `prefix.database.table`. The database is empty if the table differs.
fn names_of_topic<'a>(topic: &'a [u8], table: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let mut parts = topic.rsplit(|&b| b == b'.');
    let last = parts.next().unwrap_or_default();
    let before = parts.next().unwrap_or_default();
    if table.is_empty() || table == last { (before, last) } else { (b"", table) }
}
