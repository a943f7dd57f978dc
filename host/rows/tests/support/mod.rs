//! Shared by the tests: fixtures, the declared types of schema.sql, and rows as owned values.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

use rowmill_rows::capture::{CapturedRecord, Captures};
use rowmill_rows::{
    DeclaredTypes, Decoder, DecoderSettings, Format, Ignored, Operation, RecordBatch, RowBatch, SourcePosition,
    TopicPartition,
};

pub const CAPTURES: [&str; 5] = ["debezium/full", "debezium/plain", "debezium/flat", "canal/flat", "maxwell/records"];
pub const TABLES: [&str; 4] = ["customers", "order_items", "orders", "trade"];

pub fn fixture(name: &str) -> String {
    let path = format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn captured(name: &str) -> Vec<CapturedRecord> {
    let text = fixture(&format!("{name}.ndjson"));
    Captures::new(text.as_bytes(), "file").collect::<Result<_, _>>().unwrap()
}

/// Name and type of each column, from schema.sql and the ALTERs of the workload.
pub fn schema() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut table = String::new();
    for line in fixture("schema.sql").lines() {
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            table = rest.trim_end_matches(" (").to_owned();
        } else if let Some(column) = line.strip_prefix("  ")
            && !column.starts_with("PRIMARY")
            && !column.starts_with("UNIQUE")
            && !column.starts_with("KEY")
        {
            let (name, rest) = column.split_once(' ').unwrap();
            let column_type = rest.trim().trim_end_matches(',').to_owned();
            tables.entry(table.clone()).or_default().push((name.to_owned(), column_type));
        }
    }
    let mut alter = |table: &str, name: &str, column_type: &str| {
        tables.get_mut(table).unwrap().push((name.to_owned(), column_type.to_owned()));
    };
    alter("orders", "channel", "VARCHAR(16)");
    alter("customers", "nickname", "VARCHAR(80)");
    assert_eq!(tables["trade"].len(), 41);
    tables
}

pub fn declared() -> DeclaredTypes {
    let mut declared = DeclaredTypes::default();
    for (table, columns) in schema() {
        for (column, column_type) in columns {
            // The workload makes the column signed; declare a type that holds both versions.
            let column_type = if column == "grade" { "SMALLINT" } else { &column_type };
            declared.declare(&format!("shop.{table}"), &column, column_type).unwrap();
        }
    }
    declared
}

pub fn decoder(declared: DeclaredTypes) -> Decoder {
    Decoder::new(DecoderSettings { declared, ..DecoderSettings::default() })
}

pub type Image = BTreeMap<String, String>;

/// A row with owned images and names.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRow {
    pub table: String,
    pub key: Vec<String>,
    pub operation: Operation,
    pub before: Option<Image>,
    pub after: Option<Image>,
    pub before_is_complete: bool,
    pub position: SourcePosition,
    pub version: u32,
}

#[derive(Debug, Default)]
pub struct Decoded {
    pub rows: Vec<OwnedRow>,
    pub ignored: Vec<Ignored>,
    pub errors: Vec<String>,
}

pub fn batch(format: Format, topic: &str, partition: i32) -> RecordBatch {
    RecordBatch::new(TopicPartition { topic: topic.into(), partition }, format)
}

/// Decodes one batch and checks the invariants of every batch.
pub fn decode_batch(decoder: &mut Decoder, records: &RecordBatch, into: &mut Decoded) {
    let mut out = RowBatch::default();
    decoder.decode(records, &mut out);
    let mut seen = vec![0; records.records.len()];
    for row in &out.rows {
        seen[row.record as usize] = 1;
        let version = &decoder.tables()[row.table as usize];
        let image = |first: Option<u32>| {
            first.map(|first| {
                let cells = &out.cells[first as usize..first as usize + version.columns.len()];
                let values = version.columns.iter().zip(cells).filter(|(_, c)| !c.is_absent());
                values
                    .map(|(column, cell)| {
                        let bytes = cell.bytes(&records.bytes, &out.scratch);
                        let text = std::str::from_utf8(bytes).expect("a cell is text").to_owned();
                        assert!(!text.contains(['\n', '\r']), "a cell is one line: {text}");
                        serde_json::from_str::<serde_json::Value>(&text).expect("a cell is JSON");
                        (column.name.to_string(), text)
                    })
                    .collect::<Image>()
            })
        };
        into.rows.push(OwnedRow {
            table: version.full_name(),
            key: version.key.iter().map(|&k| version.columns[k as usize].name.to_string()).collect(),
            operation: row.operation,
            before: image(row.before),
            after: image(row.after),
            before_is_complete: row.before_is_complete,
            position: row.position,
            version: row.table,
        });
    }
    for &(record, kind) in &out.ignored {
        seen[record as usize] += 2;
        into.ignored.push(kind);
    }
    for undecodable in &out.undecodable {
        seen[undecodable.record as usize] += 4;
        into.errors.push(undecodable.error.to_string());
    }
    // A record of which some rows cannot be decoded has rows and an error.
    assert!(seen.iter().all(|s| matches!(s, 1 | 2 | 4 | 5)), "each record has one outcome: {seen:?}");
}

/// Decodes a capture record by record, in the file's order.
pub fn decode_capture(format: Format, name: &str, decoder: &mut Decoder) -> Decoded {
    let mut decoded = Decoded::default();
    for record in captured(name) {
        let mut records = batch(format, &record.topic, record.partition);
        record.push_to(&mut records);
        decode_batch(decoder, &records, &mut decoded);
    }
    decoded
}

impl OwnedRow {
    /// The values of the key's columns of an image.
    pub fn key_of(&self, image: &Image) -> Vec<String> {
        self.key.iter().map(|k| image[k].clone()).collect()
    }
}
