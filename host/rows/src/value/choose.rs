//! Chooses a column's conversion from the tool, the type that the message declares and the configured type.

use super::converted::{Bits, DecimalBytes, Unit};
use super::{Conversion, text};
use crate::types::{ColumnType, Declaration};

/// How a tool encodes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    Canal,
    /// With a schema that declares how each value is encoded.
    DebeziumSchema,
    /// Without one.
    DebeziumPlain,
    Maxwell,
}

/// A column's type as its message declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceType {
    pub declaration: Declaration,
    /// The unit of times that are sent as numbers.
    pub unit: Option<Unit>,
    /// The scale of decimals that are sent as bytes.
    pub decimal_bytes: Option<u32>,
}

impl SourceType {
    /// A type without hints about its encoding.
    pub fn of(declaration: Declaration) -> Self {
        Self { declaration, unit: None, decimal_bytes: None }
    }
}

/// A column's final type, and the conversion of its values to it.
pub(crate) fn choose(
    dialect: Dialect,
    source: Option<&SourceType>,
    declared: Option<&Declaration>,
) -> (ColumnType, Conversion) {
    let Some(wanted) = declared.or(source.map(|s| &s.declaration)) else {
        return (ColumnType::Unknown, Conversion::AsIs);
    };
    let debezium = matches!(dialect, Dialect::DebeziumPlain | Dialect::DebeziumSchema);
    let bits = if debezium { Bits::LittleEndian } else { Bits::Digits };
    let unit = |otherwise| source.and_then(|s| s.unit).unwrap_or(otherwise);
    // Debezium's `adaptive_time_microseconds`: the unit depends on the declared number of fraction digits.
    let adaptive = if wanted.fraction > 3 { Unit::Microseconds } else { Unit::Milliseconds };
    // Canal's numbers refer to the labels of the source's type, even if the configuration declares other labels.
    let source_labels = source.filter(|_| dialect == Dialect::Canal).map(|s| &s.declaration.column_type);
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
            bytes: match (dialect, source.and_then(|s| s.decimal_bytes)) {
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
        // Every tool encodes geometries differently; only Canal sends bytes.
        ColumnType::Binary if wanted.is_geometry && dialect != Dialect::Canal => {
            return (ColumnType::Unknown, Conversion::AsIs);
        }
        ColumnType::Binary if dialect == Dialect::Canal => Conversion::Latin1 { length: wanted.binary_length },
        ColumnType::Binary => Conversion::Base64 { length: wanted.binary_length },
        ColumnType::Enum { labels } if dialect == Dialect::Canal => {
            let labels = match source_labels {
                Some(ColumnType::Enum { labels }) => labels,
                _ => labels,
            };
            Conversion::EnumIndex { labels: labels.iter().map(|l| text::json_string(l)).collect() }
        }
        ColumnType::Set { labels } if dialect == Dialect::Canal => {
            let labels = match source_labels {
                Some(ColumnType::Set { labels }) => labels,
                _ => labels,
            };
            Conversion::SetMask { labels: labels.iter().map(|l| text::json_string(l)).collect() }
        }
        ColumnType::Enum { .. } => Conversion::EnumLabel,
        ColumnType::Set { .. } => Conversion::SetLabels,
        ColumnType::Json => Conversion::Json,
    };
    (wanted.column_type.clone(), conversion)
}
