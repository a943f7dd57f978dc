//! The documents of trade rows, in the spelling of every source format.
#![allow(clippy::unwrap_used)]

use rowmill_sdk::Table;
use rowmill_sdk::testing::{Harness, Verdict, table};
use serde_json::{Value, json};
use trade_document::TradeDocument;

/// All 41 columns, with these kinds or all unknown.
fn trade(typed: bool) -> Table {
    let columns = include_str!("columns.txt").lines().filter_map(|line| line.split_once(' '));
    table("shop.trade", columns.map(|(name, kind)| (name, if typed { kind } else { "unknown" })))
}

fn shape(settings: Value, table: &Table, row: &str) -> Verdict {
    Harness::<TradeDocument>::new(&settings).unwrap().row(table, row).unwrap()
}

const TYPED: &str = r#"{"id":1,"trade_no":"T1","buyer_id":18446744073709551615,"seller_id":-5,"shop_name":"旗舰店1号",
    "title":"冬季 ❄️","status":"PAID","tags":"vip,gift","amount":"99.90","discount":null,"quantity":3,"is_paid":1,
    "is_refunded":1,"currency":" cny","pay_channel":"alipay","pay_time":"2026-03-04T05:06:07.123456","ship_time":null,
    "created_at":"2026-03-01T00:00:00.000001","updated_at":"2026-11-20T23:15:47.161Z","receiver_name":" 收件人1 ",
    "receiver_phone":"+86 138","receiver_addr":"路1号","buyer_memo":null,"seller_memo":null,"ext":{"big":9007199254740993},
    "detail":"<p>\n</p>","sign":"a4ay","raw_blob":"AP+A","trace_id":"xMpC","remark":"","version":0}"#;

fn expected() -> Value {
    json!({
        "id": 1, "tradeNo": "T1", "title": "冬季 ❄️", "quantity": 3, "remark": "", "ext": {"big": 9007199254740993_u64},
        "status": "paid", "paid": true, "tags": ["vip", "gift"],
        "createdAt": "2026-03-01T00:00:00.000001Z", "updatedAt": "2026-11-20T23:15:47.161Z",
        "buyer": {"id": 18446744073709551615_u64, "memo": null},
        "seller": {"id": -5, "shop": "旗舰店1号", "memo": null},
        "receiver": {"name": "收件人1", "phone": "+86 138", "address": "路1号"},
        "pay": {"channel": "alipay", "time": "2026-03-04T05:06:07.123456Z", "amountCents": 9990, "currency": "CNY"},
    })
}

#[test]
fn a_typed_row() {
    assert_eq!(shape(json!({}), &trade(true), TYPED).document(), expected());
}

