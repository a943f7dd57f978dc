//! Canal flat messages.
//!
//! A message has the rows of one statement that belong to one partition (`data`), with all values as text, and describes
//! them after the rows (`mysqlType`, `pkNames`). `old` has the old values of the columns that an update changed.

use crate::context::{self, Change, Outcome, begin_signature, inside, no_skip, number, read_image};
use crate::error::{DecodeError, FailedRows};
use crate::json::Cursor;
use crate::row::{Ignored, Operation, RowBatch, SourcePosition};
use crate::settings::Format;
use crate::table::NewShape;
use crate::types::Declaration;
use crate::value::{Dialect, SourceType};

/// The state that Canal's decoder keeps for a topic.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    shape: Option<u32>,
    /// `sqlType` of the last message. It is compared only to skip an equal one quickly; its content is not used.
    sql_type: Vec<u8>,
}

type RecordContext<'a> = context::RecordContext<'a, &'a mut TopicState>;

/// The envelope's members, as written in the message.
#[derive(Default)]
struct Envelope<'a> {
    database: &'a [u8],
    table: &'a [u8],
    kind: &'a [u8],
    is_ddl: Option<bool>,
    mysql_type: &'a [u8],
    mysql_type_at: usize,
    pk_names: &'a [u8],
    time: Option<u64>,
    sent: Option<u64>,
    gtid: &'a [u8],
    has_data: bool,
    old: Option<usize>,
}

fn not_canal<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Canal, expected })
}

pub(crate) fn decode(context: &mut RecordContext<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    let expected = context.state.shape;
    let envelope = envelope(context, expected, out)?;
    if envelope.kind.is_empty() {
        return not_canal("`type`, `database` and `table`");
    }
    let position = position(&envelope);
    let operation = match (envelope.kind, envelope.is_ddl.unwrap_or(false)) {
        (b"TRUNCATE", true) => {
            context.push_truncate(envelope.database, envelope.table, position, out);
            return Ok(Outcome::Rows);
        }
        (b"QUERY", _) => return Ok(Outcome::Ignored(Ignored::Statement)),
        (b"INSERT", false) => Operation::Insert,
        (b"UPDATE", false) => Operation::Update,
        (b"DELETE", false) => Operation::Delete,
        (b"CREATE" | b"ALTER" | b"ERASE" | b"RENAME" | b"CINDEX" | b"DINDEX" | b"TRUNCATE", _) | (_, true) => {
            context.tables.forget_complete(envelope.database, envelope.table);
            return Ok(Outcome::Ignored(Ignored::SchemaChange));
        }
        (b"MHEARTBEAT", _) => return Ok(Outcome::Ignored(Ignored::Heartbeat)),
        (b"GTID" | b"XACOMMIT" | b"XAROLLBACK", _) => {
            return Ok(Outcome::Ignored(Ignored::Transaction));
        }
        _ => return not_canal("`type` INSERT, UPDATE, DELETE, QUERY or that of a DDL statement"),
    };
    if !envelope.has_data || envelope.table.is_empty() {
        return not_canal("rows in `data` and the name of their `table`");
    }
    if context.buffers.images.is_empty() {
        return Ok(Outcome::Ignored(Ignored::Other));
    }
    let shape = shape(context, expected, &envelope)?;
    if operation == Operation::Update {
        find_old(context, envelope.old)?;
    }
    let n_rows = context.buffers.images.len();
    let mut failed: Option<FailedRows> = None;
    for number in 0..n_rows {
        match change(context, number, (expected, shape), operation, position, out) {
            Ok(change) => context.push_row(context.version(shape), change, out),
            Err(error) if error.is_of_one_row() => match &mut failed {
                Some(failed) => failed.n_failed += 1,
                None => failed = Some(FailedRows { row: number + 1, n_rows, n_failed: 1, error: Box::new(error) }),
            },
            Err(error) => return Err(error),
        }
    }
    match failed {
        None => Ok(Outcome::Rows),
        Some(failed) if failed.n_failed == n_rows => Err(*failed.error),
        Some(failed) => Ok(Outcome::SomeRows(failed)),
    }
}

