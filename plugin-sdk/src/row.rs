//! Reading rows: one image's cells by column, as the type that the plugin needs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::contract::ColumnKind;
use crate::decimal::Decimal;
use crate::fail::Fail;
use crate::table::{ColumnRef, NONE, TableState};
use crate::time::{Date, DateTime, Time};
use crate::value::{self, Shape, Wrong};

/// One image of a row.
///
/// Every reader takes a column by name or by [`Col`](crate::Col) and returns `None` for NULL and for a column that the source
/// did not send ([`Row::is_null`] and [`Row::is_absent`] distinguish them). It fails if the column does not exist, was not
/// declared, or has a value of another type. Because some sources do not send typed values, numbers, booleans and times are
/// also read from strings.
#[derive(Clone, Copy, Debug)]
pub struct Row<'b> {
    pub(crate) table: &'b TableState,
    /// The ends of all cells of the batch.
    pub(crate) ends: &'b [u32],
    /// The first cell of this image in `ends`.
    pub(crate) first: usize,
    pub(crate) bytes: &'b [u8],
}

impl<'b> Row<'b> {
    /// The table's name with its database.
    pub fn table(&self) -> &'b str {
        &self.table.full_name
    }

    /// Whether a pattern matches the row's table: `database.table` or `table`, in which `*` matches any text. This is for
    /// plugins whose settings name tables; a plugin for a few tables distinguishes them at no cost with
    /// [`Columns::tag`](crate::Columns::tag).
    pub fn is_of(&self, pattern: &str) -> bool {
        crate::contract::matches(pattern, &self.table.full_name, &self.table.name)
    }

    /// The names of all columns of the table, in order, whether or not they were declared.
    pub fn columns(&self) -> impl Iterator<Item = &'b str> {
        self.table.names()
    }

    /// The number that the plugin assigned to this table version with [`Columns::tag`](crate::Columns::tag).
    #[inline]
    pub fn tag(&self) -> u32 {
        self.table.tag
    }

    /// A column's type, as far as the host knows it.
    #[inline]
    pub fn kind(&self, column: impl ColumnRef) -> ColumnKind {
        column.place(self.table).map_or(ColumnKind::Unknown, |place| place.kind)
    }

    /// The unparsed cell: one JSON value; empty if the source did not send the column.
    #[inline]
    pub fn raw(&self, column: impl ColumnRef) -> Result<&'b [u8], Fail> {
        match column.place(self.table) {
            Some(place) if place.cell != NONE => Ok(self.cell(place.cell as usize)),
            // Optional, and this table lacks it.
            Some(place) if place.number == NONE => Ok(&[]),
            place => Err(self.unreadable(column, place.is_some())),
        }
    }

    #[inline]
    fn cell(&self, number: usize) -> &'b [u8] {
        let at = self.first + number;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    /// Whether the value is SQL NULL.
    pub fn is_null(&self, column: impl ColumnRef) -> Result<bool, Fail> {
        Ok(value::shape(self.raw(column)?) == Shape::Null)
    }

    /// Whether the source did not send the column.
    pub fn is_absent(&self, column: impl ColumnRef) -> Result<bool, Fail> {
        Ok(self.raw(column)?.is_empty())
    }

    /// The content of a JSON string: a text, enum, set or similar. Borrowed if it has no escapes.
    pub fn text(&self, column: impl ColumnRef) -> Result<Option<Cow<'b, str>>, Fail> {
        self.read(column, value::string)
    }

    /// The content of a string, or the text of a number or boolean: for columns of unknown type.
    pub fn scalar(&self, column: impl ColumnRef) -> Result<Option<Cow<'b, str>>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::String => value::string(cell),
            Shape::Tree => Err("expected a single value, got an object or an array"),
            _ => value::token(cell).map(Cow::Borrowed),
        })
    }

    /// An integer.
    pub fn i64(&self, column: impl ColumnRef) -> Result<Option<i64>, Fail> {
        self.read(column, |cell| {
            value::integer(cell)?.try_into().map_err(|_| "the integer does not fit into 64 bits with sign")
        })
    }

    /// An integer that is not negative.
    pub fn u64(&self, column: impl ColumnRef) -> Result<Option<u64>, Fail> {
        self.read(column, |cell| {
            value::integer(cell)?.try_into().map_err(|_| "the integer does not fit into 64 bits without sign")
        })
    }

    /// A floating-point number. Decimals lose digits: see [`Row::decimal`].
    pub fn f64(&self, column: impl ColumnRef) -> Result<Option<f64>, Fail> {
        self.read(column, value::float)
    }

    /// A boolean: `true`, `false`, or MySQL's 0 and 1.
    pub fn bool(&self, column: impl ColumnRef) -> Result<Option<bool>, Fail> {
        self.read(column, value::boolean)
    }

    /// Any number with all its digits.
    pub fn decimal(&self, column: impl ColumnRef) -> Result<Option<Decimal<'b>>, Fail> {
        self.read(column, |cell| Decimal::parse(value::token(cell)?).ok_or("expected a decimal number"))
    }

    /// A day. A number is taken as days since 1970-01-01.
    pub fn date(&self, column: impl ColumnRef) -> Result<Option<Date>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::Number => Ok(Date::from_epoch_days(small(cell, 1 << 40)?)),
            _ => Date::parse(value::token(cell)?).ok_or("expected a date as 2026-03-04"),
        })
    }

    /// A time of day or a length of time. A number is taken as microseconds.
    pub fn time(&self, column: impl ColumnRef) -> Result<Option<Time>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::Number => Ok(Time::from_microseconds(small(cell, i64::MAX)?)),
            _ => Time::parse(value::token(cell)?).ok_or("expected a time as 12:34:56"),
        })
    }

    /// A DATETIME or TIMESTAMP. A number is taken as an epoch by [`DateTime::from_epoch_guess`].
    #[inline]
    pub fn datetime(&self, column: impl ColumnRef) -> Result<Option<DateTime>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::Number => Ok(DateTime::from_epoch_guess(small(cell, i64::MAX)?)),
            _ => DateTime::from_bytes(value::inside(cell).unwrap_or(cell))
                .ok_or("expected a date and time as 2026-03-04T05:06:07"),
        })
    }

    /// The bytes of a binary column.
    pub fn bytes(&self, column: impl ColumnRef) -> Result<Option<Vec<u8>>, Fail> {
        self.read(column, base64_bytes)
    }

    /// The bits of a BIT column. A text is taken as base64 of little-endian bytes, as Debezium writes them untyped.
    pub fn bit(&self, column: impl ColumnRef) -> Result<Option<u64>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::Boolean(set) => Ok(u64::from(set)),
            Shape::String => {
                let bytes = base64_bytes(cell)?;
                let mut bits = [0; 8];
                bits.get_mut(..bytes.len()).ok_or("more than 64 bits")?.copy_from_slice(&bytes);
                Ok(u64::from_le_bytes(bits))
            }
            _ => value::integer(cell)?.try_into().map_err(|_| "expected bits as a number"),
        })
    }

    /// The label of an ENUM column; of a source without labels its number as text.
    pub fn enumeration(&self, column: impl ColumnRef) -> Result<Option<Cow<'b, str>>, Fail> {
        self.scalar(column)
    }

    /// The labels of a SET column, from `"vip,gift"` or from a JSON array of texts.
    pub fn set(&self, column: impl ColumnRef) -> Result<Option<Labels<'b>>, Fail> {
        self.read(column, |cell| match value::shape(cell) {
            Shape::Tree => {
                let labels: Vec<String> = serde_json::from_slice(cell).map_err(|_| "expected an array of texts")?;
                Ok(Labels(Cow::Owned(labels.join(","))))
            }
            _ => value::string(cell).map(Labels),
        })
    }

    /// The value as any type that serde can read: for JSON columns. `None` for NULL.
    pub fn json<T: Deserialize<'b>>(&self, column: impl ColumnRef) -> Result<Option<T>, Fail> {
        let cell = self.raw(column)?;
        if matches!(value::shape(cell), Shape::Absent | Shape::Null) {
            return Ok(None);
        }
        serde_json::from_slice(cell).map(Some).map_err(|e| self.wrong(column, &e.to_string()))
    }

    #[inline]
    fn read<T>(
        &self,
        column: impl ColumnRef,
        reader: impl FnOnce(&'b [u8]) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Fail> {
        let cell = self.raw(column)?;
        match value::shape(cell) {
            Shape::Absent | Shape::Null => Ok(None),
            _ => match reader(cell) {
                Ok(value) => Ok(Some(value)),
                Err(wrong) => Err(self.wrong(column, wrong)),
            },
        }
    }

    /// An error about this column, for values that the plugin rejects.
    #[cold]
    pub fn wrong(&self, column: impl ColumnRef, what: &str) -> Fail {
        Fail::new(format!("column '{}' of {}: {what}", column.label(self.table), self.table()))
    }

    #[cold]
    fn unreadable(&self, column: impl ColumnRef, exists: bool) -> Fail {
        if exists {
            self.wrong(column, "the plugin did not ask to read this column")
        } else {
            Fail::new(format!("table {} has no column '{}'", self.table(), column.label(self.table)))
        }
    }
}

