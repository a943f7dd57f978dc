//! Every reader of a row: what it takes, what it refuses and with which words.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use rowmill_sdk::testing::{Harness, Verdict, table};
use rowmill_sdk::{Columns, Fail, NoSettings, Out, Row, Table, Transform};
use serde_json::{Value, json};

thread_local! {
    static PROBE: RefCell<Option<Probe>> = const { RefCell::new(None) };
}
type Probe = Box<dyn Fn(&Row<'_>) -> Result<String, Fail>>;

/// Answers with whatever the probe read, as the reason of a failure.
struct Prober;

impl Transform for Prober {
    const NAME: &'static str = "prober";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn columns(&self, table: &Table) -> Result<Columns, String> {
        Ok(if table.has("hidden") { Columns::of(["x"]).read_optional("maybe").pass("hidden") } else { Columns::all() })
    }
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let read = PROBE.with_borrow(|probe| probe.as_ref().map(|probe| probe(row)));
        out.fail(read.unwrap()?);
        Ok(())
    }
}

fn read(row: &str, probe: impl Fn(&Row<'_>) -> Result<String, Fail> + 'static) -> String {
    PROBE.set(Some(Box::new(probe)));
    let table = table("shop.t", [("x", "unknown"), ("hidden", "unknown")]);
    let mut plugin = Harness::<Prober>::new(&json!({})).unwrap();
    plugin.row(&table, row).unwrap().reason().to_owned()
}

macro_rules! check {
    ($reader:ident, $json:expr, $expect:expr) => {
        let cell: &str = $json;
        let row = if cell.is_empty() { "{}".to_owned() } else { format!("{{\"x\":{cell}}}") };
        let got = read(&row, |row| Ok(format!("{:?}", row.$reader("x")?)));
        assert_eq!(got, $expect, "{} of {cell}", stringify!($reader));
    };
}

#[test]
fn texts() {
    check!(text, r#""abc""#, r#"Some("abc")"#);
    check!(text, r#""""#, r#"Some("")"#);
    check!(text, r#""a\"b\\c\/d\n\t\r\b\f""#, r#"Some("a\"b\\c/d\n\t\r\u{8}\u{c}")"#);
    check!(text, r#""\u00e9 \ud83d\ude00 😀 保暖""#, r#"Some("é 😀 😀 保暖")"#);
    check!(text, r#""\ud83d x""#, "Some(\"\u{fffd} x\")");
    check!(text, "null", "None");
    check!(text, "", "None");
    check!(text, "5", "column 'x' of shop.t: expected a text");
    check!(text, "[1]", "column 'x' of shop.t: expected a text");
    check!(scalar, "5.10", r#"Some("5.10")"#);
    check!(scalar, "true", r#"Some("true")"#);
    check!(scalar, r#""x""#, r#"Some("x")"#);
    check!(scalar, "{}", "column 'x' of shop.t: expected a single value, got an object or an array");
    check!(enumeration, "2", r#"Some("2")"#);
}

#[test]
fn integers() {
    check!(i64, "-9223372036854775808", "Some(-9223372036854775808)");
    check!(i64, "9223372036854775808", "column 'x' of shop.t: the integer does not fit into 64 bits with sign");
    check!(u64, "18446744073709551615", "Some(18446744073709551615)");
    check!(u64, "18446744073709551616", "column 'x' of shop.t: the integer does not fit into 64 bits without sign");
    check!(u64, "-1", "column 'x' of shop.t: the integer does not fit into 64 bits without sign");
    check!(u64, &"9".repeat(60), "column 'x' of shop.t: the integer is too large");
    check!(i64, r#""42""#, "Some(42)");
    check!(i64, "1.0", "column 'x' of shop.t: expected an integer, got a number with a fraction or an exponent");
    check!(i64, "1e3", "column 'x' of shop.t: expected an integer, got a number with a fraction or an exponent");
    check!(i64, r#""4x""#, "column 'x' of shop.t: expected an integer");
    check!(i64, r#""""#, "column 'x' of shop.t: expected an integer");
    check!(i64, "true", "column 'x' of shop.t: expected an integer");
    check!(i64, "null", "None");
}

#[test]
fn other_numbers() {
    check!(f64, "-1.5e-7", "Some(-1.5e-7)");
    check!(f64, r#""2.5""#, "Some(2.5)");
    check!(f64, "1e999", "column 'x' of shop.t: the number is too large for a double");
    check!(f64, r#""NaN""#, "column 'x' of shop.t: expected a number");
    check!(f64, r#""inf""#, "column 'x' of shop.t: expected a number");
    check!(bool, "true", "Some(true)");
    check!(bool, "0", "Some(false)");
    check!(bool, r#""1""#, "Some(true)");
    check!(bool, "2", "column 'x' of shop.t: expected true, false, 0 or 1");
    check!(bit, "32769", "Some(32769)");
    check!(bit, r#""AYA=""#, "Some(32769)");
    check!(bit, "true", "Some(1)");
    check!(bit, r#""AAAAAAAAAAAA""#, "column 'x' of shop.t: more than 64 bits");
    check!(bytes, r#""AP+A""#, "Some([0, 255, 128])");
    check!(bytes, r#""A""#, "column 'x' of shop.t: expected base64");
}

#[test]
fn decimals_keep_all_digits() {
    let digits = "-123456789012345678901234567890.123456789012345678901234567890";
    for cell in [digits.to_owned(), format!("\"{digits}\"")] {
        let got = read(&format!("{{\"x\":{cell}}}"), |row| Ok(row.decimal("x")?.unwrap().to_string()));
        assert_eq!(got, digits);
    }
    let cents = |cell: &str| {
        read(&format!("{{\"x\":{cell}}}"), |row| Ok(format!("{:?}", row.decimal("x")?.unwrap().to_cents())))
    };
    assert_eq!(cents("99.90"), "Some(9990)");
    assert_eq!(cents("\"-0.05\""), "Some(-5)");
    assert_eq!(cents("\"x\""), "column 'x' of shop.t: expected a decimal number");
}

#[test]
fn times() {
    let check = |cell: &str, kind: &'static str, expect: &str| {
        let got = read(&format!("{{\"x\":{cell}}}"), move |row| {
            Ok(match kind {
                "date" => row.date("x")?.unwrap().to_string(),
                "time" => row.time("x")?.unwrap().to_string(),
                _ => row.datetime("x")?.unwrap().to_string(),
            })
        });
        assert_eq!(got, expect, "{kind} {cell}");
    };
    check("\"2026-03-04\"", "date", "2026-03-04");
    check("20516", "date", "2026-03-04");
    check("\"2026-3-4\"", "date", "column 'x' of shop.t: expected a date as 2026-03-04");
    check("99999999999999999", "date", "column 'x' of shop.t: the number is out of range");
    check("\"-12:34:56.789\"", "time", "-12:34:56.789000");
    check("-45296789000", "time", "-12:34:56.789000");
    check("\"2026-03-04T05:06:07.123456\"", "datetime", "2026-03-04T05:06:07.123456");
    check("1772600767123456", "datetime", "2026-03-04T05:06:07.123456");
    check("1772600767123", "datetime", "2026-03-04T05:06:07.123");
    check("true", "datetime", "column 'x' of shop.t: expected a date and time as 2026-03-04T05:06:07");
}

#[test]
fn sets_and_json() {
    let labels = |cell: &str| {
        read(&format!("{{\"x\":{cell}}}"), |row| {
            Ok(row.set("x")?.map_or("none".to_owned(), |l| l.iter().collect::<Vec<_>>().join("|")))
        })
    };
    assert_eq!(labels(r#""vip,gift""#), "vip|gift");
    assert_eq!(labels(r#"["vip","gift"]"#), "vip|gift");
    assert_eq!(labels(r#""""#), "");
    assert_eq!(labels("null"), "none");
    assert_eq!(labels("[1]"), "column 'x' of shop.t: expected an array of texts");
    let json = |cell: &str| {
        read(&format!("{{\"x\":{cell}}}"), |row| Ok(format!("{:?}", row.json::<Value>("x")?.map(|v| v.to_string()))))
    };
    assert_eq!(json("[9007199254740993, 1.10]"), r#"Some("[9007199254740993,1.10]")"#);
    assert_eq!(json("null"), "None");
}

#[test]
fn null_absent_and_columns_that_are_not_there() {
    let both = |row: &Row<'_>| Ok(format!("{} {}", row.is_null("x")?, row.is_absent("x")?));
    assert_eq!(read(r#"{"x":null}"#, both), "true false");
    assert_eq!(read("{}", both), "false true");
    assert_eq!(read(r#"{"x":1}"#, both), "false false");
    let missing = |name: &'static str| read("{}", move |row| Ok(format!("{:?}", row.text(name)?)));
    assert_eq!(missing("maybe"), "None");
    assert_eq!(missing("nope"), "table shop.t has no column 'nope'");
    assert_eq!(missing("hidden"), "column 'hidden' of shop.t: the plugin did not ask to read this column");
}

#[test]
fn cells_of_many_rows_do_not_mix() {
    PROBE.set(Some(Box::new(|row| Ok(format!("{:?} {:?}", row.text("a")?, row.i64("b")?)))));
    let table = table("t", [("a", "text"), ("b", "integer")]);
    let rows = [r#"{"a":"one","b":1}"#, r#"{"b":2}"#, r#"{"a":null}"#, r#"{"a":"x","b":null}"#];
    let verdicts = Harness::<Prober>::new(&json!({})).unwrap().rows(&table, &rows).unwrap();
    let reasons: Vec<&str> = verdicts.iter().map(Verdict::reason).collect();
    assert_eq!(reasons, ["Some(\"one\") Some(1)", "None Some(2)", "None None", "Some(\"x\") None"]);
}
