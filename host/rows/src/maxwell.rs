//! Maxwell messages.
//!
//! A message is one row: `data`, and for an update the old values of changed columns in `old`. The key's columns are named
//! by the record's key (`pk.id`) or by `primary_key_columns`. Messages do not name types.

use crate::context::{self, Image, Outcome, binlog_number, inside, no_skip, number, read_image};
use crate::error::DecodeError;
use crate::json::{Cursor, JsonError, Text};
use crate::row::{Ignored, Operation, RowBatch, RowInEvent, SourcePosition};
use crate::settings::Format;
use crate::value::Dialect;

/// The state that Maxwell's decoder keeps for a topic.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    shape: Option<u32>,
}

type RecordContext<'a> = context::RecordContext<'a, &'a mut TopicState>;

/// The envelope's members, as written in the message.
#[derive(Default)]
struct Envelope<'a> {
    database: &'a [u8],
    table: &'a [u8],
    kind: &'a [u8],
    position: &'a [u8],
    offset: Option<u64>,
    is_commit: bool,
    seconds: Option<u64>,
    key_columns: Option<usize>,
    data: Option<Image>,
    old: Option<usize>,
}

fn not_maxwell<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Maxwell, expected })
}

pub(crate) fn decode(context: &mut RecordContext<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    let mut expected = None;
    let envelope = envelope(context, &mut expected, out)?;
    let position = position(&envelope);
    let operation = match envelope.kind {
        b"insert" => Operation::Insert,
        b"update" => Operation::Update,
        b"delete" => Operation::Delete,
        b"bootstrap-insert" => Operation::Snapshot,
        b"table-truncate" if !envelope.table.is_empty() => {
            context.push_truncate(envelope.database, envelope.table, position, out);
            return Ok(Outcome::Rows);
        }
        b"bootstrap-start" | b"bootstrap-complete" => return Ok(Outcome::Ignored(Ignored::Other)),
        b"heartbeat" => return Ok(Outcome::Ignored(Ignored::Heartbeat)),
        kind if kind.starts_with(b"table-") || kind.starts_with(b"database-") => {
            context.tables.forget_complete(envelope.database, envelope.table);
            return Ok(Outcome::Ignored(Ignored::SchemaChange));
        }
        _ => {
            return not_maxwell("`type` insert, update, delete, bootstrap-… or that of a DDL statement");
        }
    };
    let Some(data) = envelope.data.filter(|_| !envelope.table.is_empty()) else {
        return not_maxwell("a row in `data` and the name of its `table` (encrypted messages cannot be read)");
    };
    key_columns(context, envelope.key_columns)?;
    let shape = shape(context, expected, &envelope, data)?;
    let cells = context.finish_image(data, expected, shape, no_skip, out)?;
    context.check_columns((operation, position), shape, (data, cells), out)?;
    let change = context.change_of_image((operation, position), shape, cells, envelope.old, out)?;
    context.push_row(context.version(shape), change, out);
    Ok(Outcome::Rows)
}

fn envelope<'a>(
    context: &mut RecordContext<'a>,
    expected: &mut Option<u32>,
    out: &mut RowBatch,
) -> Result<Envelope<'a>, DecodeError> {
    let mut cursor = context.cursor.clone();
    let mut envelope = Envelope::default();
    cursor.skip_whitespace();
    if cursor.peek() != b'{' {
        cursor.skip_value()?;
        cursor.expect_end()?;
        return not_maxwell("an object");
    }
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let bytes = cursor.bytes();
        if &bytes[from..to] == b"data" {
            *expected = expected_shape(context, &envelope);
            envelope.data = read_image(context.tables, &mut cursor, *expected, out)?;
            continue;
        }
        let (value_from, value_to) = cursor.skip_value()?;
        let value = &bytes[value_from..value_to];
        match &bytes[from..to] {
            b"database" => envelope.database = inside(value),
            b"table" => envelope.table = inside(value),
            b"type" => envelope.kind = inside(value),
            b"position" => envelope.position = inside(value),
            b"xoffset" => envelope.offset = number(value),
            b"commit" => envelope.is_commit = value == b"true",
            b"ts" => envelope.seconds = number(value),
            b"primary_key_columns" => envelope.key_columns = (value[0] == b'[').then_some(value_from),
            b"old" => envelope.old = (value[0] == b'{').then_some(value_from),
            _ => {}
        }
    }
    cursor.expect_end()?;
    Ok(envelope)
}

