//! The conversion of each type from every tool's encoding.

use proptest::prelude::*;

use super::converted::Result;
use super::*;
use crate::types::Declaration;

fn convert(dialect: Dialect, declared: &str, raw: &str) -> Result<String> {
    let declaration = Declaration::parse(declared).unwrap();
    apply(&choose(dialect, None, Some(&declaration)).1, raw)
}

fn apply(conversion: &Conversion, raw: &str) -> Result<String> {
    let records = [b"before", raw.as_bytes(), b"behind"].concat();
    let mut scratch = b"some".to_vec();
    let cell = Cell::in_records(6, 6 + raw.len());
    let cell = conversion.apply(cell, &records, &mut scratch)?;
    assert_eq!(&scratch[..4], b"some");
    let text = String::from_utf8(cell.bytes(&records, &scratch).to_vec()).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).expect("a cell is JSON");
    Ok(text)
}

#[track_caller]
fn check(dialect: Dialect, declared: &str, raw: &str, expect: &str) {
    assert_eq!(convert(dialect, declared, raw).as_deref(), Ok(expect), "{dialect:?} {declared} {raw}");
}

#[track_caller]
fn refuse(dialect: Dialect, declared: &str, raw: &str) {
    assert!(convert(dialect, declared, raw).is_err(), "{dialect:?} {declared} {raw}");
}

use Dialect::{Canal, DebeziumPlain as Plain, Maxwell};

#[test]
fn integers() {
    check(Canal, "bigint unsigned", "\"18446744073709551615\"", "18446744073709551615");
    check(Canal, "int", "\"-5\"", "-5");
    check(Canal, "int zerofill", "\"00042\"", "42");
    check(Canal, "int", "\"-0\"", "0");
    check(Canal, "year", "\"0000\"", "0");
    check(Plain, "bigint unsigned", "-1", "18446744073709551615");
    check(Plain, "bigint unsigned", "-9223372036854775808", "9223372036854775808");
    check(Plain, "bigint", "-9223372036854775808", "-9223372036854775808");
    check(Plain, "bigint", "9007199254740993", "9007199254740993");
    check(Plain, "tinyint", "true", "1");
    check(Maxwell, "bigint unsigned", "18446744073709551615", "18446744073709551615");
    check(Maxwell, "int", "null", "null");
    refuse(Plain, "int unsigned", "-1");
    refuse(Maxwell, "bigint unsigned", "-1");
    refuse(Plain, "bigint unsigned", "-9223372036854775809");
    refuse(Plain, "bigint", "9223372036854775808");
    refuse(Plain, "bigint unsigned", "18446744073709551616");
    for raw in ["\"abc\"", "\"\"", "1.5", "1e3", "{}", "[1]", "\"-\"", "\"1 \"", "\"+1\""] {
        refuse(Canal, "int", raw);
    }
}

#[test]
fn booleans_and_bits() {
    for (raw, expect) in [("1", "true"), ("0", "false"), ("true", "true"), ("-1", "true"), ("\"0\"", "false")] {
        check(Maxwell, "boolean", raw, expect);
    }
    check(Plain, "boolean", "\"AQ==\"", "true");
    refuse(Plain, "boolean", "\"yes\"");
    check(Plain, "bit(1)", "true", "1");
    check(Plain, "bit(1)", "false", "0");
    check(Plain, "bit(16)", "\"AYA=\"", "32769");
    check(Plain, "bit(64)", "\"//////////8=\"", "18446744073709551615");
    check(Plain, "bit(64)", "\"//////////8A\"", "18446744073709551615");
    check(Canal, "bit(16)", "\"32769\"", "32769");
    check(Maxwell, "bit(16)", "32769", "32769");
    refuse(Plain, "bit(64)", "\"//////////8B\"");
    refuse(Canal, "bit(8)", "\"AYA=\"");
    refuse(Maxwell, "bit(8)", "-1");
}

#[test]
fn floats() {
    check(Canal, "double", "\"1.7976931348623157E308\"", "1.7976931348623157E308");
    check(Canal, "float", "\"9.0\"", "9.0");
    check(Plain, "double", "0.1", "0.1");
    refuse(Canal, "double", "\"NaN\"");
    refuse(Canal, "double", "\"1.\"");
    refuse(Plain, "double", "true");
}

