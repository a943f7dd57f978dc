//! Partial rows: updates that lack columns because the server's `binlog_row_image` is not FULL.
//!
//! With NOBLOB the binlog omits unchanged TEXT, BLOB and JSON columns, with MINIMAL all unchanged columns; a document made of
//! such a row would lose their fields. No format marks these rows, so they are recognized by a row that must have all columns:
//! an earlier insert or row of a snapshot. (A column that was added later makes no earlier update partial: partitions are read
//! at different speeds.) A column that was dropped looks the same until the table's DDL, or an insert without the column, is
//! read.

use crate::error::DecodeError;
use crate::row::SourcePosition;
use crate::table::{Shape, Tables};
use crate::types::ColumnType;

/// A position in the source that can be compared with others of its kind: the kind, and two numbers.
type Place = (u8, u64, u64);

fn place(position: SourcePosition) -> Option<Place> {
    match position {
        SourcePosition::Binlog { file, position, .. } => Some((0, file, position)),
        SourcePosition::Time { milliseconds, .. } => Some((1, u64::try_from(milliseconds).ok()?, 0)),
        SourcePosition::Unknown => None,
    }
}

/// Whether the first place is certainly later.
fn is_later(place: Option<Place>, than: Option<Place>) -> bool {
    place.zip(than).is_some_and(|(place, than)| place.0 == than.0 && place > than)
}

/// What a decoder has learned about a shape.
#[derive(Debug, Default)]
pub(crate) struct Completeness {
    /// The earliest row of this shape that must have all columns.
    complete_since: Option<Place>,
    /// An insert of this shape lacked columns: they were dropped, and the table has too many shapes for another one.
    has_dropped: bool,
    /// The number of complete shapes when this one was last compared with them.
    compared_with: Option<usize>,
}

impl Tables {
    /// Learns from an insert or a row of a snapshot with this shape, which has a value in each column or not.
    #[inline]
    pub fn note_complete(&mut self, shape: u32, position: SourcePosition, lacks_values: bool) {
        let completeness = &mut self.shapes[shape as usize].completeness;
        completeness.has_dropped |= lacks_values;
        let Some(place) = place(position) else { return };
        if lacks_values || completeness.complete_since.is_some_and(|since| since <= place) {
            return;
        }
        if completeness.complete_since.replace(place).is_none() {
            self.n_complete += 1;
        }
    }

    /// Forgets which columns a table's rows must have, since DDL may change them.
    #[cold]
    pub fn forget_complete(&mut self, database: &[u8], table: &[u8]) {
        for shape in &mut self.shapes {
            if (&shape.database[..], &shape.table[..]) == (database, table) {
                shape.completeness = Completeness::default();
            }
        }
    }

    /// Checks that an update with this shape has all columns of the table's rows. `absent` is a column of the shape without a
    /// value.
    ///
    /// # Errors
    /// It has not, and partial rows are not allowed.
    #[inline]
    pub fn check_complete(
        &mut self,
        shape: u32,
        position: SourcePosition,
        absent: Option<usize>,
    ) -> Result<(), DecodeError> {
        if self.allows_partial {
            return Ok(());
        }
        let completeness = &self.shapes[shape as usize].completeness;
        if let Some(column) = absent
            && is_later(place(position), completeness.complete_since)
            && !completeness.has_dropped
        {
            return Err(DecodeError::Partial {
                table: self.table_name(shape),
                column: self.column_name(shape, column),
            });
        }
        if completeness.complete_since.is_some() || completeness.compared_with == Some(self.n_complete) {
            return Ok(());
        }
        self.compare(shape, position)
    }

    #[cold]
    fn compare(&mut self, number: u32, position: SourcePosition) -> Result<(), DecodeError> {
        let shape = &self.shapes[number as usize];
        let mut is_part = false;
        for other in self.shapes.iter().filter(|other| other.completeness.complete_since.is_some()) {
            let Some(column) = self.omitted(shape, other) else { continue };
            is_part = true;
            if is_later(place(position), other.completeness.complete_since) {
                return Err(DecodeError::Partial { table: self.table_name(number), column });
            }
        }
        // An earlier row of a shape says nothing about the later ones.
        if !is_part {
            self.shapes[number as usize].completeness.compared_with = Some(self.n_complete);
        }
        Ok(())
    }

    /// A column that the server omitted, if the first shape is a part of the second.
    fn omitted(&self, part: &Shape, whole: &Shape) -> Option<String> {
        let is_same_table =
            part.dialect == whole.dialect && (&part.database, &part.table) == (&whole.database, &whole.table);
        let is_part = || {
            part.n_columns() < whole.n_columns()
                && (0..part.n_columns()).all(|column| whole.column(part.raw_name(column), 0).is_some())
        };
        if !is_same_table || !is_part() {
            return None;
        }
        let columns = &self.versions[whole.version as usize].columns;
        let missing = (0..whole.n_columns()).filter(|&column| part.column(whole.raw_name(column), 0).is_none());
        let missing: Vec<_> = missing.filter_map(|column| columns.get(column)).collect();
        // If the format reports types and the key, a missing number or VARCHAR was dropped: NOBLOB omits neither, and MINIMAL
        // omits the key's name too.
        let is_omittable = |kind: &ColumnType| {
            use ColumnType::{Binary, Json, LongText, Unknown};
            matches!(kind, Binary | Json | LongText | Unknown)
        };
        let has_key = !part.key_columns.is_empty() && !part.types.is_empty();
        if has_key && !missing.iter().all(|column| is_omittable(&column.column_type)) {
            return None;
        }
        missing.first().map(|column| column.name.to_string())
    }
}
