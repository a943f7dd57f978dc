//! Measures the cost of replacing plugins: the pause that a swap adds to a batch, over a thousand swaps under full load; and the
//! cost of refusing a compile bomb and a start function that hangs. `make bench-swap`.
//!
//! Machines are noisy: the pauses include anything else that runs on the machine, and in the second part only the ratios within a
//! run are meaningful.

#![allow(clippy::print_stdout, reason = "figures are what a benchmark is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use rowmill::budget::Budget;
use rowmill::checkpoint::Progress;
use rowmill::config::{CompileConfig, Overrides, read_text};
use rowmill::dead_letter::DeadLetters;
use rowmill::metrics::Metrics;
use rowmill::operation::SourceBatch;
use rowmill::plugins::compile::Compiler;
use rowmill::transform::retire::Retire;
use rowmill::transform::{Published, Shared, Worker};
use rowmill_engine::Pause;
use rowmill_engine::{Chain, ChainPlugin};
use rowmill_rows::{Format, RecordBatch, TopicPartition};
use rowmill_sandbox::{Limits, Plugin, Sandbox};
use rowmill_tests::bombs;

/// The plugin as `make plugins` builds it.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist/20-trade-document.wasm");
const WORKERS: usize = 2;
const ROWS: usize = 512;
const SWAPS: u64 = 1_000;
/// The number of alternating rounds of a comparison.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const HANGS: &str = "a start function that hangs";
/// As in the gateway's validation thread.
const PRIORITY: i32 = 15;
/// The maximum time for a worker to switch to a chain.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let bytes = std::fs::read(PLUGIN).with_context(|| format!("{PLUGIN}: run `make plugins` first"))?;
    let sandbox = Arc::new(Sandbox::new(Limits::default())?);
    // Two files that do the same: code of their own each, as two builds have.
    let code = [Arc::new(Plugin::load(&sandbox, &bytes)?), Arc::new(Plugin::load(&sandbox, &bytes)?)];
    let load = Load::start(&code[0], WORKERS)?;
    swaps(&load, &code)?;
    println!("rows a second while a hostile file is refused, over those without, median of {ROUNDS} rounds in turn:");
    proofs(&load, &bytes, &sandbox)?;
    load.stop();
    let load = Load::start(&code[0], 1)?;
    proofs(&load, &bytes, &sandbox)?;
    load.stop();
    Ok(())
}

