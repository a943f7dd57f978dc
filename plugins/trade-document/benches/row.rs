//! The time per row in the plugin as native code: `cargo bench -p trade-document`. Prints the best of many batches.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use rowmill_sdk::native::Native;
use rowmill_sdk::{Batch, Table, testing};
use trade_document::TradeDocument;

const ROWS: u32 = 512;
const VALUES: &[(&str, &str)] = &[
    ("status", "\"PAID\""),
    ("amount", "\"99.90\""),
    ("created_at", "\"2026-03-01T00:00:00.000001\""),
    ("currency", "\"CNY\""),
    ("tags", "\"vip,gift\""),
    ("pay_time", "\"2026-03-04T05:06:07.123456\""),
    ("ship_time", "null"),
    ("updated_at", "\"2026-11-20T23:15:47.161Z\""),
    ("receiver_name", "\"收件人1\""),
    ("is_paid", "1"),
];

fn main() {
    let columns = include_str!("../tests/columns.txt").lines().filter_map(|line| line.split_once(' '));
    let table: Table = testing::table("shop.trade", columns);
    let mut plugin = Native::<TradeDocument>::new();
    plugin.configure("{}").unwrap();
    let asked = plugin.define_table(&table).unwrap();
    let mut batch = Batch { table: table.id, count: ROWS, ..Batch::default() };
    for _ in 0..ROWS {
        for &column in &asked {
            let name = &table.columns[column as usize].name;
            let (_, cell) = VALUES.iter().find(|(column, _)| column == name).unwrap();
            batch.bytes.extend_from_slice(cell.as_bytes());
            batch.cells.push(batch.bytes.len() as u32);
        }
    }
    let mut best = Duration::MAX;
    for _ in 0..2_000 {
        let start = Instant::now();
        black_box(plugin.transform(black_box(&batch)));
        best = best.min(start.elapsed());
    }
    println!("trade-document: {:.0} ns a row", best.as_secs_f64() * 1e9 / f64::from(ROWS));
}
