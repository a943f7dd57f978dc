//! The whole pipeline from a Kafka-protocol broker to the null sink: rows a second, CPU time a row, peak memory; with no
//! plugin, with the shape plugin, and with the same shape as native Rust. `make bench`.
//!
//! The broker and its records are in this process, the pipeline in a child, so that the figures are the pipeline's own.
//! `ROWMILL_BENCH_KAFKA=host:port` uses a real broker instead. Machines are noisy: read the ratios within one run.

#![allow(clippy::print_stdout, reason = "figures are what a benchmark is for")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rowmill::config::{Overrides, SourceConfig, read_text};
use rowmill::pipeline::Pipeline;
use rowmill::transform::Published;
use rowmill_engine::{Chain, ChainPlugin};
use rowmill_rows::TopicPartition;
use rowmill_sandbox as contract;
use rowmill_sdk::harness::Both;
use trade_document::TradeDocument;

const TOPIC: &str = "bench.shop.trade";
/// The broker in this process keeps about 5 MB a partition.
const RECORDS_PER_PARTITION: usize = 1_500;
const PARTITIONS: usize = 64;
const RUNS: usize = 5;
/// The plugin as `make plugins` builds it.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist/20-trade-document.wasm");

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == "--child") {
        return child(&args[place + 1], &args[place + 2], &args[place + 3]);
    }
    let records = events(RECORDS_PER_PARTITION * PARTITIONS)?;
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!(
        "{} Debezium events of 41 columns, {} bytes each, {PARTITIONS} partitions",
        records.len(),
        bytes / records.len()
    );

    let own = std::env::var("ROWMILL_BENCH_KAFKA").ok();
    let cluster: Option<MockCluster<'_, DefaultProducerContext>> = match &own {
        None => Some(MockCluster::new(1)?),
        Some(_) => None,
    };
    let brokers = own.clone().or_else(|| cluster.as_ref().map(MockCluster::bootstrap_servers)).unwrap_or_default();
    let topic = format!("{TOPIC}-{}", std::process::id());
    match &cluster {
        Some(cluster) => cluster.create_topic(&topic, PARTITIONS as i32, 1)?,
        None => create_topic(&brokers, &topic)?,
    }
    produce(&brokers, &topic, &records)?;
    println!(
        "broker: {}\n",
        own.map_or("in the parent process (librdkafka's mock cluster)".to_string(), |brokers| brokers)
    );
    println!("{:>12} {:>12} {:>14} {:>12} {:>12}", "", "rows/s", "CPU µs per row", "rows/CPU s", "peak MiB");
    let mut cpu: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    // In turn, so that a slow minute of the machine falls on all of them.
    for run in 0..RUNS {
        for mode in ["no plugin", "wasm", "native"] {
            let output = Command::new(std::env::current_exe()?)
                .args(["--child", mode, &brokers, &topic])
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()?;
            ensure!(output.status.success(), "the run with {mode} failed");
            let figures: Figures = serde_json::from_slice(&output.stdout).context("the child's figures")?;
            ensure!(figures.rows as usize == records.len(), "{} rows of {}", figures.rows, records.len());
            let row = figures.cpu / figures.rows as f64 * 1e6;
            println!(
                "{mode:>12} {:>12.0} {row:>14.2} {:>12.0} {:>12.0}{}",
                figures.rows as f64 / figures.wall,
                1e6 / row,
                figures.peak_mib,
                if run == 0 { "  (first)" } else { "" }
            );
            cpu.entry(mode).or_default().push(row);
        }
    }
    let median = |mode: &str| {
        let mut figures = cpu[mode].clone();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let (none, wasm, native) = (median("no plugin"), median("wasm"), median("native"));
    println!("\nmedian CPU µs per row: no plugin {none:.2}, wasm {wasm:.2}, native {native:.2}");
    println!("the sandbox costs {:+.2} µs per row over native ({:.2}×)", wasm - native, wasm / native);
    std::io::stdout().flush()?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Figures {
    rows: u64,
    /// Seconds from the first record to the last.
    wall: f64,
    /// Seconds of CPU in that time, user and system, all threads.
    cpu: f64,
    peak_mib: f64,
}

/// Runs the pipeline once and prints its figures.
fn child(mode: &str, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let text = format!(
        "[source]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{topic}\"]\nformat = \"debezium\"\n[sink]\nkind = \"null\"\n[dead_letter]\npath = \"/dev/null\"\n"
    );
    let mut config = read_text(&text, "bench", &Overrides::default())?;
    if let SourceConfig::Kafka(kafka) = &mut config.source {
        let partition = |partition| TopicPartition { topic: topic.into(), partition };
        kafka.partitions = Some((0..PARTITIONS as i32).map(partition).collect());
        kafka.group = format!("bench-{}", std::process::id());
    }
    let pipeline = Pipeline::new(config)?;
    let plugin = match mode {
        "wasm" => {
            let sandbox = Arc::new(contract::Sandbox::new(contract::Limits::default())?);
            let bytes = std::fs::read(PLUGIN).with_context(|| format!("{PLUGIN}: run `make plugins` first"))?;
            Some(ChainPlugin::sandboxed(Arc::new(contract::Plugin::load(&sandbox, &bytes)?), "{}".into(), 1))
        }
        "native" => Some(native()),
        _ => None,
    };
    let chain = Chain { plugins: plugin.into_iter().map(Arc::new).collect(), ..Chain::default() };
    pipeline.published().store(Arc::new(Published::new(1, chain)));
    let metrics = pipeline.metrics();
    let watched = metrics.clone();
    let clock = std::thread::spawn(move || {
        // From the first record: connecting and compiling are not what is measured.
        while watched.events.get() == 0 {
            std::thread::park_timeout(Duration::from_micros(200));
        }
        (Instant::now(), cpu_seconds(), watched.rows.get())
    });
    pipeline.run(true)?;
    let Ok((begin, cpu, before)) = clock.join() else { anyhow::bail!("the clock ended") };
    let rows = metrics.rows.get();
    // The share of the rows that came after the clock was started is all but the first batches.
    let share = rows as f64 / (rows - before).max(1) as f64;
    let figures = Figures {
        rows,
        wall: begin.elapsed().as_secs_f64() * share,
        cpu: (cpu_seconds() - cpu) * share,
        peak_mib: peak_mib(),
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// User and system time of this process, from the kernel's own account, in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Rows of the captured stream with other keys and positions.
fn events(n: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let capture = include_str!("../../tests/fixtures/debezium/plain.ndjson");
    let template = capture
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|record| record["topic"] == "dbz-plain.shop.trade")
        .filter_map(|record| record["value"].as_str().map(str::to_string))
        .find(|value| value.contains("\"op\":\"r\"") && value.contains("\"id\":3,"))
        .context("a row of the captured stream")?;
    Ok((0..n)
        .map(|number| {
            let id = 1_000_000 + number;
            template
                .replacen("\"id\":3,", &format!("\"id\":{id},"), 1)
                .replacen("\"op\":\"r\"", "\"op\":\"c\"", 1)
                .into_bytes()
        })
        .collect())
}

fn produce(brokers: &str, topic: &str, records: &[Vec<u8>]) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "1000000")
        .set("linger.ms", "5")
        .create()?;
    for (number, record) in records.iter().enumerate() {
        let key = format!("{{\"id\":{}}}", 1_000_000 + number);
        let partition = (number % PARTITIONS) as i32;
        producer
            .send(BaseRecord::to(topic).partition(partition).key(&key).payload(record))
            .map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

fn create_topic(brokers: &str, topic: &str) -> anyhow::Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()))?;
    Ok(())
}

/// The shape plugin, called in this process by the contract's own records.
fn native() -> ChainPlugin {
    let make = || Both::<TradeDocument>::native("{}");
    ChainPlugin::new(Both::<TradeDocument>::description(), "native".into(), 1, Box::new(make))
}
