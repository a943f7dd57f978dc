//! Debezium messages: the envelope, with and without schema, and what is around it.

mod flat;
mod row;
mod schema;
mod state;
mod wrapper;

pub(crate) use schema::Schemas;
pub(crate) use state::{State, TopicState};

use row::{key_columns, position, shape};
use state::{Work, not_debezium};

use crate::context::{self, Change, Image, Outcome, inside, no_skip};
use crate::error::DecodeError;
use crate::json::{JsonError, Walk};
use crate::row::{Ignored, Operation, RowBatch, SourcePosition};

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
    let Some(wrapped) = wrapper::unwrap(work)? else {
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
            b"before" => envelope.before = context::image(work.tables, walk, expected, out)?,
            b"after" => envelope.after = context::image(work.tables, walk, expected, out)?,
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
