//! What holds for every text, number and time: nothing is lost on the way through a plugin.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rowmill_sdk::testing::{Harness, table};
use rowmill_sdk::{DateTime, Decimal, Fail, NoSettings, Out, Row, Transform};
use serde_json::{Value, json};

/// Reads every column and writes it anew.
struct Echo;

impl Transform for Echo {
    const NAME: &'static str = "echo";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let mut doc = out.document();
        if let Some(text) = row.text("text")? {
            doc.text("text", &text).set("by serde", &text);
        }
        if let Some(number) = row.i64("number")? {
            doc.integer("number", number);
        }
        if let Some(json) = row.json::<Value>("json")? {
            doc.set("json", &json);
        }
        Ok(())
    }
}

fn echo(row: &Value) -> Value {
    let table = table("t", [("text", "text"), ("number", "integer"), ("json", "json")]);
    Harness::<Echo>::new(&json!({})).unwrap().row(&table, &row.to_string()).unwrap().document()
}

/// A JSON string with every character as `\uXXXX`.
fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{units}\"")
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn texts(text in any::<String>()) {
        prop_assert_eq!(echo(&json!({"text": text})), json!({"text": text, "by serde": text}));
    }

    #[test]
    fn texts_with_every_character_escaped(text in any::<String>()) {
        let table = table("t", [("text", "text"), ("number", "integer"), ("json", "json")]);
        let row = format!("{{\"text\":{}}}", escaped(&text));
        let document = Harness::<Echo>::new(&json!({})).unwrap().row(&table, &row).unwrap().document();
        prop_assert_eq!(document, json!({"text": text, "by serde": text}));
    }

    #[test]
    fn integers(number in any::<i64>()) {
        prop_assert_eq!(echo(&json!({"number": number})), json!({"number": number}));
    }

    #[test]
    fn json(value in json_value()) {
        prop_assert_eq!(echo(&json!({"json": value})), json!({"json": value}));
    }

    #[test]
    fn decimals(a in -10_i128.pow(30)..10_i128.pow(30), b in any::<i64>(), scale in 0_u32..25, zeros in 0_usize..4) {
        let spell = |unscaled: i128, zeros: usize| {
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
            let sign = if unscaled < 0 { "-" } else { "" };
            format!("{sign}{whole}.{fraction}{}", "0".repeat(zeros))
        };
        let (x, y) = (spell(a, zeros), spell(i128::from(b), 0));
        let (x, y) = (Decimal::parse(&x).unwrap(), Decimal::parse(&y).unwrap());
        prop_assert_eq!(x.to_scaled(scale), Some(a));
        prop_assert_eq!(y.to_scaled(scale), Some(i128::from(b)));
        prop_assert_eq!(x.cmp(&y), a.cmp(&i128::from(b)));
    }

    #[test]
    fn what_is_no_decimal_is_never_one(text in "[-+0-9.eE]{0,12}") {
        let digits = text.trim_start_matches(['-', '+']);
        let as_rust = text.len() - digits.len() <= 1 && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let number = as_rust.then(|| text.parse::<f64>().ok()).flatten();
        prop_assert_eq!(Decimal::parse(&text).is_some_and(|d| d.to_f64().is_finite()), number.is_some_and(f64::is_finite));
    }

    #[test]
    fn times(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
        let time = DateTime::from_epoch_micros(micros);
        prop_assert!(time.is_valid());
        prop_assert_eq!(time.to_epoch_micros(), micros);
        prop_assert_eq!(DateTime::parse(&time.to_string()), Some(time));
    }

    #[test]
    fn nothing_panics_on_any_bytes(text in "[-0-9TZ: .]{0,30}") {
        let _ = (DateTime::parse(&text), rowmill_sdk::Time::parse(&text), rowmill_sdk::Date::parse(&text));
    }
}
