//! Which rows a rule keeps, and which settings it refuses.
#![allow(clippy::unwrap_used)]

use row_filter::RowFilter;
use rowmill_sdk::Table;
use rowmill_sdk::testing::{Harness, Verdict, table};
use serde_json::{Value, json};

fn trade() -> Table {
    table(
        "shop.trade",
        [
            ("id", "unsigned-integer"),
            ("status", "enumeration"),
            ("amount", "decimal"),
            ("name", "text"),
            ("paid", "boolean"),
            ("at", "date-time"),
            ("what", "unknown"),
        ],
    )
}

fn filter(settings: Value, row: &str) -> Verdict {
    Harness::<RowFilter>::new(&settings).unwrap().row(&trade(), row).unwrap()
}

#[track_caller]
fn check(condition: Value, row: &str, kept: bool) {
    let settings = json!({"rules": [{"table": "shop.trade", "where": [condition]}]});
    let expect = if kept { Verdict::Keep } else { Verdict::Drop };
    assert_eq!(filter(settings, row), expect, "{row}");
}

#[test]
fn numbers_are_compared_exactly() {
    let big = r#"{"id":18446744073709551615,"amount":"123456789012345678901234567890.12"}"#;
    check(json!({"column": "id", "eq": 18446744073709551615_u64}), big, true);
    check(json!({"column": "id", "eq": "18446744073709551615"}), big, true);
    check(json!({"column": "id", "lt": 18446744073709551615_u64}), big, false);
    check(json!({"column": "id", "gt": 18446744073709551614_u64}), big, true);
    check(json!({"column": "amount", "gt": "123456789012345678901234567890.11"}), big, true);
    check(json!({"column": "amount", "lte": "123456789012345678901234567890.11"}), big, false);
    check(json!({"column": "amount", "eq": "123456789012345678901234567890.120"}), big, true);
    let small = r#"{"id":9007199254740993,"amount":"-9.90"}"#;
    check(json!({"column": "id", "in": [1, 9007199254740992_u64]}), small, false);
    check(json!({"column": "amount", "gte": -10, "lt": 0}), small, true);
    check(json!({"column": "amount", "gte": "-9.9"}), small, true);
    check(json!({"column": "amount", "gte": "10.00"}), small, false);
    check(json!({"column": "amount", "gte": "10.00"}), r#"{"amount":"9.99"}"#, false);
    check(json!({"column": "amount", "gte": "10.00"}), r#"{"amount":"100.00"}"#, true);
}

#[test]
fn settings_keep_all_digits() {
    let settings: Value = serde_json::from_str(
        r#"{"rules":[{"table":"*","where":[{"column":"amount","eq":123456789012345678901234567890.12}]}]}"#,
    )
    .unwrap();
    assert_eq!(filter(settings.clone(), r#"{"amount":"123456789012345678901234567890.12"}"#), Verdict::Keep);
    assert_eq!(filter(settings, r#"{"amount":"123456789012345678901234567890.13"}"#), Verdict::Drop);
}

#[test]
fn texts_and_labels() {
    let row = r#"{"status":"PAID","name":"x\"😀\u4e2d","at":"2026-03-04T05:06:07","paid":true}"#;
    check(json!({"column": "status", "not_in": ["CLOSED", "NEW"]}), row, true);
    check(json!({"column": "status", "in": ["CLOSED", "PAID"]}), row, true);
    check(json!({"column": "status", "ne": "PAID"}), row, false);
    check(json!({"column": "status", "eq": "paid"}), row, false);
    check(json!({"column": "name", "prefix": "x\"😀"}), row, true);
    check(json!({"column": "name", "suffix": "中"}), row, true);
    check(json!({"column": "name", "contains": "😀"}), row, true);
    check(json!({"column": "name", "prefix": "y"}), row, false);
    check(json!({"column": "at", "gte": "2026-03-04", "lt": "2026-03-05"}), row, true);
    check(json!({"column": "at", "lt": "2026-03-04"}), row, false);
    check(json!({"column": "paid", "eq": true}), row, true);
    check(json!({"column": "paid", "eq": 1}), row, true);
    check(json!({"column": "paid", "ne": true}), row, false);
    // A text column with digits is still text.
    check(json!({"column": "name", "lt": "5"}), r#"{"name":"10"}"#, true);
    check(json!({"column": "name", "eq": "1.0"}), r#"{"name":"1"}"#, false);
    check(json!({"column": "name", "eq": 1.0}), r#"{"name":"1"}"#, true);
}

#[test]
fn unknown_kinds() {
    for cell in ["10.50", "\"10.50\""] {
        let row = format!("{{\"what\":{cell}}}");
        check(json!({"column": "what", "gt": "9"}), &row, true);
        check(json!({"column": "what", "gt": 9}), &row, true);
        check(json!({"column": "what", "eq": 10.5}), &row, true);
        check(json!({"column": "what", "lt": "10.51"}), &row, true);
    }
    check(json!({"column": "what", "eq": "1"}), r#"{"what":1}"#, true);
    check(json!({"column": "what", "gt": "a"}), r#"{"what":"b"}"#, true);
    check(json!({"column": "what", "in": [1, 2]}), r#"{"what":"abc"}"#, false);
    let settings = json!({"rules": [{"table": "*", "where": [{"column": "what", "gt": 1}]}]});
    let reason = filter(settings.clone(), r#"{"what":"abc"}"#);
    assert_eq!(reason.reason(), "column 'what' of shop.trade: expected a number to compare");
    let reason = filter(settings, r#"{"what":[1]}"#);
    assert_eq!(reason.reason(), "column 'what' of shop.trade: expected a single value, got an object or an array");
}

#[test]
fn null_matches_is_null_only() {
    for row in [r#"{"name":null}"#, "{}"] {
        check(json!({"column": "name", "is_null": true}), row, true);
        check(json!({"column": "name", "is_null": false}), row, false);
        check(json!({"column": "name", "ne": "x"}), row, false);
        check(json!({"column": "name", "not_in": ["x"]}), row, false);
    }
    check(json!({"column": "name", "is_null": false, "ne": "x"}), r#"{"name":"y"}"#, true);
    check(json!({"column": "name", "is_null": true}), r#"{"name":"null"}"#, false);
}

#[test]
fn all_or_any_and_several_rules() {
    let two = json!([{"column": "id", "gt": 1}, {"column": "name", "eq": "x"}]);
    let rule = |any: bool| json!({"rules": [{"table": "trade", "where": two, "any": any}]});
    assert_eq!(filter(rule(false), r#"{"id":2,"name":"x"}"#), Verdict::Keep);
    assert_eq!(filter(rule(false), r#"{"id":2,"name":"y"}"#), Verdict::Drop);
    assert_eq!(filter(rule(true), r#"{"id":2,"name":"y"}"#), Verdict::Keep);
    assert_eq!(filter(rule(true), r#"{"id":1,"name":"y"}"#), Verdict::Drop);
    let settings = json!({"rules": [
        {"table": "shop.*", "where": [{"column": "id", "gt": 1}]},
        {"table": "crm.*", "where": [{"column": "no such", "gt": 1}]},
        {"table": "trade", "where": [{"column": "name", "eq": "x"}, {"column": "id", "lt": 9}]},
    ]});
    assert_eq!(filter(settings.clone(), r#"{"id":2,"name":"x"}"#), Verdict::Keep);
    assert_eq!(filter(settings.clone(), r#"{"id":1,"name":"x"}"#), Verdict::Drop);
    assert_eq!(filter(settings.clone(), r#"{"id":2,"name":"y"}"#), Verdict::Drop);
    assert_eq!(filter(settings, r#"{"id":9,"name":"x"}"#), Verdict::Drop);
}

#[test]
fn tables_without_a_rule_and_no_settings_keep_every_row() {
    assert_eq!(filter(json!({}), "{}"), Verdict::Keep);
    let settings = json!({"rules": [{"table": "crm.*", "where": [{"column": "x", "eq": 1}]}]});
    assert_eq!(filter(settings, r#"{"id":1}"#), Verdict::Keep);
}

#[test]
fn tables_that_do_not_fit_a_rule() {
    let refused = |condition: Value| {
        let settings = json!({"rules": [{"table": "*", "where": [condition]}]});
        Harness::<RowFilter>::new(&settings).unwrap().row(&trade(), "{}").unwrap_err()
    };
    assert_eq!(refused(json!({"column": "typo", "eq": 1})), "table shop.trade has no column 'typo'");
    assert_eq!(
        refused(json!({"column": "amount", "gt": "ten"})),
        "rule 1: column 'amount' contains numbers, but 'ten' is not a number"
    );
}

#[track_caller]
fn refuses(settings: Value, expect: &str) {
    assert_eq!(Harness::<RowFilter>::new(&settings).unwrap_err(), expect);
}

#[test]
fn invalid_settings_are_refused() {
    let rule = |conditions: Value| json!({"rules": [{"table": "t", "where": conditions}]});
    refuses(json!({"rule": []}), "settings: unknown field 'rule', expected 'rules'");
    refuses(json!({"rules": []}), "settings: 'rules' is empty; leave it out to keep every row");
    refuses(rule(json!([])), "settings: rule 1: 'where' is empty; add a condition");
    refuses(
        json!({"rules": [{"table": "", "where": [{"column": "x", "eq": 1}]}]}),
        "settings: rule 1: 'table' is empty; write '*' for all tables",
    );
    refuses(json!({"rules": [{"where": []}]}), "settings: missing field 'table'");
    refuses(
        rule(json!([{"column": "x", "gtee": 1}])),
        "settings: unknown field 'gtee', expected one of 'column', 'eq', 'ne', 'in', 'not_in', 'gt', 'gte', 'lt', \
         'lte', 'prefix', 'suffix', 'contains', 'is_null'",
    );
    refuses(
        rule(json!([{"column": "x"}])),
        "settings: rule 1: column 'x': no operator; expected one of 'eq', 'ne', 'in', 'not_in', 'gt', 'gte', 'lt', \
         'lte', 'prefix', 'suffix', 'contains', 'is_null'",
    );
    refuses(rule(json!([{"column": "x", "in": []}])), "settings: rule 1: column 'x': the list is empty");
    refuses(rule(json!([{"column": "x", "gt": true}])), "settings: rule 1: column 'x': true and false have no order");
    refuses(
        rule(json!([{"column": "x", "in": [null]}])),
        "settings: rule 1: column 'x': nothing equals NULL; use 'is_null'",
    );
    refuses(
        rule(json!([{"column": "x", "eq": [1]}])),
        "settings: rule 1: column 'x': expected a number, a text or a boolean",
    );
}
