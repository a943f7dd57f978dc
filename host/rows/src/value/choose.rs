//! Which conversion a column needs: from the tool, from what its message says, and from what is declared.

use super::spelling::{Bits, DecimalBytes, Unit};
use super::{Conversion, text};
use crate::types::{ColumnType, Declaration};

/// How a tool spells values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    Canal,
    /// With a schema that tells how each value is encoded.
    DebeziumSchema,
    /// Without one.
    DebeziumPlain,
    Maxwell,
}

/// What a message says of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub declaration: Declaration,
    /// What a time that is a number counts.
    pub unit: Option<Unit>,
    /// A decimal in bytes, with this scale.
    pub decimal_bytes: Option<u32>,
}

impl Sent {
    /// A type alone.
    pub fn of(declaration: Declaration) -> Self {
        Self { declaration, unit: None, decimal_bytes: None }
    }
}

/// A column's final type and what makes its values that.
pub(crate) fn choose(
    dialect: Dialect,
    sent: Option<&Sent>,
    declared: Option<&Declaration>,
) -> (ColumnType, Conversion) {
    let Some(wanted) = declared.or(sent.map(|s| &s.declaration)) else {
        return (ColumnType::Unknown, Conversion::AsIs);
    };
    let debezium = matches!(dialect, Dialect::DebeziumPlain | Dialect::DebeziumSchema);
    let bits = if debezium { Bits::LittleEndian } else { Bits::Digits };
    let unit = |otherwise| sent.and_then(|s| s.unit).unwrap_or(otherwise);
    // Debezium's `adaptive_time_microseconds`: the unit follows the declared digits.
    let adaptive = if wanted.fraction > 3 { Unit::Microseconds } else { Unit::Milliseconds };
    // Canal's numbers count in the labels that the source has, whatever the configuration says.
    let labels_sent = sent.filter(|_| dialect == Dialect::Canal).map(|s| &s.declaration.column_type);
    let conversion = match &wanted.column_type {
        ColumnType::Unknown => Conversion::AsIs,
        ColumnType::Integer { unsigned } => {
            Conversion::Integer { unsigned: *unsigned, is_bigint: wanted.is_bigint && debezium }
        }
        ColumnType::Boolean => Conversion::Boolean { bits },
        ColumnType::Bit => Conversion::Bit { bits },
        ColumnType::Float | ColumnType::Double => Conversion::Float,
        ColumnType::Decimal { scale } => Conversion::Decimal {
            scale: *scale,
            bytes: match (dialect, sent.and_then(|s| s.decimal_bytes)) {
                (_, Some(scale)) => DecimalBytes::Always { scale },
                (Dialect::DebeziumPlain, None) => DecimalBytes::IfNoPoint,
                _ => DecimalBytes::Never,
            },
        },
        ColumnType::Date => Conversion::Date,
        ColumnType::Time => Conversion::Time { unit: unit(Unit::Microseconds) },
        ColumnType::DateTime => Conversion::DateTime { unit: unit(adaptive) },
        ColumnType::Timestamp => Conversion::Timestamp { unit: unit(adaptive) },
        ColumnType::Text | ColumnType::LongText => Conversion::Text,
        // The tools write geometries each in its own way; only Canal's is bytes.
        ColumnType::Binary if wanted.is_geometry && dialect != Dialect::Canal => {
            return (ColumnType::Unknown, Conversion::AsIs);
        }
        ColumnType::Binary if dialect == Dialect::Canal => Conversion::Latin1 { length: wanted.binary_length },
        ColumnType::Binary => Conversion::Base64 { length: wanted.binary_length },
        ColumnType::Enum { labels } if dialect == Dialect::Canal => {
            let labels = match labels_sent {
                Some(ColumnType::Enum { labels }) => labels,
                _ => labels,
            };
            Conversion::EnumIndex { labels: labels.iter().map(|l| text::spelled(l)).collect() }
        }
        ColumnType::Set { labels } if dialect == Dialect::Canal => {
            let labels = match labels_sent {
                Some(ColumnType::Set { labels }) => labels,
                _ => labels,
            };
            Conversion::SetMask { labels: labels.iter().map(|l| text::spelled(l)).collect() }
        }
        ColumnType::Enum { .. } => Conversion::EnumLabel,
        ColumnType::Set { .. } => Conversion::SetLabels,
        ColumnType::Json => Conversion::Json,
    };
    (wanted.column_type.clone(), conversion)
}
