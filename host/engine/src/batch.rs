//! The rows of one batch, with the tables and records that they refer to.

use std::sync::Arc;

use rowmill_rows::{Cell, RecordBatch, Row, RowBatch, TableVersion};

/// Decoded rows together with everything that their numbers and spans refer to.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The table versions of the decoder; [`Row::table`] is an index into them.
    pub tables: &'a [Arc<TableVersion>],
    /// The rows. Plugins that edit cells add the edited copies to it.
    pub rows: &'a mut RowBatch,
    /// The records that the rows were decoded from.
    pub records: &'a RecordBatch,
}

impl<'a> Batch<'a> {
    /// The row with this number.
    pub fn row(&self, row: usize) -> Row {
        self.rows.rows[row]
    }

    /// The table version of the row with this number.
    pub fn table_of(&self, row: usize) -> &'a Arc<TableVersion> {
        &self.tables[self.rows.rows[row].table as usize]
    }

    /// The JSON value of a cell, by its place in the batch's cells; empty if the cell is absent.
    #[inline]
    pub(crate) fn bytes_of(&self, cell: usize) -> &[u8] {
        self.rows.cells[cell].bytes(&self.records.bytes, &self.rows.scratch)
    }

    /// Copies an image's cells with some of them replaced, and returns the place of the copy. The original stays, because
    /// other verdicts may refer to it.
    pub(crate) fn edit<'e>(
        &mut self,
        first_cell: u32,
        n_columns: usize,
        edits: impl Iterator<Item = (u32, &'e [u8])>,
    ) -> u32 {
        let rows = &mut *self.rows;
        let start = rows.cells.len();
        rows.cells.extend_from_within(first_cell as usize..first_cell as usize + n_columns);
        for (column, value) in edits {
            rows.cells[start + column as usize] = match value {
                [] => Cell::ABSENT,
                value => {
                    let at = rows.scratch.len();
                    rows.scratch.extend_from_slice(value);
                    Cell::in_scratch(at, rows.scratch.len())
                }
            };
        }
        start as u32
    }
}