#[test]
fn decimals() {
    check(Canal, "decimal(18,2)", "\"99.90\"", "\"99.90\"");
    check(Canal, "decimal(14,2)", "\"82.0\"", "\"82.00\"");
    check(Canal, "decimal(14,2)", "\"82\"", "\"82.00\"");
    check(Maxwell, "decimal(18,2)", "399.6", "\"399.60\"");
    check(Maxwell, "decimal(18,2)", "-0.01", "\"-0.01\"");
    check(Maxwell, "decimal(18,2)", "-0.0", "\"0.00\"");
    check(Maxwell, "decimal(20,10)", "1E-10", "\"0.0000000001\"");
    check(Maxwell, "decimal(20,2)", "1.5E+3", "\"1500.00\"");
    check(Maxwell, "decimal(20,0)", "5", "\"5\"");
    check(Maxwell, "decimal(20,0)", "5.00", "\"5\"");
    check(Maxwell, "decimal(20,2)", "5.125", "\"5.125\"");
    check(
        Maxwell,
        "decimal(65,30)",
        "123456789012345678.123456789012",
        "\"123456789012345678.123456789012000000000000000000\"",
    );
    check(Plain, "decimal(18,2)", "\"99.90\"", "\"99.90\"");
    check(Plain, "decimal(18,2)", "\"JwY=\"", "\"99.90\"");
    check(Plain, "decimal(18,2)", "\"/w==\"", "\"-0.01\"");
    check(Plain, "decimal(18,2)", "\"AA==\"", "\"0.00\"");
    check(Plain, "decimal(18,2)", "99.9", "\"99.90\"");
    check(Plain, "decimal(18,0)", "\"1234\"", "\"1234\"");
    check(Plain, "decimal(18,0)", "\"/w==\"", "\"-1\"");
    let bytes = |scale| Conversion::Decimal { scale: Some(scale), bytes: DecimalBytes::Always { scale } };
    assert_eq!(apply(&bytes(2), "\"DeC2s6dj//8=\"").as_deref(), Ok("\"9999999999999999.99\""));
    assert_eq!(apply(&bytes(12), "\"AY7pD/bDc+A5NxP6FA==\"").as_deref(), Ok("\"123456789012345678.123456789012\""));
    assert_eq!(apply(&bytes(0), "\"\"").as_deref(), Ok("\"0\""));
    assert_eq!(apply(&bytes(0), "\"gA==\"").as_deref(), Ok("\"-128\""));
    let longest = format!("\"{}\"", "f".repeat(64));
    assert!(apply(&bytes(30), &longest).is_ok());
    for raw in ["\"abc\"", "\"1.2.3\"", "\"\"", "\".5\"", "true", "[]", "1e999", "\"1e\"", "\"--1\""] {
        refuse(Canal, "decimal(10,2)", raw);
    }
    refuse(Maxwell, "decimal(10,2)", &"1".repeat(200));
}