/// Workers at full load.
struct Load {
    published: Arc<ArcSwap<Published>>,
    rows: Arc<AtomicU64>,
    pauses: crossbeam_channel::Receiver<Pause>,
    stop: Arc<AtomicBool>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(code: &Arc<Plugin>, workers: usize) -> anyhow::Result<Self> {
        let text =
            "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nkind = \"null\"\n[dead_letter]\npath = \"/dev/null\"\n";
        let config = Arc::new(read_text(text, "bench", &Overrides::default())?);
        let metrics = Metrics::new();
        // Every row becomes a document, so there are no dead letters to read.
        let (dead_letters, _) = DeadLetters::channel(metrics.clone());
        let published = Arc::new(ArcSwap::from_pointee(chain_of(code, 1, None)?));
        let (retire, retired) = Retire::channel();
        // As the gateway's own thread does.
        std::thread::spawn(move || {
            let _ = rustix::process::setpriority_process(None, PRIORITY);
            retired.into_iter().for_each(drop);
        });
        let shared = Shared {
            config,
            published: published.clone(),
            rules: Default::default(),
            indices: Arc::default(),
            metrics,
            dead_letters,
            recent: Arc::default(),
            retire,
        };
        let (rows, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (paused, pauses) = crossbeam_channel::unbounded();
        let workers = (0..workers as i32)
            .map(|partition| {
                let (shared, rows, stop, paused) = (shared.clone(), rows.clone(), stop.clone(), paused.clone());
                let records = records(partition);
                std::thread::spawn(move || {
                    let records = records.expect("the captured stream has a row to copy");
                    let progress = Progress::new(records.partition.clone(), 0);
                    let budget = Budget::new(usize::MAX);
                    let mut transformer = Worker::new(shared);
                    while !stop.load(Ordering::Relaxed) {
                        let source = SourceBatch::new(records.clone(), progress.ticket(1), &budget);
                        let operations = transformer.process(source);
                        assert_eq!(operations.operations.list.len(), ROWS, "every row is a document");
                        let made_by = operations.operations.list[0].producer;
                        assert!(operations.operations.list.iter().all(|operation| operation.producer == made_by));
                        rows.fetch_add(ROWS as u64, Ordering::Relaxed);
                        if let Some(pause) = transformer.last_pause() {
                            let _ = paused.send(pause);
                        }
                    }
                })
            })
            .collect();
        Ok(Self { published, rows, pauses, stop, workers })
    }

    /// Rows per second, measured over this time.
    fn rate(&self, time: Duration) -> f64 {
        let (begin, rows) = (Instant::now(), self.rows.load(Ordering::Relaxed));
        std::thread::sleep(time);
        (self.rows.load(Ordering::Relaxed) - rows) as f64 / begin.elapsed().as_secs_f64()
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

/// A chain of one plugin that is ready for the workers, as the gateway publishes it: with what it falls back to.
fn chain_of(code: &Arc<Plugin>, number: u64, before: Option<&Published>) -> anyhow::Result<Published> {
    let plugin = ChainPlugin::sandboxed(code.clone(), "{}".into(), number);
    plugin.prepare(WORKERS).map_err(anyhow::Error::msg)?;
    let last_good = before.map(|before| before.chain.clone());
    let chain = Chain { plugins: vec![Arc::new(plugin)], ..Chain::default() };
    Ok(Published { last_good, ..Published::new(number, chain) })
}

fn swaps(load: &Load, code: &[Arc<Plugin>; 2]) -> anyhow::Result<()> {
    anyhow::ensure!(load.rate(Duration::from_secs(1)) > 0.0, "the workers ended");
    while load.pauses.try_recv().is_ok() {}
    let before = (memory_mib(), load.rate(Duration::from_secs(2)));
    let begin = (Instant::now(), load.rows.load(Ordering::Relaxed));
    let mut at = Vec::new();
    let mut pauses = Vec::new();
    // The gateway's own thread makes generations at a low priority too.
    let _ = rustix::process::setpriority_process(None, PRIORITY);
    for swap in 0..SWAPS {
        let present = load.published.load_full();
        let next = chain_of(&code[swap as usize % 2], swap + 2, Some(&present))?;
        load.published.store(Arc::new(next));
        // The next one when all workers have taken this one up.
        for _ in 0..WORKERS {
            pauses.push(load.pauses.recv_timeout(PATIENCE).context("a worker ended")?);
        }
        if swap % (SWAPS / 10) == 0 {
            at.push(format!("{:.0}", memory_mib()));
        }
    }
    let (time, rows) = (begin.0.elapsed().as_secs_f64(), load.rows.load(Ordering::Relaxed) - begin.1);
    let told = |of: fn(&Pause) -> Duration| {
        let mut sorted: Vec<f64> = pauses.iter().map(|pause| of(pause).as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        format!("median {:.0}, p99 {:.0}, longest {:.0}", at(0.5), at(0.99), at(1.0))
    };
    println!(
        "{SWAPS} swaps under full load ({WORKERS} workers, batches of {ROWS} rows of 41 columns), each batch of one generation"
    );
    println!("  pause that a swap adds to a batch, µs of the worker's own time: {}", told(|pause| pause.processor));
    println!("  the same on the clock, with whatever else ran meanwhile: {}", told(|pause| pause.wall));
    println!("  memory, MiB: {:.0} before, then every {} swaps {}", before.0, SWAPS / 10, at.join(" "));
    println!(
        "  rows a second: {:.0} without swaps, {:.0} at {:.0} swaps a second\n",
        before.1,
        rows as f64 / time,
        SWAPS as f64 / time
    );
    Ok(())
}

/// Measures the cost of validating hostile files: alternating rounds without and with files that are validated one after the other.
fn proofs(load: &Load, bytes: &[u8], sandbox: &Arc<Sandbox>) -> anyhow::Result<()> {
    let program = rowmill_program()?;
    let Some(program) = program else {
        println!(
            "hostile files: left out, since there is no rowmill beside the benchmark; `make bench-swap` builds it"
        );
        return Ok(());
    };
    let compile = CompileConfig { program: Some(program), time: Duration::from_secs(2), ..CompileConfig::default() };
    let compiler = Compiler::new(compile, None, sandbox.clone());
    let files = [("a compile bomb", bombs::compile_bomb(bytes)), (HANGS, bombs::hanging_start(bytes))];
    for (name, file) in files {
        // The one is refused by the compiler, the other where it is started.
        let compiled = match name {
            HANGS => Some(sandbox.compile(&file).map_err(anyhow::Error::new)?),
            _ => None,
        };
        let mut ratios = Vec::new();
        let mut refused = String::new();
        for _ in 0..ROUNDS {
            let calm = load.rate(ROUND);
            let stop = AtomicBool::new(false);
            let disturbed = std::thread::scope(|scope| {
                let prover = scope.spawn(|| {
                    // As the gateway's own thread does.
                    let _ = rustix::process::setpriority_process(None, PRIORITY);
                    let mut said = String::new();
                    while !stop.load(Ordering::Relaxed) {
                        let loaded = match &compiled {
                            Some(compiled) => Plugin::load_compiled(sandbox, &file, compiled, |_| false),
                            None => compiler.load(&file, "", |_| false),
                        };
                        if let Err(refusal) = loaded {
                            said = refusal.to_string();
                        }
                    }
                    said
                });
                let disturbed = load.rate(ROUND);
                stop.store(true, Ordering::Relaxed);
                refused = prover.join().unwrap_or_default();
                disturbed
            });
            ratios.push(disturbed / calm);
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "  {name}, beside {} busy workers: {:.3} ({:.3} to {:.3}); {refused}",
            load.workers.len(),
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1]
        );
    }
    Ok(())
}

/// The gateway's program, which compiles in a process of its own; it lies two folders above the benchmark's.
fn rowmill_program() -> anyhow::Result<Option<PathBuf>> {
    let own = std::env::current_exe()?;
    let program = own.ancestors().nth(2).map(|folder| folder.join("rowmill"));
    Ok(program.filter(|program| program.exists()))
}

fn memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A batch of rows of the captured stream with other keys.
fn records(partition: i32) -> anyhow::Result<RecordBatch> {
    let capture = include_str!("../fixtures/debezium/plain.ndjson");
    let template = capture
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|record| record["topic"] == "dbz-plain.shop.trade")
        .filter_map(|record| record["value"].as_str().map(str::to_string))
        .find(|value| value.contains("\"op\":\"r\"") && value.contains("\"id\":3,"))
        .context("a row of the captured stream")?;
    let mut records = RecordBatch::new(TopicPartition { topic: "bench.shop.trade".into(), partition }, Format::Auto);
    for number in 0..ROWS {
        let value = template.replacen("\"id\":3,", &format!("\"id\":{},", 1_000_000 + number), 1);
        let value = value.replacen("\"op\":\"r\"", "\"op\":\"c\"", 1);
        let key = format!("{{\"id\":{}}}", 1_000_000 + number);
        records.push(number as i64, 0, Some(key.as_bytes()), Some(value.as_bytes()), []);
    }
    Ok(records)
}