/// The second of the statement and what orders the changes within it.
///
/// `id`, the number of Canal's batch, is not used: it begins at 1 again when Canal restarts, and all messages of a batch that
/// it could order have an order by `ts` already.
fn position(envelope: &Envelope<'_>) -> SourcePosition {
    let Some(milliseconds) = envelope.time.and_then(|time| i64::try_from(time).ok()) else {
        return SourcePosition::Unknown;
    };
    let sent = envelope.sent.and_then(|sent| i64::try_from(sent).ok()).unwrap_or(0);
    // `UUID:NUMBER`, `UUID:TAG:NUMBER`, or MariaDB's `DOMAIN-SERVER-NUMBER`.
    let last_part = envelope.gtid.rsplit(|byte| matches!(byte, b':' | b'-')).next();
    SourcePosition::Time { milliseconds, sent, transaction: last_part.and_then(number).unwrap_or(0) }
}

/// The change of one row of the message, by its number from 0.
fn change(
    context: &mut RecordContext<'_>,
    number: usize,
    (expected, shape): (Option<u32>, u32),
    operation: Operation,
    position: SourcePosition,
    out: &mut RowBatch,
) -> Result<Change, DecodeError> {
    let image = context.buffers.images[number];
    let cells = context.finish_image(image, expected, shape, no_skip, out)?;
    context.check_columns((operation, position), shape, (image, cells), out)?;
    let old = context.buffers.old.get(number).copied().flatten();
    context.change_of_image((operation, position), shape, cells, old, out)
}

fn envelope<'a>(
    context: &mut RecordContext<'a>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<Envelope<'a>, DecodeError> {
    let mut cursor = context.cursor.clone();
    let mut envelope = Envelope::default();
    cursor.skip_whitespace();
    if cursor.peek() != b'{' {
        cursor.skip_value()?;
        cursor.expect_end()?;
        return not_canal("an object");
    }
    cursor.enter_object()?;
    context.buffers.images.clear();
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let bytes = cursor.bytes();
        match &bytes[from..to] {
            b"data" => envelope.has_data = data(context, &mut cursor, expected, out)?,
            b"mysqlType" => {
                envelope.mysql_type_at = cursor.position();
                mysql_type(context, &mut cursor, expected)?;
                envelope.mysql_type = &bytes[envelope.mysql_type_at..cursor.position()];
            }
            b"sqlType" => sql_type(context, &mut cursor)?,
            name => {
                let (value_from, value_to) = cursor.skip_value()?;
                let value = &bytes[value_from..value_to];
                match name {
                    b"database" => envelope.database = inside(value),
                    b"table" => envelope.table = inside(value),
                    b"type" => envelope.kind = inside(value),
                    b"isDdl" => envelope.is_ddl = Some(value == b"true"),
                    b"pkNames" => envelope.pk_names = value,
                    b"es" => envelope.time = number(value),
                    b"ts" => envelope.sent = number(value),
                    b"gtid" => envelope.gtid = inside(value),
                    b"old" => envelope.old = (value[0] == b'[').then_some(value_from),
                    _ => {}
                }
            }
        }
    }
    cursor.expect_end()?;
    Ok(envelope)
}

/// Reads the rows in `data`; false if it is not an array.
fn data(
    context: &mut RecordContext<'_>,
    cursor: &mut Cursor<'_>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<bool, DecodeError> {
    context.buffers.images.clear();
    if cursor.peek() != b'[' {
        cursor.skip_value()?;
        return Ok(false);
    }
    cursor.enter_array()?;
    let mut first = true;
    while cursor.next_element(&mut first)? {
        match read_image(context.tables, cursor, expected, out)? {
            Some(image) => context.buffers.images.push(image),
            None => return not_canal("objects in `data`"),
        }
    }
    Ok(true)
}

/// Skips `mysqlType`, which is the same in most messages of a table version.
fn mysql_type(context: &RecordContext<'_>, cursor: &mut Cursor<'_>, expected: Option<u32>) -> Result<(), DecodeError> {
    let known = expected.map_or(&[][..], |s| &context.tables.shapes[s as usize].types);
    if known.is_empty() || !cursor.skip_literal(known) {
        cursor.skip_value()?;
    }
    Ok(())
}

/// Skips `sqlType`, which is the same in most messages of a topic.
fn sql_type(context: &mut RecordContext<'_>, cursor: &mut Cursor<'_>) -> Result<(), DecodeError> {
    let known = &mut context.state.sql_type;
    if known.is_empty() || !cursor.skip_literal(known) {
        let (from, to) = cursor.skip_value()?;
        known.clear();
        // Only an object has an end that cannot be the beginning of a longer value.
        if cursor.bytes()[from] == b'{' {
            known.extend_from_slice(&cursor.bytes()[from..to]);
        }
    }
    Ok(())
}

