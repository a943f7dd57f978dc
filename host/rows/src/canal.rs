//! Canal flat messages.
//!
//! A message has the rows of one statement that fall on one partition (`data`), all values as text, and describes
//! them after the rows (`mysqlType`, `pkNames`). `old` holds what an update changed.

use crate::context::{self, Change, Outcome, begin_signature, inside, no_skip, number};
use crate::error::DecodeError;
use crate::json::Walk;
use crate::row::{Ignored, Operation, RowBatch, SourcePosition};
use crate::settings::Format;
use crate::table::NewShape;
use crate::types::Declaration;
use crate::value::{Dialect, Sent};

/// What Canal's decoder keeps of a topic from message to message.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    shape: Option<u32>,
    /// `sqlType` of the last message. It is compared so that an equal one can be stepped over; nothing is read of it.
    sql_type: Vec<u8>,
}

type Work<'a> = context::Work<'a, &'a mut TopicState>;

/// The envelope's members, as they stand in the message.
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
    has_data: bool,
    old: Option<usize>,
}

fn not_canal<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Canal, expected })
}

pub(crate) fn decode(work: &mut Work<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    let expected = work.state.shape;
    let envelope = envelope(work, expected, out)?;
    if envelope.kind.is_empty() {
        return not_canal("`type`, `database` and `table`");
    }
    let time = envelope.time.and_then(|t| i64::try_from(t).ok());
    let position = time.map_or(SourcePosition::Unknown, |milliseconds| SourcePosition::Time { milliseconds });
    let operation = match (envelope.kind, envelope.is_ddl.unwrap_or(false)) {
        (b"TRUNCATE", true) => {
            work.push_truncate(envelope.database, envelope.table, position, out);
            return Ok(Outcome::Rows);
        }
        (b"QUERY", _) => return Ok(Outcome::Ignored(Ignored::Statement)),
        (b"INSERT", false) => Operation::Insert,
        (b"UPDATE", false) => Operation::Update,
        (b"DELETE", false) => Operation::Delete,
        (b"CREATE" | b"ALTER" | b"ERASE" | b"RENAME" | b"CINDEX" | b"DINDEX" | b"TRUNCATE", _) | (_, true) => {
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
    if work.buffers.images.is_empty() {
        return Ok(Outcome::Ignored(Ignored::Other));
    }
    let shape = shape(work, expected, &envelope)?;
    if operation == Operation::Update {
        find_old(work, envelope.old)?;
    }
    let n_columns = work.tables.shapes[shape as usize].n_columns();
    for i in 0..work.buffers.images.len() {
        let cells = work.settle(work.buffers.images[i], expected, shape, no_skip, out)?;
        let mut change = Change { operation, before: None, after: Some(cells), before_is_whole: true, position };
        match operation {
            Operation::Delete => (change.before, change.after) = (Some(cells), None),
            Operation::Update => match work.buffers.old.get(i).copied().flatten() {
                Some(start) => {
                    let walk = work.walk_at(start);
                    change.before = Some(work.lay_over(walk, cells, n_columns, shape, out)?);
                }
                None => change.before_is_whole = false,
            },
            _ => {}
        }
        work.push_row(work.version(shape), change, out);
    }
    Ok(Outcome::Rows)
}

fn envelope<'a>(work: &mut Work<'a>, expected: Option<u32>, out: &mut RowBatch) -> Result<Envelope<'a>, DecodeError> {
    let mut walk = work.walk.clone();
    let mut envelope = Envelope::default();
    walk.white();
    if walk.peek() != b'{' {
        walk.value()?;
        walk.end()?;
        return not_canal("an object");
    }
    walk.enter_object()?;
    work.buffers.images.clear();
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        let bytes = walk.bytes();
        match &bytes[from..to] {
            b"data" => {
                work.buffers.images.clear();
                envelope.has_data = walk.peek() == b'[';
                if envelope.has_data {
                    rows(work, &mut walk, expected, out)?;
                } else {
                    walk.value()?;
                }
                continue;
            }
            // The same in all messages of a table version, mostly.
            b"mysqlType" => {
                let known = expected.map_or(&[][..], |s| &work.tables.shapes[s as usize].types);
                envelope.mysql_type_at = walk.at();
                if known.is_empty() || !walk.take(known) {
                    walk.value()?;
                }
                envelope.mysql_type = &bytes[envelope.mysql_type_at..walk.at()];
                continue;
            }
            b"sqlType" => {
                let known = &mut work.state.sql_type;
                if known.is_empty() || !walk.take(known) {
                    let (from, to) = walk.value()?;
                    known.clear();
                    // Only of an object it is certain where it ends.
                    if bytes[from] == b'{' {
                        known.extend_from_slice(&bytes[from..to]);
                    }
                }
                continue;
            }
            _ => {}
        }
        let (value_from, value_to) = walk.value()?;
        let value = &bytes[value_from..value_to];
        match &bytes[from..to] {
            b"database" => envelope.database = inside(value),
            b"table" => envelope.table = inside(value),
            b"type" => envelope.kind = inside(value),
            b"isDdl" => envelope.is_ddl = Some(value == b"true"),
            b"pkNames" => envelope.pk_names = value,
            b"es" => envelope.time = number(value),
            b"old" => envelope.old = (value[0] == b'[').then_some(value_from),
            _ => {}
        }
    }
    walk.end()?;
    Ok(envelope)
}

