//! Captures of real tools: replaying them gives the tables' contents, and all tools report the same changes.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use rowmill_rows::{Format, Operation};
use support::*;

/// Values that a capture lost; see the fixtures' README.
fn is_lost(capture: &str, table: &str, column: &str) -> bool {
    capture == "maxwell/records"
        && matches!(
            (table, column),
            ("trade", "cutoff" | "pay_time" | "created_at" | "updated_at") | ("orders", "ordered_at")
        )
}

/// An expected value (MariaDB's text) as the JSON of a cell.
fn cell_json(column_type: &str, value: &serde_json::Value) -> String {
    let upper = column_type.to_ascii_uppercase();
    let Some(text) = value.as_str() else {
        return match (upper.starts_with("BOOLEAN"), value.as_i64()) {
            (true, Some(n)) => (n != 0).to_string(),
            _ => value.to_string(),
        };
    };
    let text = if upper.starts_with("JSON") {
        return text.to_owned();
    } else if upper.starts_with("DATE") || upper.starts_with("TIME") {
        let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = format!("{fraction:0<6}");
        let fraction = match fraction.strip_suffix("000") {
            Some("000") => String::new(),
            Some(millis) => format!(".{millis}"),
            None => format!(".{fraction}"),
        };
        let zone = if upper.starts_with("TIMESTAMP") { "Z" } else { "" };
        let clock = clock.replace(' ', "T");
        if upper.starts_with("DATE ") || upper == "DATE" { clock } else { format!("{clock}{fraction}{zone}") }
    } else {
        text.to_owned()
    };
    serde_json::to_string(&text).unwrap()
}

/// A value independent of the tool's encoding: floats as numbers, strings without escapes.
fn comparable(column_type: &str, text: &str) -> String {
    let upper = column_type.to_ascii_uppercase();
    if upper.starts_with("FLOAT") && text != "null" {
        return format!("{:?}", text.parse::<f32>().unwrap());
    }
    if upper.starts_with("DOUBLE") && text != "null" {
        return format!("{:?}", text.parse::<f64>().unwrap());
    }
    if upper.starts_with("JSON") {
        return text.to_owned();
    }
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value.to_string()
}

fn column_types() -> BTreeMap<(String, String), String> {
    let tables = schema().into_iter();
    tables.flat_map(|(t, columns)| columns.into_iter().map(move |(c, ty)| ((t.clone(), c), ty))).collect()
}

#[test]
fn captures_replay_to_the_tables() {
    let types = column_types();
    for capture in CAPTURES {
        for format in [Format::Auto, format_of(capture)] {
            let decoded = decode_capture(format, capture, &mut decoder(declared()));
            assert_eq!(decoded.errors, [""; 0], "{capture}");
            let mut state: BTreeMap<String, BTreeMap<Vec<String>, Image>> = BTreeMap::new();
            for row in decoded.rows {
                let rows = state.entry(row.table.clone()).or_default();
                if row.operation == Operation::Truncate {
                    rows.clear();
                }
                if let Some(before) = &row.before {
                    rows.remove(&row.key_of(before));
                }
                if let Some(after) = &row.after {
                    rows.insert(row.key_of(after), after.clone());
                }
            }
            for table in TABLES {
                let rows = &state[&format!("shop.{table}")];
                let expected = fixture(&format!("expected/{table}.ndjson"));
                let mut n_expected = 0;
                for line in expected.lines() {
                    n_expected += 1;
                    let want: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
                    let expected_json = |c: &str| cell_json(&types[&(table.to_owned(), c.to_owned())], &want[c]);
                    let key: &[&str] = match table {
                        "customers" => &["customer_no"],
                        "order_items" => &["order_id", "line_no"],
                        _ => &["id"],
                    };
                    let key: Vec<String> = key.iter().map(|k| expected_json(k)).collect();
                    let row = rows.get(&key).unwrap_or_else(|| panic!("{capture} {table}: no {key:?}"));
                    assert_eq!(row.len(), want.len(), "{capture} {table} {key:?}");
                    for column in want.keys() {
                        if is_lost(capture, table, column) {
                            continue;
                        }
                        let column_type = &types[&(table.to_owned(), column.clone())];
                        assert_eq!(
                            comparable(column_type, &row[column]),
                            comparable(column_type, &expected_json(column)),
                            "{capture} {table} {key:?} {column}"
                        );
                    }
                }
                // The captures of unwrapped Debezium and Maxwell have no truncates.
                let has_truncates = !matches!(capture, "debezium/flat" | "maxwell/records");
                if table != "order_items" || has_truncates {
                    assert_eq!(rows.len(), n_expected, "{capture} {table}");
                }
            }
        }
    }
}

fn format_of(capture: &str) -> Format {
    match capture.split('/').next() {
        Some("canal") => Format::Canal,
        Some("maxwell") => Format::Maxwell,
        _ => Format::Debezium,
    }
}

