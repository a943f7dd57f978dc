//! Images: the object of a row's columns, walked along a shape into cells.

use crate::error::DecodeError;
use crate::json::{JsonError, Walk, compact_tail};
use crate::row::{ARENA_LIMIT, Cell, RowBatch};
use crate::table::{Shape, Tables};
use crate::value::Misfit;

/// Walks an object whose members are the shape's columns in order, up to behind the last column's value. Pushes a
/// cell for each and tells whether it was so; if not, the cells are taken back and the walk stands at its start.
#[inline]
pub(crate) fn columns_in_order(walk: &mut Walk<'_>, shape: &Shape, out: &mut RowBatch) -> Result<bool, JsonError> {
    let start = walk.clone();
    let first_cell = out.cells.len();
    out.cells.reserve(shape.n_columns());
    walk.enter_object()?;
    let mut first = true;
    for literal in shape.literals() {
        // As the tools write it, without white space; else member by member.
        let is_next = if first { walk.take(literal) } else { walk.peek() == b',' && walk.take_behind_comma(literal) };
        if is_next {
            first = false;
            walk.white();
        } else {
            let name = &literal[1..literal.len() - 2];
            match walk.member(&mut first)? {
                Some((from, to)) if walk.bytes()[from..to] == *name => {}
                _ => {
                    *walk = start;
                    out.cells.truncate(first_cell);
                    return Ok(false);
                }
            }
        }
        if walk.is_clean() {
            let (from, to) = walk.value()?;
            out.cells.push(Cell::in_records(from, to));
        } else {
            let cell = value_on_one_line(walk, out)?;
            out.cells.push(cell);
        }
    }
    if shape.n_columns() == 0 {
        *walk = start;
        return Ok(false);
    }
    Ok(true)
}

/// Walks an object that has exactly the shape's columns in order; see [`columns_in_order`].
#[inline]
pub(crate) fn image_in_order(walk: &mut Walk<'_>, shape: &Shape, out: &mut RowBatch) -> Result<bool, JsonError> {
    let start = walk.clone();
    let first_cell = out.cells.len();
    if !columns_in_order(walk, shape, out)? {
        return Ok(false);
    }
    walk.white();
    if walk.peek() == b'}' {
        walk.close();
        return Ok(true);
    }
    *walk = start;
    out.cells.truncate(first_cell);
    Ok(false)
}

/// Walks an object by its members' names and writes their cells over those at `first_cell`. `skip` tells which
/// members are no columns.
pub(crate) fn image_by_name(
    walk: &mut Walk<'_>,
    tables: &Tables,
    shape_number: u32,
    first_cell: usize,
    out: &mut RowBatch,
    skip: fn(&[u8]) -> bool,
) -> Result<(), DecodeError> {
    let shape = &tables.shapes[shape_number as usize];
    // Which columns this object has had; a bit each.
    let mut seen = [0u64; 64];
    let (mut first, mut from) = (true, 0);
    walk.enter_object()?;
    while let Some((start, end)) = walk.member(&mut first)? {
        let raw_name = &walk.bytes()[start..end];
        if skip(raw_name) {
            walk.value()?;
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
        // MySQL's limit is 4096 columns; a shape with more is not checked for repeated ones.
        if let Some(word) = seen.get_mut(column / 64) {
            if *word >> (column % 64) & 1 == 1 {
                return wrong("in the row twice");
            }
            *word |= 1 << (column % 64);
        }
        let cell = value_on_one_line(walk, out)?;
        out.cells[first_cell + column] = cell;
    }
    Ok(())
}

/// The value ahead as a cell; a value that has line breaks between its tokens is copied without them.
fn value_on_one_line(walk: &mut Walk<'_>, out: &mut RowBatch) -> Result<Cell, JsonError> {
    let (from, to) = walk.value()?;
    let value = &walk.bytes()[from..to];
    if walk.is_clean() || !matches!(value[0], b'{' | b'[') || !value.iter().any(|&b| b < b' ') {
        return Ok(Cell::in_records(from, to));
    }
    let at = out.scratch.len();
    out.scratch.extend_from_slice(value);
    compact_tail(&mut out.scratch, at);
    if out.scratch.len() >= ARENA_LIMIT {
        return walk.fail("a smaller batch");
    }
    Ok(Cell::in_scratch(at, out.scratch.len()))
}

/// Brings the cells of an image to their final spelling.
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
            Err(misfit) => return Err(misfit_error(tables, shape_number, column as usize, misfit)),
        }
    }
    Ok(())
}

#[cold]
fn misfit_error(tables: &Tables, shape: u32, column: usize, misfit: Misfit) -> DecodeError {
    match misfit {
        Misfit::Full => DecodeError::BatchTooLarge,
        Misfit::Not(expected) => {
            DecodeError::Value { table: tables.table_name(shape), column: tables.column_name(shape, column), expected }
        }
    }
}

/// Every column of the key must be there.
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
