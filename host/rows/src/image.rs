//! Reads a row image, a JSON object of columns, into cells.

use crate::error::DecodeError;
use crate::json::{Cursor, JsonError, compact_tail};
use crate::row::{ARENA_LIMIT, Cell, RowBatch};
use crate::table::{Shape, Tables};
use crate::value::Mismatch;

/// Reads an object that begins with the shape's columns in order, up to the last column's value, and pushes a cell for
/// each. Returns false, with cells and cursor as before, if the object does not begin so.
#[inline]
pub(crate) fn columns_in_order(cursor: &mut Cursor<'_>, shape: &Shape, out: &mut RowBatch) -> Result<bool, JsonError> {
    let start = cursor.clone();
    let first_cell = out.cells.len();
    out.cells.reserve(shape.n_columns());
    cursor.enter_object()?;
    let mut first = true;
    for literal in shape.literals() {
        // The tools write no whitespace; with whitespace the object is read member by member.
        let is_next = if first {
            cursor.skip_literal(literal)
        } else {
            cursor.peek() == b',' && cursor.skip_comma_and_literal(literal)
        };
        if is_next {
            first = false;
            cursor.skip_whitespace();
        } else {
            let name = &literal[1..literal.len() - 2];
            match cursor.next_member(&mut first)? {
                Some((from, to)) if cursor.bytes()[from..to] == *name => {}
                _ => {
                    *cursor = start;
                    out.cells.truncate(first_cell);
                    return Ok(false);
                }
            }
        }
        if cursor.is_clean() {
            let (from, to) = cursor.skip_value()?;
            out.cells.push(Cell::in_records(from, to));
        } else {
            let cell = value_on_one_line(cursor, out)?;
            out.cells.push(cell);
        }
    }
    if shape.n_columns() == 0 {
        *cursor = start;
        return Ok(false);
    }
    Ok(true)
}

/// Reads an object that has exactly the shape's columns in order; see [`columns_in_order`].
#[inline]
pub(crate) fn image_in_order(cursor: &mut Cursor<'_>, shape: &Shape, out: &mut RowBatch) -> Result<bool, JsonError> {
    let start = cursor.clone();
    let first_cell = out.cells.len();
    if !columns_in_order(cursor, shape, out)? {
        return Ok(false);
    }
    cursor.skip_whitespace();
    if cursor.peek() == b'}' {
        cursor.close();
        return Ok(true);
    }
    *cursor = start;
    out.cells.truncate(first_cell);
    Ok(false)
}

/// Reads an object by its members' names into the cells from `first_cell` on. Members for which `skip` returns true are not
/// columns.
pub(crate) fn image_by_name(
    cursor: &mut Cursor<'_>,
    tables: &Tables,
    shape_number: u32,
    first_cell: usize,
    out: &mut RowBatch,
    skip: fn(&[u8]) -> bool,
) -> Result<(), DecodeError> {
    let shape = &tables.shapes[shape_number as usize];
    // The columns that were read, one bit each.
    let mut seen = [0u64; 64];
    let (mut first, mut from) = (true, 0);
    cursor.enter_object()?;
    while let Some((start, end)) = cursor.next_member(&mut first)? {
        let raw_name = &cursor.bytes()[start..end];
        if skip(raw_name) {
            cursor.skip_value()?;
            continue;
        }
        let wrong = |what| {
            let column = crate::table::name(raw_name).to_string();
            Err(DecodeError::Column { table: tables.table_name(shape_number), column, what })
        };
        let column = shape.column(raw_name, from).or_else(|| {
            let columns = &tables.versions[shape.version as usize].columns;
            let name = crate::table::name(raw_name);
            columns.iter().position(|c| c.name == name)
        });
        let Some(column) = column else {
            return wrong("not among the columns that the message describes");
        };
        from = column + 1;
        // MySQL allows 4096 columns; further ones are not checked for repetition.
        if let Some(word) = seen.get_mut(column / 64) {
            if *word >> (column % 64) & 1 == 1 {
                return wrong("in the row twice");
            }
            *word |= 1 << (column % 64);
        }
        let cell = value_on_one_line(cursor, out)?;
        out.cells[first_cell + column] = cell;
    }
    Ok(())
}

/// The next value as a cell. A value with line breaks between its tokens is copied without them.
fn value_on_one_line(cursor: &mut Cursor<'_>, out: &mut RowBatch) -> Result<Cell, JsonError> {
    let (from, to) = cursor.skip_value()?;
    let value = &cursor.bytes()[from..to];
    if cursor.is_clean() || !matches!(value[0], b'{' | b'[') || !value.iter().any(|&b| b < b' ') {
        return Ok(Cell::in_records(from, to));
    }
    let at = out.scratch.len();
    out.scratch.extend_from_slice(value);
    compact_tail(&mut out.scratch, at);
    if out.scratch.len() >= ARENA_LIMIT {
        return cursor.fail("a smaller batch");
    }
    Ok(Cell::in_scratch(at, out.scratch.len()))
}

/// Converts the cells of an image to the row model's JSON.
#[inline]
pub(crate) fn convert(
    tables: &Tables,
    shape_number: u32,
    first_cell: usize,
    arena: &[u8],
    out: &mut RowBatch,
) -> Result<(), DecodeError> {
    let shape = &tables.shapes[shape_number as usize];
    let cells = &mut out.cells[first_cell..first_cell + shape.n_columns()];
    for &column in &shape.converted {
        let cell = &mut cells[column as usize];
        match shape.conversions[column as usize].apply(*cell, arena, &mut out.scratch) {
            Ok(done) => *cell = done,
            Err(mismatch) => return Err(mismatch_error(tables, shape_number, column as usize, mismatch)),
        }
    }
    Ok(())
}

#[cold]
fn mismatch_error(tables: &Tables, shape: u32, column: usize, mismatch: Mismatch) -> DecodeError {
    match mismatch {
        Mismatch::ArenaFull => DecodeError::BatchTooLarge,
        Mismatch::Expected(expected) => {
            DecodeError::Value { table: tables.table_name(shape), column: tables.column_name(shape, column), expected }
        }
    }
}

/// Fails if a column of the key is absent.
#[inline]
pub(crate) fn check_key(
    tables: &Tables,
    shape_number: u32,
    first_cell: usize,
    out: &RowBatch,
) -> Result<(), DecodeError> {
    for &column in &tables.shapes[shape_number as usize].key_columns {
        if out.cells[first_cell + column as usize].is_absent() {
            return Err(DecodeError::KeyColumn {
                table: tables.table_name(shape_number),
                column: tables.column_name(shape_number, column as usize),
            });
        }
    }
    Ok(())
}
