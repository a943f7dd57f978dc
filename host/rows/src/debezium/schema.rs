//! Debezium's schemas: recognised by their bytes, read once each.

use std::collections::HashMap;

use serde_json::Value;

use super::Work;
use crate::decoder::work::begin_signature;
use crate::error::DecodeError;
use crate::json::push_string;
use crate::settings::Format;
use crate::table::NewShape;
use crate::types::{ColumnType, Declaration};
use crate::value::{Dialect, Sent, Unit};

/// More different schemas than this are no schemas.
const MAX_SCHEMAS: usize = 10_000;
/// So many of a topic's last schemas are tried before the others are.
const MAX_RECENT: usize = 4;

/// The schemas that all topics had.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    by_bytes: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    columns: Vec<Vec<(Vec<u8>, Option<Sent>)>>,
}

/// A message `{"schema":…,"payload":…}`.
pub(super) struct Wrapped {
    /// The schema's number; `None` if it is `null`.
    pub schema: Option<u32>,
    /// Where the payload begins.
    pub payload: usize,
    /// Whether the whole message has been walked over already.
    pub is_checked: bool,
}

/// Finds schema and payload; `None` if the message is not wrapped so.
#[inline]
pub(super) fn unwrap(work: &mut Work<'_>) -> Result<Option<Wrapped>, DecodeError> {
    let start = work.walk.at();
    let ahead = &work.walk.bytes()[start..];
    let recent = &mut work.state.topic.recent;
    if let Some(n) = recent.iter().position(|(beginning, _)| ahead.starts_with(beginning)) {
        recent.swap(0, n);
        let (beginning, schema) = &recent[0];
        let payload = start + beginning.len();
        return Ok(Some(Wrapped { schema: Some(*schema), payload, is_checked: false }));
    }
    let mut walk = work.walk.clone();
    walk.enter_object()?;
    walk.white();
    let name_ahead = &walk.bytes()[walk.at()..];
    if !name_ahead.starts_with(b"\"schema\"") && !name_ahead.starts_with(b"\"payload\"") {
        return Ok(None);
    }
    unwrap_new(work, start)
}

#[cold]
fn unwrap_new(work: &mut Work<'_>, start: usize) -> Result<Option<Wrapped>, DecodeError> {
    let mut walk = work.walk.clone();
    let bytes = walk.bytes();
    let (mut schema, mut payload, mut first) = (None, None, true);
    walk.enter_object()?;
    while let Some((from, to)) = walk.member(&mut first)? {
        let (value_from, value_to) = walk.value()?;
        match &bytes[from..to] {
            b"schema" => schema = Some((value_from, value_to)),
            b"payload" => payload = Some((value_from, value_to)),
            _ => return Ok(None),
        }
    }
    walk.end()?;
    let (Some((schema_from, schema_to)), Some((payload, payload_end))) = (schema, payload) else {
        return Ok(None);
    };
    let schema = &bytes[schema_from..schema_to];
    if schema == b"null" || bytes[payload] == b'n' {
        return Ok(Some(Wrapped { schema: None, payload, is_checked: true }));
    }
    if schema[0] != b'{' || !matches!(bytes[payload], b'{') || payload_end == payload {
        return Ok(None);
    }
    let schema = work.state.schemas.number(schema)?;
    // Only what ends in the payload can be recognised by its beginning.
    if payload > schema_to {
        let recent = &mut work.state.topic.recent;
        recent.truncate(MAX_RECENT - 1);
        recent.insert(0, (bytes[start..payload].into(), schema));
    }
    Ok(Some(Wrapped { schema: Some(schema), payload, is_checked: true }))
}

impl Schemas {
    fn number(&mut self, bytes: &[u8]) -> Result<u32, DecodeError> {
        if let Some(&known) = self.by_bytes.get(bytes) {
            return Ok(known);
        }
        let wrong = |expected| DecodeError::Envelope { format: Format::Debezium, expected };
        if self.columns.len() >= MAX_SCHEMAS {
            return Err(wrong("at most 10000 different schemas"));
        }
        let schema: Value = serde_json::from_slice(bytes).map_err(|_| wrong("a schema of Kafka Connect's"))?;
        self.columns.push(columns(&schema));
        let number = self.columns.len() as u32 - 1;
        self.by_bytes.insert(bytes.into(), number);
        Ok(number)
    }
}

/// The shape that a schema describes.
#[cold]
pub(super) fn shape(work: &mut Work<'_>, schema: u32, database: &[u8], table: &[u8]) -> Result<u32, DecodeError> {
    let signature = &mut work.buffers.signature;
    let types = schema.to_le_bytes();
    begin_signature(signature, Dialect::DebeziumSchema, database, table, &work.buffers.key);
    signature.extend_from_slice(&types);
    if let Some(shape) = work.tables.find(signature) {
        return Ok(shape);
    }
    let new = NewShape {
        dialect: Dialect::DebeziumSchema,
        database,
        table,
        columns: work.state.schemas.columns[schema as usize].clone(),
        key_columns: work.key_columns(),
        key: &work.buffers.key,
        types: &types,
    };
    work.tables.add(&work.buffers.signature, new)
}

/// The columns of a row's schema: those of an envelope's `after`, or of an unwrapped row.
fn columns(schema: &Value) -> Vec<(Vec<u8>, Option<Sent>)> {
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
        (name[1..name.len() - 1].to_vec(), sent(field))
    };
    columns.iter().map(column).collect()
}

/// The type that a field's schema tells; `None` where the value shall pass as it is.
fn sent(field: &Value) -> Option<Sent> {
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
    Some(Sent { declaration, unit, decimal_bytes })
}