/// Finds the elements of `old`, one for each row.
fn find_old(context: &mut RecordContext<'_>, old: Option<usize>) -> Result<(), DecodeError> {
    context.buffers.old.clear();
    let Some(start) = old else { return Ok(()) };
    let mut cursor = context.cursor_at(start);
    cursor.enter_array()?;
    let mut first = true;
    while cursor.next_element(&mut first)? {
        let (start, end) = cursor.skip_value()?;
        context.buffers.old.push(match &cursor.bytes()[start..end] {
            [b'{', ..] => Some(start),
            b"null" => None,
            _ => return not_canal("objects in `old`"),
        });
    }
    if context.buffers.old.len() != context.buffers.images.len() {
        return not_canal("as many rows in `old` as in `data`");
    }
    Ok(())
}

/// The shape described by `mysqlType` and `pkNames`.
fn shape(context: &mut RecordContext<'_>, expected: Option<u32>, envelope: &Envelope<'_>) -> Result<u32, DecodeError> {
    if let Some(number) = expected {
        let shape = &context.tables.shapes[number as usize];
        if shape.dialect == Dialect::Canal
            && !shape.types.is_empty()
            && shape.types == envelope.mysql_type
            && shape.key == envelope.pk_names
            && shape.table == envelope.table
            && shape.database == envelope.database
        {
            return Ok(number);
        }
    }
    new_shape(context, envelope)
}

#[cold]
fn new_shape(context: &mut RecordContext<'_>, envelope: &Envelope<'_>) -> Result<u32, DecodeError> {
    let (database, table) = (envelope.database, envelope.table);
    if !envelope.mysql_type.starts_with(b"{") {
        // Without types only the column names are known.
        context.buffers.key = pk_names(envelope.pk_names)?.join(&0);
        let shape =
            context.shape_of_names(Dialect::Canal, database, table, context.buffers.images[0].start, no_skip)?;
        context.state.shape = Some(shape);
        context.tables.set_last(shape);
        return Ok(shape);
    }
    let signature = &mut context.buffers.signature;
    begin_signature(signature, Dialect::Canal, database, table, envelope.pk_names);
    signature.extend_from_slice(envelope.mysql_type);
    let shape = match context.tables.find(signature) {
        Some(shape) => shape,
        None => {
            let mut cursor = context.cursor_at(envelope.mysql_type_at);
            let (mut columns, mut first) = (Vec::new(), true);
            cursor.enter_object()?;
            while let Some((from, to)) = cursor.next_member(&mut first)? {
                let (value_from, value_to) = cursor.skip_value()?;
                let text = crate::table::name(inside(&cursor.bytes()[value_from..value_to]));
                // An unknown type must not make the row undecodable.
                let source = Declaration::parse(&text).ok().map(SourceType::of);
                columns.push((cursor.bytes()[from..to].to_vec(), source.map(not_boolean)));
            }
            let new = NewShape {
                dialect: Dialect::Canal,
                database,
                table,
                columns,
                key_columns: pk_names(envelope.pk_names)?,
                key: envelope.pk_names,
                types: envelope.mysql_type,
            };
            context.tables.add(&context.buffers.signature, new)?
        }
    };
    context.state.shape = Some(shape);
    context.tables.set_last(shape);
    Ok(shape)
}

/// MySQL stores BOOLEAN as TINYINT; values become `true` and `false` only if the configuration declares BOOLEAN.
fn not_boolean(mut source: SourceType) -> SourceType {
    use crate::types::ColumnType::{Boolean, Integer};
    if source.declaration.column_type == Boolean {
        source.declaration.column_type = Integer { unsigned: false };
    }
    source
}

fn pk_names(value: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut names = Vec::new();
    if value.first() == Some(&b'[') {
        let mut cursor = Cursor::new(value, 0, crate::json::Text::HasControls);
        let mut first = true;
        cursor.enter_array()?;
        while cursor.next_element(&mut first)? {
            let (from, to) = cursor.skip_value()?;
            names.push(inside(&value[from..to]).to_vec());
        }
    }
    Ok(names)
}