fn rows(
    work: &mut Work<'_>,
    walk: &mut Walk<'_>,
    expected: Option<u32>,
    out: &mut RowBatch,
) -> Result<(), DecodeError> {
    walk.enter_array()?;
    let mut first = true;
    while walk.element(&mut first)? {
        match context::image(work.tables, walk, expected, out)? {
            Some(image) => work.buffers.images.push(image),
            None => return not_canal("objects in `data`"),
        }
    }
    Ok(())
}

/// Finds the elements of `old`, one for each row.
fn find_old(work: &mut Work<'_>, old: Option<usize>) -> Result<(), DecodeError> {
    work.buffers.old.clear();
    let Some(start) = old else { return Ok(()) };
    let mut walk = work.walk_at(start);
    walk.enter_array()?;
    let mut first = true;
    while walk.element(&mut first)? {
        let (start, end) = walk.value()?;
        work.buffers.old.push(match &walk.bytes()[start..end] {
            [b'{', ..] => Some(start),
            b"null" => None,
            _ => return not_canal("objects in `old`"),
        });
    }
    if work.buffers.old.len() != work.buffers.images.len() {
        return not_canal("as many rows in `old` as in `data`");
    }
    Ok(())
}

/// The shape that `mysqlType` and `pkNames` describe.
fn shape(work: &mut Work<'_>, expected: Option<u32>, envelope: &Envelope<'_>) -> Result<u32, DecodeError> {
    if let Some(number) = expected {
        let shape = &work.tables.shapes[number as usize];
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
    new_shape(work, envelope)
}

#[cold]
fn new_shape(work: &mut Work<'_>, envelope: &Envelope<'_>) -> Result<u32, DecodeError> {
    let (database, table) = (envelope.database, envelope.table);
    if !envelope.mysql_type.starts_with(b"{") {
        // Without types the names are all that is known.
        work.buffers.key = pk_names(envelope.pk_names)?.join(&0);
        let shape = work.shape_of_names(Dialect::Canal, database, table, work.buffers.images[0].start, no_skip)?;
        work.state.shape = Some(shape);
        work.tables.set_last(shape);
        return Ok(shape);
    }
    let signature = &mut work.buffers.signature;
    begin_signature(signature, Dialect::Canal, database, table, envelope.pk_names);
    signature.extend_from_slice(envelope.mysql_type);
    let shape = match work.tables.find(signature) {
        Some(shape) => shape,
        None => {
            let mut walk = work.walk_at(envelope.mysql_type_at);
            let (mut columns, mut first) = (Vec::new(), true);
            walk.enter_object()?;
            while let Some((from, to)) = walk.member(&mut first)? {
                let (value_from, value_to) = walk.value()?;
                let text = crate::table::name(inside(&walk.bytes()[value_from..value_to]));
                // A type that is not known here must not stop the row.
                let sent = Declaration::parse(&text).ok().map(Sent::of);
                columns.push((walk.bytes()[from..to].to_vec(), sent.map(not_boolean)));
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
            work.tables.add(&work.buffers.signature, new)?
        }
    };
    work.state.shape = Some(shape);
    work.tables.set_last(shape);
    Ok(shape)
}

/// A format's BOOLEAN is a TINYINT; only who declares it wants true and false.
fn not_boolean(mut sent: Sent) -> Sent {
    use crate::types::ColumnType::{Boolean, Integer};
    if sent.declaration.column_type == Boolean {
        sent.declaration.column_type = Integer { unsigned: false };
    }
    sent
}

fn pk_names(value: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut names = Vec::new();
    if value.first() == Some(&b'[') {
        let mut walk = Walk::new(value, 0, crate::json::Text::HasControls);
        let mut first = true;
        walk.enter_array()?;
        while walk.element(&mut first)? {
            let (from, to) = walk.value()?;
            names.push(inside(&value[from..to]).to_vec());
        }
    }
    Ok(names)
}
