//! Steps that envelopes and unwrapped rows share: position, shape and key columns.

use super::state::RecordContext;
use crate::context::{Image, begin_signature, binlog_number, number};
use crate::error::DecodeError;
use crate::json::{Cursor, JsonError, Text};
use crate::row::{RowInEvent, SourcePosition};
use crate::table::NewShape;
use crate::value::Dialect;

/// The position in the binlog, or the time if the message has no position.
pub(super) fn position(file: &[u8], position: &[u8], row: &[u8], milliseconds: &[u8]) -> SourcePosition {
    match (binlog_number(file), number(position), number(milliseconds)) {
        (Some(file), Some(position), _) => {
            let row = number(row).and_then(|r| u32::try_from(r).ok()).unwrap_or(0);
            SourcePosition::Binlog { file, position, row: RowInEvent::InEvent(row) }
        }
        (_, _, Some(milliseconds)) if milliseconds <= i64::MAX as u64 => SourcePosition::time(milliseconds as i64),
        _ => SourcePosition::Unknown,
    }
}

/// The shape of a row, from its schema or from its column names.
pub(super) fn shape(
    context: &mut RecordContext<'_>,
    expected: Option<u32>,
    schema: Option<u32>,
    (database, table): (&[u8], &[u8]),
    sample: Image,
    skip: fn(&[u8]) -> bool,
) -> Result<u32, DecodeError> {
    let dialect = if schema.is_some() { Dialect::DebeziumSchema } else { Dialect::DebeziumPlain };
    let types = schema.map_or([0; 4], u32::to_le_bytes);
    let types = if schema.is_some() { &types[..] } else { &[] };
    if let Some(number) = expected {
        let shape = &context.tables.shapes[number as usize];
        if shape.dialect == dialect
            && shape.types == types
            && shape.table == table
            && shape.database == database
            && shape.key == context.buffers.key
            && (schema.is_some() || sample.cells.is_some())
        {
            return Ok(number);
        }
    }
    let shape = match schema {
        Some(schema) => shape_of_schema(context, schema, database, table)?,
        None => context.shape_of_names(dialect, database, table, sample.start, skip)?,
    };
    context.state.topic.shape = Some(shape);
    context.tables.set_last(shape);
    Ok(shape)
}

/// Writes the names of the key's columns to the buffer. A key in another form is not an error.
pub(super) fn key_columns(context: &mut RecordContext<'_>) {
    let names = &mut context.buffers.key;
    names.clear();
    if let Some(key) = context.key
        && names_of_key(key, &mut context.state.topic.key_schema, names).is_err()
    {
        names.clear();
    }
}

fn names_of_key(key: &[u8], key_schema: &mut Vec<u8>, names: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(key, 0, Text::HasControls);
    // Mostly the schema is that of the topic's last key.
    let is_known = !key_schema.is_empty() && cursor.skip_literal(key_schema);
    if !is_known && key.starts_with(b"{\"schema\":") {
        let mut first = true;
        cursor.enter_object()?;
        while let Some((from, to)) = cursor.next_member(&mut first)? {
            if &key[from..to] == b"payload" {
                key_schema.clear();
                key_schema.extend_from_slice(&key[..cursor.position()]);
                break;
            }
            cursor.skip_value()?;
        }
    }
    if !is_known && key.starts_with(b"{\"payload\":") {
        cursor = behind_payload(key, cursor)?;
    }
    cursor.skip_whitespace();
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        cursor.skip_value()?;
        // The topic routing transform adds a field that is not a column.
        if !key[from..to].starts_with(b"__dbz__") {
            names.extend_from_slice(&key[from..to]);
            names.push(0);
        }
    }
    Ok(())
}

/// Finds the payload of a key whose schema comes last, as tools that rewrite JSON may order it. A key without a schema has a
/// column named `payload`.
#[cold]
fn behind_payload<'a>(key: &[u8], start: Cursor<'a>) -> Result<Cursor<'a>, JsonError> {
    let (mut cursor, mut payload, mut has_schema, mut first) = (start.clone(), None, false, true);
    cursor.enter_object()?;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        match &key[from..to] {
            b"payload" => payload = Some(cursor.clone()),
            b"schema" => has_schema = true,
            _ => return Ok(start),
        }
        cursor.skip_value()?;
    }
    Ok(payload.filter(|_| has_schema).unwrap_or(start))
}

/// The shape described by a schema.
#[cold]
fn shape_of_schema(
    context: &mut RecordContext<'_>,
    schema: u32,
    database: &[u8],
    table: &[u8],
) -> Result<u32, DecodeError> {
    let signature = &mut context.buffers.signature;
    let types = schema.to_le_bytes();
    begin_signature(signature, Dialect::DebeziumSchema, database, table, &context.buffers.key);
    signature.extend_from_slice(&types);
    if let Some(shape) = context.tables.find(signature) {
        return Ok(shape);
    }
    let new = NewShape {
        dialect: Dialect::DebeziumSchema,
        database,
        table,
        columns: context.state.schemas.columns(schema).clone(),
        key_columns: context.key_columns(),
        key: &context.buffers.key,
        types: &types,
    };
    context.tables.add(&context.buffers.signature, new)
}
