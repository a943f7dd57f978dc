//! Detects which tool wrote a message.

use crate::error::DecodeError;
use crate::json::Cursor;
use crate::settings::Format;

/// Detects the format from the message's top-level members; `None` if they match no tool.
pub(crate) fn detect(mut cursor: Cursor<'_>, topic: &str) -> Result<Option<Format>, DecodeError> {
    if topic.starts_with("__debezium") {
        return Ok(Some(Format::Debezium));
    }
    let mut has = Members::default();
    cursor.skip_whitespace();
    if cursor.peek() != b'{' {
        cursor.skip_value()?;
        cursor.expect_end()?;
        return Ok(None);
    }
    cursor.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let (value_from, value_to) = cursor.skip_value()?;
        let value = &cursor.bytes()[value_from..value_to];
        let flag = match &cursor.bytes()[from..to] {
            b"isDdl" => Members::IS_DDL,
            b"mysqlType" => Members::MYSQL_TYPE,
            b"pkNames" => Members::PK_NAMES,
            b"data" => Members::DATA,
            b"database" if value[0] == b'"' => Members::DATABASE,
            b"table" if value[0] == b'"' => Members::TABLE,
            b"type" if value.starts_with(b"\"database-") => Members::TYPE | Members::TABLE,
            b"type" if is_maxwell_type(value) => Members::TYPE,
            b"op" if value[0] == b'"' => Members::OP,
            b"source" if value[0] == b'{' => Members::SOURCE,
            b"schema" if matches!(value[0], b'{' | b'n') => Members::SCHEMA,
            b"payload" => Members::PAYLOAD,
            b"ddl" | b"tableChanges" => Members::DDL,
            b"status" => Members::STATUS,
            b"event_count" => Members::EVENT_COUNT,
            b"ts_ms" | b"ts_us" | b"ts_ns" => Members::TIME,
            name if name.starts_with(b"__") => Members::UNWRAPPED,
            _ => Members::OTHER,
        };
        has.0 |= flag;
    }
    cursor.expect_end()?;
    let all = |flags: u32| has.0 & flags == flags;
    let debezium = all(Members::UNWRAPPED)
        || all(Members::SCHEMA | Members::PAYLOAD)
        || all(Members::OP | Members::SOURCE)
        || all(Members::DDL | Members::SOURCE)
        || all(Members::STATUS | Members::EVENT_COUNT)
        || has.0 == Members::TIME;
    Ok(if debezium {
        Some(Format::Debezium)
    } else if all(Members::IS_DDL) || all(Members::DATA | Members::MYSQL_TYPE) || all(Members::PK_NAMES | Members::DATA)
    {
        Some(Format::Canal)
    } else if all(Members::DATABASE | Members::TABLE | Members::TYPE) {
        Some(Format::Maxwell)
    } else {
        None
    })
}

fn is_maxwell_type(value: &[u8]) -> bool {
    const TYPES: [&[u8]; 4] = [b"\"insert\"", b"\"update\"", b"\"delete\"", b"\"bootstrap-"];
    TYPES.iter().any(|t| value.starts_with(t)) || value.starts_with(b"\"table-")
}

/// The members of a message that identify a format, one bit each.
#[derive(Default)]
struct Members(u32);

impl Members {
    const IS_DDL: u32 = 1;
    const MYSQL_TYPE: u32 = 1 << 1;
    const PK_NAMES: u32 = 1 << 2;
    const DATA: u32 = 1 << 3;
    const DATABASE: u32 = 1 << 4;
    const TABLE: u32 = 1 << 5;
    const TYPE: u32 = 1 << 6;
    const OP: u32 = 1 << 7;
    const SOURCE: u32 = 1 << 8;
    const SCHEMA: u32 = 1 << 9;
    const PAYLOAD: u32 = 1 << 10;
    const DDL: u32 = 1 << 11;
    const STATUS: u32 = 1 << 12;
    const EVENT_COUNT: u32 = 1 << 13;
    const TIME: u32 = 1 << 14;
    const UNWRAPPED: u32 = 1 << 15;
    const OTHER: u32 = 1 << 16;
}
