//! Debezium messages: the envelope, with and without schema, and what is around it.

mod flat;
mod schema;

pub(crate) use schema::Schemas;

use crate::decoder::work::{self, Change, Image, Outcome, binlog_number, inside, no_skip, number};
use crate::error::DecodeError;
use crate::json::{JsonError, Text, Walk};
use crate::row::{Ignored, Operation, RowBatch, RowInEvent, SourcePosition};
use crate::settings::Format;
use crate::value::Dialect;

fn not_debezium<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Debezium, expected })
}

/// What Debezium's decoder keeps of a topic from message to message.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    shape: Option<u32>,
    /// The beginnings of recent messages, from `{` to the payload, with the numbers of their schemas; the last used
    /// comes first.
    recent: Vec<(Box<[u8]>, u32)>,
    /// The beginning of the last key, up to its payload.
    key_schema: Vec<u8>,
}

/// The state that decoding one record needs: that of its topic, and the schemas of all topics.
pub(crate) struct State<'a> {
    pub topic: &'a mut TopicState,
    pub schemas: &'a mut Schemas,
}

type Work<'a> = work::Work<'a, State<'a>>;

/// The envelope's members, as they stand in the message.
#[derive(Default)]
struct Envelope<'a> {
    before: Option<Image>,
    after: Option<Image>,
    op: &'a [u8],
    source: Option<Source<'a>>,
    has_ddl: bool,
}

/// What counts of the `source` block.
#[derive(Clone, Copy, Default)]
struct Source<'a> {
    database: &'a [u8],
    table: &'a [u8],
    file: &'a [u8],
    position: &'a [u8],
    row: &'a [u8],
    milliseconds: &'a [u8],
}

impl Source<'_> {
    fn position(&self) -> SourcePosition {
        position(self.file, self.position, self.row, self.milliseconds)
    }
}

/// The position in the binlog; the time where that is not told.
fn position(file: &[u8], position: &[u8], row: &[u8], milliseconds: &[u8]) -> SourcePosition {
    match (binlog_number(file), number(position), number(milliseconds)) {
        (Some(file), Some(position), _) => {
            let row = number(row).and_then(|r| u32::try_from(r).ok()).unwrap_or(0);
            SourcePosition::Binlog { file, position, row: RowInEvent::InEvent(row) }
        }
        (_, _, Some(milliseconds)) if milliseconds <= i64::MAX as u64 => {
            SourcePosition::Time { milliseconds: milliseconds as i64 }
        }
        _ => SourcePosition::Unknown,
    }
}

pub(crate) fn decode(work: &mut Work<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    if work.topic.starts_with("__debezium-heartbeat") {
        work.walk.white();
        work.walk.value()?;
        work.walk.end()?;
        return Ok(Outcome::Ignored(Ignored::Heartbeat));
    }
    work.walk.white();
    if work.walk.peek() != b'{' {
        let (from, to) = work.walk.value()?;
        work.walk.end()?;
        return match &work.walk.bytes()[from..to] {
            b"null" => Ok(Outcome::Ignored(Ignored::Tombstone)),
            _ => not_debezium("an object"),
        };
    }
    let Some(wrapped) = schema::unwrap(work)? else {
        let mut walk = work.walk.clone();
        let outcome = body(work, &mut walk, None, out)?;
        walk.end()?;
        return Ok(outcome);
    };
    let mut walk = work.walk.clone();
    walk.go_into(wrapped.payload);
    let outcome = body(work, &mut walk, wrapped.schema, out)?;
    if !wrapped.is_checked {
        walk.rest_of_object(false)?;
        walk.end()?;
    }
    Ok(outcome)
}

