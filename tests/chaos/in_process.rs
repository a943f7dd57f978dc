//! Short scenarios in this process: gateways that read the records in pieces, one or two at a time, some of them aborted, with
//! records delivered again, and with faults of the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::{Pipeline, Summary};
use rowmill::sink::embedded;
use rowmill_store::{FaultEffect, FaultRule, StoreHandle};
use rowmill_tests::captures::{self, Record, interleaved};

use crate::faults::Fault;
use crate::plugin;
use crate::seeds;
use crate::store;
use crate::workload::Workload;

/// How long one gateway may run.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn in_process() {
    seeds::run("in_process", 0..60, 6, |seed| {
        let scenario = Scenario::random(&mut fastrand::Rng::with_seed(seed));
        match scenario.run() {
            Ok(()) => Ok(()),
            Err(failure) => {
                let (smaller, failure) = scenario.minimised(failure);
                Err(format!("{failure}\nthe smallest scenario that fails:\n{}", smaller.lines()))
            }
        }
    });
}

/// A workload, and how it is read.
#[derive(Clone, Debug)]
struct Scenario {
    workload: Workload,
    /// What follows one after the other; afterwards everything is read to the end without faults.
    phases: Vec<Phase>,
    /// For what the other choices depend on.
    seed: u64,
}

/// Gateways that run at the same time.
#[derive(Clone, Debug)]
struct Phase {
    faults: Vec<Fault>,
    gateways: Vec<GatewayPlan>,
}

/// What one gateway reads.
#[derive(Clone, Debug)]
struct GatewayPlan {
    pieces: Vec<Piece>,
    workers: u8,
    batch_rows: u8,
    bulk_documents: u8,
    in_flight: u8,
    kill: Option<Kill>,
}

/// A part of a partition.
#[derive(Clone, Debug)]
struct Piece {
    topic: usize,
    partition: i32,
    /// How many records before the place that was reached are read again.
    again: usize,
    /// How many new ones are read.
    new: usize,
}

/// When a gateway is aborted: at this bulk request, before or after it is applied, and without an answer.
#[derive(Clone, Copy, Debug)]
struct Kill {
    bulk: u64,
    is_applied: bool,
}

/// A partition: its topic's number and its own.
type Partition = (usize, i32);

impl Scenario {
    fn random(random: &mut fastrand::Rng) -> Self {
        let largest = *random.choice(&[8, 40, 150]).expect("there are sizes");
        let workload = Workload::random(random, largest);
        let phases = (0..random.usize(..4)).map(|_| Phase::random(random, largest)).collect();
        Self { workload, phases, seed: random.u64(..) }
    }

    /// Runs it; the error says what went wrong.
    fn run(&self) -> Result<(), String> {
        let folder = rowmill_tests::scratch("chaos");
        let store = embedded::start(0).map_err(|error| error.to_string())?;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let partitions = partitions(self.workload.records());
        let mut reached: BTreeMap<Partition, usize> = partitions.keys().map(|partition| (*partition, 0)).collect();
        let reported = self.workload.reported().into_iter();
        let operations =
            reported.filter_map(|one| Some((place(&one.record), self.workload.operations(&one)?))).collect();
        let world = World { scenario: self, folder: folder.path(), store: &store, runs: AtomicU64::new(0), operations };
        for phase in &self.phases {
            phase.faults.iter().for_each(|fault| store.inject(fault.rule()));
            let plans: Vec<_> =
                phase.gateways.iter().map(|plan| (plan, plan.reads(&partitions, &reached, &mut random))).collect();
            let world = &world;
            let ends: Vec<_> = thread::scope(|scope| {
                let running: Vec<_> = plans
                    .iter()
                    .map(|(plan, reads)| scope.spawn(move || world.gateway(&reads.records, plan)))
                    .collect();
                running.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a gateway panicked".into()))).collect()
            });
            store.clear_faults();
            for ((_, reads), end) in plans.into_iter().zip(ends) {
                let summary = end?;
                // Nobody knows how far a gateway got that was aborted.
                if summary.is_some() {
                    for (partition, end) in reads.ends {
                        let reached = reached.entry(partition).or_default();
                        *reached = end.max(*reached);
                    }
                }
            }
        }
        let plan = GatewayPlan::plain();
        let rest: Vec<Record> =
            partitions.iter().flat_map(|(partition, records)| records[reached[partition]..].to_vec()).collect();
        world.gateway(&interleaved(&rest, &mut random), &plan)?;
        world.replay_letters(&mut random)?;
        match self.workload.difference(store::documents(&store)) {
            Some(difference) => Err(difference),
            None => Ok(()),
        }
    }

