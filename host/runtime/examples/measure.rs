//! temp
use std::sync::Arc;
use std::time::Duration;
struct Instant(u64);
impl Instant {
    fn now() -> Self {
        let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(s.split(' ').next().unwrap().parse().unwrap())
    }
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(Self::now().0 - self.0)
    }
}
use rowmill_runtime::{Batch, Column, ColumnKind, Expect, Guest, Limits, Output, Plugin, Sandbox, Table};
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
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut limits = Limits::default();
    if let Some(mb) = args.get(2) {
        limits.memory_bytes = mb.parse::<usize>().unwrap() << 20;
    }
    limits.setup_time = Duration::from_secs(60);
    limits.batch_time = Duration::from_secs(60);
    let sandbox = Arc::new(Sandbox::new(limits.clone()).unwrap());
    let bytes = std::fs::read(&args[1]).unwrap();
    let start = Instant::now();
    let plugin = match Plugin::load_with_wasi(&sandbox, &bytes, |_| true) {
        Ok(p) => p,
        Err(e) => {
            eprintln!("{e}");
            return;
        }
    };
    eprintln!("load {:?}, {} bytes, wasi {}", start.elapsed(), bytes.len(), plugin.imports_wasi());
    let start = Instant::now();
    let mut guest = plugin.instantiate("{}").unwrap();
    eprintln!("instance {:?}", start.elapsed());
    let columns = include_str!("../../../plugins/trade-document/tests/columns.txt");
    let columns: Vec<Column> = columns
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(n, _)| Column { name: n.into(), kind: ColumnKind::Unknown })
        .collect();
    let table = Table { id: 1, database: "shop".into(), name: "trade".into(), columns, key: vec![0] };
    let start = Instant::now();
    let asked = guest.define_table(&table).unwrap();
    eprintln!("define {:?} {asked:?}", start.elapsed());
    for (round, ascii) in [true, false].into_iter().enumerate() {
        let n = 500;
        let mut batch = Batch { table: 1, count: n, ..Batch::default() };
        for _ in 0..n {
            for &c in &asked {
                let name = &table.columns[c as usize].name;
                let (_, cell) = CELLS.iter().find(|(column, _)| column == name || column.is_empty()).unwrap();
                let cell = if ascii && !cell.is_ascii() { "\"receiver 1\"" } else { cell };
                batch.bytes.extend_from_slice(cell.as_bytes());
                batch.cells.push(batch.bytes.len() as u32);
            }
        }
        let expect =
            Expect { count: n, columns: 41, indices: plugin.indices(), change_mode: false, documents_per_image: 10 };
        let mut best = Duration::MAX;
        let mut sum = Duration::ZERO;
        for i in 0..60 {
            let start = Instant::now();
            let raw = guest.transform(&batch).unwrap();
            let t = start.elapsed();
            if i == 0 {
                eprintln!("first {t:?}");
            }
            best = best.min(t);
            if i >= 10 {
                sum += t;
            }
            let out = Output::check(raw, expect).unwrap();
            if i == 0 {
                for v in 0..2 {
                    match out.verdict(v) {
                        rowmill_runtime::Verdict::Documents(_) => eprintln!("documents"),
                        rowmill_runtime::Verdict::Fail(r) => eprintln!("fail {r:?}"),
                        _ => eprintln!("other"),
                    }
                }
            }
        }
        eprintln!(
            "{round} best {:.2} µs a row, mean {:.2}",
            best.as_secs_f64() * 1e6 / f64::from(n),
            sum.as_secs_f64() * 1e6 / 50. / f64::from(n)
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for l in status.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        eprintln!("{l}");
    }
}