#[test]
fn dates_and_times() {
    check(Plain, "date", "20516", "\"2026-03-04\"");
    check(Plain, "date", "2932896", "\"9999-12-31\"");
    check(Plain, "date", "-719528", "\"0000-01-01\"");
    check(Canal, "date", "\"2026-03-04\"", "\"2026-03-04\"");
    check(Canal, "date", "\"0000-00-00\"", "\"0000-00-00\"");
    refuse(Plain, "date", "2932897");
    refuse(Plain, "date", "-719529");
    refuse(Plain, "date", "99999999999999999999");
    refuse(Canal, "date", "\"2026-3-4\"");
    refuse(Canal, "date", "\"2026-13-04\"");
    refuse(Canal, "date", "\"2026-03-04 00:00:00\"");

    check(Plain, "datetime", "1772600767000", "\"2026-03-04T05:06:07\"");
    check(Plain, "datetime(3)", "1772600767120", "\"2026-03-04T05:06:07.120\"");
    check(Plain, "datetime(6)", "1772600767123456", "\"2026-03-04T05:06:07.123456\"");
    check(Plain, "datetime(6)", "1772600767123000", "\"2026-03-04T05:06:07.123\"");
    check(Plain, "datetime(6)", "-30610224000000000", "\"1000-01-01T00:00:00\"");
    check(Plain, "datetime(6)", "-1", "\"1969-12-31T23:59:59.999999\"");
    check(Plain, "datetime(6)", "253402300799999999", "\"9999-12-31T23:59:59.999999\"");
    refuse(Plain, "datetime(6)", "253402300800000000");
    refuse(Plain, "datetime", "9223372036854775807");
    refuse(Plain, "datetime", "1.5");
    check(Canal, "datetime(6)", "\"2026-03-04 05:06:07.123456\"", "\"2026-03-04T05:06:07.123456\"");
    check(Canal, "datetime(3)", "\"2026-03-04 05:06:07.500\"", "\"2026-03-04T05:06:07.500\"");
    check(Canal, "datetime(3)", "\"2026-03-04 05:06:07.000\"", "\"2026-03-04T05:06:07\"");
    check(Canal, "datetime(1)", "\"2026-03-04 05:06:07.5\"", "\"2026-03-04T05:06:07.500\"");
    check(Canal, "datetime", "\"0000-00-00 00:00:00\"", "\"0000-00-00 00:00:00\"");
    check(Canal, "datetime", "\"2026-00-00 00:00:00\"", "\"2026-00-00 00:00:00\"");
    refuse(Canal, "datetime", "\"2026-03-04T05:06:07Z\"");
    refuse(Canal, "datetime", "\"2026-03-04 25:06:07\"");
    refuse(Canal, "datetime", "\"2026-03-04 05:06:07.1234567\"");
    refuse(Canal, "datetime", "\"2026-03-04\"");
    refuse(Canal, "datetime", "\"2026-03-04 05:06:07.\"");

    check(Plain, "timestamp(3)", "\"2026-11-20T23:15:32.303Z\"", "\"2026-11-20T23:15:32.303Z\"");
    check(Plain, "timestamp", "\"2026-11-20T23:15:32Z\"", "\"2026-11-20T23:15:32Z\"");
    check(Plain, "timestamp(6)", "\"2026-11-20T23:15:32.500000Z\"", "\"2026-11-20T23:15:32.500Z\"");
    check(Plain, "timestamp", "\"2026-11-20T23:15:32+08:00\"", "\"2026-11-20T15:15:32Z\"");
    check(Plain, "timestamp", "\"2026-11-20T23:15:32-01:30\"", "\"2026-11-21T00:45:32Z\"");
    check(Maxwell, "timestamp", "\"2026-11-20 23:15:32\"", "\"2026-11-20T23:15:32Z\"");
    refuse(Maxwell, "timestamp", "\"2026-11-20 23:15:32 PST\"");

    check(Plain, "time(3)", "-45296789000", "\"-12:34:56.789\"");
    check(Plain, "time", "3020399000000", "\"838:59:59\"");
    check(Canal, "time(3)", "\"838:59:59.000\"", "\"838:59:59\"");
    check(Canal, "time(3)", "\"-12:34:56.789\"", "\"-12:34:56.789\"");
    check(Canal, "time", "\"-00:00:00\"", "\"00:00:00\"");
    check(Canal, "time", "\"1:02:03\"", "\"01:02:03\"");
    refuse(Canal, "time", "\"12:60:00\"");
    refuse(Canal, "time", "\"12:00\"");
    refuse(Plain, "time", "99999999999999999");
}

#[test]
fn labels() {
    check(Canal, "enum('a','it''s \"b\"')", "\"2\"", "\"it's \\\"b\\\"\"");
    check(Canal, "enum('a')", "\"0\"", "\"\"");
    check(Canal, "enum('a')", "\"a\"", "\"a\"");
    check(Canal, "enum('a','7')", "\"7\"", "\"7\"");
    refuse(Canal, "enum('a')", "\"2\"");
    check(Plain, "enum('a')", "\"b\"", "\"b\"");
    refuse(Plain, "enum('a')", "1");
    check(Canal, "set('a','b','c')", "\"5\"", "\"a,c\"");
    check(Canal, "set('a','b','c')", "\"0\"", "\"\"");
    check(Canal, "set('a','b','c')", "\"\"", "\"\"");
    refuse(Canal, "set('a','b','c')", "\"8\"");
    check(Maxwell, "set('a','b')", "[\"a\",\"b\"]", "\"a,b\"");
    check(Maxwell, "set('a','b')", "[ \"a\" , \"b\" ]", "\"a,b\"");
    check(Maxwell, "set('a','b')", "[]", "\"\"");
    check(Maxwell, "set('a','b')", "\"a\"", "\"a\"");
    refuse(Maxwell, "set('a','b')", "[1]");
    let labels: Vec<String> = (0..64).map(|n| format!("'l{n}'")).collect();
    let all = format!("set({})", labels.join(","));
    assert!(convert(Canal, &all, "\"18446744073709551615\"").unwrap().ends_with(",l63\""));
}

#[test]
fn bytes() {
    check(Canal, "varbinary(9)", "\"\\u0000\u{ff}\u{80}a\\n\"", "\"AP+AYQo=\"");
    check(Canal, "blob", "\"\"", "\"\"");
    check(Canal, "binary(4)", "\"ab\"", "\"YWIAAA==\"");
    check(Canal, "binary(3)", "\"\"", "\"AAAA\"");
    refuse(Canal, "blob", "\"\u{100}\"");
    refuse(Canal, "blob", "\"中\"");
    check(Plain, "blob", "\"AP+A\"", "\"AP+A\"");
    check(Plain, "blob", "\"AP-_\"", "\"AP+/\"");
    check(Plain, "blob", "\"AP8\"", "\"AP8=\"");
    check(Maxwell, "binary(4)", "\"YWI=\"", "\"YWIAAA==\"");
    refuse(Plain, "blob", "\"a b\"");
    refuse(Plain, "blob", "\"abcde\"");
    refuse(Plain, "blob", "\"=\"");
    check(Plain, "point", "{\"wkb\":\"AA==\",\"srid\":null}", "{\"wkb\":\"AA==\",\"srid\":null}");
}

