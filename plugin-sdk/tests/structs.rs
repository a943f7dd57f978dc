//! Rows as structs, and documents as literals.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;

use rowmill_sdk::testing::{Harness, table};
use rowmill_sdk::{
    Col, Columns, Date, DateTime, Decimal, Fail, FromRow, Labels, NoSettings, Out, Row, Table, Time, Transform, doc,
};
use serde_json::{Value, json};

#[derive(Row)]
struct Everything<'r> {
    id: u64,
    small: i8,
    #[row(column = "unsigned")]
    wide: Option<u16>,
    ratio: f64,
    single: f32,
    paid: bool,
    total: Decimal<'r>,
    name: Cow<'r, str>,
    owned: Option<String>,
    day: Date,
    clock: Time,
    at: DateTime,
    blob: Option<Vec<u8>>,
    tags: Labels<'r>,
    #[row(bit)]
    flags: u64,
    #[row(bit)]
    more_flags: Option<u64>,
    #[row(json)]
    ext: Value,
    #[row(json)]
    more: Option<Vec<u32>>,
    #[row(scalar)]
    any: Cow<'r, str>,
    #[row(optional)]
    r#type: Option<i64>,
}

#[derive(Row)]
struct OnlyId {
    id: u64,
}

#[derive(Row)]
struct Passing {
    id: u64,
    #[row(pass)]
    name: Col,
    #[row(pass, optional, column = "type")]
    kind: Col,
}

/// Passes columns on by handles; `DECLARED` or not.
struct Passer<const DECLARED: bool>;

impl<const DECLARED: bool> Transform for Passer<DECLARED> {
    const NAME: &'static str = "passer";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn columns(&self, _: &Table) -> Result<Columns, String> {
        Ok(if DECLARED { Passing::columns() } else { Columns::all() })
    }
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let it = Passing::from_row(row)?;
        doc!(out.document(), { "id": it.id, "who": column it.name, "kind": column it.kind });
        Ok(())
    }
}

#[test]
fn columns_are_passed_on_by_handles_of_the_struct() {
    let mut plugin = Harness::<Passer<true>>::new(&json!({})).unwrap();
    let row = full().to_string();
    assert_eq!(plugin.row(&shop(), &row).unwrap().document(), json!({"id": u64::MAX, "who": "保"}));
    let mut native = rowmill_sdk::native::Native::<Passer<true>>::new();
    native.configure("{}").unwrap();
    assert_eq!(native.define_table(&shop()).unwrap(), [0], "what is passed on is not copied in");
    let mut undeclared = Harness::<Passer<false>>::new(&json!({})).unwrap();
    assert_eq!(
        undeclared.row(&shop(), &row).unwrap().reason(),
        "column 'name' of shop.everything: is passed on by a struct whose columns were not declared; return its `columns()` from the plugin's"
    );
}

/// Reads everything; `BY_NAME` without having declared the columns.
struct Reader<const BY_NAME: bool>;

impl<const BY_NAME: bool> Transform for Reader<BY_NAME> {
    const NAME: &'static str = "reader";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn columns(&self, _: &Table) -> Result<Columns, String> {
        match BY_NAME {
            true => Ok(Columns::all().read_optional("type")),
            false => Ok(Columns::none().pass("name").row::<OnlyId>().row::<Everything<'_>>()),
        }
    }
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        assert_eq!(OnlyId::from_row(row)?.id, Everything::from_row(row)?.id);
        let it = Everything::from_row(row)?;
        doc!(out.document(), {
            "id": it.id,
            "numbers": { "small": it.small, "wide": it.wide, "ratio": it.ratio, "single": it.single, "empty": {} },
            "paid": it.paid,
            "total": it.total.as_str(),
            "texts": [it.name.as_ref(), it.owned.as_deref().unwrap_or("-"), it.any.as_ref()],
            "times": { "day": it.day.to_string(), "clock": it.clock.to_string(), "at": it.at.to_string() },
            "blob": it.blob.map(|bytes| bytes.len()),
            "tags": it.tags.iter().collect::<Vec<_>>(),
            "flags": (it.flags, it.more_flags),
            "ext": it.ext,
            "more": it.more,
            "type": it.r#type,
            "passed": column "name",
        });
        Ok(())
    }
}

