//! Everything that a plugin can say of a row, read back by the contract.
#![allow(clippy::unwrap_used)]

use rowmill_sdk::testing::{ChangeHarness, Doc, Harness, Verdict, table};
use rowmill_sdk::{
    Change, ChangeTransform, Columns, DateTime, Description, Fail, Mode, NoSettings, Operation, Out, Row, Table,
    Transform,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Says what its settings name.
struct Sayer(Settings);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    say: String,
    #[serde(default)]
    columns: Vec<String>,
}

impl Transform for Sayer {
    const NAME: &'static str = "sayer";
    const VERSION: &'static str = "1.2.3";
    type Settings = Settings;
    fn describe() -> Description {
        Description::default()
            .tables(["shop.*"])
            .index("audit-*")
            .index_with_mapping("", "{}")
            .settings_schema("{\"type\":\"object\"}")
    }
    fn new(settings: Settings) -> Result<Self, String> {
        if settings.say.is_empty() { Err("settings: 'say' is empty".to_owned()) } else { Ok(Self(settings)) }
    }
    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(Columns::of(self.0.columns.clone()))
    }
    fn row(&self, _: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        match self.0.say.as_str() {
            "nothing" => {}
            "keep" => out.keep(),
            "drop" => out.drop(),
            "drop after a document" => {
                out.document().column("id");
                out.drop();
            }
            "document after drop" => {
                out.drop();
                out.document().column("id");
            }
            "fail" => out.fail("no rate"),
            "fail!" => rowmill_sdk::fail!("no rate for {}", "CNY"),
            "fail after a document" => {
                out.document().text("long", "text");
                "x".parse::<i32>()?;
            }
            "edit" => {
                out.edit()
                    .set("name", &json!({"a": [1, null]}))
                    .text("note", "a\"b\n")
                    .null("price")
                    .absent("id")
                    .text("note", "second");
            }
            "edit no such" => {
                out.edit().null("typo");
            }
            "columns" => {
                out.document().column("id").column_as("name", "title").column("note");
            }
            "all" => {
                out.document().all();
            }
            "all except" => {
                out.document().all_except(["id", "note"]).text("note", "mine");
            }
            "no such column" => {
                out.document().column("id").column_as("typo", "x");
            }
            "values" => {
                out.document()
                    .text("text", "\u{1}\u{1f}\"\\/ 😀\r\n\t")
                    .texts("texts", ["a", "b\""])
                    .texts("no texts", [])
                    .integer("small", 0)
                    .integer("i64", i64::MIN)
                    .integer("u64", u64::MAX)
                    .integer("i128", i128::MIN)
                    .boolean("yes", true)
                    .boolean("no", false)
                    .null("null")
                    .datetime("time", DateTime::from_epoch_micros(1_772_600_767_123_456))
                    .datetime_utc("utc", DateTime::from_epoch_micros(1_772_600_767_000_000))
                    .raw("raw", b"{\"a\":\n [1.10]}")
                    .set("serde", &("tuple", 1, Some(true)))
                    .set("name \" of \\ kinds 保", "x");
            }
            "nested" => {
                let mut doc = out.document();
                doc.object("a", |a| {
                    a.column("id");
                    a.object("b", |b| {
                        b.object("c", |_| {});
                        b.text("d", "e");
                    });
                    a.text("id2", "x");
                });
                doc.object("b", |_| {});
                doc.object("c", |c| -> Result<(), Fail> {
                    c.null("x");
                    Ok(())
                })?;
            }
            "head" => {
                let mut doc = out.document();
                doc.column("id").routing(7).column("name");
                doc.index("audit-1").id(format_args!("{}-{}", "a", 5));
            }
            "three documents" => {
                out.document().id("1").column("id");
                out.merge().id("2").column("name");
                out.delete().id("3").index("audit-x");
            }
            "items" => {
                out.put_item("lines", 17).routing("r").id("1").column("name");
                out.remove_item("lines", format_args!("{}-{}", 1, 8)).id("2").index("audit-x");
            }
            "empty key" => {
                out.put_item("lines", "");
            }
            "fields in a delete" => {
                out.delete().column("id");
            }
            "empty id" => {
                out.document().id("");
            }
            "long id" => {
                out.document().id("x".repeat(513));
            }
            "id of 512" => {
                out.document().id("x".repeat(512));
            }
            "not to be serialised" => {
                out.document().set("map", &std::collections::BTreeMap::from([((1, 2), 3)]));
            }
            other => panic!("what is {other}"),
        }
        Ok(())
    }
}

fn shop() -> Table {
    table("shop.t", [("id", "integer"), ("name", "text"), ("note", "text"), ("price", "decimal")])
}