fn small(cell: &[u8], limit: i64) -> Result<i64, Wrong> {
    i64::try_from(value::integer(cell)?)
        .ok()
        .filter(|n| n.unsigned_abs() <= limit.unsigned_abs())
        .ok_or("the number is out of range")
}

fn base64_bytes(cell: &[u8]) -> Result<Vec<u8>, Wrong> {
    let text = value::string(cell)?;
    STANDARD.decode(text.as_bytes()).map_err(|_| "expected base64")
}

/// The labels of a SET value.
#[derive(Clone, Debug)]
pub struct Labels<'a>(Cow<'a, str>);

impl Labels<'_> {
    /// The labels in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|label| !label.is_empty())
    }

    /// Whether this label is set.
    pub fn contains(&self, label: &str) -> bool {
        self.iter().any(|l| l == label)
    }
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The row was inserted.
    Insert,
    /// The row was updated.
    Update,
    /// The row was deleted.
    Delete,
    /// A backfill read the row.
    Snapshot,
}

/// One change of a row, with both images.
#[derive(Clone, Copy, Debug)]
pub struct Change<'b> {
    /// The kind of change.
    pub operation: Operation,
    /// The before image; `None` for an insert and a snapshot.
    pub before: Option<Row<'b>>,
    /// The after image; `None` for a delete.
    pub after: Option<Row<'b>>,
}

impl<'b> Change<'b> {
    /// Whether a column's value differs between the images. If one image does not exist, every column is changed. A column
    /// that is absent from one of the images is not, since its other value is unknown.
    ///
    /// # Errors
    /// The column does not exist or was not declared.
    pub fn is_changed(&self, column: impl ColumnRef) -> Result<bool, Fail> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Ok(true) };
        let (before, after) = (before.raw(column)?, after.raw(column)?);
        Ok(!before.is_empty() && !after.is_empty() && before != after)
    }

    /// The names of the columns that [are changed](Change::is_changed), in the table's order. All columns must be
    /// declared.
    ///
    /// # Errors
    /// A column was not declared.
    pub fn changed(&self) -> Result<Vec<&'b str>, Fail> {
        let Some(row) = self.row() else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        for column in row.columns() {
            if self.is_changed(column)? {
                changed.push(column);
            }
        }
        Ok(changed)
    }

    /// The after image, or for a delete the before image.
    pub fn row(&self) -> Option<&Row<'b>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}
