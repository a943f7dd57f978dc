//! Updates without all columns, as `binlog_row_image` NOBLOB and MINIMAL make them, and dropped columns, which look the same.

use rowmill_rows::{DeclaredTypes, Format};

use crate::render;
use crate::support::{Decoded, batch, decode_batch, decoder};

const PARTIAL: &str = "so the server's binlog_row_image is not FULL: set it to FULL and write the row again, or allow such rows \
                       with `source.partial_rows = \"write\"`; if the column was dropped, updates are accepted again after the \
                       next insert, or a restart";

fn refused(column: &str) -> String {
    format!("error table shop.t: the update lacks column {column}, {PARTIAL}")
}

/// Canal's message with these columns, of which `memo` is a TEXT.
fn canal(kind: &str, columns: &[&str], key: &str) -> String {
    let types: Vec<String> =
        columns.iter().map(|name| format!(r#""{name}":"{}""#, if *name == "memo" { "text" } else { "int" })).collect();
    let data: Vec<String> = columns.iter().map(|name| format!(r#""{name}":"1""#)).collect();
    format!(
        r#"{{"data":[{{{}}}],"database":"shop","table":"t","type":"{kind}","es":5000,"isDdl":false,"old":null,"pkNames":{key},"mysqlType":{{{}}}}}"#,
        data.join(","),
        types.join(",")
    )
}

fn maxwell(kind: &str, columns: &[&str]) -> String {
    let data: Vec<String> = columns.iter().map(|name| format!(r#""{name}":1"#)).collect();
    format!(r#"{{"database":"shop","table":"t","ts":5,"type":"{kind}","data":{{{}}}}}"#, data.join(","))
}

const KEY: &str = r#"["id"]"#;
const CANAL_DDL: &str = r#"{"data":null,"database":"shop","table":"t","type":"ALTER","isDdl":true,"sql":"ALTER TABLE t DROP memo","es":5000}"#;
const MAXWELL_DDL: &str = r#"{"type":"table-alter","database":"shop","table":"t","old":{},"def":{}}"#;

/// Decodes the records one after the other, each a second later than the one before. `expect` has a line for each.
#[track_caller]
fn in_turn(format: Format, records: &[String], expect: &[&str]) {
    let seconds: Vec<usize> = (0..records.len()).map(|number| 5 + number).collect();
    at_seconds(format, &seconds, records, expect);
}

/// The same with the second of each record. The expected lines all have the time 5000.
#[track_caller]
fn at_seconds(format: Format, seconds: &[usize], records: &[String], expect: &[&str]) {
    let mut decoder = decoder(DeclaredTypes::default());
    let mut lines = Vec::new();
    for (record, second) in records.iter().zip(seconds) {
        let record = record.replace("\"es\":5000", &format!("\"es\":{second}000"));
        let record = record.replace("\"ts\":5,", &format!("\"ts\":{second},"));
        let mut records = batch(format, "t", 0);
        records.push(0, -1, None, Some(record.as_bytes()), []);
        let mut decoded = Decoded::default();
        decode_batch(&mut decoder, &records, &mut decoded);
        let rendered = render(&decoded).into_iter();
        lines.extend(rendered.map(|line| line.replace(&format!("time {second}000"), "time 5000")));
    }
    assert_eq!(lines, expect);
}

/// Partitions are read at different speeds, so an update from before a column was added can follow an insert with it.
#[test]
fn an_update_from_before_a_column_was_added_is_accepted() {
    let records = [maxwell("insert", &["id", "a"]), maxwell("update", &["id"]), maxwell("update", &["id"])];
    let expect = [
        "Insert shop.t[] - => a=1 id=1 at time 5000",
        "Update shop.t[] - => id=1 at time 5000 (before is not whole)",
        &refused("a"),
    ];
    at_seconds(Format::Maxwell, &[9, 7, 10], &records, &expect);
}

#[test]
fn an_update_without_a_text_is_refused() {
    let records = [
        canal("UPDATE", &["id", "a"], KEY),
        canal("INSERT", &["id", "a", "memo"], KEY),
        canal("UPDATE", &["id", "a"], KEY),
        canal("UPDATE", &["id", "a", "memo"], KEY),
        canal("DELETE", &["id", "a"], KEY),
    ];
    let expect = [
        // Nothing is known about the table yet.
        "Update shop.t[id] - => a=1 id=1 at time 5000 (before is not whole)",
        "Insert shop.t[id] - => a=1 id=1 memo=\"1\" at time 5000",
        &refused("memo"),
        "Update shop.t[id] - => a=1 id=1 memo=\"1\" at time 5000 (before is not whole)",
        "Delete shop.t[id] a=1 id=1 => - at time 5000",
    ];
    in_turn(Format::Canal, &records, &expect);
}

#[test]
fn an_update_without_the_name_of_its_key_is_refused() {
    let records = [canal("INSERT", &["id", "a", "b"], KEY), canal("UPDATE", &["id", "a"], "null")];
    in_turn(Format::Canal, &records, &["Insert shop.t[id] - => a=1 b=1 id=1 at time 5000", &refused("b")]);
}

#[test]
fn an_update_of_maxwell_without_columns_is_refused() {
    let records =
        [maxwell("insert", &["id", "a", "b"]), maxwell("update", &["id", "b"]), maxwell("update", &["id", "a", "b"])];
    let expect = [
        "Insert shop.t[] - => a=1 b=1 id=1 at time 5000",
        &refused("a"),
        "Update shop.t[] - => a=1 b=1 id=1 at time 5000 (before is not whole)",
    ];
    in_turn(Format::Maxwell, &records, &expect);
}

#[test]
fn a_dropped_number_needs_nothing() {
    // NOBLOB omits no numbers, and MINIMAL omits the key's name.
    let records = [canal("INSERT", &["id", "a", "b"], KEY), canal("UPDATE", &["id", "a"], KEY)];
    let expect = [
        "Insert shop.t[id] - => a=1 b=1 id=1 at time 5000",
        "Update shop.t[id] - => a=1 id=1 at time 5000 (before is not whole)",
    ];
    in_turn(Format::Canal, &records, &expect);
}

#[test]
fn a_dropped_column_is_accepted_after_the_statement_or_an_insert() {
    let wide = "Insert shop.t[id] - => a=1 id=1 memo=\"1\" at time 5000";
    let narrow = "Update shop.t[id] - => a=1 id=1 at time 5000 (before is not whole)";
    let insert = || canal("INSERT", &["id", "a", "memo"], KEY);
    let update = || canal("UPDATE", &["id", "a"], KEY);
    in_turn(Format::Canal, &[insert(), CANAL_DDL.into(), update()], &[wide, "ignored SchemaChange", narrow]);
    let without = "Insert shop.t[id] - => a=1 id=1 at time 5000";
    in_turn(
        Format::Canal,
        &[insert(), update(), canal("INSERT", &["id", "a"], KEY), update()],
        &[wide, &refused("memo"), without, narrow],
    );
    in_turn(
        Format::Maxwell,
        &[maxwell("insert", &["id", "a"]), MAXWELL_DDL.into(), maxwell("update", &["id"])],
        &[
            "Insert shop.t[] - => a=1 id=1 at time 5000",
            "ignored SchemaChange",
            "Update shop.t[] - => id=1 at time 5000 (before is not whole)",
        ],
    );
}

/// With many shapes, a row without some columns is read with a shape that has them.
#[test]
fn a_part_of_a_known_shape_is_refused_too() {
    let names: Vec<String> = (0..20).map(|number| format!("c{number:02}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut records = vec![maxwell("insert", &all)];
    let mut expect = vec![format!(
        "Insert shop.t[] - => {} at time 5000",
        all.iter().map(|name| format!("{name}=1")).collect::<Vec<_>>().join(" ")
    )];
    for count in 1..20 {
        records.push(maxwell("update", &all[..count]));
        expect.push(refused(all[count]));
    }
    in_turn(Format::Maxwell, &records, &expect.iter().map(String::as_str).collect::<Vec<_>>());
}
