//! Rows survive a round trip through lines, and invalid rows are errors that name the line.

use rowmill_rows::ColumnType;
use rowmill_sandbox::ColumnKind;
use serde_json::json;

use super::*;

const TABLE: &str = r#"{"table": "shop.orders", "columns": {"id": "bigint unsigned", "total": "decimal(10,2)", "ext": "json"}, "key": ["id"]}"#;

fn read(lines: &[&str]) -> anyhow::Result<Input> {
    Input::parse([&[TABLE], lines].concat().join("\n").as_bytes(), "rows", &Reading::default())
}

#[test]
fn lines_are_inserts_or_say_what_they_are() {
    let input = read(&[
        r#"{"id": 18446744073709551616, "ext": {"b": 1.50, "a": [ ]}}"#,
        "",
        r#"{"snapshot": {"id": 1}}"#,
        r#"{"update": {"id": 1, "total": "2.00"}, "before": {"id": 1, "total": null}}"#,
        r#"{"update": {"id": 1}}"#,
        r#"{"delete": {"id": 1}}"#,
    ])
    .unwrap();
    let rows: Vec<&Row> = input.rows.iter().map(|(_, row)| row.as_ref().unwrap()).collect();
    use Operation as O;
    let operations: Vec<Operation> = rows.iter().map(|row| row.operation).collect();
    assert_eq!(operations, [O::Insert, O::Snapshot, O::Update, O::Update, O::Delete]);
    // Cells keep their spelling; an omitted column is absent, which is not NULL.
    assert_eq!(rows[0].after.as_ref().unwrap()[0], b"18446744073709551616");
    assert_eq!(rows[0].after.as_ref().unwrap()[2], br#"{"b": 1.50, "a": [ ]}"#);
    assert_eq!(rows[2].before.as_ref().unwrap()[1], b"null");
    assert_eq!(rows[3].before, None);
    assert_eq!((rows[4].after.as_ref(), rows[4].before.as_ref().unwrap()[1].len()), (None, 0));
    assert_eq!(input.rows[1].0, "line 4");

    let again = Input::parse(input.to_ndjson().as_bytes(), "rows", &Reading::default()).unwrap();
    assert_eq!(again.tables, input.tables);
    let bare = |input: &Input| input.rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>();
    assert_eq!(bare(&again), bare(&input));
}

#[test]
fn a_column_may_be_called_as_an_operation_is() {
    let text = "{\"table\": \"t\", \"columns\": {\"id\": \"int\", \"update\": \"json\"}}\n{\"update\": {\"x\": 1}}";
    let input = Input::parse(text.as_bytes(), "rows", &Reading::default()).unwrap();
    let row = input.rows[0].1.as_ref().unwrap();
    assert_eq!((row.operation, row.after.as_ref().unwrap()[1].as_slice()), (Operation::Insert, &br#"{"x": 1}"#[..]));
}

#[test]
fn rows_in_code_are_the_rows_of_a_file() {
    let columns = [("id", "bigint unsigned"), ("total", "decimal"), ("ext", "json")];
    let made = Rows::of("shop.orders", columns).insert(json!({"id": 1})).delete(json!({"id": 1, "total": "1"})).input();
    let read = read(&[r#"{"id": 1}"#, r#"{"delete": {"id": 1, "total": "1"}}"#]).unwrap();
    assert_eq!(made.to_ndjson(), read.to_ndjson());
    assert_eq!(Rows::of("t", [("a", "int"), ("b", "int")]).key(["b", "a"]).input().tables[0].key, [1, 0]);
}

#[test]
fn a_table_can_be_named_for_rows_without_a_description() {
    let of_table = Reading { table: Some("shop.t".into()), ..Reading::default() };
    let text = "{\"id\": 1}\n{\"update\": {\"id\": 1, \"x\": 2}, \"before\": {\"id\": 1}}\n";
    let input = Input::parse(text.as_bytes(), "rows", &of_table).unwrap();
    let names: Vec<&str> = input.tables[0].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, input.rows.len()), (vec!["id", "x"], 2));
    assert!(Input::parse(TABLE.as_bytes(), "rows", &of_table).is_err());
}

#[test]
fn every_type_of_the_decoder_is_a_kind_of_the_contract() {
    let types = [
        "int",
        "int unsigned",
        "bool",
        "bit(1)",
        "float",
        "double",
        "decimal",
        "date",
        "time",
        "datetime",
        "timestamp",
        "text",
        "varchar(1)",
        "blob",
        "enum('a')",
        "set('a')",
        "json",
    ];
    for mysql in types {
        let kind = ColumnType::parse(mysql).unwrap().kind();
        assert!(ColumnKind::from_name(kind).is_some_and(|kind| kind != ColumnKind::Unknown), "{mysql}: {kind}");
    }
    assert_eq!(ColumnKind::from_name(ColumnType::Unknown.kind()), Some(ColumnKind::Unknown));
}

#[track_caller]
fn refused(line: &str, expect: &str) {
    let error = format!("{:#}", read(&[line]).unwrap_err());
    assert!(error.starts_with("line 2: ") && error.contains(expect), "{error}");
}

#[test]
fn what_is_no_row_is_refused_with_its_line() {
    refused("[1]", "expected a JSON object");
    refused(
        r#"{"total": 9.90}"#,
        "column total of shop.orders is of the kind decimal: expected its digits as a string",
    );
    refused(r#"{"id": -1}"#, "expected an integer of at least 0");
    refused(r#"{"ids": 1}"#, "has no column \"ids\"; it has id, total, ext");
    refused(r#"{"insert": {"id": 1}, "before": {"id": 1}}"#, "`before` belongs to an `update`");
    refused(r#"{"insert": {"id": 1}, "delete": {"id": 1}}"#, "expected one of `insert`");
    refused(r#"{"delete": 1}"#, "`delete`: expected the row as an object");
    refused(r#"{"table": "t", "columns": {"a": "int"}, "key": ["b"]}"#, "`key` names b, which is not a column");
    refused(r#"{"table": "t", "columns": {}}"#, "it has no columns");
    refused(r#"{"table": "t", "columns": {"a": 1}}"#, "column a: expected its type");
    let error = Input::parse(b"{\"id\": 1}", "rows", &Reading::default()).unwrap_err().to_string();
    assert!(error.contains("neither rows nor events") && error.contains("\"columns\""), "{error}");
}

#[test]
fn types_can_be_declared_for_captured_records() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("types.toml");
        std::fs::write(&path, text).unwrap();
        path
    };
    let record = br#"{"database":"shop","table":"t","type":"insert","ts":1,"data":{"id":1,"price":1.5}}"#;
    let kinds = |reading: &Reading| -> Vec<&str> {
        let input = Input::parse(record, "maxwell", reading).unwrap();
        input.tables[0].columns.iter().map(|column| column.kind.name()).collect()
    };
    let mut reading = Reading::default();
    assert_eq!(kinds(&reading), ["unknown", "unknown"]);
    reading.declare(&file("[\"shop.t\"]\nid = \"int unsigned\"\nprice = \"decimal(10,2)\"\n")).unwrap();
    assert_eq!(kinds(&reading), ["unsigned-integer", "decimal"]);
    let error = Input::parse(TABLE.as_bytes(), "rows", &reading).unwrap_err().to_string();
    assert!(error.contains("these are rows"), "{error}");
    let error = format!("{:#}", reading.declare(&file("[t]\nid = \"bigintt\"\n")).unwrap_err());
    assert!(error.contains("types.toml: t: id: column type `bigintt`"), "{error}");
}
