//! What is written for each operation, and which settings are refused.
#![allow(clippy::unwrap_used)]

use audit_trail::AuditTrail;
use rowmill_sdk::testing::{ChangeHarness, Doc, Verdict, table};
use rowmill_sdk::{Operation, Table};
use serde_json::{Value, json};

fn orders() -> Table {
    table("shop.orders", [("id", "integer"), ("state", "text")])
}

fn documents(operation: Operation, before: Option<&str>, after: Option<&str>) -> Vec<Doc> {
    let mut plugin = ChangeHarness::<AuditTrail>::new(&json!({})).unwrap();
    match plugin.change(&orders(), operation, before, after).unwrap() {
        Verdict::Documents(documents) => documents,
        other => panic!("expected documents, got {other:?}"),
    }
}

fn body(document: &Doc) -> Value {
    Value::Object(document.body.clone())
}

const OPEN: &str = r#"{"id": 1, "state": "open"}"#;
const PAID: &str = r#"{"id": 1, "state": "paid"}"#;

#[test]
fn an_update_writes_the_row_and_an_audit_document() {
    let documents = documents(Operation::Update, Some(OPEN), Some(PAID));
    assert_eq!(documents.len(), 2);
    assert_eq!((documents[0].index.as_deref(), documents[0].id.as_deref()), (None, None));
    assert_eq!(body(&documents[0]), json!({"id": 1, "state": "paid", "is_deleted": false}));
    assert_eq!(documents[1].index.as_deref(), Some("audit"));
    assert!(documents[1].id.as_deref().unwrap().starts_with("shop.orders|1|update|"));
    assert_eq!(
        body(&documents[1]),
        json!({
            "table": "shop.orders", "key": "1", "operation": "update", "changed": ["state"],
            "before": {"id": 1, "state": "open"}, "after": {"id": 1, "state": "paid"}
        })
    );
}

#[test]
fn a_delete_marks_the_row() {
    let documents = documents(Operation::Delete, Some(PAID), None);
    assert_eq!(documents[0].operation, "index");
    assert_eq!(body(&documents[0]), json!({"id": 1, "state": "paid", "is_deleted": true}));
    assert_eq!(documents[1].body["operation"], "delete");
    assert!(!documents[1].body.contains_key("after"));
}

#[test]
fn a_changed_key_marks_the_old_document() {
    let documents = documents(Operation::Update, Some(OPEN), Some(r#"{"id": 9, "state": "open"}"#));
    assert_eq!(documents.len(), 3);
    assert_eq!(body(&documents[0]), json!({"id": 9, "state": "open", "is_deleted": false}));
    assert_eq!(documents[1].id.as_deref(), Some("1"));
    assert_eq!(body(&documents[1]), json!({"id": 1, "state": "open", "is_deleted": true}));
    assert_eq!(documents[2].body["changed"], json!(["id"]));
}

#[test]
fn the_same_change_has_the_same_document_and_another_has_not() {
    let id = |before, after| documents(Operation::Update, Some(before), Some(after))[1].id.clone();
    assert_eq!(id(OPEN, PAID), id(OPEN, PAID));
    assert_ne!(id(OPEN, PAID), id(PAID, OPEN));
}

#[test]
fn a_backfilled_row_is_not_a_change() {
    assert_eq!(documents(Operation::Snapshot, None, Some(OPEN)).len(), 1);
}

#[test]
fn an_update_without_a_before_image_is_audited() {
    let documents = documents(Operation::Update, None, Some(PAID));
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].body["before"], json!({}));
}

#[test]
fn rows_of_other_tables_go_on() {
    let mut plugin = ChangeHarness::<AuditTrail>::new(&json!({"tables": ["shop.trade"]})).unwrap();
    let verdict = plugin.change(&orders(), Operation::Insert, None, Some(OPEN)).unwrap();
    assert_eq!(verdict, Verdict::Keep);
}

#[test]
fn tables_and_settings_that_cannot_be_audited_are_refused() {
    assert!(ChangeHarness::<AuditTrail>::new(&json!({"tables": []})).is_err());
    assert!(ChangeHarness::<AuditTrail>::new(&json!({"table": ["x"]})).unwrap_err().contains("unknown field"));
    let keyless = Table { key: Vec::new(), ..orders() };
    let mut plugin = ChangeHarness::<AuditTrail>::new(&json!({})).unwrap();
    let refusal = plugin.change(&keyless, Operation::Insert, None, Some(OPEN)).unwrap_err();
    assert!(refusal.contains("no primary key"), "{refusal}");
}
