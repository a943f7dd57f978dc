//! The records of each tool about changes of tables in the database `shop`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Change, Row};
use crate::captures::Record;

/// A tool that reports changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the tools' names")]
pub enum Tool {
    Canal,
    Debezium,
    DebeziumWithSchema,
    Unwrapped,
    Maxwell,
}

/// A record and the change that it reports.
#[derive(Clone, Debug)]
pub struct ReportedRecord {
    /// The record.
    pub record: Record,
    /// The number of the change.
    pub change: usize,
    /// True if it contains the after image.
    pub has_after: bool,
    /// How many operations a plugin that keeps rows makes of it: writes, deletes and truncates.
    pub operations: u64,
}

impl Tool {
    /// Returns true if it reports a TRUNCATE. Debezium's unwrapping drops the event, since it has no row.
    pub fn tells_truncates(self) -> bool {
        self != Self::Unwrapped
    }

    /// The records of all changes, each in the partition of its key, with the offsets of their partitions. A table has a topic
    /// of three partitions. Each change has a position and a second of its own.
    pub fn records(self, changes: &[Change]) -> Vec<ReportedRecord> {
        let mut reported: Vec<ReportedRecord> = Vec::new();
        let mut ends: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        let mut add =
            |change: usize, has_after: bool, operations: u64, id: u32, key: Option<String>, value: Option<String>| {
                let table = changes[change].table();
                let partition = (id % 3) as i32;
                let end = ends.entry((table, partition)).or_default();
                let mut record = Record::new(&format!("tool.shop.{table}"), *end, "");
                *end += 1;
                record.partition = partition;
                record.key = key.map(String::into_bytes);
                record.value = value.map(String::into_bytes);
                reported.push(ReportedRecord { record, change, has_after, operations });
            };
        for (number, change) in changes.iter().enumerate() {
            // Each change has its own second, since Canal's times are whole seconds: within one second, a TRUNCATE and a row, or
            // two changes of a document, in two partitions have no order (docs/versions.md).
            let second = 1_795_216_000 + number as i64;
            let place = 1_000 + 200 * number;
            let table = change.table();
            let (before, after) = match change {
                Change::Row { before, after, .. } => (before, after),
                Change::Truncate { .. } => {
                    // Without a key, so in any partition.
                    add(number, false, 1, number as u32, None, Some(self.truncate(table, second, place)));
                    continue;
                }
            };
            let has_parent = after.as_ref().or(before.as_ref()).is_some_and(|row| row.parent.is_some());
            let id = after.as_ref().or(before.as_ref()).map_or(0, |row| row.id);
            let has_after = after.is_some();
            let operations = operations(before.as_ref(), after.as_ref());
            match self {
                Self::Canal => {
                    let value = canal(table, before.as_ref(), after.as_ref(), second).to_string();
                    add(number, has_after, operations, id, None, Some(value));
                }
                Self::Maxwell => {
                    let key = json!({ "database": "shop", "table": table, "pk.id": id });
                    let value = maxwell(table, before.as_ref(), after.as_ref(), second, place);
                    add(number, has_after, operations, id, Some(key.to_string()), Some(value.to_string()));
                }
                Self::Debezium | Self::DebeziumWithSchema | Self::Unwrapped => {
                    let moved =
                        before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| before.id != after.id);
                    // A changed key is a delete and a create from one binlog event.
                    let steps = match moved {
                        true => vec![(before.as_ref(), None), (None, after.as_ref())],
                        false => vec![(before.as_ref(), after.as_ref())],
                    };
                    for (before, after) in steps {
                        let id = after.or(before).map_or(0, |row| row.id);
                        let key = json!({ "id": id });
                        let (key, value) = match self {
                            Self::Debezium => {
                                (key.to_string(), debezium(table, before, after, second, place).to_string())
                            }
                            Self::Unwrapped => {
                                (key.to_string(), unwrapped(table, before, after, second, place).to_string())
                            }
                            _ => (
                                with_schema(&key_schema(table), &key, number),
                                with_schema(
                                    &envelope_schema(table, has_parent),
                                    &debezium(table, before, after, second, place),
                                    number,
                                ),
                            ),
                        };
                        add(number, after.is_some(), 1, id, Some(key.clone()), Some(value));
                        if after.is_none() {
                            add(number, false, 0, id, Some(key), None);
                        }
                    }
                }
            }
        }
        reported
    }

    fn truncate(self, table: &str, second: i64, place: usize) -> String {
        let value = match self {
            Self::Canal => json!({
                "data": null, "database": "shop", "table": table, "type": "TRUNCATE", "isDdl": true, "old": null,
                "sql": format!("TRUNCATE TABLE {table}"), "id": 1, "es": second * 1000, "ts": second * 1000 + 300, "pkNames": null,
                "mysqlType": null, "sqlType": null,
            }),
            Self::Maxwell => json!({
                "type": "table-truncate", "database": "shop", "table": table, "ts": second * 1000,
                "sql": format!("TRUNCATE TABLE {table}"), "position": format!("binlog.000001:{place}"),
            }),
            Self::Debezium | Self::DebeziumWithSchema => {
                let mut value = debezium(table, None, None, second, place);
                value["op"] = "t".into();
                match self {
                    Self::Debezium => value,
                    _ => return with_schema(&envelope_schema(table, false), &value, place),
                }
            }
            Self::Unwrapped => unreachable!("it tells of none"),
        };
        value.to_string()
    }
}

/// How many operations a row's change makes: a write of the new document, and a delete of the old one if it has another ID.
fn operations(before: Option<&Row>, after: Option<&Row>) -> u64 {
    let is_gone = before.is_some_and(|before| after.is_none_or(|after| after.id != before.id));
    u64::from(after.is_some()) + u64::from(is_gone)
}

