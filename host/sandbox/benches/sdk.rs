//! The SDK's cost over the contract's flat lists, and the cost of each convenience: a document of 12 fields from 41 columns,
//! written in five ways (`tests/guests/shapes`), in this process and in the sandbox; then single readers and writers. All
//! alternate in one run. `cargo bench --workspace --bench sdk`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports to a person and ends at the first error")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_sandbox::{Batch, Column, ColumnKind, Guest, Limits, Plugin, Sandbox, Table};
use rowmill_sdk::native::Native;
use rowmill_sdk::{Columns, Fail, NoSettings, Out, Row, Transform, testing};
use shapes::by_hand::ByHand;
use shapes::{ALL, How, Shapes};

const ROWS: u32 = 500;
const ROUNDS: usize = 400;
/// Cells by column name.
const CELLS: [(&str, &str); 10] = [
    ("status", "\"PAID\""),
    ("amount", "\"99.90\""),
    ("created_at", "\"2026-03-01T00:00:00.000001\""),
    ("receiver_name", "\" 收件人1 \""),
    ("id", "1234567"),
    ("is_paid", "1"),
    ("tags", "\"vip,gift\""),
    ("ext", "{\"a\":[1,2,{\"b\":\"c\"}]}"),
    ("remark", "\"with \\\"quotes\\\" and \\n breaks\""),
    ("raw_blob", "\"aGVsbG8gd29ybGQ=\""),
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
    shape(&table);
    single(&table);
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(ROWS)
}

/// The document, written in each way.
fn shape(table: &rowmill_sdk::Table) {
    let batch = batch(table, &shapes::READ);
    let sandbox = Arc::new(Sandbox::new(Limits::default()).unwrap());
    let file = std::fs::read(rowmill_tests::guests::shapes()).unwrap();
    let plugin = Plugin::load(&sandbox, &file).unwrap();
    let mut by_hand = ByHand::default();
    by_hand.define_table(table).unwrap();
    let mut ways = Vec::new();
    for (how, name) in ALL {
        let settings = format!("{{\"how\":\"{name}\"}}");
        let mut guest = plugin.instantiate(&settings).unwrap();
        guest.define_table(&host_table(table)).unwrap();
        let mut native = Native::<Shapes>::new();
        native.configure(&settings).unwrap();
        native.define_table(table).unwrap();
        ways.push((how, name, native, guest, Duration::MAX, Duration::MAX));
    }
    let host_batch = host_batch(&batch);
    // Alternating, so that noise affects all alike; the best of each, so that it affects none.
    for _ in 0..ROUNDS {
        for (how, _, native, guest, in_process, sandboxed) in &mut ways {
            let start = Instant::now();
            match how {
                How::ByHand => drop(black_box(by_hand.transform(black_box(&batch)))),
                _ => drop(black_box(native.transform(black_box(&batch)))),
            }
            *in_process = start.elapsed().min(*in_process);
            let start = Instant::now();
            black_box(guest.transform(black_box(&host_batch)).unwrap());
            *sandboxed = start.elapsed().min(*sandboxed);
        }
    }
    let (hand_native, hand_sandboxed) = (micros(ways[0].4), micros(ways[0].5));
    println!("12 fields of 41 columns, {ROWS} rows a batch, µs a row      in this process        in the sandbox");
    for (_, name, _, _, in_process, sandboxed) in &ways {
        let (native, sandboxed) = (micros(*in_process), micros(*sandboxed));
        println!(
            "  {name:<48} {native:>8.3} ({:+.3})     {sandboxed:>8.3} ({:+.3})",
            native - hand_native,
            sandboxed - hand_sandboxed
        );
    }
}

/// One reader or writer, ten times per row, so that the fixed cost per row is small.
struct One<const N: usize>;

const TIMES: usize = 10;

