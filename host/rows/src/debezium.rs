//! Debezium messages: envelopes with and without schema, unwrapped rows, and messages without rows.

mod flat;
mod row;
mod schema;
mod state;
mod wrapper;

pub(crate) use schema::Schemas;
pub(crate) use state::{State, TopicState};

use row::{key_columns, position, shape};
use state::{RecordContext, not_debezium};

use crate::context::{Change, Image, Outcome, inside, no_skip, read_image};
use crate::error::DecodeError;
use crate::json::{Cursor, JsonError};
use crate::row::{Ignored, Operation, RowBatch, SourcePosition};

/// The envelope's members, as written in the message.
#[derive(Default)]
struct Envelope<'a> {
    before: Option<Image>,
    after: Option<Image>,
    op: &'a [u8],
    source: Option<Source<'a>>,
    has_ddl: bool,
}

/// The used members of the `source` block.
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

pub(crate) fn decode(context: &mut RecordContext<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    if context.topic.starts_with("__debezium-heartbeat") {
        context.cursor.skip_whitespace();
        context.cursor.skip_value()?;
        context.cursor.expect_end()?;
        return Ok(Outcome::Ignored(Ignored::Heartbeat));
    }
    context.cursor.skip_whitespace();
    if context.cursor.peek() != b'{' {
        let (from, to) = context.cursor.skip_value()?;
        context.cursor.expect_end()?;
        return match &context.cursor.bytes()[from..to] {
            b"null" => Ok(Outcome::Ignored(Ignored::Tombstone)),
            _ => not_debezium("an object"),
        };
    }
    let Some(wrapped) = wrapper::unwrap(context)? else {
        let mut cursor = context.cursor.clone();
        let outcome = body(context, &mut cursor, None, out)?;
        cursor.expect_end()?;
        return Ok(outcome);
    };
    let mut cursor = context.cursor.clone();
    cursor.enter_at(wrapped.payload);
    let outcome = body(context, &mut cursor, wrapped.schema, out)?;
    if !wrapped.is_checked {
        cursor.skip_rest_of_object(false)?;
        cursor.expect_end()?;
    }
    Ok(outcome)
}

/// Decodes the message, or the `payload` of one with a schema, and leaves the cursor behind it.
fn body<'a>(
    context: &mut RecordContext<'a>,
    cursor: &mut Cursor<'a>,
    schema: Option<u32>,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    match cursor.peek() {
        b'{' => {}
        b'n' => {
            cursor.skip_value()?;
            return Ok(Outcome::Ignored(Ignored::Tombstone));
        }
        _ => return not_debezium("an object in `payload`"),
    }
    let start = cursor.clone();
    const BEGINNINGS: [&[u8]; 4] = [b"{\"before\":", b"{\"after\":", b"{\"source\":", b"{\"op\":"];
    let ahead = &cursor.bytes()[cursor.position()..];
    if BEGINNINGS.iter().any(|b| ahead.starts_with(b)) {
        let n_cells = out.cells.len();
        let expected = context.state.topic.shape;
        let envelope = envelope(context, cursor, expected, out)?;
        if envelope.source.is_some() && (!envelope.op.is_empty() || envelope.has_ddl) {
            return change(context, envelope, expected, schema, out);
        }
        // An unwrapped row with a column of such a name.
        out.cells.truncate(n_cells);
        *cursor = start.clone();
    }
    match flat::decode(context, cursor, schema, out)? {
        flat::Found::Outcome(outcome) => Ok(outcome),
        flat::Found::Envelope => {
            *cursor = start;
            let envelope = envelope(context, cursor, None, out)?;
            change(context, envelope, None, schema, out)
        }
    }
}

fn envelope<'a>(
    context: &RecordContext<'a>,
    cursor: &mut Cursor<'a>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<Envelope<'a>, DecodeError> {
    let mut envelope = Envelope::default();
    let bytes = cursor.bytes();
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        match &bytes[from..to] {
            b"before" => envelope.before = read_image(context.tables, cursor, expected, out)?,
            b"after" => envelope.after = read_image(context.tables, cursor, expected, out)?,
            b"source" if cursor.peek() == b'{' => envelope.source = Some(source(cursor)?),
            b"op" => {
                let (from, to) = cursor.skip_value()?;
                envelope.op = inside(&bytes[from..to]);
            }
            name => {
                envelope.has_ddl |= matches!(name, b"ddl" | b"tableChanges");
                cursor.skip_value()?;
            }
        }
    }
    Ok(envelope)
}

fn source<'a>(cursor: &mut Cursor<'a>) -> Result<Source<'a>, JsonError> {
    let mut source = Source::default();
    let bytes = cursor.bytes();
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let (value_from, value_to) = cursor.skip_value()?;
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
    context: &mut RecordContext<'_>,
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
            context.push_truncate(source.database, source.table, position, out);
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
    let Some(sample) = after.or(before) else {
        return not_debezium("a row in `before` or `after`");
    };
    key_columns(context);
    let shape = shape(context, expected, schema, (source.database, source.table), sample, no_skip)?;
    let mut finish_image = |image: Option<Image>| match image {
        Some(image) => context.finish_image(image, expected, shape, no_skip, out).map(Some),
        None => Ok(None),
    };
    let before_is_complete = operation != Operation::Update || before.is_some();
    let (before, after) = (finish_image(before)?, finish_image(after)?);
    let change = Change { operation, before, after, before_is_complete, position };
    context.push_row(context.version(shape), change, out);
    Ok(Outcome::Rows)
}