fn say(what: &str) -> Verdict {
    let mut plugin = Harness::<Sayer>::new(&json!({"say": what})).unwrap();
    plugin.row(&shop(), r#"{"id":1,"name":"n","price":"1.50"}"#).unwrap()
}

#[track_caller]
fn document(what: &str, expect: Value) {
    assert_eq!(say(what).document(), expect, "{what}");
}

#[test]
fn plain_verdicts() {
    assert_eq!(say("nothing"), Verdict::Keep);
    assert_eq!(say("keep"), Verdict::Keep);
    assert_eq!(say("drop"), Verdict::Drop);
    assert_eq!(say("drop after a document"), Verdict::Drop);
    document("document after drop", json!({"id": 1}));
    assert_eq!(say("fail").reason(), "no rate");
    assert_eq!(say("fail!").reason(), "no rate for CNY");
    assert_eq!(say("fail after a document").reason(), "invalid digit found in string");
}

#[test]
fn edits() {
    let Verdict::Edit(cells) = say("edit") else { panic!() };
    assert_eq!(json!(cells), json!({"name": {"a": [1, null]}, "note": "second", "price": null, "id": null}));
    assert_eq!(cells["id"], None);
    assert_eq!(cells["price"], Some(Value::Null));
    assert_eq!(say("edit no such").reason(), "table shop.t has no column 'typo'");
}

#[test]
fn documents_of_columns() {
    document("columns", json!({"id": 1, "title": "n"}));
    document("all", json!({"id": 1, "name": "n", "price": "1.50"}));
    document("all except", json!({"name": "n", "price": "1.50", "note": "mine"}));
    assert_eq!(say("no such column").reason(), "table shop.t has no column 'typo'");
}

#[test]
fn documents_of_values() {
    let expect = r#"{"text":"\u0001\u001f\"\\/ 😀\r\n\t","texts":["a","b\""],"no texts":[],"small":0,
        "i64":-9223372036854775808,"u64":18446744073709551615,"i128":-170141183460469231731687303715884105728,
        "yes":true,"no":false,"null":null,"time":"2026-03-04T05:06:07.123456","utc":"2026-03-04T05:06:07Z",
        "raw":{"a":[1.10]},"serde":["tuple",1,true],"name \" of \\ kinds 保":"x"}"#;
    document("values", serde_json::from_str(expect).unwrap());
    assert!(say("not to be serialised").reason().starts_with("'map' cannot be written as JSON: "));
}

#[test]
fn nested_objects() {
    document("nested", json!({"a": {"id": 1, "b": {"c": {}, "d": "e"}, "id2": "x"}, "b": {}, "c": {"x": null}}));
}

#[test]
fn index_id_and_routing() {
    let Verdict::Documents(docs) = say("head") else { panic!() };
    let body = json!({"id": 1, "name": "n"}).as_object().unwrap().clone();
    let some = |s: &str| Some(s.to_owned());
    let expect =
        Doc { operation: "index", index: some("audit-1"), id: some("a-5"), routing: some("7"), item: None, body };
    assert_eq!(docs, [expect]);
    assert_eq!(say("empty id").reason(), "the document's id is empty");
    assert_eq!(say("long id").reason(), "the document's id has 513 bytes, more than 512");
    document("id of 512", json!({}));
}

#[test]
fn several_documents() {
    let Verdict::Documents(docs) = say("three documents") else { panic!() };
    let heads: Vec<_> = docs.iter().map(|d| (d.operation, d.id.as_deref().unwrap(), d.body.len())).collect();
    assert_eq!(heads, [("index", "1", 1), ("merge", "2", 1), ("delete", "3", 0)]);
    assert_eq!(docs[2].index.as_deref(), Some("audit-x"));
    assert_eq!(say("fields in a delete").reason(), "a delete has no fields");
}

#[test]
fn items_of_an_array() {
    let Verdict::Documents(docs) = say("items") else { panic!() };
    let item = |number: usize| docs[number].item.as_ref().map(|(array, key)| (array.as_str(), key.as_str())).unwrap();
    assert_eq!((docs[0].operation, item(0)), ("put-item", ("lines", "17")));
    assert_eq!((docs[0].id.as_deref(), docs[0].routing.as_deref(), docs[0].body.len()), (Some("1"), Some("r"), 1));
    assert_eq!((docs[1].operation, item(1), docs[1].body.len()), ("remove-item", ("lines", "1-8"), 0));
    assert_eq!((docs[1].id.as_deref(), docs[1].index.as_deref()), (Some("2"), Some("audit-x")));
    assert_eq!(say("empty key").reason(), "the document's item key is empty");
}

#[test]
fn a_batch_of_many_rows_shares_names() {
    let mut plugin = Harness::<Sayer>::new(&json!({"say": "values"})).unwrap();
    let verdicts = plugin.rows(&shop(), &["{}"; 300]).unwrap();
    assert_eq!(verdicts.len(), 300);
    assert!(verdicts.iter().all(|v| *v == verdicts[0]));
}

#[test]
fn descriptions() {
    let d = rowmill_sdk::native::Native::<Sayer>::describe();
    assert_eq!((d.name.as_str(), d.version.as_str(), d.mode), ("sayer", "1.2.3", Mode::Image));
    assert_eq!(d.tables, ["shop.*"]);
    assert_eq!(d.indices.len(), 2);
}

