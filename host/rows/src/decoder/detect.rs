//! Which tool wrote a message.

use crate::error::DecodeError;
use crate::json::Walk;
use crate::settings::Format;

/// The tool that wrote the message, by its outermost members; `None` if they tell nothing.
pub(crate) fn detect(mut walk: Walk<'_>, topic: &str) -> Result<Option<Format>, DecodeError> {
    if topic.starts_with("__debezium") {
        return Ok(Some(Format::Debezium));
    }
    let mut has = Names::default();
    walk.white();
    if walk.peek() != b'{' {
        walk.value()?;
        walk.end()?;
        return Ok(None);
    }
    walk.enter_object()?;
    let mut first = true;
    while let Some((from, to)) = walk.member(&mut first)? {
        let (value_from, value_to) = walk.value()?;
        let value = &walk.bytes()[value_from..value_to];
        let flag = match &walk.bytes()[from..to] {
            b"isDdl" => Names::IS_DDL,
            b"mysqlType" => Names::MYSQL_TYPE,
            b"pkNames" => Names::PK_NAMES,
            b"data" => Names::DATA,
            b"database" if value[0] == b'"' => Names::DATABASE,
            b"table" if value[0] == b'"' => Names::TABLE,
            b"type" if value.starts_with(b"\"database-") => Names::TYPE | Names::TABLE,
            b"type" if is_maxwell_type(value) => Names::TYPE,
            b"op" if value[0] == b'"' => Names::OP,
            b"source" if value[0] == b'{' => Names::SOURCE,
            b"schema" if matches!(value[0], b'{' | b'n') => Names::SCHEMA,
            b"payload" => Names::PAYLOAD,
            b"ddl" | b"tableChanges" => Names::DDL,
            b"status" => Names::STATUS,
            b"event_count" => Names::EVENT_COUNT,
            b"ts_ms" | b"ts_us" | b"ts_ns" => Names::TIME,
            name if name.starts_with(b"__") => Names::UNWRAPPED,
            _ => Names::OTHER,
        };
        has.0 |= flag;
    }
    walk.end()?;
    let all = |flags: u32| has.0 & flags == flags;
    let debezium = all(Names::UNWRAPPED)
        || all(Names::SCHEMA | Names::PAYLOAD)
        || all(Names::OP | Names::SOURCE)
        || all(Names::DDL | Names::SOURCE)
        || all(Names::STATUS | Names::EVENT_COUNT)
        || has.0 == Names::TIME;
    Ok(if debezium {
        Some(Format::Debezium)
    } else if all(Names::IS_DDL) || all(Names::DATA | Names::MYSQL_TYPE) || all(Names::PK_NAMES | Names::DATA) {
        Some(Format::Canal)
    } else if all(Names::DATABASE | Names::TABLE | Names::TYPE) {
        Some(Format::Maxwell)
    } else {
        None
    })
}

fn is_maxwell_type(value: &[u8]) -> bool {
    const TYPES: [&[u8]; 4] = [b"\"insert\"", b"\"update\"", b"\"delete\"", b"\"bootstrap-"];
    TYPES.iter().any(|t| value.starts_with(t)) || value.starts_with(b"\"table-")
}

/// Which telling members a message has; a bit each.
#[derive(Default)]
struct Names(u32);

impl Names {
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
