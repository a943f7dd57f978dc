//! Decoding against `serde_json::Value` in the same run: `cargo bench -p rowmill-rows`.
//!
//! Events are the captured rows of a table of 41 columns, about 2.5 KB each. The machine may be noisy: each figure is
//! the best of several rounds. Compare machines by the ratio to the value tree.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use rowmill_rows::capture::Captures;
use rowmill_rows::{DeclaredTypes, Decoder, DecoderSettings, Format, RecordBatch, RowBatch, TopicPartition};

const ROUNDS: usize = 25;
const EVENTS: usize = 1000;

fn main() {
    // `cargo test` builds benches too and runs them with `--test`; there is nothing to measure then.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    println!("{:<34} {:>8} {:>9} {:>8} {:>8} {:>7}", "", "bytes", "µs/event", "GB/s", "tree µs", "ratio");
    for (name, capture, marker, declare) in [
        ("Debezium plain, insert", "debezium/plain", "\"op\":\"r\"", false),
        ("Debezium plain, insert, declared", "debezium/plain", "\"op\":\"r\"", true),
        ("Debezium plain, update", "debezium/plain", "\"op\":\"u\"", false),
        ("Debezium flat", "debezium/flat", "\"__op\":\"r\"", false),
        ("Debezium full, insert", "debezium/full", "\"op\":\"r\"", false),
        ("Canal, insert", "canal/flat", "\"type\":\"INSERT\"", false),
        ("Canal, update", "canal/flat", "\"type\":\"UPDATE\"", false),
        ("Maxwell, insert", "maxwell/records", "\"type\":\"insert\"", false),
        ("Maxwell, insert, declared", "maxwell/records", "\"type\":\"insert\"", true),
    ] {
        // `cargo bench -p rowmill-rows -- NAME` measures only the cases whose name contains NAME.
        let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
        if wanted.is_some_and(|w| !name.contains(&w)) {
            continue;
        }
        let batch = batch(capture, marker);
        let mut decoder = Decoder::new(DecoderSettings {
            declared: if declare { declared() } else { DeclaredTypes::default() },
            ..DecoderSettings::default()
        });
        let mut out = RowBatch::default();
        let ours = best(|| {
            decoder.decode(black_box(&batch), &mut out);
            assert!(out.undecodable.is_empty() && out.rows.len() >= EVENTS, "{:?}", out.undecodable.first());
            black_box(&out);
        });
        let tree = best(|| {
            if std::env::args().any(|a| a == "--alone") {
                return; // for a profiler
            }
            for record in &batch.records {
                let value = record.value.unwrap().of(&batch.bytes);
                black_box(serde_json::from_slice::<serde_json::Value>(black_box(value)).unwrap());
            }
        });
        let bytes = batch.records.iter().map(|r| r.value.unwrap().len()).sum::<usize>() / EVENTS;
        println!(
            "{name:<34} {bytes:>8} {ours:>9.2} {:>8.2} {tree:>8.2} {:>7.1}",
            bytes as f64 / ours / 1000.0,
            tree / ours
        );
    }
}

/// Microseconds per event, the best of all rounds.
fn best(mut round: impl FnMut()) -> f64 {
    let measure = |_| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64() * 1e6 / EVENTS as f64
    };
    (0..ROUNDS * if std::env::args().any(|a| a == "--alone") { 40 } else { 1 })
        .map(measure)
        .fold(f64::INFINITY, f64::min)
}

/// Captured wide rows of the table `trade`, repeated.
fn batch(capture: &str, marker: &str) -> RecordBatch {
    let path = format!("{}/../../tests/fixtures/{capture}.ndjson", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).unwrap();
    let wide = |value: &[u8]| {
        let text = String::from_utf8_lossy(value);
        text.contains(marker) && text.contains("detail line") && text.contains("trade_no")
    };
    let records: Vec<_> = Captures::new(&text[..], "file")
        .map(|r| r.unwrap())
        .filter(|r| r.value.as_deref().is_some_and(wide))
        // One row per message, so that events are comparable.
        .filter(|r| String::from_utf8_lossy(r.value.as_deref().unwrap()).matches("\"trade_no\":\"").count() <= 3)
        .collect();
    let topic = records[0].topic.as_str().into();
    let mut batch = RecordBatch::new(TopicPartition { topic, partition: 0 }, Format::Auto);
    for record in records.iter().cycle().take(EVENTS) {
        record.push_to(&mut batch);
    }
    batch
}

fn declared() -> DeclaredTypes {
    let mut declared = DeclaredTypes::default();
    let path = format!("{}/../../tests/fixtures/schema.sql", env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(path).unwrap();
    let trade = schema.split("CREATE TABLE trade (").nth(1).unwrap().split("\n);").next().unwrap();
    for line in trade.lines().filter_map(|l| l.strip_prefix("  ")).filter(|l| l.starts_with(char::is_lowercase)) {
        let (column, column_type) = line.split_once(' ').unwrap();
        declared.declare("trade", column, column_type.trim().trim_end_matches(',')).unwrap();
    }
    declared
}