#[track_caller]
fn refused(settings: Value, expect: &str) {
    assert_eq!(Harness::<Sayer>::new(&settings).unwrap_err(), expect);
}

#[test]
fn settings_are_refused_readably() {
    refused(json!({"say": "x", "extra": 1}), "settings: unknown field 'extra', expected 'say' or 'columns'");
    refused(json!({}), "settings: missing field 'say'");
    refused(json!({"say": 5}), "settings: invalid type: integer '5', expected a string");
    refused(json!({"say": ""}), "settings: 'say' is empty");
}

#[test]
fn tables_that_lack_columns_are_refused() {
    let columns = |names: &[&str]| {
        let mut plugin = Harness::<Sayer>::new(&json!({"say": "keep", "columns": names})).unwrap();
        plugin.row(&shop(), "{}").unwrap_err()
    };
    assert_eq!(columns(&["id", "typo"]), "table shop.t has no column 'typo'");
    assert_eq!(columns(&["a", "b"]), "table shop.t has no columns 'a', 'b'");
}

#[test]
fn a_batch_that_breaks_the_contract_fails_row_by_row() {
    use rowmill_sdk::{Batch, native::Native};
    let mut plugin = Native::<Sayer>::new();
    plugin.configure(r#"{"say":"keep","columns":["id"]}"#).unwrap();
    let batch = |cells: Vec<u32>| Batch { table: 1, count: 2, cells, bytes: b"12".to_vec(), ..Batch::default() };
    let verdicts = |output: rowmill_sdk::Output| (output.verdicts[0], output.verdicts.len());
    assert_eq!(verdicts(plugin.transform(&batch(vec![1, 2]))), (4, 6), "not defined");
    plugin.define_table(&shop()).unwrap();
    assert_eq!(verdicts(plugin.transform(&batch(vec![1, 2]))), (0, 2));
    for cells in [vec![], vec![1], vec![2, 1], vec![1, 9]] {
        assert_eq!(verdicts(plugin.transform(&batch(cells))), (4, 6));
    }
}

/// Writes each change into an audit index.
struct Audit;

impl ChangeTransform for Audit {
    const NAME: &'static str = "audit";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn change(&self, change: &Change<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let name = |row: Option<Row<'_>>| row.map_or(Ok(None), |r| r.text("name").map(|n| n.map(|n| n.into_owned())));
        if change.operation == Operation::Delete {
            out.delete().id(change.row().unwrap().i64("id")?.unwrap());
            return Ok(());
        }
        out.document().set("was", &name(change.before)?).set("is", &name(change.after)?).column("id");
        Ok(())
    }
}

/// Says which columns changed.
struct Changed;

impl ChangeTransform for Changed {
    const NAME: &'static str = "changed";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn change(&self, change: &Change<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        out.document().texts("changed", change.changed()?).boolean("name", change.is_changed("name")?);
        Ok(())
    }
}

#[test]
fn changed_columns_are_those_whose_value_is_known_to_be_another() {
    let mut plugin = ChangeHarness::<Changed>::new(&json!({})).unwrap();
    let two = table("shop.t", [("id", "integer"), ("name", "text"), ("note", "text")]);
    let mut changed = |operation, before, after| plugin.change(&two, operation, before, after).unwrap().document();
    let (a, b) = (r#"{"id":1,"name":"a","note":null}"#, r#"{"id":1,"name":"b","note":"x"}"#);
    assert_eq!(changed(Operation::Update, Some(a), Some(b)), json!({"changed": ["name", "note"], "name": true}));
    assert_eq!(changed(Operation::Update, Some(a), Some(a)), json!({"changed": [], "name": false}));
    // The source did not send it: what it was is not known.
    assert_eq!(changed(Operation::Update, Some(r#"{"id":1}"#), Some(b)), json!({"changed": [], "name": false}));
    assert_eq!(changed(Operation::Insert, None, Some(a)), json!({"changed": ["id", "name", "note"], "name": true}));
}

#[test]
fn changes_have_both_images() {
    let mut plugin = ChangeHarness::<Audit>::new(&json!({})).unwrap();
    let (a, b) = (r#"{"id":1,"name":"a"}"#, r#"{"id":1,"name":"b"}"#);
    let mut change = |operation, before, after| plugin.change(&shop(), operation, before, after).unwrap();
    let is = |was: Option<&str>, is: &str| json!({"was": was, "is": is, "id": 1});
    assert_eq!(change(Operation::Insert, None, Some(a)).document(), is(None, "a"));
    assert_eq!(change(Operation::Snapshot, None, Some(a)).document(), is(None, "a"));
    assert_eq!(change(Operation::Update, Some(a), Some(b)).document(), is(Some("a"), "b"));
    let Verdict::Documents(docs) = change(Operation::Delete, Some(a), None) else { panic!() };
    assert_eq!((docs[0].operation, docs[0].id.as_deref()), ("delete", Some("1")));
    assert_eq!(rowmill_sdk::native::NativeChange::<Audit>::describe().mode, Mode::Change);
}
