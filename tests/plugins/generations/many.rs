//! Many swaps while rows flow as fast as they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rowmill::budget::Budget;
use rowmill::checkpoint::Progress;
use rowmill::config::{Overrides, read_text};
use rowmill::dead_letter::DeadLetters;
use rowmill::metrics::Metrics;
use rowmill::operation::SourceBatch;
use rowmill::plugins::status::OperatorCommand;
use rowmill::transform::{Published, Shared, Worker};
use rowmill_engine::{Chain, ChainPlugin};
use rowmill_rows::{Format, RecordBatch, TopicPartition};
use rowmill_sandbox::{Limits, Plugin, Sandbox};
use rowmill_tests::{guests, wait};
use serde_json::json;

use super::stream::{PATIENCE, Place, put};

const SWAPS: u64 = 1_000;
/// Rows between two swaps: a few batches.
const APART: u64 = 200;
/// After this many swaps, one uses a new file with complete validation.
const FILES: u64 = 50;
/// The permitted memory growth between the first swaps and the last. A leak of generations (code and two instances each) would be
/// a few hundred MiB.
const MOST_GROWTH_MIB: f64 = 24.0;

#[test]
fn a_thousand_swaps_under_full_load_lose_no_row() {
    // Rows that are filtered and rows that fail, in all generations alike.
    let deeds = "drop=10 fail=97";
    let place = Place::new("thousand-swaps", &format!("by=file-0 {deeds}"), "").without_store();
    let mut stream = place.start();
    let done = AtomicBool::new(false);
    let (control, metrics, plugins) = (stream.control.clone(), stream.metrics.clone(), stream.plugins.clone());
    let swapper = || {
        let mut memory = Vec::new();
        for swap in 0..SWAPS {
            let rows = metrics.rows.get();
            wait::until("rows flow", PATIENCE, || metrics.rows.get() >= rows + APART);
            if swap % FILES == 0 {
                let file = guests::variant(&format!("by=file-{} {deeds}", swap + 1));
                put(&plugins, &file);
                let hash = super::stream::hash(&file);
                wait::until("the file is published", PATIENCE, || {
                    control.status().is_some_and(|status| status.plugins[0].running.hash == hash)
                });
                memory.push(memory_mib());
                continue;
            }
            let order = if swap % 2 == 1 { OperatorCommand::Rollback } else { OperatorCommand::Promote };
            control.command("variant", order).unwrap_or_else(|error| panic!("swap {swap}, {order:?}: {error}"));
        }
        done.store(true, Ordering::Relaxed);
        memory
    };
    let memory = std::thread::scope(|scope| {
        let swapper = scope.spawn(swapper);
        let mut ids = (1..5_000).cycle();
        while !done.load(Ordering::Relaxed) {
            assert!(!swapper.is_finished() || done.load(Ordering::Relaxed), "the swapper ended");
            stream.write(ids.by_ref().take(100));
        }
        swapper.join().expect("the swapper ends")
    });
    stream.settle();
    assert!(metrics.plugin_swaps.get() >= SWAPS, "{} swaps", metrics.plugin_swaps.get());
    let rows = stream.written;
    eprintln!("{rows} rows, memory {memory:.0?} MiB");
    let summary = stream.end();
    assert_eq!(summary.events, rows);
    let documents = summary.documents.index + summary.folded + summary.stale;
    assert_eq!(documents + summary.filtered + summary.dead_letters, rows, "{summary:?}");
    assert!(summary.filtered >= rows / 11 && summary.dead_letters >= rows / 120, "{summary:?}");
    // The first files cause one-time allocations.
    let growth = memory.last().expect("the last file") - memory[4];
    assert!(growth < MOST_GROWTH_MIB, "memory grows: {memory:.0?} MiB");
}

#[test]
fn a_batch_is_of_one_generation() {
    let sandbox = Arc::new(Sandbox::new(Limits::default()).expect("the sandbox starts"));
    let code: Vec<Arc<Plugin>> = (0..2)
        .map(|by| {
            let file = guests::variant(&format!("by={by}"));
            Arc::new(Plugin::load(&sandbox, &file).expect("the variant is taken"))
        })
        .collect();
    // Documents contain the last digit of the generation.
    let chain_of = |number: u64| {
        let plugin = ChainPlugin::sandboxed(code[number as usize % 2].clone(), "{}".into(), number);
        Published::new(number, Chain { plugins: vec![Arc::new(plugin)], ..Chain::default() })
    };
    let text =
        "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nkind = \"null\"\n[dead_letter]\npath = \"/dev/null\"\n";
    let config = Arc::new(read_text(text, "test", &Overrides::default()).expect("a configuration"));
    let metrics = Metrics::new();
    let (letters, _) = DeadLetters::channel(metrics.clone());
    let published = Arc::new(ArcSwap::from_pointee(chain_of(1)));
    let shared = Shared {
        config,
        published: published.clone(),
        rules: Default::default(),
        indices: Arc::default(),
        metrics,
        dead_letters: letters,
        recent: Arc::default(),
        retire: Default::default(),
    };
    let (done, batches) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 2..200 {
                let seen = batches.load(Ordering::Relaxed);
                wait::until("a batch", PATIENCE, || batches.load(Ordering::Relaxed) > seen);
                published.store(Arc::new(chain_of(number)));
            }
            done.store(true, Ordering::Relaxed);
        });
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let progress = Progress::new(partition.clone(), 0);
        let budget = Budget::new(usize::MAX);
        let mut transformer = Worker::new(shared);
        let mut generations = std::collections::BTreeSet::new();
        while !done.load(Ordering::Relaxed) {
            let mut records = RecordBatch::new(partition.clone(), Format::Auto);
            for id in 0..100 {
                let value = json!({
                    "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": id, "commit": true,
                    "position": format!("binlog.000001:{}", 1000 + id), "primary_key_columns": ["id"],
                    "data": { "id": id, "name": "x" },
                });
                records.push(id, 0, None, Some(value.to_string().as_bytes()), []);
            }
            let source = SourceBatch::new(records, progress.ticket(100), &budget);
            let batch = transformer.process(source);
            assert_eq!((batch.operations.producers.len(), batch.operations.list.len()), (1, 100));
            let generation = batch.operations.producers[0].generation;
            let by = format!("\"by\":\"{}\"", generation % 2);
            for operation in &batch.operations.list {
                let body = batch.operations.text(operation.body);
                assert!(operation.producer == 0 && body.contains(&by), "generation {generation}: {body}");
            }
            generations.insert(generation);
            batches.fetch_add(1, Ordering::Relaxed);
        }
        assert!(generations.len() > 100, "it met most of them: {generations:?}");
    });
}

fn memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process knows its memory");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