    /// The scenario in lines: its workload, each change, each phase.
    fn lines(&self) -> String {
        let phases: Vec<String> = self.phases.iter().map(|phase| format!("{phase:?}")).collect();
        format!("{}\n{}", self.workload.lines(), phases.join("\n"))
    }

    /// A smaller scenario that fails too, with its failure: without some changes, phases, gateways and faults.
    fn minimised(&self, failure: String) -> (Self, String) {
        let mut best = (self.clone(), failure);
        let start = Instant::now();
        let mut is_smaller = true;
        while is_smaller && start.elapsed() < Duration::from_secs(60) {
            is_smaller = false;
            for smaller in best.0.smaller() {
                // A race may need several tries.
                if let Some(failure) = (0..3).find_map(|_| smaller.run().err()) {
                    best = (smaller, failure);
                    is_smaller = true;
                    break;
                }
            }
        }
        best
    }

    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        let count = self.workload.changes.len();
        for left in [count / 2, count * 3 / 4, count.saturating_sub(1)] {
            if left > 0 && left < count {
                let mut one = self.clone();
                one.workload.changes.truncate(left);
                smaller.push(one);
            }
        }
        for (number, phase) in self.phases.iter().enumerate() {
            let mut one = self.clone();
            one.phases.remove(number);
            smaller.push(one);
            for fault in 0..phase.faults.len() {
                let mut one = self.clone();
                one.phases[number].faults.remove(fault);
                smaller.push(one);
            }
            for gateway in 0..phase.gateways.len() {
                let mut one = self.clone();
                one.phases[number].gateways.remove(gateway);
                smaller.push(one);
                if phase.gateways[gateway].kill.is_some() {
                    let mut one = self.clone();
                    one.phases[number].gateways[gateway].kill = None;
                    smaller.push(one);
                }
            }
        }
        smaller
    }
}

impl Phase {
    fn random(random: &mut fastrand::Rng, largest: usize) -> Self {
        let faults = (0..random.usize(..5)).map(|_| Fault::random(random)).collect();
        let gateways = (0..random.usize(1..=2)).map(|_| GatewayPlan::random(random, largest)).collect();
        Self { faults, gateways }
    }
}

impl GatewayPlan {
    fn random(random: &mut fastrand::Rng, largest: usize) -> Self {
        let mut pieces = Vec::new();
        for topic in 0..2 {
            for partition in 0..3 {
                if random.u8(..3) > 0 {
                    pieces.push(Piece {
                        topic,
                        partition,
                        again: random.usize(..10),
                        new: random.usize(..=largest / 3 + 1),
                    });
                }
            }
        }
        let kill = (random.u8(..3) == 0).then(|| Kill { bulk: random.u64(1..8), is_applied: random.bool() });
        Self {
            pieces,
            workers: random.u8(1..=3),
            batch_rows: random.u8(1..20),
            bulk_documents: random.u8(1..20),
            in_flight: random.u8(1..=4),
            kill,
        }
    }

    fn plain() -> Self {
        Self { pieces: Vec::new(), workers: 2, batch_rows: 10, bulk_documents: 10, in_flight: 3, kill: None }
    }

    /// The records that it reads.
    fn reads(
        &self,
        partitions: &BTreeMap<Partition, Vec<Record>>,
        reached: &BTreeMap<Partition, usize>,
        random: &mut fastrand::Rng,
    ) -> Reads {
        let mut reads = Reads { records: Vec::new(), ends: Vec::new() };
        for piece in &self.pieces {
            let partition = (piece.topic, piece.partition);
            let Some(records) = partitions.get(&partition) else { continue };
            let reached = reached[&partition];
            let end = (reached + piece.new).min(records.len());
            reads.records.extend_from_slice(&records[reached.saturating_sub(piece.again)..end]);
            reads.ends.push((partition, end));
        }
        reads.records = interleaved(&reads.records, random);
        reads
    }
}

struct Reads {
    records: Vec<Record>,
    ends: Vec<(Partition, usize)>,
}

struct World<'a> {
    scenario: &'a Scenario,
    folder: &'a Path,
    store: &'a StoreHandle,
    runs: AtomicU64,
    /// How many operations the plugin makes of the record at a place, where that is known.
    operations: BTreeMap<Place, u64>,
}

/// The topic, the partition and the offset of a record.
type Place = (String, i32, i64);

fn place(record: &Record) -> Place {
    (record.topic.clone(), record.partition, record.offset)
}

