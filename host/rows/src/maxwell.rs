//! Maxwell messages.
//!
//! A message is one row: `data`, and for an update what it changed in `old`. The key's columns are named by the
//! record's key (`pk.id`) or by `primary_key_columns`; types are told by nobody.

use crate::context::{self, Change, Image, Outcome, binlog_number, inside, no_skip, number};
use crate::error::DecodeError;
use crate::json::{JsonError, Text, Walk};
use crate::row::{Ignored, Operation, RowBatch, RowInEvent, SourcePosition};
use crate::settings::Format;
use crate::value::Dialect;

/// What Maxwell's decoder keeps of a topic from message to message.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    shape: Option<u32>,
}

type Work<'a> = context::Work<'a, &'a mut TopicState>;

/// The envelope's members, as they stand in the message.
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

pub(crate) fn decode(work: &mut Work<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    let mut expected = None;
    let envelope = envelope(work, &mut expected, out)?;
    let position = position(&envelope);
    let operation = match envelope.kind {
        b"insert" => Operation::Insert,
        b"update" => Operation::Update,
        b"delete" => Operation::Delete,
        b"bootstrap-insert" => Operation::Snapshot,
        b"table-truncate" if !envelope.table.is_empty() => {
            work.push_truncate(envelope.database, envelope.table, position, out);
            return Ok(Outcome::Rows);
        }
        b"bootstrap-start" | b"bootstrap-complete" => return Ok(Outcome::Ignored(Ignored::Other)),
        b"heartbeat" => return Ok(Outcome::Ignored(Ignored::Heartbeat)),
        kind if kind.starts_with(b"table-") || kind.starts_with(b"database-") => {
            return Ok(Outcome::Ignored(Ignored::SchemaChange));
        }
        _ => {
            return not_maxwell("`type` insert, update, delete, bootstrap-… or that of a DDL statement");
        }
    };
    let Some(data) = envelope.data.filter(|_| !envelope.table.is_empty()) else {
        return not_maxwell("a row in `data` and the name of its `table` (encrypted messages cannot be read)");
    };
    key_columns(work, envelope.key_columns)?;
    let shape = shape(work, expected, &envelope, data)?;
    let cells = work.settle(data, expected, shape, no_skip, out)?;
    let mut change = Change { operation, before: None, after: Some(cells), before_is_whole: true, position };
    match operation {
        Operation::Delete => (change.before, change.after) = (Some(cells), None),
        Operation::Update => match envelope.old {
            Some(start) => {
                let walk = work.walk_at(start);
                let n_columns = work.tables.shapes[shape as usize].n_columns();
                change.before = Some(work.lay_over(walk, cells, n_columns, shape, out)?);
            }
            None => change.before_is_whole = false,
        },
        _ => {}
    }
    work.push_row(work.version(shape), change, out);
    Ok(Outcome::Rows)
}

fn envelope<'a>(
    work: &mut Work<'a>,
    expected: &mut Option<u32>,
    out: &mut RowBatch,
) -> Result<Envelope<'a>, DecodeError> {
    let mut walk = work.walk.clone();
    let mut envelope = Envelope::default();
    walk.white();
    if walk.peek() != b'{' {
        walk.value()?;
        walk.end()?;
        return not_maxwell("an object");
    }
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        let bytes = walk.bytes();
        if &bytes[from..to] == b"data" {
            *expected = expected_shape(work, &envelope);
            envelope.data = context::image(work.tables, &mut walk, *expected, out)?;
            continue;
        }
        let (value_from, value_to) = walk.value()?;
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
    walk.end()?;
    Ok(envelope)
}

/// The shape that the table's last row had. Maxwell writes the table's name before the row.
fn expected_shape(work: &mut Work<'_>, envelope: &Envelope<'_>) -> Option<u32> {
    let last = work.state.shape?;
    let shape = &work.tables.shapes[last as usize];
    if shape.table == envelope.table && shape.database == envelope.database {
        return Some(last);
    }
    let of_table = work.tables.last_shape(envelope.database, envelope.table);
    of_table.filter(|&s| work.tables.shapes[s as usize].dialect == Dialect::Maxwell)
}

fn shape(work: &mut Work<'_>, expected: Option<u32>, envelope: &Envelope<'_>, data: Image) -> Result<u32, DecodeError> {
    if let (Some(number), Some(_)) = (expected, data.cells) {
        let shape = &work.tables.shapes[number as usize];
        if shape.dialect == Dialect::Maxwell
            && shape.table == envelope.table
            && shape.database == envelope.database
            && shape.key == work.buffers.key
        {
            work.state.shape = expected;
            return Ok(number);
        }
    }
    let (database, table) = (envelope.database, envelope.table);
    let shape = work.shape_of_names(Dialect::Maxwell, database, table, data.start, no_skip)?;
    work.state.shape = Some(shape);
    work.tables.set_last(shape);
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
        (None, Some(milliseconds)) => SourcePosition::Time { milliseconds },
        (None, None) => SourcePosition::Unknown,
    }
}

/// Puts the names of the key's columns into the buffer.
fn key_columns(work: &mut Work<'_>, named: Option<usize>) -> Result<(), DecodeError> {
    let mut named = named.map(|start| work.walk_at(start));
    let names = &mut work.buffers.key;
    names.clear();
    if let Some(walk) = &mut named {
        walk.enter_array()?;
        let mut first = true;
        while walk.element(&mut first)? {
            let (from, to) = walk.value()?;
            names.extend_from_slice(inside(&walk.bytes()[from..to]));
            names.push(0);
        }
    } else if let Some(key) = work.key {
        // A key of another form (`kafka_key_format`, a producer's own) tells nothing and is no error.
        if names_of_key(key, names).is_err() {
            names.clear();
        }
    }
    Ok(())
}

/// `{"database":…,"table":…,"pk.id":1}` or `["database","table",[{"id":1}]]`.
fn names_of_key(key: &[u8], names: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut walk = Walk::new(key, 0, Text::HasControls);
    let mut first = true;
    walk.white();
    if walk.peek() == b'{' {
        walk.enter_object()?;
        while let Some((from, to)) = walk.member(&mut first)? {
            walk.value()?;
            if let Some(name) = key[from..to].strip_prefix(b"pk.") {
                names.extend_from_slice(name);
                names.push(0);
            }
        }
        return walk.end();
    }
    walk.enter_array()?;
    while walk.element(&mut first)? {
        if walk.peek() != b'[' {
            walk.value()?;
            continue;
        }
        walk.enter_array()?;
        let mut first = true;
        while walk.element(&mut first)? {
            walk.enter_object()?;
            let mut first = true;
            while let Some((from, to)) = walk.member(&mut first)? {
                walk.value()?;
                names.extend_from_slice(&key[from..to]);
                names.push(0);
            }
        }
    }
    walk.end()
}