#[test]
fn text_and_json() {
    check(Plain, "varchar(9)", "\"a\\u4e2d\"", "\"a\\u4e2d\"");
    refuse(Plain, "varchar(9)", "1");
    check(Plain, "json", "\"{\\\"a\\\": [1, 1.50]}\"", "{\"a\": [1, 1.50]}");
    check(Plain, "json", "\" {\\n \\\"a\\\" : \\\"x\\\\n y\\\"}\\n\"", "{\"a\":\"x\\n y\"}");
    check(Plain, "json", "\"  5 \"", "5");
    check(Plain, "json", "\"\\\"t\\\"\"", "\"t\"");
    check(Plain, "json", "\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\"");
    check(Plain, "json", "\"\\\"\\ud83d\\ude00\\\"\"", "\"😀\"");
    check(Plain, "json", "\"not json\"", "\"not json\"");
    check(Plain, "json", "\"\"", "\"\"");
    check(Maxwell, "json", "{\"a\":1}", "{\"a\":1}");
}

proptest! {
    /// Any value for any type: an error or JSON, never a panic.
    #[test]
    fn no_value_panics(
        declared in prop::sample::select(vec!["int", "bigint unsigned", "boolean", "bit(8)", "double",
            "decimal(9,2)", "decimal(9,0)", "date", "time(6)", "datetime(6)", "datetime", "timestamp", "text",
            "binary(8)", "blob", "enum('a','1')", "set('a','b')", "json"]),
        text in prop_oneof!["[-0-9.eE+:TZ ]{0,30}", "[A-Za-z0-9+/=_-]{0,80}", any::<String>()],
        quoted in any::<bool>(),
    ) {
        let raw = if quoted { serde_json::to_string(&text).unwrap() } else { text };
        prop_assume!(serde_json::from_str::<serde_json::Value>(&raw).is_ok());
        for dialect in [Canal, Plain, Maxwell] {
            let _ = convert(dialect, declared, raw.trim());
        }
    }

    #[test]
    fn times_round_trip(micros in -62_167_219_200_000_000i64..=253_402_300_799_999_999) {
        let text = convert(Plain, "datetime(6)", &micros.to_string()).unwrap();
        // The same time by the conversion of text.
        let spaced = text.replace('T', " ");
        prop_assert_eq!(convert(Canal, "datetime(6)", &spaced).unwrap(), text.clone());
        let zoned = text.trim_end_matches('"').to_owned() + "+00:01\"";
        let earlier = convert(Plain, "timestamp(6)", &zoned);
        if let Ok(earlier) = earlier {
            let back = earlier.trim_end_matches("Z\"").to_owned() + "-00:01\"";
            prop_assert_eq!(convert(Plain, "timestamp(6)", &back).unwrap(), text.trim_end_matches('"').to_owned() + "Z\"");
        }
    }

    #[test]
    fn decimals_keep_their_digits(digits in "[1-9][0-9]{0,34}", scale in 0u32..30, negative in any::<bool>()) {
        let number: i128 = digits.parse().unwrap();
        let number = if negative { -number } else { number };
        let base64 = STANDARD.encode(number.to_be_bytes());
        let conversion = Conversion::Decimal { scale: Some(scale), bytes: DecimalBytes::Always { scale } };
        let padded = format!("{digits:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        let point = if scale > 0 { "." } else { "" };
        let sign = if negative { "-" } else { "" };
        let expect = format!("\"{sign}{whole}{point}{fraction}\"");
        prop_assert_eq!(apply(&conversion, &format!("\"{base64}\"")), Ok(expect.clone()));
        let declared = format!("decimal(65,{scale})");
        let exponent = format!("{sign}{digits}E-{scale}");
        prop_assert_eq!(convert(Maxwell, &declared, &exponent), Ok(expect.clone()));
        prop_assert_eq!(convert(Canal, &declared, &expect), Ok(expect));
    }

    #[test]
    fn latin1_to_base64(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let text: String = bytes.iter().map(|&b| b as char).collect();
        let raw = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(convert(Canal, "blob", &raw), Ok(format!("\"{}\"", STANDARD.encode(&bytes))));
    }
}

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
