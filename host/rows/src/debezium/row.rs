//! The steps that envelopes and unwrapped rows share: position, shape and the key's columns.

use super::state::Work;
use crate::context::{Image, begin_signature, binlog_number, number};
use crate::error::DecodeError;
use crate::json::{JsonError, Text, Walk};
use crate::row::{RowInEvent, SourcePosition};
use crate::table::NewShape;
use crate::value::Dialect;

/// The position in the binlog; the time where that is not told.
pub(super) fn position(file: &[u8], position: &[u8], row: &[u8], milliseconds: &[u8]) -> SourcePosition {
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

/// The shape of a row: what its schema says, or its names.
pub(super) fn shape(
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
        Some(schema) => shape_of_schema(work, schema, database, table)?,
        None => work.shape_of_names(dialect, database, table, telling.start, skip)?,
    };
    work.state.topic.shape = Some(shape);
    work.tables.set_last(shape);
    Ok(shape)
}

/// Puts the names of the key's columns into the buffer. A key of another form tells nothing and is no error.
pub(super) fn key_columns(work: &mut Work<'_>) {
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

/// The shape that a schema describes.
#[cold]
fn shape_of_schema(work: &mut Work<'_>, schema: u32, database: &[u8], table: &[u8]) -> Result<u32, DecodeError> {
    let signature = &mut work.buffers.signature;
    let types = schema.to_le_bytes();
    begin_signature(signature, Dialect::DebeziumSchema, database, table, &work.buffers.key);
    signature.extend_from_slice(&types);
    if let Some(shape) = work.tables.find(signature) {
        return Ok(shape);
    }
    let new = NewShape {
        dialect: Dialect::DebeziumSchema,
        database,
        table,
        columns: work.state.schemas.columns(schema).clone(),
        key_columns: work.key_columns(),
        key: &work.buffers.key,
        types: &types,
    };
    work.tables.add(&work.buffers.signature, new)
}