impl<const N: usize> Transform for One<N> {
    const NAME: &'static str = "one";
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn columns(&self, _: &rowmill_sdk::Table) -> Result<Columns, String> {
        Ok(Columns::of(CELLS.iter().map(|(name, _)| *name)))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let mut document = out.document();
        for _ in 0..TIMES {
            match N {
                0 => {}
                1 => drop(black_box(row.raw(rowmill_sdk::Col::new(0))?)),
                2 => drop(black_box(row.raw("status")?)),
                3 => drop(black_box(row.text("status")?)),
                4 => drop(black_box(row.text("remark")?)),
                5 => drop(black_box(row.u64("id")?)),
                6 => drop(black_box(row.bool("is_paid")?)),
                7 => drop(black_box(row.decimal("amount")?)),
                8 => drop(black_box(row.decimal("amount")?.and_then(|amount| amount.to_cents()))),
                9 => drop(black_box(row.datetime("created_at")?)),
                10 => drop(black_box(row.set("tags")?)),
                11 => drop(black_box(row.bytes("raw_blob")?)),
                12 => drop(black_box(row.json::<serde_json::Value>("ext")?)),
                13 => {
                    document.column(rowmill_sdk::Col::new(4));
                }
                14 => {
                    document.column("id");
                }
                15 => {
                    document.column_as("id", "number");
                }
                16 => {
                    document.text("status", "paid");
                }
                17 => {
                    document.text("remark", "with \"quotes\" and \n breaks");
                }
                18 => {
                    document.integer("cents", 9990);
                }
                19 => {
                    document.set("status", "paid");
                }
                20 => {
                    document.set("cents", &9990);
                }
                21 => {
                    document.set("pair", &("a", 1));
                }
                22 => document.object("inner", |_| {}),
                _ => unreachable!("there is a name for each"),
            }
        }
        Ok(())
    }
}

const SINGLE: [&str; 23] = [
    "(nothing)",
    "row.raw(handle)",
    "row.raw(\"name\")",
    "row.text, nothing escaped",
    "row.text, escaped",
    "row.u64",
    "row.bool",
    "row.decimal",
    "row.decimal and to_cents",
    "row.datetime",
    "row.set",
    "row.bytes, 11 bytes",
    "row.json::<Value>, 22 bytes",
    "document.column(handle)",
    "document.column(\"name\")",
    "document.column_as",
    "document.text",
    "document.text, escaped",
    "document.integer",
    "document.set, a text",
    "document.set, an integer",
    "document.set, a tuple",
    "document.object, empty",
];

fn single(table: &rowmill_sdk::Table) {
    println!("\none call, ns, in this process");
    let mut best = [Duration::MAX; SINGLE.len()];
    macro_rules! measure {
        ($($n:literal)+) => {{
            let batch = batch(table, &CELLS.map(|(name, _)| name));
            $(let mut plugin = Native::<One<$n>>::new();
            plugin.configure("{}").unwrap();
            plugin.define_table(table).unwrap();
            for _ in 0..ROUNDS {
                let start = Instant::now();
                black_box(plugin.transform(black_box(&batch)));
                best[$n] = start.elapsed().min(best[$n]);
            })+
        }};
    }
    measure!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22);
    for (name, time) in SINGLE.iter().zip(&best).skip(1) {
        let more = time.saturating_sub(best[0]);
        println!("  {name:<32} {:>7.1}", micros(more) * 1000.0 / TIMES as f64);
    }
}

fn batch(table: &rowmill_sdk::Table, read: &[&str]) -> rowmill_sdk::Batch {
    let mut batch = rowmill_sdk::Batch { table: table.id, count: ROWS, ..rowmill_sdk::Batch::default() };
    for _ in 0..ROWS {
        for name in read {
            let (_, cell) = CELLS.iter().find(|(column, _)| column == name).unwrap();
            batch.bytes.extend_from_slice(cell.as_bytes());
            batch.cells.push(batch.bytes.len() as u32);
        }
    }
    batch
}

fn host_batch(batch: &rowmill_sdk::Batch) -> Batch {
    Batch {
        table: batch.table,
        count: batch.count,
        cells: batch.cells.clone(),
        bytes: batch.bytes.clone(),
        ..Batch::default()
    }
}

fn host_table(table: &rowmill_sdk::Table) -> Table {
    let column = |column: &rowmill_sdk::Column| Column {
        name: column.name.clone(),
        kind: host_kind!(column.kind, Unknown Integer UnsignedInteger Boolean Bit Float Double Decimal Date Time
            DateTime Timestamp Text Binary Enumeration Set Json),
    };
    Table {
        id: table.id,
        database: table.database.clone(),
        name: table.name.clone(),
        columns: table.columns.iter().map(column).collect(),
        key: table.key.clone(),
    }
}