impl World<'_> {
    /// Runs a gateway to the end of these records; `None` if it was aborted before.
    fn gateway(&self, records: &[Record], plan: &GatewayPlan) -> Result<Option<Summary>, String> {
        if records.is_empty() {
            return Ok(None);
        }
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let path = captures::write(self.folder, &format!("records-{run}.ndjson"), records);
        let letters = self.folder.join(format!("letters-{run}.ndjson"));
        let GatewayPlan { workers, batch_rows, bulk_documents, in_flight, .. } = plan;
        let text = format!(
            "[source]\nkind = \"file\"\npath = {path:?}\n\
             [sink]\nurls = [{:?}]\nlinger = \"1ms\"\nbulk_documents = {bulk_documents}\nin_flight = {in_flight}\nretry_wait = \"1ms\"\nretry_wait_max = \"4ms\"\n\
             [dead_letter]\npath = {letters:?}\n[pipeline]\nworkers = {workers}\nbatch_rows = {batch_rows}\n{}",
            self.store.url(),
            self.scenario.workload.routes(),
        );
        let config = read_text(&text, "chaos", &Overrides::default()).map_err(|error| error.to_string())?;
        let pipeline = Pipeline::new(config).map_err(|error| format!("{error:#}"))?;
        plugin::publish(&pipeline, self.scenario.workload.settings(false).to_string());
        let shutdown = pipeline.shutdown();
        let is_killed = Arc::new(AtomicBool::new(false));
        if let Some(Kill { bulk, is_applied }) = plan.kill {
            let (shutdown, is_killed) = (shutdown.clone(), is_killed.clone());
            let seen = AtomicU64::new(0);
            let effect = if is_applied { FaultEffect::ResetAfter } else { FaultEffect::ResetBefore };
            let rule = FaultRule::request(effect).times(1).when(move |_| {
                let is_due = seen.fetch_add(1, Ordering::Relaxed) + 1 == bulk;
                if is_due {
                    is_killed.store(true, Ordering::Relaxed);
                    shutdown.abort();
                }
                is_due
            });
            self.store.inject(rule);
        }
        let (end, ended) = std::sync::mpsc::channel();
        let result = thread::scope(|scope| {
            let running = scope.spawn(move || {
                let result = pipeline.run(true);
                // Nobody listens if it took too long.
                let _ = end.send(());
                result
            });
            let is_late = ended.recv_timeout(LIMIT).is_err();
            if is_late {
                shutdown.abort();
            }
            let result = running.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            if is_late {
                Err(format!("a gateway does not end within {LIMIT:?}"))
            } else {
                result.map_err(|error| format!("a gateway failed: {error:#}"))
            }
        });
        if is_killed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (summary, _) = result?;
        let lines = store::letters(&letters).len() as u64;
        let Summary { documents, .. } = &summary;
        let done = documents.index + documents.delete + documents.truncate + summary.folded + summary.stale;
        let is_complete = lines > 0 || self.operations(records).is_none_or(|operations| operations == done);
        if summary.events != records.len() as u64 || summary.dead_letters != lines || !is_complete {
            return Err(format!("{} records and {lines} dead letters, but it counted {summary:?}", records.len()));
        }
        Ok(Some(summary))
    }

    /// How many operations the plugin makes of these records, if that is known.
    fn operations(&self, records: &[Record]) -> Option<u64> {
        records.iter().map(|record| self.operations.get(&place(record)).copied()).sum()
    }

    /// Replays the dead letters of all gateways in a random order.
    fn replay_letters(&self, random: &mut fastrand::Rng) -> Result<(), String> {
        let runs = self.runs.load(Ordering::Relaxed);
        let files = (0..runs).map(|run| self.folder.join(format!("letters-{run}.ndjson")));
        let mut letters: Vec<String> = files.flat_map(|file| store::letters(&file)).collect();
        random.shuffle(&mut letters);
        store::replay(self.folder, &self.store.url(), &self.scenario.workload, letters)
    }
}

/// The records of each partition.
fn partitions(records: Vec<Record>) -> BTreeMap<Partition, Vec<Record>> {
    let mut topics: Vec<String> = Vec::new();
    let mut partitions: BTreeMap<Partition, Vec<Record>> = BTreeMap::new();
    for record in records {
        let topic = topics.iter().position(|topic| *topic == record.topic).unwrap_or_else(|| {
            topics.push(record.topic.clone());
            topics.len() - 1
        });
        partitions.entry((topic, record.partition)).or_default().push(record);
    }
    partitions
}