/// What is the message, or the `payload` of one with a schema. The walk ends behind it.
fn body<'a>(
    work: &mut Work<'a>,
    walk: &mut Walk<'a>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    match walk.peek() {
        b'{' => {}
        b'n' => {
            walk.value()?;
            return Ok(Outcome::Ignored(Ignored::Tombstone));
        }
        _ => return not_debezium("an object in `payload`"),
    }
    let start = walk.clone();
    const BEGINNINGS: [&[u8]; 4] = [b"{\"before\":", b"{\"after\":", b"{\"source\":", b"{\"op\":"];
    let ahead = &walk.bytes()[walk.at()..];
    if BEGINNINGS.iter().any(|b| ahead.starts_with(b)) {
        let n_cells = out.cells.len();
        let expected = work.state.topic.shape;
        let envelope = envelope(work, walk, expected, out)?;
        if envelope.source.is_some() && (!envelope.op.is_empty() || envelope.has_ddl) {
            return change(work, envelope, expected, schema, out);
        }
        // A row with a column of such a name, then.
        out.cells.truncate(n_cells);
        *walk = start.clone();
    }
    match flat::decode(work, walk, schema, out)? {
        flat::Found::Outcome(outcome) => Ok(outcome),
        flat::Found::Envelope => {
            *walk = start;
            let envelope = envelope(work, walk, None, out)?;
            change(work, envelope, None, schema, out)
        }
    }
}

fn envelope<'a>(
    work: &Work<'a>,
    walk: &mut Walk<'a>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<Envelope<'a>, DecodeError> {
    let mut envelope = Envelope::default();
    let bytes = walk.bytes();
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        match &bytes[from..to] {
            b"before" => envelope.before = work::image(work.tables, walk, expected, out)?,
            b"after" => envelope.after = work::image(work.tables, walk, expected, out)?,
            b"source" if walk.peek() == b'{' => envelope.source = Some(source(walk)?),
            b"op" => {
                let (from, to) = walk.value()?;
                envelope.op = inside(&bytes[from..to]);
            }
            name => {
                envelope.has_ddl |= matches!(name, b"ddl" | b"tableChanges");
                walk.value()?;
            }
        }
    }
    Ok(envelope)
}

fn source<'a>(walk: &mut Walk<'a>) -> Result<Source<'a>, JsonError> {
    let mut source = Source::default();
    let bytes = walk.bytes();
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        let (value_from, value_to) = walk.value()?;
        let value = &bytes[value_from..value_to];
        match &bytes[from..to] {
            b"db" => source.database = inside(value),
            b"table" => source.table = inside(value),
            b"file" => source.file = inside(value),
            b"pos" => source.position = value,
            b"row" => source.row = value,
            b"ts_ms" => source.milliseconds = value,
            _ => {}
        }
    }
    Ok(source)
}

fn change(
    work: &mut Work<'_>,
    envelope: Envelope<'_>,
    expected: Option<u32>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    let Some(source) = envelope.source else {
        return not_debezium("`source` with `db` and `table`");
    };
    let position = source.position();
    let operation = match envelope.op {
        b"c" => Operation::Insert,
        b"u" => Operation::Update,
        b"d" => Operation::Delete,
        b"r" => Operation::Snapshot,
        b"t" if !source.table.is_empty() => {
            work.push_truncate(source.database, source.table, position, out);
            return Ok(Outcome::Rows);
        }
        b"m" => return Ok(Outcome::Ignored(Ignored::Other)),
        b"" if envelope.has_ddl => return Ok(Outcome::Ignored(Ignored::SchemaChange)),
        _ => return not_debezium("`op` c, u, d, r, t or m"),
    };
    if source.table.is_empty() {
        return not_debezium("the name of the `table` in `source`");
    }
    let (before, after) = match (operation, envelope.before, envelope.after) {
        (Operation::Delete, Some(before), _) => (Some(before), None),
        (Operation::Delete, None, _) => return not_debezium("the deleted row in `before`"),
        (Operation::Update, before, Some(after)) => (before, Some(after)),
        (_, _, Some(after)) => (None, Some(after)),
        (_, _, None) => return not_debezium("the row in `after`"),
    };
    let Some(telling) = after.or(before) else {
        return not_debezium("a row in `before` or `after`");
    };
    key_columns(work);
    let shape = shape(work, expected, schema, (source.database, source.table), telling, no_skip)?;
    let mut settle = |image: Option<Image>| match image {
        Some(image) => work.settle(image, expected, shape, no_skip, out).map(Some),
        None => Ok(None),
    };
    let before_is_whole = operation != Operation::Update || before.is_some();
    let (before, after) = (settle(before)?, settle(after)?);
    let change = Change { operation, before, after, before_is_whole, position };
    work.push_row(work.version(shape), change, out);
    Ok(Outcome::Rows)
}

