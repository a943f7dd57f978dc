//! Debezium's schemas: recognised by their bytes and parsed once each.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::DecodeError;
use crate::json::push_string;
use crate::settings::Format;
use crate::types::{ColumnType, Declaration};
use crate::value::{SourceType, Unit};

/// Most different schemas. More are a sign of messages that are not Debezium's.
const MAX_SCHEMAS: usize = 10_000;
/// The schemas of all topics.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    by_bytes: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    columns: Vec<Columns>,
}

/// The columns that a schema describes: names as messages write them, and types if declared.
pub(super) type Columns = Vec<(Vec<u8>, Option<SourceType>)>;

impl Schemas {
    pub fn number(&mut self, bytes: &[u8]) -> Result<u32, DecodeError> {
        if let Some(&known) = self.by_bytes.get(bytes) {
            return Ok(known);
        }
        let wrong = |expected| DecodeError::Envelope { format: Format::Debezium, expected };
        if self.columns.len() >= MAX_SCHEMAS {
            return Err(wrong("at most 10000 different schemas"));
        }
        let schema: Value = serde_json::from_slice(bytes).map_err(|_| wrong("a Kafka Connect schema"))?;
        self.columns.push(columns(&schema));
        let number = self.columns.len() as u32 - 1;
        self.by_bytes.insert(bytes.into(), number);
        Ok(number)
    }

    /// The columns of the schema with this number.
    pub fn columns(&self, schema: u32) -> &Columns {
        &self.columns[schema as usize]
    }
}

/// The columns of a row's schema: those of an envelope's `after`, or of an unwrapped row.
fn columns(schema: &Value) -> Columns {
    let fields = |schema: &Value| schema["fields"].as_array().cloned().unwrap_or_default();
    let top = fields(schema);
    let image = |name: &str| top.iter().find(|f| f["field"] == name && f["type"] == "struct").map(fields);
    let columns = match image("after").or_else(|| image("before")) {
        Some(columns) if top.iter().any(|f| f["field"] == "op") => columns,
        _ => top.into_iter().filter(|f| !f["field"].as_str().is_some_and(|n| n.starts_with("__"))).collect(),
    };
    let column = |field: &Value| {
        let mut name = Vec::new();
        push_string(field["field"].as_str().unwrap_or_default().as_bytes(), &mut name);
        (name[1..name.len() - 1].to_vec(), source_type(field))
    };
    columns.iter().map(column).collect()
}

/// The type that a field's schema declares; `None` if values need no conversion.
fn source_type(field: &Value) -> Option<SourceType> {
    let name = field["name"].as_str().unwrap_or_default();
    let parameter = |name: &str| field["parameters"][name].as_str().unwrap_or_default();
    let labels = || parameter("allowed").split(',').map(str::to_owned).collect();
    let (mut unit, mut decimal_bytes) = (None, None);
    let mut counts = |what, unit_of| {
        unit = Some(unit_of);
        what
    };
    let column_type = match name.rsplit_once('.').unwrap_or(("", name)) {
        ("io.debezium.time" | "org.apache.kafka.connect.data", "Date") => ColumnType::Date,
        ("io.debezium.time", "IsoDate") => ColumnType::Date,
        ("io.debezium.time" | "org.apache.kafka.connect.data", "Time") => counts(ColumnType::Time, Unit::Milliseconds),
        ("io.debezium.time", "MicroTime") => counts(ColumnType::Time, Unit::Microseconds),
        ("io.debezium.time", "NanoTime") => counts(ColumnType::Time, Unit::Nanoseconds),
        ("io.debezium.time", "IsoTime" | "ZonedTime") => ColumnType::Time,
        ("io.debezium.time" | "org.apache.kafka.connect.data", "Timestamp") => {
            counts(ColumnType::DateTime, Unit::Milliseconds)
        }
        ("io.debezium.time", "MicroTimestamp") => counts(ColumnType::DateTime, Unit::Microseconds),
        ("io.debezium.time", "NanoTimestamp") => counts(ColumnType::DateTime, Unit::Nanoseconds),
        ("io.debezium.time", "ZonedTimestamp" | "IsoTimestamp") => ColumnType::Timestamp,
        ("io.debezium.time", "Year") => ColumnType::Integer { unsigned: false },
        ("org.apache.kafka.connect.data", "Decimal") => {
            let scale = parameter("scale").parse().ok().filter(|&s: &u32| s <= 100)?;
            decimal_bytes = Some(scale);
            ColumnType::Decimal { scale: Some(scale) }
        }
        ("io.debezium.data", "Bits") => ColumnType::Bit,
        ("io.debezium.data", "Enum") => ColumnType::Enum { labels: labels() },
        ("io.debezium.data", "EnumSet") => ColumnType::Set { labels: labels() },
        ("io.debezium.data", "Json") => ColumnType::Json,
        ("io.debezium.data", "Uuid" | "Xml") => ColumnType::Text,
        ("", "") => match field["type"].as_str()? {
            "int8" | "int16" | "int32" | "int64" => ColumnType::Integer { unsigned: false },
            "float" | "float32" => ColumnType::Float,
            "double" | "float64" => ColumnType::Double,
            "boolean" => ColumnType::Bit,
            "string" => ColumnType::Text,
            "bytes" => ColumnType::Binary,
            _ => return None,
        },
        _ => return None,
    };
    let declaration = Declaration { column_type, fraction: 0, is_bigint: false, binary_length: 0, is_geometry: false };
    Some(SourceType { declaration, unit, decimal_bytes })
}