/// A change of one key: kind, before image, after image.
type Change = (&'static str, Option<Image>, Option<Image>);

/// The changes of each key, in order. A snapshot row counts as an insert, a change of the key as a delete and an insert.
fn changes(capture: &str, types: &BTreeMap<(String, String), String>) -> BTreeMap<(String, Vec<String>), Vec<Change>> {
    let decoded = decode_capture(Format::Auto, capture, &mut decoder(declared()));
    let mut changes: BTreeMap<(String, Vec<String>), Vec<Change>> = BTreeMap::new();
    for row in decoded.rows {
        let table = row.table.strip_prefix("shop.").unwrap().to_owned();
        let image = |image: &Option<Image>| {
            image.as_ref().map(|image| {
                let lost = |c: &str| CAPTURES.iter().any(|capture| is_lost(capture, &table, c));
                let cells = image.iter().filter(|(c, _)| !lost(c));
                cells.map(|(c, v)| (c.clone(), comparable(&types[&(table.clone(), c.clone())], v))).collect::<Image>()
            })
        };
        let (before, after) = (image(&row.before), image(&row.after));
        let mut add = |key: Vec<String>, change| {
            changes.entry((table.clone(), key)).or_default().push(change);
        };
        let key_of = |image: &Option<Image>| image.as_ref().map(|i| row.key_of(i));
        match (row.operation, key_of(&before), key_of(&after)) {
            (Operation::Insert | Operation::Snapshot, None, Some(key)) => add(key, ("insert", None, after)),
            (Operation::Update, None, Some(key)) => add(key, ("update", None, after)),
            (Operation::Update, Some(old), Some(new)) if old == new => add(new, ("update", before, after)),
            (Operation::Update, Some(old), Some(new)) => {
                add(old, ("delete", before, None));
                add(new, ("insert", None, after));
            }
            (Operation::Delete, Some(key), None) => add(key, ("delete", before, None)),
            (Operation::Truncate, None, None) => {}
            other => panic!("{capture}: {other:?}"),
        }
    }
    changes
}

#[test]
fn all_tools_report_the_same_changes() {
    let types = column_types();
    let of_plain = changes("debezium/plain", &types);
    let mut n_compared = 0;
    for capture in CAPTURES {
        let of_this = changes(capture, &types);
        let keys = |c: &BTreeMap<(String, Vec<String>), Vec<Change>>| c.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&of_this), keys(&of_plain), "{capture}");
        for (key, expected) in &of_plain {
            let got = &of_this[key];
            assert_eq!(got.len(), expected.len(), "{capture} {key:?}");
            for (got, expected) in got.iter().zip(expected) {
                assert_eq!(got.0, expected.0, "{capture} {key:?}");
                assert_eq!(got.2, expected.2, "{capture} {key:?}");
                // Unwrapped updates have no before image.
                if capture != "debezium/flat" || got.0 == "delete" {
                    assert_eq!(got.1, expected.1, "{capture} {key:?}");
                }
                n_compared += 1;
            }
        }
    }
    assert!(n_compared > 5 * 150, "{n_compared}");
}

#[test]
fn all_tools_report_the_same_table_versions() {
    let versions = |capture: &str| {
        let mut decoder = decoder(declared());
        decode_capture(Format::Auto, capture, &mut decoder);
        let mut versions: Vec<_> = decoder.tables().iter().map(|v| (**v).clone()).collect();
        versions.sort_by_key(|v| (v.full_name(), v.columns.len()));
        versions
    };
    let expected = versions("debezium/plain");
    // The workload alters two of the four tables, once each.
    assert_eq!(expected.len(), 6);
    for capture in CAPTURES {
        assert_eq!(versions(capture), expected, "{capture}");
    }
}

#[test]
fn ignored_records_of_each_capture() {
    use rowmill_rows::Ignored::{SchemaChange, Statement, Tombstone, Transaction};
    for (capture, kind, n) in [
        ("debezium/full", Tombstone, count(|c| c.value.is_none(), "debezium/full")),
        ("debezium/plain", Tombstone, count(|c| c.value.is_none(), "debezium/plain")),
        ("debezium/plain", Transaction, count(|c| c.topic.ends_with(".transaction"), "debezium/plain")),
        ("debezium/full", SchemaChange, count(|c| c.topic == "dbz-full", "debezium/full")),
        ("debezium/plain", SchemaChange, count(|c| c.topic == "dbz-plain", "debezium/plain")),
        ("maxwell/records", SchemaChange, count(|c| c.topic == "maxwell.ddl", "maxwell/records")),
        ("canal/flat", Statement, count(|c| value_has(c, "\"type\":\"QUERY\""), "canal/flat")),
        (
            "canal/flat",
            SchemaChange,
            count(|c| value_has(c, "\"type\":\"CREATE\"") || value_has(c, "\"type\":\"ALTER\""), "canal/flat"),
        ),
    ] {
        let decoded = decode_capture(Format::Auto, capture, &mut decoder(declared()));
        assert!(n > 0, "{capture} {kind:?}");
        assert_eq!(decoded.ignored.iter().filter(|i| **i == kind).count(), n, "{capture} {kind:?}");
    }
}

fn value_has(record: &rowmill_rows::capture::CapturedRecord, text: &str) -> bool {
    record.value.as_ref().is_some_and(|v| String::from_utf8_lossy(v).contains(text))
}

fn count(fits: impl Fn(&rowmill_rows::capture::CapturedRecord) -> bool, capture: &str) -> usize {
    captured(capture).iter().filter(|c| fits(c)).count()
}

#[test]
fn without_declarations_no_capture_has_an_undecodable_record() {
    for capture in CAPTURES {
        let decoded = decode_capture(Format::Auto, capture, &mut decoder(Default::default()));
        assert_eq!(decoded.errors, [""; 0], "{capture}");
    }
}
