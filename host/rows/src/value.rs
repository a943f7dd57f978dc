//! Conversions of values from a tool's encoding to the row model's JSON.

mod choose;
mod converted;
mod number;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub(crate) use choose::{Dialect, SourceType, choose};
pub(crate) use converted::{Bits, DecimalBytes, Mismatch, Unit};

use crate::row::{ARENA_LIMIT, Cell};
use converted::{Converted, Result};
use time::Zone;

/// How the values of one column are converted. `null` and absent cells are never converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// No conversion.
    AsIs,
    Integer {
        unsigned: bool,
        /// Negative numbers are unsigned 64-bit numbers that were read as signed (Debezium).
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
    /// Base64. `length` is that of `BINARY(n)`, else 0.
    Base64 {
        length: u32,
    },
    /// Latin-1 text, one character per byte (Canal).
    Latin1 {
        length: u32,
    },
    /// The label itself.
    EnumLabel,
    /// The number of a label (Canal). Labels are JSON strings.
    EnumIndex {
        labels: Vec<Box<[u8]>>,
    },
    /// The labels joined by commas, or an array of them (Maxwell).
    SetLabels,
    /// A bit mask of labels (Canal). Labels are JSON strings.
    SetMask {
        labels: Vec<Box<[u8]>>,
    },
    Json,
}

impl Conversion {
    /// Converts `cell`. Its bytes are in `records`, or in `scratch` if line breaks were removed from it.
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
        match self.convert(raw, scratch)? {
            Converted::Unchanged => Ok(cell),
            Converted::Slice { start, end } => Ok(Cell::in_records(range.start + start, range.start + end)),
            Converted::Appended if scratch.len() < ARENA_LIMIT => Ok(Cell::in_scratch(from, scratch.len())),
            Converted::Appended => Err(Mismatch::ArenaFull),
        }
    }

    /// Converts an array or object that is in the scratch arena because line breaks were removed from it.
    fn apply_rare(&self, cell: Cell, scratch: &mut Vec<u8>) -> Result<Cell> {
        let raw = scratch[cell.range()].to_vec();
        let from = scratch.len();
        match self.convert(&raw, scratch)? {
            Converted::Unchanged => Ok(cell),
            Converted::Slice { start, end } => {
                let at = cell.range().start;
                Ok(Cell::in_scratch(at + start, at + end))
            }
            Converted::Appended if scratch.len() < ARENA_LIMIT => Ok(Cell::in_scratch(from, scratch.len())),
            Converted::Appended => Err(Mismatch::ArenaFull),
        }
    }

    #[inline]
    fn convert(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<Converted> {
        match self {
            Self::AsIs => Ok(Converted::Unchanged),
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