#[test]
fn the_same_row_without_types() {
    // As from Debezium without a schema and Maxwell: epochs, decimals as numbers, arrays of labels, the number of a label.
    let row = TYPED
        .replace(r#""2026-03-04T05:06:07.123456""#, "1772600767123456")
        .replace(r#""2026-03-01T00:00:00.000001""#, "1772323200000001")
        .replace(r#""99.90""#, "99.90")
        .replace(r#""vip,gift""#, r#"["vip","gift"]"#)
        .replace(r#""PAID""#, "2")
        .replace(r#""is_paid":1"#, r#""is_paid":"1""#);
    assert_eq!(shape(json!({}), &trade(false), &row).document(), expected());
}

#[test]
fn detail_is_optional() {
    let document = shape(json!({"indexDetail": true}), &trade(true), TYPED).document();
    assert_eq!(document["detail"], json!("<p>\n</p>"));
}

#[test]
fn absent_and_null_columns() {
    let row = r#"{"id":7,"status":null,"amount":null,"created_at":null,"tags":null,"receiver_name":null}"#;
    let expect = json!({
        "id": 7, "buyer": {}, "seller": {}, "receiver": {}, "pay": {"currency": "EUR"},
    });
    assert_eq!(shape(json!({"currency": "EUR"}), &trade(true), row).document(), expect);
    assert_eq!(shape(json!({"currency": "EUR"}), &trade(true), "{}").document()["pay"], json!({"currency": "EUR"}));
}

#[track_caller]
fn field(column: &str, cell: &str, pointer: &str, expect: Value) {
    let row = format!("{{\"id\":1,\"{column}\":{cell}}}");
    let document = shape(json!({}), &trade(false), &row).document();
    assert_eq!(document.pointer(pointer).cloned().unwrap_or(json!("no such field")), expect, "{column} = {cell}");
}

#[test]
fn single_fields() {
    for (code, status) in [("\"NEW\"", "new"), ("\"3\"", "shipped"), ("4", "done"), ("\"CLOSED\"", "closed")] {
        field("status", code, "/status", json!(status));
    }
    field("status", "\"HELD\"", "/status", json!("HELD"));
    field("amount", "\"-0.01\"", "/pay/amountCents", json!(-1));
    field("amount", "-12.5", "/pay/amountCents", json!(-1250));
    field("amount", "\"9999999999999999.99\"", "/pay/amountCents", json!(999_999_999_999_999_999_i64));
    field("amount", "\"1.500000000000000000000000000000\"", "/pay/amountCents", json!(150));
    field("created_at", "\"0000-00-00 00:00:00\"", "/createdAt", json!("no such field"));
    field("created_at", "1772323200000", "/createdAt", json!("2026-03-01T00:00:00Z"));
    field("created_at", "\"2026-03-01 00:00:00\"", "/createdAt", json!("2026-03-01T00:00:00Z"));
    field("currency", "\"usd \"", "/pay/currency", json!("USD"));
    field("currency", "\"\"", "/pay/currency", json!("CNY"));
    field("tags", "\"\"", "/tags", json!([]));
    field("tags", "\"vip\"", "/tags", json!(["vip"]));
    field("receiver_name", r#"" \ud83d\ude00\"x\\ ""#, "/receiver/name", json!("😀\"x\\"));
}

#[track_caller]
fn fails(column: &str, cell: &str, expect: &str) {
    let row = format!("{{\"id\":1,\"{column}\":{cell}}}");
    assert_eq!(shape(json!({}), &trade(true), &row).reason(), expect);
}

#[test]
fn rows_that_fail() {
    let not_cents = "column 'amount' of shop.trade: not a whole number of cents in 64 bits";
    fails("amount", "\"0.005\"", not_cents);
    fails("amount", "\"123456789012345678901234567890.12\"", not_cents);
    fails("amount", "\"much\"", "column 'amount' of shop.trade: expected a decimal number");
    fails(
        "created_at",
        "\"yesterday\"",
        "column 'created_at' of shop.trade: expected a date and time as 2026-03-04T05:06:07",
    );
}

#[test]
fn invalid_settings_and_tables_are_refused() {
    let refused = |settings: Value| Harness::<TradeDocument>::new(&settings).unwrap_err();
    assert_eq!(
        refused(json!({"currency": "euro"})),
        "settings: currency is 'euro', expected three capital letters, as in 'CNY'"
    );
    assert_eq!(
        refused(json!({"curency": "EUR"})),
        "settings: unknown field 'curency', expected 'currency' or 'indexDetail'"
    );
    let other = table("crm.trade", [("id", "integer"), ("status", "text")]);
    let mut plugin = Harness::<TradeDocument>::new(&json!({})).unwrap();
    assert_eq!(
        plugin.row(&other, "{}").unwrap_err(),
        "table crm.trade has no columns 'amount', 'created_at', 'trade_no'"
    );
}

#[test]
fn the_mapping_covers_every_field() {
    let description = rowmill_sdk::native::Native::<TradeDocument>::describe();
    let mapping: Value = serde_json::from_str(description.indices[0].mapping.as_deref().unwrap()).unwrap();
    let schema: Value = serde_json::from_str(description.settings_schema.as_deref().unwrap()).unwrap();
    assert_eq!(schema["properties"].as_object().unwrap().len(), 2);
    let document =
        shape(json!({"indexDetail": true}), &trade(true), &TYPED.replace("\"ship_time\":null", "\"ship_time\":0"))
            .document();
    fn covered(document: &Value, mapping: &Value) {
        let fields = document.as_object().unwrap();
        assert_eq!(fields.len(), mapping["properties"].as_object().unwrap().len());
        for (name, value) in fields {
            let field = &mapping["properties"][name];
            assert!(!field.is_null(), "{name}");
            if field["properties"].is_object() {
                covered(value, field);
            }
        }
    }
    covered(&document, &mapping);
}
