//! A plugin gives the same natively and as a `.wasm` file in the sandbox: on all captured rows, and on random rows of
//! every column type.

use std::path::PathBuf;

use audit_trail::AuditTrail;
use reader::Reader;
use rowmill_sdk::harness::{Both, BothChange, Image, Input, Operation, Outcome, Reading, Row, Rows};
use rowmill_tests::captures::STREAMS;
use rowmill_tests::tables::{self, Documents};
use rowmill_tests::{fixture, root, scratch, seed};
use serde_json::{Value, json};
use trade_document::TradeDocument;

fn reader() -> Both<Reader> {
    Both::in_crate(root().join("tests/guests/reader"))
}

fn captured(stream: &str) -> Input {
    let file: PathBuf = fixture(&format!("{stream}.ndjson"));
    Input::read(&file, &Reading::default()).expect("a fixture can be read")
}

/// How many outcomes have one of these operations.
fn n(outcomes: &[Outcome], operations: &[&str]) -> usize {
    outcomes.iter().filter(|outcome| operations.contains(&outcome.operation.as_str())).count()
}

const HOW: [&str; 5] = ["document", "split", "edit", "merge", "fail"];

#[test]
fn all_captured_rows_are_read_and_written_alike() {
    let plugin = reader();
    for stream in STREAMS {
        let input = captured(stream);
        let rows = input.rows.len();
        assert!(rows > 70 && input.tables.len() >= 4, "{stream}: {}", input.summary());
        for how in HOW {
            let outcomes = plugin.outcomes(&json!({ "how": how }), &input);
            assert_eq!(n(&outcomes, &["undecodable", "refused"]), 0, "{stream}, {how}");
            assert_eq!(outcomes.last().map(|last| last.row), Some(rows), "{stream}, {how}: every row has an outcome");
        }
        let outcomes = plugin.outcomes(&json!({}), &input);
        assert!(n(&outcomes, &["index"]) > rows / 2, "{stream}: {} documents", n(&outcomes, &["index"]));
    }
}

#[test]
fn all_captured_changes_are_audited_alike() {
    let plugin = BothChange::<AuditTrail>::in_crate(root().join("examples/plugins/audit-trail"));
    for stream in STREAMS {
        let input = captured(stream);
        let outcomes = plugin.outcomes(&json!({}), &input);
        assert!(n(&outcomes, &["index"]) >= input.rows.len(), "{stream}");
        assert_eq!(n(&outcomes, &["fail", "undecodable", "refused"]), 0, "{stream}");
    }
}

/// What the harness tells of a row is what a gateway does: followed from the first row to the last, it ends in the
/// documents that the tables' rows are.
#[test]
fn the_outcomes_of_each_stream_end_in_the_tables_documents() {
    let plugin = Both::<TradeDocument>::in_crate(root().join("plugins/trade-document"));
    // As declared in a gateway's configuration, since not every format reports all types.
    let folder = scratch("types");
    let types = folder.path().join("types.toml");
    std::fs::write(&types, tables::declared().replace("[tables.", "[")).expect("a file can be written");
    let mut reading = Reading::default();
    reading.declare(&types).expect("types of MySQL");
    for stream in STREAMS {
        let input = Input::read(&fixture(&format!("{stream}.ndjson")), &reading).expect("a fixture can be read");
        let mut documents = Documents::new();
        for outcome in plugin.outcomes(&json!({}), &input) {
            let id = outcome.id.clone().expect("an id");
            match outcome.operation.as_str() {
                "index" => drop(documents.insert(id, outcome.body())),
                "delete" => drop(documents.remove(&id)),
                other => panic!("{stream}: {other}"),
            }
        }
        let rows = tables::expected(stream, "trade").into_iter();
        let wanted: Documents = rows.map(|(id, row)| (id, tables::trade_document(&row))).collect();
        tables::check("the harness", stream, "trade", &documents, &wanted);
    }
}

/// The kinds of the contract, and a few values of each that have been trouble somewhere.
const KINDS: [(&str, &[&str]); 17] = [
    ("unknown", &["1", "\"1\"", "{\"a\":[1e400,-0.0]}", "[]", "true", "1772600767123456", "\"\\ud83d\\ude00\""]),
    ("integer", &["0", "-1", "9007199254740993", "-9223372036854775808", "9223372036854775807"]),
    ("unsigned-integer", &["0", "18446744073709551615", "18446744073709551616"]),
    ("boolean", &["true", "false"]),
    ("bit", &["0", "1", "32769", "18446744073709551615"]),
    ("float", &["0.1", "-3.4028235e38", "1e-45", "1E5", "16777217"]),
    ("double", &["0.1", "-1.7976931348623157e308", "5e-324", "1e999", "-0.0"]),
    (
        "decimal",
        &["\"9.90\"", "\"-0.005\"", "\"123456789012345678901234567890.123456789012345678901234567890\"", "\"\""],
    ),
    ("date", &["\"2026-03-04\"", "\"0000-00-00\"", "\"9999-12-31\"", "\"2026-02-30\"", "\"soon\""]),
    ("time", &["\"12:34:56\"", "\"-838:59:59.000001\"", "\"838:59:59\"", "\"24:61:61\""]),
    ("date-time", &["\"2026-03-04T05:06:07.123456\"", "\"0000-00-00T00:00:00\"", "\"1000-01-01 00:00:00\""]),
    ("timestamp", &["\"2026-03-04T05:06:07Z\"", "\"1970-01-01T00:00:00.5Z\"", "\"2038-01-19T03:14:07Z\""]),
    ("text", &["\"\"", "\"中\\u0000\\ud800\\\"\\\\/\\b\"", "\"12\"", "\"true\"", "\" \u{2028} \""]),
    ("binary", &["\"\"", "\"AP8=\"", "\"no base64!\"", "\"AAAAAAAAAAAA\""]),
    ("enumeration", &["\"PAID\"", "\"\"", "\"3\""]),
    ("set", &["\"\"", "\"vip,gift\"", "\",\""]),
    ("json", &["null", "{}", "{\"a\":{\"b\":[1.50,null,\"x\"]}}", "\"text\"", "12345678901234567890123"]),
];