fn shop() -> Table {
    table(
        "shop.everything",
        [
            ("id", "unsigned-integer"),
            ("small", "integer"),
            ("unsigned", "unsigned-integer"),
            ("ratio", "double"),
            ("single", "float"),
            ("paid", "boolean"),
            ("total", "decimal"),
            ("name", "text"),
            ("owned", "text"),
            ("day", "date"),
            ("clock", "time"),
            ("at", "date-time"),
            ("blob", "binary"),
            ("tags", "set"),
            ("flags", "bit"),
            ("more_flags", "bit"),
            ("ext", "json"),
            ("more", "json"),
            ("any", "integer"),
        ],
    )
}

fn full() -> Value {
    json!({
        "id": u64::MAX, "small": -128, "unsigned": null, "ratio": 0.5, "single": 1.5, "paid": true,
        "total": "123456789012345678901234567890.12", "name": "保", "owned": null, "day": "2026-03-04",
        "clock": "-12:34:56", "at": "2026-03-04T05:06:07.123456", "blob": "aGk=", "tags": "vip,gift", "flags": 5,
        "more_flags": null, "ext": {"a": [1]}, "more": null, "any": 7,
    })
}

fn with(column: &str, value: Value) -> Value {
    let mut row = full();
    row[column] = value;
    row
}

#[test]
fn every_type_is_read_and_written_by_place_and_by_name() {
    let expected = json!({
        "id": u64::MAX, "numbers": {"small": -128, "wide": null, "ratio": 0.5, "single": 1.5, "empty": {}}, "paid": true,
        "total": "123456789012345678901234567890.12", "texts": ["保", "-", "7"],
        "times": {"day": "2026-03-04", "clock": "-12:34:56", "at": "2026-03-04T05:06:07.123456"}, "blob": 2,
        "tags": ["vip", "gift"], "flags": [5, null], "ext": {"a": [1]}, "more": null, "type": null, "passed": "保",
    });
    let row = full().to_string();
    let mut by_place = Harness::<Reader<false>>::new(&json!({})).unwrap();
    assert_eq!(by_place.row(&shop(), &row).unwrap().document(), expected);
    let mut by_name = Harness::<Reader<true>>::new(&json!({})).unwrap();
    assert_eq!(by_name.row(&shop(), &row).unwrap().document(), expected);
}

#[test]
fn what_cannot_be_read_names_column_and_table() {
    let mut plugin = Harness::<Reader<false>>::new(&json!({})).unwrap();
    let mut reason = |row: Value| plugin.row(&shop(), &row.to_string()).unwrap().reason().to_owned();
    assert_eq!(
        reason(with("id", Value::Null)),
        "column 'id' of shop.everything: it is NULL; read a column that may have no value as an `Option`"
    );
    let mut absent = full();
    absent.as_object_mut().unwrap().remove("paid");
    assert_eq!(
        reason(absent),
        "column 'paid' of shop.everything: the source did not send it; read a column that may have no value as an `Option`"
    );
    assert_eq!(
        reason(with("small", json!(128))),
        "column 'small' of shop.everything: the integer does not fit into i8"
    );
    assert_eq!(
        reason(with("unsigned", json!(65536))),
        "column 'unsigned' of shop.everything: the integer does not fit into u16"
    );
    assert!(reason(with("unsigned", json!(-1))).starts_with("column 'unsigned' of shop.everything: the integer does"));
    assert!(reason(with("total", json!("x"))).starts_with("column 'total' of shop.everything: expected a decimal"));
    assert!(reason(with("more", json!({}))).starts_with("column 'more' of shop.everything: invalid type"));
    assert!(reason(with("flags", Value::Null)).starts_with("column 'flags' of shop.everything: it is NULL"));
}

#[test]
fn a_table_without_the_columns_is_refused() {
    let mut plugin = Harness::<Reader<false>>::new(&json!({})).unwrap();
    let error = plugin.row(&table("shop.small", [("id", "integer"), ("name", "text")]), "{}").unwrap_err();
    assert!(error.starts_with("table shop.small has no columns 'small', 'unsigned', "), "{error}");
    assert!(!error.contains("'type'"), "an optional one may be missing: {error}");
}

#[test]
fn only_the_columns_of_the_struct_are_asked_for() {
    let mut plugin = rowmill_sdk::native::Native::<Reader<false>>::new();
    plugin.configure("{}").unwrap();
    // `OnlyId` comes first, then the others in the order of the struct; `type` is not there.
    let asked = plugin.define_table(&shop()).unwrap();
    assert_eq!(asked, (0..19).collect::<Vec<u32>>());
}