/// The shape of the table's last row. Maxwell writes the table's name before the row.
fn expected_shape(context: &mut RecordContext<'_>, envelope: &Envelope<'_>) -> Option<u32> {
    let last = context.state.shape?;
    let shape = &context.tables.shapes[last as usize];
    if shape.table == envelope.table && shape.database == envelope.database {
        return Some(last);
    }
    let table_state = context.tables.last_shape(envelope.database, envelope.table);
    table_state.filter(|&s| context.tables.shapes[s as usize].dialect == Dialect::Maxwell)
}

fn shape(
    context: &mut RecordContext<'_>,
    expected: Option<u32>,
    envelope: &Envelope<'_>,
    data: Image,
) -> Result<u32, DecodeError> {
    if let (Some(number), Some(_)) = (expected, data.cells) {
        let shape = &context.tables.shapes[number as usize];
        if shape.dialect == Dialect::Maxwell
            && shape.table == envelope.table
            && shape.database == envelope.database
            && shape.key == context.buffers.key
        {
            context.state.shape = expected;
            return Ok(number);
        }
    }
    let (database, table) = (envelope.database, envelope.table);
    let shape = context.shape_of_names(Dialect::Maxwell, database, table, data.start, no_skip)?;
    context.state.shape = Some(shape);
    context.tables.set_last(shape);
    Ok(shape)
}

fn position(envelope: &Envelope<'_>) -> SourcePosition {
    let colon = envelope.position.iter().rposition(|&b| b == b':');
    let parts = colon.map(|c| (&envelope.position[..c], &envelope.position[c + 1..]));
    let binlog = parts.and_then(|(file, position)| Some((binlog_number(file)?, number(position)?)));
    let milliseconds = envelope.seconds.and_then(|s| i64::try_from(s).ok()?.checked_mul(1000));
    match (binlog, milliseconds) {
        (Some((file, position)), _) => {
            let row = if envelope.is_commit {
                RowInEvent::LastOfTransaction
            } else {
                RowInEvent::InTransaction(envelope.offset.unwrap_or(0))
            };
            SourcePosition::Binlog { file, position, row }
        }
        (None, Some(milliseconds)) => SourcePosition::time(milliseconds),
        (None, None) => SourcePosition::Unknown,
    }
}

/// Writes the names of the key's columns to the buffer.
fn key_columns(context: &mut RecordContext<'_>, named: Option<usize>) -> Result<(), DecodeError> {
    let mut named = named.map(|start| context.cursor_at(start));
    let names = &mut context.buffers.key;
    names.clear();
    if let Some(cursor) = &mut named {
        cursor.enter_array()?;
        let mut first = true;
        while cursor.next_element(&mut first)? {
            let (from, to) = cursor.skip_value()?;
            names.extend_from_slice(inside(&cursor.bytes()[from..to]));
            names.push(0);
        }
    } else if let Some(key) = context.key {
        // A key in another form (`kafka_key_format`, or a custom producer's) is not an error.
        if names_of_key(key, names).is_err() {
            names.clear();
        }
    }
    Ok(())
}

/// Reads `{"database":…,"table":…,"pk.id":1}` or `["database","table",[{"id":1}]]`.
fn names_of_key(key: &[u8], names: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(key, 0, Text::HasControls);
    let mut first = true;
    cursor.skip_whitespace();
    if cursor.peek() == b'{' {
        cursor.enter_object()?;
        while let Some((from, to)) = cursor.next_member(&mut first)? {
            cursor.skip_value()?;
            if let Some(name) = key[from..to].strip_prefix(b"pk.") {
                names.extend_from_slice(name);
                names.push(0);
            }
        }
        return cursor.expect_end();
    }
    cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        if cursor.peek() != b'[' {
            cursor.skip_value()?;
            continue;
        }
        cursor.enter_array()?;
        let mut first = true;
        while cursor.next_element(&mut first)? {
            cursor.enter_object()?;
            let mut first = true;
            while let Some((from, to)) = cursor.next_member(&mut first)? {
                cursor.skip_value()?;
                names.extend_from_slice(&key[from..to]);
                names.push(0);
            }
        }
    }
    cursor.expect_end()
}