/// The columns' types as Kafka Connect names them.
fn columns_schema(has_parent: bool) -> Value {
    let mut columns = json!([
        { "type": "int32", "optional": false, "field": "id" }, { "type": "string", "optional": false, "field": "kind" },
        { "type": "string", "optional": false, "field": "name" }, { "type": "int16", "optional": false, "field": "count" },
    ]);
    if let (true, Some(columns)) = (has_parent, columns.as_array_mut()) {
        columns.push(json!({ "type": "int32", "optional": true, "field": "parent" }));
    }
    columns
}

fn key_schema(table: &str) -> Value {
    let name = format!("tool.shop.{table}.Key");
    json!({ "type": "struct", "optional": false, "name": name, "fields": [columns_schema(false)[0]] })
}

/// A payload with its schema before it, as the JSON converter writes it by default, or every third time after it, as a tool that
/// rewrites the JSON may do.
fn with_schema(schema: &Value, payload: &Value, number: usize) -> String {
    match number % 3 {
        0 => format!("{{\"payload\":{payload},\"schema\":{schema}}}"),
        _ => format!("{{\"schema\":{schema},\"payload\":{payload}}}"),
    }
}

/// The schema of an event in its envelope.
fn envelope_schema(table: &str, has_parent: bool) -> Value {
    let name = format!("tool.shop.{table}.Value");
    let columns = columns_schema(has_parent);
    let row = |field| json!({ "type": "struct", "fields": columns, "optional": true, "name": name, "field": field });
    let field = |name: &str, kind: &str| json!({ "type": kind, "optional": true, "field": name });
    let source = ["version", "connector", "name", "snapshot", "db", "table", "file"].map(|name| field(name, "string"));
    let numbers = ["ts_ms", "server_id", "pos"].map(|name| field(name, "int64"));
    let source: Vec<Value> = source.into_iter().chain(numbers).chain([field("row", "int32")]).collect();
    json!({
        "type": "struct", "optional": false, "name": format!("tool.shop.{table}.Envelope"), "version": 2,
        "fields": [
            row("before"), row("after"),
            { "type": "struct", "fields": source, "optional": false, "name": "io.debezium.connector.mysql.Source", "field": "source" },
            field("op", "string"), field("ts_ms", "int64"),
        ],
    })
}

fn texts(row: &Row) -> Value {
    let mut texts =
        json!({ "id": row.id.to_string(), "kind": row.kind, "name": row.name, "count": row.count.to_string() });
    if let Some(parent) = row.parent {
        texts["parent"] = parent.to_string().into();
    }
    texts
}

/// The differing columns of the before image.
fn old(before: &Value, after: &Value) -> Value {
    let fields = before.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| after[name.as_str()] != **value)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn canal(table: &str, before: Option<&Row>, after: Option<&Row>, second: i64) -> Value {
    let (kind, data, old) = match (before, after) {
        (Some(before), Some(after)) => ("UPDATE", texts(after), json!([old(&texts(before), &texts(after))])),
        (None, Some(after)) => ("INSERT", texts(after), Value::Null),
        (before, None) => ("DELETE", before.map(texts).unwrap_or_default(), Value::Null),
    };
    let mut types = json!({ "id": "int", "kind": "char(1)", "name": "varchar(20)", "count": "tinyint" });
    let mut numbers = json!({ "id": 4, "kind": 1, "name": 12, "count": -6 });
    if after.or(before).is_some_and(|row| row.parent.is_some()) {
        types["parent"] = "int".into();
        numbers["parent"] = 4.into();
    }
    json!({
        "data": [data], "database": "shop", "table": table, "type": kind, "isDdl": false, "old": old, "sql": "", "id": 1,
        "es": second * 1000, "ts": second * 1000 + 300, "pkNames": ["id"],
        "mysqlType": types, "sqlType": numbers,
    })
}

fn maxwell(table: &str, before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    let mut value = json!({
        "database": "shop", "table": table, "ts": second, "xid": place, "xoffset": 0, "commit": true,
        "position": format!("binlog.000001:{place}"), "server_id": 1,
    });
    let (kind, row) = match (before, after) {
        (Some(before), Some(after)) => {
            value["old"] = old(&before.cells(), &after.cells());
            ("update", after)
        }
        (None, Some(after)) => ("insert", after),
        (Some(before), None) => ("delete", before),
        (None, None) => unreachable!("a change has a row"),
    };
    value["type"] = kind.into();
    value["data"] = row.cells();
    value["primary_key"] = json!([row.id]);
    value
}

fn operation(before: Option<&Row>, after: Option<&Row>) -> &'static str {
    match (before, after) {
        (None, _) => "c",
        (_, None) => "d",
        _ => "u",
    }
}

fn debezium(table: &str, before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    json!({
        "before": before.map(Row::cells), "after": after.map(Row::cells), "op": operation(before, after), "ts_ms": second * 1000 + 300,
        "source": {
            "version": "3.5.0.Final", "connector": "mysql", "name": "tool", "ts_ms": second * 1000, "snapshot": "false", "db": "shop",
            "table": table, "server_id": 1, "file": "binlog.000001", "pos": place, "row": 0,
        },
    })
}

fn unwrapped(table: &str, before: Option<&Row>, after: Option<&Row>, second: i64, place: usize) -> Value {
    let mut value = after.or(before).map(Row::cells).unwrap_or_default();
    value["__op"] = operation(before, after).into();
    value["__deleted"] = if after.is_none() { "true" } else { "false" }.into();
    value["__table"] = table.into();
    value["__source_db"] = "shop".into();
    value["__source_file"] = "binlog.000001".into();
    value["__source_pos"] = place.into();
    value["__source_row"] = 0.into();
    value["__source_ts_ms"] = (second * 1000).into();
    value
}
