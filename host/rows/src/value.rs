//! Values in their final spelling: what a tool wrote for a column, made what the row model says.

mod choose;
mod number;
mod spelling;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub(crate) use choose::{Dialect, Sent, choose};
pub(crate) use spelling::{Bits, DecimalBytes, Misfit, Unit};

use crate::row::{ARENA_LIMIT, Cell};
use spelling::{Result, Spelled};
use time::Zone;

/// How one column's values come to their final spelling. Every conversion lets `null` and absent cells pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// The value stays what it is.
    AsIs,
    Integer {
        unsigned: bool,
        /// Negative numbers are 64 bits with the sign misread (Debezium).
        is_bigint: bool,
    },
    Boolean {
        bits: Bits,
    },
    Bit {
        bits: Bits,
    },
    /// `FLOAT` and `DOUBLE`.
    Float,
    Decimal {
        scale: Option<u32>,
        bytes: DecimalBytes,
    },
    Date,
    Time {
        unit: Unit,
    },
    DateTime {
        unit: Unit,
    },
    Timestamp {
        unit: Unit,
    },
    Text,
    /// Base64 text. `length` is that of `BINARY(n)`, else 0.
    Base64 {
        length: u32,
    },
    /// One letter a byte (Canal).
    Latin1 {
        length: u32,
    },
    /// The label itself.
    EnumLabel,
    /// The number of a label (Canal). Labels are spelled as JSON strings.
    EnumIndex {
        labels: Vec<Box<[u8]>>,
    },
    /// The labels joined, or an array of them (Maxwell).
    SetLabels,
    /// A mask of labels (Canal). Labels are spelled as JSON strings.
    SetMask {
        labels: Vec<Box<[u8]>>,
    },
    Json,
}

impl Conversion {
    /// The final cell for `cell`, whose bytes are in `records` or, if it was put on one line, in `scratch`.
    #[inline]
    pub fn apply(&self, cell: Cell, records: &[u8], scratch: &mut Vec<u8>) -> Result<Cell> {
        if cell.is_absent() {
            return Ok(cell);
        }
        if cell.is_in_scratch() {
            return self.apply_rare(cell, scratch);
        }
        let range = cell.range();
        let raw = &records[range.clone()];
        if raw == b"null" {
            return Ok(cell);
        }
        let from = scratch.len();
        match self.spell(raw, scratch)? {
            Spelled::Same => Ok(cell),
            Spelled::Part { start, end } => Ok(Cell::in_records(range.start + start, range.start + end)),
            Spelled::Anew if scratch.len() < ARENA_LIMIT => Ok(Cell::in_scratch(from, scratch.len())),
            Spelled::Anew => Err(Misfit::Full),
        }
    }

    /// A container that had line breaks and so is in the scratch arena already.
    fn apply_rare(&self, cell: Cell, scratch: &mut Vec<u8>) -> Result<Cell> {
        let raw = scratch[cell.range()].to_vec();
        let from = scratch.len();
        match self.spell(&raw, scratch)? {
            Spelled::Same => Ok(cell),
            Spelled::Part { start, end } => {
                let at = cell.range().start;
                Ok(Cell::in_scratch(at + start, at + end))
            }
            Spelled::Anew if scratch.len() < ARENA_LIMIT => Ok(Cell::in_scratch(from, scratch.len())),
            Spelled::Anew => Err(Misfit::Full),
        }
    }

    #[inline]
    fn spell(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Spelled> {
        match self {
            Self::AsIs => Ok(Spelled::Same),
            Self::Integer { unsigned, is_bigint } => number::integer(raw, *unsigned, *is_bigint, out),
            Self::Boolean { bits } => number::boolean(raw, *bits, out),
            Self::Bit { bits } => number::bit(raw, *bits, out),
            Self::Float => number::float(raw),
            Self::Decimal { scale, bytes } => number::decimal(raw, *scale, *bytes, out),
            Self::Date => time::date(raw, out),
            Self::Time { unit } => time::time(raw, *unit, out),
            Self::DateTime { unit } => time::date_time(raw, *unit, Zone::None, out),
            Self::Timestamp { unit } => time::date_time(raw, *unit, Zone::Utc, out),
            Self::Text => text::string(raw, "text"),
            Self::EnumLabel => text::string(raw, "a label of an ENUM"),
            Self::Base64 { length } => text::base64(raw, *length, out),
            Self::Latin1 { length } => text::latin1(raw, *length, out),
            Self::EnumIndex { labels } => text::enum_index(raw, labels, out),
            Self::SetLabels => text::set_labels(raw, out),
            Self::SetMask { labels } => text::set_mask(raw, labels, out),
            Self::Json => text::json(raw, out),
        }
    }
}
