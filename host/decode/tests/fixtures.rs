//! The captures of real tools replay to the tables as they were, and tell the same changes.

mod support;

use std::collections::BTreeMap;

use rowmill_decode::{Format, Operation};
use support::*;

/// What a capture cannot tell: see the fixtures' README.
fn is_known(capture: &str, table: &str, column: &str) -> bool {
    capture == "maxwell/records"
        && matches!(
            (table, column),
            ("trade", "cutoff" | "pay_time" | "created_at" | "updated_at")
                | ("orders", "ordered_at")
        )
}

/// The spelling of an expected value (MariaDB's text) as cells have it.
fn final_spelling(column_type: &str, value: &serde_json::Value) -> String {
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
        let zone = if upper.starts_with("TIMESTAMP") {
            "Z"
        } else {
            ""
        };
        let clock = clock.replace(' ', "T");
        if upper.starts_with("DATE ") || upper == "DATE" {
            clock
        } else {
            format!("{clock}{fraction}{zone}")
        }
    } else {
        text.to_owned()
    };
    serde_json::to_string(&text).unwrap()
}

/// A value in a form that does not depend on the tool: floats by their number, strings by what they say.
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
    tables
        .flat_map(|(t, columns)| columns.into_iter().map(move |(c, ty)| ((t.clone(), c), ty)))
        .collect()
}

#[test]
fn captures_replay_to_the_tables() {
    let types = column_types();
    for capture in CAPTURES {
        for format in [Format::Auto, format_of(capture)] {
            let decoded = decode_capture(capture, &mut decoder(format, declared()));
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
                    let want: BTreeMap<String, serde_json::Value> =
                        serde_json::from_str(line).unwrap();
                    let spell = |c: &str| {
                        final_spelling(&types[&(table.to_owned(), c.to_owned())], &want[c])
                    };
                    let key: &[&str] = match table {
                        "customers" => &["customer_no"],
                        "order_items" => &["order_id", "line_no"],
                        _ => &["id"],
                    };
                    let key: Vec<String> = key.iter().map(|k| spell(k)).collect();
                    let row = rows
                        .get(&key)
                        .unwrap_or_else(|| panic!("{capture} {table}: no {key:?}"));
                    assert_eq!(row.len(), want.len(), "{capture} {table} {key:?}");
                    for column in want.keys() {
                        if is_known(capture, table, column) {
                            continue;
                        }
                        let column_type = &types[&(table.to_owned(), column.clone())];
                        assert_eq!(
                            comparable(column_type, &row[column]),
                            comparable(column_type, &spell(column)),
                            "{capture} {table} {key:?} {column}"
                        );
                    }
                }
                // Unwrapped Debezium and this Maxwell have no truncates.
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
