//! Records of each format and the rows decoded from them.
#![allow(clippy::unwrap_used)]

mod canal;
mod debezium;
mod maxwell;
mod partial;
#[path = "../support/mod.rs"]
mod support;

use debezium::SOURCE;
use rowmill_rows::{DeclaredTypes, Format, RowInEvent, SourcePosition};
use support::*;

type KeyAndValue<'a> = (Option<&'a str>, Option<&'a str>);

fn decode(format: Format, topic: &str, declared: &[(&str, &str)], records: &[KeyAndValue<'_>]) -> Decoded {
    let mut types = DeclaredTypes::default();
    for (column, column_type) in declared {
        types.declare("*", column, column_type).unwrap();
    }
    let mut batch = batch(format, topic, 0);
    for (n, (key, value)) in records.iter().enumerate() {
        batch.push(n as i64, -1, key.map(str::as_bytes), value.map(str::as_bytes), []);
    }
    let (mut decoded, mut again) = (Decoded::default(), Decoded::default());
    let mut decoder = decoder(types);
    decode_batch(&mut decoder, &batch, &mut decoded);
    // Decoding the batch again gives the same rows and no new versions: the decoder's state only speeds it up.
    let n_versions = decoder.tables().len();
    decode_batch(&mut decoder, &batch, &mut again);
    assert_eq!(again.rows.len(), decoded.rows.len());
    for (row, again) in decoded.rows.iter().zip(&again.rows) {
        let truncate = row.operation == rowmill_rows::Operation::Truncate;
        assert!(row == again || truncate, "{row:?} {again:?}");
    }
    assert_eq!((&again.ignored, &again.errors), (&decoded.ignored, &decoded.errors));
    assert_eq!(decoder.tables().len(), n_versions);
    decoded
}

/// One line per row, ignored record and error.
fn render(decoded: &Decoded) -> Vec<String> {
    let image = |image: &Option<Image>| match image {
        None => "-".to_owned(),
        Some(image) => image.iter().map(|(c, v)| format!("{c}={v}")).collect::<Vec<_>>().join(" "),
    };
    let position = |position| match position {
        SourcePosition::Binlog { file, position, row } => {
            let row = match row {
                RowInEvent::InEvent(n) => format!("event+{n}"),
                RowInEvent::InTransaction(n) => format!("transaction+{n}"),
                RowInEvent::LastOfTransaction => "last".to_owned(),
            };
            format!("{file}:{position}:{row}")
        }
        SourcePosition::Time { milliseconds, sent, transaction } if transaction > 0 => {
            format!("time {milliseconds}, sent {sent}, transaction {transaction}")
        }
        SourcePosition::Time { milliseconds, .. } => format!("time {milliseconds}"),
        SourcePosition::Unknown => "nowhere".to_owned(),
    };
    let rows = decoded.rows.iter().map(|row| {
        let partial = if row.before_is_complete { "" } else { " (before is not whole)" };
        format!(
            "{:?} {}[{}] {} => {} at {}{partial}",
            row.operation,
            row.table,
            row.key.join(","),
            image(&row.before),
            image(&row.after),
            position(row.position)
        )
    });
    let ignored = decoded.ignored.iter().map(|kind| format!("ignored {kind:?}"));
    let errors = decoded.errors.iter().map(|error| format!("error {error}"));
    rows.chain(ignored).chain(errors).collect()
}

/// Decodes `records` (key, value) of one topic. `expect` lists rows, then ignored records, then errors.
#[track_caller]
fn check(format: Format, topic: &str, declared: &[(&str, &str)], records: &[KeyAndValue<'_>], expect: &[&str]) {
    assert_eq!(render(&decode(format, topic, declared, records)), expect);
    // Detecting the format gives the same, if the records identify it at all.
    let auto = render(&decode(Format::Auto, topic, declared, records));
    assert!(auto == expect || auto.iter().all(|l| l.starts_with("error no known format")), "auto: {auto:?}");
}

#[test]
fn a_topic_has_one_format() {
    let maxwell = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let canal = r#"{"data":[{"id":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],"table":"t","type":"INSERT"}"#;
    let debezium = format!(r#"{{"before":null,"after":{{"id":1}},{SOURCE},"op":"c"}}"#);
    let all = [(Format::Maxwell, maxwell), (Format::Canal, canal), (Format::Debezium, debezium.as_str())];
    for (expected, own) in all {
        for (found, other) in all.into_iter().filter(|(f, _)| *f != expected) {
            let records = [(None, Some(own)), (None, Some(other)), (None, Some(own))];
            for format in [expected, Format::Auto] {
                let decoded = decode(format, "x.shop.t", &[], &records);
                assert_eq!(decoded.rows.len(), 2, "{expected} {found}");
                let message = format!("a {found} message where {expected} was expected: a topic has one format");
                assert_eq!(decoded.errors, [message]);
            }
        }
    }
    let nobody = decode(Format::Auto, "t", &[], &[(None, Some(r#"{"a":1}"#)), (None, Some("[1]"))]);
    assert!(nobody.errors.iter().all(|e| e.starts_with("no known format: ")), "{:?}", nobody.errors);
    let text = decode(Format::Auto, "t", &[], &[(None, Some("hello"))]);
    assert_eq!(text.errors, ["not JSON at byte 0: expected a value"]);
    let cut = decode(Format::Maxwell, "t", &[], &[(None, Some(&maxwell[..17]))]);
    assert_eq!(cut.errors, ["not JSON at byte 17: expected the end of a string"]);
}

#[test]
fn the_batch_carries_the_format() {
    let mut decoder = decoder(DeclaredTypes::default());
    let mut decode = |format, value: &str| {
        let mut records = batch(format, "shop.t", 0);
        records.push(0, -1, None, Some(value.as_bytes()), []);
        let mut decoded = Decoded::default();
        decode_batch(&mut decoder, &records, &mut decoded);
        render(&decoded).join("\n")
    };
    let maxwell = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let canal = r#"{"data":[{"id":"1"}],"database":"shop","isDdl":false,"mysqlType":{"id":"int"},"pkNames":["id"],"table":"t","type":"INSERT"}"#;
    // Batches of two formats alternate in one decoder, for one topic name: each format keeps its own state.
    for _ in 0..2 {
        assert_eq!(decode(Format::Maxwell, maxwell), "Insert shop.t[] - => id=1 at time 5000");
        assert_eq!(decode(Format::Canal, canal), "Insert shop.t[id] - => id=1 at nowhere");
        assert!(decode(Format::Maxwell, canal).contains("a Canal message where Maxwell was expected"));
    }
}

#[test]
fn shapes_that_alternate_are_two_versions() {
    let old = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1}}"#;
    let new = r#"{"database":"shop","table":"t","type":"insert","ts":5,"data":{"id":1,"a":2}}"#;
    let other = r#"{"database":"shop","table":"u","type":"insert","ts":5,"data":{"id":1}}"#;
    let records: Vec<KeyAndValue<'_>> = (0..30).map(|n| (None, Some([old, new, other][n % 3]))).collect();
    let decoded = decode(Format::Auto, "maxwell", &[], &records);
    let versions: Vec<u32> = decoded.rows.iter().map(|r| r.version).collect();
    assert_eq!(versions, (0..30).map(|n| n % 3).collect::<Vec<u32>>());
    let canal = |types: &str, row: &str| {
        format!(
            r#"{{"data":[{row}],"database":"shop","isDdl":false,"mysqlType":{types},"pkNames":["id"],"table":"t","type":"INSERT"}}"#
        )
    };
    // A display width does not change the type.
    let messages = [
        canal(r#"{"id":"int(11)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"int(10)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"bigint(20)"}"#, r#"{"id":"1"}"#),
        canal(r#"{"id":"int(11)","a":"int(11) unsigned"}"#, r#"{"id":"1","a":"2"}"#),
    ];
    let records: Vec<KeyAndValue<'_>> = messages.iter().cycle().take(12).map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Canal, "t", &[], &records);
    let versions: Vec<u32> = decoded.rows.iter().map(|r| r.version).collect();
    assert_eq!(versions, [0, 0, 0, 1].repeat(3));
}

#[test]
fn versions_are_bounded_if_every_row_has_other_columns() {
    let row = |columns: &[usize]| {
        let columns: Vec<String> = columns.iter().map(|c| format!("\"c{c}\":1")).collect();
        format!(r#"{{"database":"shop","table":"t","type":"insert","ts":5,"data":{{{}}}}}"#, columns.join(","))
    };
    // Row image MINIMAL: any subset of ten columns. Then rows without common columns.
    let mut messages = vec![row(&(0..10).collect::<Vec<_>>())];
    messages.extend((1..1023).map(|set| row(&(0..10).filter(|c| set >> c & 1 == 1).collect::<Vec<_>>())));
    let records: Vec<KeyAndValue<'_>> = messages.iter().map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Maxwell, "t", &[], &records);
    assert_eq!(decoded.errors, [""; 0]);
    assert!(decoded.rows.iter().all(|r| r.version < 20));
    let messages: Vec<String> = (0..1100).map(|n| row(&[n])).collect();
    let records: Vec<KeyAndValue<'_>> = messages.iter().map(|m| (None, Some(m.as_str()))).collect();
    let decoded = decode(Format::Maxwell, "t", &[], &records);
    assert_eq!(decoded.rows.len(), 1000);
    assert_eq!(
        decoded.errors[0],
        "table shop.t: its rows have more than 1000 different shapes: are these rows of one table?"
    );
}