/// A cell that such a column can have, or that a source could send for it.
fn cell(random: &mut fastrand::Rng, kind: &str, known: &[&str]) -> String {
    match random.u8(..10) {
        0 => return String::new(),
        1 => return "null".to_string(),
        2..=5 => return (*random.choice(known).expect("there are values of each kind")).to_string(),
        _ => {}
    }
    let digits = |random: &mut fastrand::Rng, most: usize| -> String {
        let n = random.usize(1..=most);
        let digits: String = (0..n).map(|_| random.digit(10)).collect();
        let digits = digits.trim_start_matches('0').to_string();
        if digits.is_empty() { "0".into() } else { digits }
    };
    let sign = if random.bool() { "-" } else { "" };
    match kind {
        "integer" => random.i64(..).to_string(),
        "unsigned-integer" | "bit" => random.u64(..).to_string(),
        "boolean" => random.bool().to_string(),
        "float" | "double" => {
            let value = f64::from_bits(random.u64(..));
            if value.is_finite() { format!("{value:e}") } else { "0".into() }
        }
        "decimal" => format!("\"{sign}{}.{}\"", digits(random, 30), random.u32(..)),
        "date" => format!("\"{:04}-{:02}-{:02}\"", random.u16(..=9999), random.u8(..14), random.u8(..33)),
        "time" => format!("\"{sign}{:02}:{:02}:{:02}\"", random.u16(..840), random.u8(..61), random.u8(..61)),
        "date-time" | "timestamp" => format!(
            "\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{}\"",
            random.u16(..=9999),
            random.u8(1..13),
            random.u8(1..32),
            random.u8(..24),
            random.u8(..60),
            random.u8(..60),
            random.u32(..1_000_000),
            if kind == "timestamp" { "Z" } else { "" }
        ),
        _ => {
            let n = random.usize(..40);
            let text: String =
                (0..n).map(|_| if random.bool() { random.alphanumeric() } else { random.char(..) }).collect();
            Value::from(text).to_string()
        }
    }
}

#[test]
fn random_rows_of_every_type_are_read_and_written_alike() {
    const ROWS: usize = 600;
    let mut random = fastrand::Rng::with_seed(seed());
    let names: Vec<String> = KINDS.iter().map(|(kind, _)| format!("of {kind}")).collect();
    let columns =
        std::iter::once(("id", "integer")).chain(names.iter().map(String::as_str).zip(KINDS.map(|(kind, _)| kind)));
    let mut input = Rows::of("shop.every", columns).input();
    let image = |random: &mut fastrand::Rng, id: usize| -> Image {
        let cells = KINDS.iter().map(|(kind, known)| cell(random, kind, known).into_bytes());
        std::iter::once(id.to_string().into_bytes()).chain(cells).collect()
    };
    for id in 0..ROWS {
        let (before, after) = (image(&mut random, id), image(&mut random, id));
        let row = match random.u8(..4) {
            0 => Row { table: 0, operation: Operation::Insert, before: None, after: Some(after) },
            1 => Row { table: 0, operation: Operation::Update, before: Some(before), after: Some(after) },
            2 => Row { table: 0, operation: Operation::Delete, before: Some(before), after: None },
            _ => Row { table: 0, operation: Operation::Snapshot, before: None, after: Some(after) },
        };
        input.rows.push((String::new(), Ok(row)));
    }
    let plugin = reader();
    for how in HOW {
        // It panics with the row and the field where the two differ.
        let outcomes = plugin.outcomes(&json!({ "how": how }), &input);
        assert_eq!(outcomes.last().map(|last| last.row), Some(ROWS), "{how}");
        let documents = n(&outcomes, &["index", "merge", "keep"]);
        assert!(how == "fail" || documents > ROWS / 2, "{how}: only {documents} documents");
    }
}

#[test]
fn a_row_without_a_key_fails_alike() {
    let input = Rows::of("shop.t", [("a", "text")]).key([]).insert(json!({"a": null})).input();
    let outcomes = reader().outcomes(&json!({"how": "split"}), &input);
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].reason.as_deref().is_some_and(|reason| reason.contains("primary key")), "{outcomes:?}");
}

#[test]
fn a_panic_fails_its_row_alone_on_both_sides() {
    let rows = Rows::of("shop.t", [("id", "int")]);
    let input = (1..=9).fold(rows, |rows, id| rows.insert(json!({ "id": id }))).input();
    let outcomes = reader().outcomes(&json!({"how": "panic"}), &input);
    for outcome in &outcomes {
        let expect = if outcome.row % 2 == 0 { None } else { Some("it panicked or aborted (unreachable code)") };
        assert_eq!(outcome.reason.as_deref(), expect, "row {}", outcome.row);
    }
    assert_eq!(outcomes.len(), 9);
}

#[test]
fn refused_settings_say_the_same_on_both_sides() {
    let input = Rows::of("shop.t", [("a", "text")]).insert(json!({"a": "x"})).input();
    let outcomes = reader().outcomes(&json!({"how": "sideways"}), &input);
    assert_eq!((outcomes[0].row, outcomes[0].operation.as_str()), (0, "refused"));
    assert!(outcomes[0].reason.as_deref().is_some_and(|reason| reason.contains("sideways")), "{outcomes:?}");
}
