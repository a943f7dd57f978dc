//! The sandbox's cost per row: the bundled plugin trade-document in WebAssembly against the same code in this process, on
//! the same batch, alternating in one run. `cargo bench --workspace --bench boundary`
//!
//! `ROWMILL_BENCH_PLUGIN=FILE.wasm` then measures another plugin for the same table, including its loading.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports to a person and ends at the first error")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_sandbox::{Batch, Column, ColumnKind, Expect, Guest, Limits, NameRules, Output, Plugin, Sandbox, Table};
use rowmill_sdk::native::Native;
use rowmill_sdk::testing;
use trade_document::TradeDocument;

const ROWS: u32 = 500;
const ROUNDS: usize = 400;
/// Cells by column name; all other columns have the last one.
const CELLS: &[(&str, &str)] = &[
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
    ("", "1234567"),
];

/// The SDK's kind as the host's kind; both enums follow the contract.
macro_rules! host_kind {
    ($kind:expr, $($name:ident)*) => {
        match $kind { $(rowmill_sdk::ColumnKind::$name => ColumnKind::$name,)* }
    };
}

fn main() {
    let columns = include_str!("../../../plugins/trade-document/tests/columns.txt");
    let table = testing::table("shop.trade", columns.lines().filter_map(|line| line.split_once(' ')));
    assert_eq!(table.columns.len(), 41);
    let host_table = Table {
        id: table.id,
        database: table.database.clone(),
        name: table.name.clone(),
        columns: table
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                kind: host_kind!(column.kind, Unknown Integer UnsignedInteger Boolean Bit Float Double Decimal Date Time
                    DateTime Timestamp Text Binary Enumeration Set Json),
            })
            .collect(),
        key: table.key.clone(),
    };

    let mut native = Native::<TradeDocument>::new();
    native.configure("{}").unwrap();
    let asked = native.define_table(&table).unwrap();

    let sandbox = Arc::new(Sandbox::new(Limits::default()).unwrap());
    let file = std::fs::read(&rowmill_tests::guests::built().trade_document).unwrap();
    let plugin = Plugin::load(&sandbox, &file).unwrap();
    let mut guest = plugin.instantiate("{}").unwrap();
    assert_eq!(guest.define_table(&host_table).unwrap(), asked);

    let batch = batch_of(table.id, asked.iter().map(|&column| &*table.columns[column as usize].name));
    let native_batch = rowmill_sdk::Batch {
        table: batch.table,
        count: batch.count,
        cells: batch.cells.clone(),
        bytes: batch.bytes.clone(),
        ..rowmill_sdk::Batch::default()
    };
    let rules = NameRules::default();
    let expect = Expect {
        count: ROWS,
        columns: 41,
        indices: plugin.indices(),
        change_mode: false,
        documents_per_image: Limits::default().documents_per_image,
        rules: &rules,
    };

    // Alternating, so that noise affects both alike; the best of each, so that it affects neither.
    let (mut in_process, mut sandboxed, mut checked) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut answer_bytes = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(native.transform(black_box(&native_batch)));
        in_process = in_process.min(start.elapsed());

        let start = Instant::now();
        let raw = guest.transform(black_box(&batch)).unwrap();
        sandboxed = sandboxed.min(start.elapsed());
        answer_bytes = raw.bytes.len() + 4 * (raw.verdicts.len() + raw.names.len());

        let start = Instant::now();
        black_box(Output::check(raw, expect).unwrap());
        checked = checked.min(start.elapsed());
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(ROWS);
    println!("trade-document, {ROWS} rows of 41 columns, {} of them read", asked.len());
    println!("  in this process   {:.3} µs a row", micros(in_process));
    println!(
        "  in the sandbox    {:.3} µs a row: {:.3} more, {:.2} times",
        micros(sandboxed),
        micros(sandboxed) - micros(in_process),
        micros(sandboxed) / micros(in_process)
    );
    println!("  answer checked    {:.3} µs a row", micros(checked));
    println!("  {} bytes in, {answer_bytes} bytes out", batch.bytes.len() + 4 * batch.cells.len());

    if let Some(file) = std::env::var_os("ROWMILL_BENCH_PLUGIN") {
        another(&sandbox, std::path::Path::new(&file), &host_table);
    }
}

/// Measures loading another plugin for the same table, and transforming the same rows with it.
fn another(sandbox: &Arc<Sandbox>, file: &std::path::Path, table: &Table) {
    let bytes = std::fs::read(file).unwrap();
    let start = Instant::now();
    let plugin = Plugin::load_with_wasi(sandbox, &bytes, |_| true).unwrap();
    let loaded = start.elapsed();
    let start = Instant::now();
    let mut guest = plugin.instantiate("{}").unwrap();
    let instantiated = start.elapsed();
    let asked = guest.define_table(table).unwrap();
    let batch = batch_of(table.id, asked.iter().map(|&column| &*table.columns[column as usize].name));
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS / 10 {
        let start = Instant::now();
        black_box(guest.transform(black_box(&batch)).unwrap());
        best = best.min(start.elapsed());
    }
    println!("{}, {} of the columns read", plugin.description().name, asked.len());
    println!(
        "  {:.1} MB, compiled in {:.1} s, an instance in {:.1} ms",
        bytes.len() as f64 / 1e6,
        loaded.as_secs_f64(),
        instantiated.as_secs_f64() * 1e3
    );
    println!("  in the sandbox    {:.1} µs a row", best.as_secs_f64() * 1e6 / f64::from(ROWS));
}

fn cell_of(column: &str) -> &'static str {
    CELLS.iter().find(|(name, _)| *name == column || name.is_empty()).unwrap().1
}

/// A batch of the same row, with the cells of these columns.
fn batch_of<'a>(table: u32, columns: impl Iterator<Item = &'a str> + Clone) -> Batch {
    let mut batch = Batch { table, count: ROWS, ..Batch::default() };
    for _ in 0..ROWS {
        for column in columns.clone() {
            batch.bytes.extend_from_slice(cell_of(column).as_bytes());
            batch.cells.push(batch.bytes.len() as u32);
        }
    }
    batch
}