/// The shape of a row: what its schema says, or its names.
fn shape(
    work: &mut Work<'_>,
    expected: Option<u32>,
    schema: Option<u32>,
    (database, table): (&[u8], &[u8]),
    telling: Image,
    skip: fn(&[u8]) -> bool,
) -> Result<u32, DecodeError> {
    let dialect = if schema.is_some() { Dialect::DebeziumSchema } else { Dialect::DebeziumPlain };
    let types = schema.map_or([0; 4], u32::to_le_bytes);
    let types = if schema.is_some() { &types[..] } else { &[] };
    if let Some(number) = expected {
        let shape = &work.tables.shapes[number as usize];
        if shape.dialect == dialect
            && shape.types == types
            && shape.table == table
            && shape.database == database
            && shape.key == work.buffers.key
            && (schema.is_some() || telling.cells.is_some())
        {
            return Ok(number);
        }
    }
    let shape = match schema {
        Some(schema) => schema::shape(work, schema, database, table)?,
        None => work.shape_of_names(dialect, database, table, telling.start, skip)?,
    };
    work.state.topic.shape = Some(shape);
    work.tables.set_last(shape);
    Ok(shape)
}

/// Puts the names of the key's columns into the buffer. A key of another form tells nothing and is no error.
fn key_columns(work: &mut Work<'_>) {
    let names = &mut work.buffers.key;
    names.clear();
    if let Some(key) = work.key
        && names_of_key(key, &mut work.state.topic.key_schema, names).is_err()
    {
        names.clear();
    }
}

fn names_of_key(key: &[u8], key_schema: &mut Vec<u8>, names: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut walk = Walk::new(key, 0, Text::HasControls);
    // Mostly the topic's last key had the same schema.
    let is_known = !key_schema.is_empty() && walk.take(key_schema);
    if !is_known && key.starts_with(b"{\"schema\":") {
        let mut first = true;
        walk.enter_object()?;
        while let Some((from, to)) = walk.member(&mut first)? {
            if &key[from..to] == b"payload" {
                key_schema.clear();
                key_schema.extend_from_slice(&key[..walk.at()]);
                break;
            }
            walk.value()?;
        }
    }
    if !is_known && key.starts_with(b"{\"payload\":") {
        walk = behind_payload(key, walk)?;
    }
    walk.white();
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        walk.value()?;
        // The routing transform adds a field that is no column.
        if !key[from..to].starts_with(b"__dbz__") {
            names.extend_from_slice(&key[from..to]);
            names.push(0);
        }
    }
    Ok(())
}

/// Where the payload of a key begins that has its schema behind it, as a tool may write it that reads and writes JSON on
/// the way; without a schema it is a key of a column of that name.
#[cold]
fn behind_payload<'a>(key: &[u8], start: Walk<'a>) -> Result<Walk<'a>, JsonError> {
    let (mut walk, mut payload, mut has_schema, mut first) = (start.clone(), None, false, true);
    walk.enter_object()?;
    while let Some((from, to)) = walk.member(&mut first)? {
        match &key[from..to] {
            b"payload" => payload = Some(walk.clone()),
            b"schema" => has_schema = true,
            _ => return Ok(start),
        }
        walk.value()?;
    }
    Ok(payload.filter(|_| has_schema).unwrap_or(start))
}
