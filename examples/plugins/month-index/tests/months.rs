//! Which index a row goes to, and what is refused.
#![allow(clippy::unwrap_used)]

use month_index::MonthIndex;
use rowmill_sdk::Table;
use rowmill_sdk::testing::{Harness, Verdict, table};
use serde_json::json;

fn trade() -> Table {
    table("shop.trade", [("id", "unsigned-integer"), ("created_at", "date-time"), ("ship_time", "date-time")])
}

#[track_caller]
fn check(settings: serde_json::Value, row: &str, index: &str) {
    let mut plugin = Harness::<MonthIndex>::new(&settings).unwrap();
    match plugin.row(&trade(), row).unwrap() {
        Verdict::Documents(documents) => {
            assert_eq!(documents.len(), 1);
            assert_eq!(documents[0].index.as_deref(), Some(index));
            // The configuration determines the ID: by default the primary key.
            assert_eq!(documents[0].id, None);
            assert_eq!(
                serde_json::Value::Object(documents[0].body.clone()),
                serde_json::from_str::<serde_json::Value>(row).unwrap()
            );
        }
        other => panic!("expected a document, got {other:?}"),
    }
}

#[test]
fn the_month_determines_the_index() {
    check(json!({}), r#"{"id": 1, "created_at": "2026-03-01T00:00:00"}"#, "trade-2026-03");
    check(json!({}), r#"{"id": 1, "created_at": "0999-12-31T23:59:59.999999"}"#, "trade-0999-12");
}

#[test]
fn a_row_without_a_time_has_an_index_too() {
    check(json!({}), r#"{"id": 1, "created_at": null}"#, "trade-undated");
    check(json!({}), r#"{"id": 1, "created_at": "0000-00-00 00:00:00"}"#, "trade-undated");
}

#[test]
fn the_column_can_be_set() {
    let row = r#"{"id": 1, "created_at": "2026-03-01T00:00:00", "ship_time": "2026-04-02T08:00:00"}"#;
    check(json!({"column": "ship_time"}), row, "trade-2026-04");
}

#[test]
fn a_table_without_the_column_is_refused() {
    let mut plugin = Harness::<MonthIndex>::new(&json!({"column": "paid_at"})).unwrap();
    let refusal = plugin.row(&trade(), r#"{"id": 1}"#).unwrap_err();
    assert_eq!(refusal, "table shop.trade has no column 'paid_at'");
}

#[test]
fn a_value_that_is_not_a_time_fails_the_row() {
    let mut plugin = Harness::<MonthIndex>::new(&json!({})).unwrap();
    let verdict = plugin.row(&trade(), r#"{"id": 1, "created_at": "soon"}"#).unwrap();
    assert!(
        verdict.reason().starts_with("column 'created_at' of shop.trade: expected a date and time"),
        "{}",
        verdict.reason()
    );
}
