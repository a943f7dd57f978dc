//! The steady state of a transform worker: what happens to every batch, from top to bottom.
//!
//! One [`Worker`] belongs to one thread and owns its plugin instances. While a generation is on probation or on trial,
//! `rollout` decides which chain answers for which row; otherwise the published chain answers for all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rowmill_engine::version::PartitionClock;
use rowmill_engine::{
    Batch, ChainInstance, Failure, Indices, Operations, Pause, RowToEmit, Stopwatch, TablePlan, TruncatePolicy,
};
use rowmill_rows::{Decoder, Operation as RowOperation, Row, RowBatch, Undecodable};
use rowmill_sandbox::NameRules;

use super::published::Published;
use super::recent::{Recent, Sampling};
use super::retire::{Retire, Retired};
use super::rollout::Rollout;
use super::versions::RowVersions;
use crate::checkpoint::Progress;
use crate::config::Config;
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::metrics::{Kind, Metrics};
use crate::operation::{OperationBatch, SourceBatch};
use crate::record_versions::RowVersion;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The published chain, read once per batch.
    pub published: Arc<ArcSwap<Published>>,
    /// The numbers of the index names.
    pub indices: Arc<Indices>,
    /// The sink's rules for document IDs and index names.
    pub rules: NameRules,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Takes records that cannot be processed.
    pub dead_letters: DeadLetters,
    /// The most recent rows of each table.
    pub recent: Arc<Recent>,
    /// Takes instances that are no longer used.
    pub retire: Retire,
}

/// Turns records into document operations, in one thread.
pub struct Worker {
    shared: Shared,
    decoder: Decoder,
    rows: RowBatch,
    /// The number of the publication that the instances belong to.
    number: u64,
    /// The published chain.
    active: ChainInstance,
    /// The chains beside it.
    rollout: Rollout,
    /// The clocks of the partitions that this worker serves, by the address of their progress.
    clocks: HashMap<usize, (Weak<Progress>, PartitionClock)>,
    n_logged_tables: usize,
    /// What was logged once: tables for which the before image is missing, or fails in a plugin.
    warned: HashSet<Arc<str>>,
    sampling: Sampling,
    pause: Option<Pause>,
    /// The size of the previous batch's operations; those of the next one are likely to be about as large.
    expected_bytes: usize,
}

impl Worker {
    /// A worker for one thread.
    pub fn new(shared: Shared) -> Self {
        let limits = &shared.config.limits;
        Self {
            decoder: Decoder::new(shared.config.decoder.clone()),
            rows: RowBatch::default(),
            number: 0,
            active: ChainInstance::new(shared.indices.clone(), limits.clone(), shared.rules),
            rollout: Rollout::new(shared.indices.clone(), limits.clone(), shared.rules),
            clocks: HashMap::new(),
            n_logged_tables: 0,
            warned: HashSet::new(),
            sampling: Sampling::default(),
            pause: None,
            expected_bytes: 0,
            shared,
        }
    }

    /// Turns the records of a batch into operations. Every operation and every dead letter holds a share of the batch's
    /// ticket; rows that are filtered and records without a row need no further work.
    pub fn process(&mut self, source: Arc<SourceBatch>) -> OperationBatch {
        let published = self.shared.published.load_full();
        let switch = self.switch_to(&published);
        self.decode(&source);
        let mut out = Operations::default();
        out.bytes.reserve(self.expected_bytes);
        let mut batch = Batch { tables: self.decoder.tables(), rows: &mut self.rows, records: &source.records };
        if self.rollout.is_idle() {
            run(&mut self.active, &mut batch, &self.shared.metrics, |_| true);
        } else {
            self.rollout.run(&published, &mut self.active, &mut batch, &self.shared.metrics);
        }
        self.finish_switch(switch);
        let versions = self.emit(&published, &source, &mut out);
        self.sampling.offer(&self.shared.recent, &source.records, &self.rows, self.decoder.tables());
        source.ticket.add(out.list.len() as u64);
        self.expected_bytes = out.bytes.len();
        OperationBatch::new(source, out, versions)
    }

    /// The time that the last batch spent on a chain that was published before it: on switching to the chain, and on
    /// defining the batch's tables in its instances. `None` if no chain was published.
    pub fn last_pause(&self) -> Option<Pause> {
        self.pause
    }

    /// Switches to the published chain if it is a new one. Returns the time that this took.
    fn switch_to(&mut self, published: &Published) -> Option<Pause> {
        if published.number == self.number {
            return None;
        }
        let stopwatch = Stopwatch::start();
        self.number = published.number;
        // A generation that moves between chains takes its instances along, so no batch waits for new ones.
        let mut spare = self.active.take_plugins();
        self.rollout.take_plugins(&mut spare);
        let chain = published.chain.clone();
        let on_probation = |place: usize| published.last_good.as_ref().is_some_and(|good| !chain.shares(place, good));
        let mut chains = vec![self.active.switch_to(chain.clone(), &mut spare, on_probation)];
        chains.extend(self.rollout.switch_to(published, &mut spare));
        self.shared.retire.take(Retired::new(spare, chains));
        Some(stopwatch.stop())
    }

    fn finish_switch(&mut self, switch: Option<Pause>) {
        let definitions = self.active.take_definition_time() + self.rollout.take_definition_time();
        self.pause = switch.map(|switch| switch + definitions);
        if let Some(pause) = self.pause {
            self.shared.metrics.plugin_swap_seconds.observe(pause.wall.as_secs_f64());
        }
    }

    /// Decodes the records. What cannot be decoded is reported when the rows are written.
    fn decode(&mut self, source: &Arc<SourceBatch>) {
        self.decoder.decode(&source.records, &mut self.rows);
        let metrics = &self.shared.metrics;
        metrics.events.inc_by(source.records.records.len() as u64);
        metrics.bytes.inc_by(source.records.bytes.len() as u64);
        metrics.rows.inc_by(self.rows.rows.len() as u64);
        for (_, kind) in &self.rows.ignored {
            metrics.ignored.get_or_create(&Kind { kind: format!("{kind:?}").to_lowercase() }).inc();
        }
        for table in &self.decoder.tables()[self.n_logged_tables..] {
            let (table, columns) = (table.full_name(), table.columns.len());
            tracing::info!(table, columns, "new table version");
        }
        self.n_logged_tables = self.decoder.tables().len();
    }

    /// Writes the operations of all rows and returns their versions. Records that cannot be decoded, or of which a row
    /// cannot be decoded or fails, become dead letters.
    fn emit(&mut self, published: &Published, source: &Arc<SourceBatch>, out: &mut Operations) -> Vec<RowVersion> {
        let mut letters = Letters::new(&self.shared, source, std::mem::take(&mut self.rows.undecodable));
        let mut batch = Batch { tables: self.decoder.tables(), rows: &mut self.rows, records: &source.records };
        self.rollout.start_shadow(published);
        let clock = clock_of(&mut self.clocks, source);
        let mut versions = RowVersions::new(source, clock, batch.rows.rows.len());
        let producers = self.rollout.add_producers(&self.active, out);
        let mut filtered = 0;
        let begin = Instant::now();
        for place in 0..batch.rows.rows.len() {
            let row = batch.row(place);
            if versions.is_next(row.record) {
                letters.send_before(row.record, &mut versions);
            }
            let (chain, first_producer) = self.rollout.chain_for(place, &mut self.active, &producers);
            let n_operations = out.list.len();
            let result = versions
                .version_of(chain, &batch, place)
                .and_then(|version| chain.emit_row(&batch, RowToEmit { row: place, version, first_producer }, out));
            let plan = chain.plan(row.table, batch.table_of(place));
            let written = n_operations..out.list.len();
            self.rollout.note_emitted(result.is_ok().then_some(written.clone()));
            match result {
                Ok(_) if row.operation == RowOperation::Truncate => {
                    report_truncate(&self.shared.metrics, &plan);
                }
                Ok(emitted) => {
                    filtered += u64::from(written.is_empty());
                    warn_of_missing_image(&mut self.warned, row, &plan);
                    if let Some(failure) = emitted.before_failure {
                        report_before_image(&mut self.warned, &self.shared.metrics, &failure, &plan, out);
                    }
                }
                Err(failure) => {
                    letters.add(row, || letter_of(failure, source, row, &plan, out, &self.shared.indices));
                }
            }
        }
        letters.send_before(u32::MAX, &mut versions);
        let time = begin.elapsed().saturating_sub(letters.waited);
        self.rollout.add_writing_time(&self.active, &producers, out, time, &self.shared.metrics);
        self.rollout.compare_shadow(published, &mut batch, out);
        self.shared.metrics.filtered.inc_by(filtered);
        let mut clock = versions.clock();
        source.ticket.set_clock(clock.time());
        if let Some(step) = clock.take_step_back() {
            self.shared.metrics.alarms.binlog_went_back(&source.records.partition, step);
        }
        let progress = source.ticket.progress();
        self.clocks.insert(Arc::as_ptr(progress) as usize, (Arc::downgrade(progress), clock));
        versions.into_rows()
    }
}

/// The dead letters of one batch, which are sent in the order of the records.
struct Letters<'a> {
    shared: &'a Shared,
    source: &'a Arc<SourceBatch>,
    undecodable: std::iter::Peekable<std::vec::IntoIter<Undecodable>>,
    /// The letter of the last row's record. It is sent once all rows of the record have their versions.
    failed: Option<DeadLetter>,
    /// The time spent waiting for room in the queue.
    waited: Duration,
}

impl<'a> Letters<'a> {
    fn new(shared: &'a Shared, source: &'a Arc<SourceBatch>, undecodable: Vec<Undecodable>) -> Self {
        Self { shared, source, undecodable: undecodable.into_iter().peekable(), failed: None, waited: Duration::ZERO }
    }

    /// Adds the letter of a row that failed. A record has one letter, whichever of its rows failed or cannot be decoded: it
    /// holds the whole record.
    fn add(&mut self, row: Row, letter: impl FnOnce() -> DeadLetter) {
        // Those of earlier records have been sent, so this record's is the next one.
        let is_undecodable = self.undecodable.peek().is_some_and(|undecodable| undecodable.record == row.record);
        if is_undecodable {
            return;
        }
        if self.failed.as_ref().is_none_or(|failed| failed.record_number() != row.record) {
            self.failed = Some(letter());
        }
    }

    /// Sends the letters of all records before this one.
    fn send_before(&mut self, record: u32, versions: &mut RowVersions<'_>) {
        if self.failed.is_none() && self.undecodable.peek().is_none() {
            return;
        }
        let begin = Instant::now();
        if let Some(mut letter) = self.failed.take() {
            letter.versions = versions.of_record();
            self.shared.dead_letters.send(letter);
        }
        while let Some(undecodable) = self.undecodable.next_if(|undecodable| undecodable.record < record) {
            let reason = undecodable.error.to_string();
            let mut letter = DeadLetter::new(self.source, undecodable.record, Stage::Decode, reason);
            letter.versions = versions.of_undecodable(undecodable.record);
            self.shared.dead_letters.send(letter);
        }
        self.waited += begin.elapsed();
    }
}

/// Runs the rows that `takes` selects through a chain and counts what the calls cost.
pub(super) fn run(chain: &mut ChainInstance, batch: &mut Batch<'_>, metrics: &Metrics, takes: impl Fn(usize) -> bool) {
    chain.run(batch, takes);
    count_health(chain);
    for call in chain.calls() {
        let plugin = chain.plugin(call.place);
        metrics.plugin(&plugin.name, plugin.generation, call.images, call.time, call.faults);
    }
}

/// Adds the calls of the last run to the counters of the generations, by which it is decided whether they stay.
pub(super) fn count_health(chain: &ChainInstance) {
    for call in chain.calls() {
        let plugin = chain.plugin(call.place);
        plugin.health.add(call.images, call.time, call.faults);
        if call.failed > 0 {
            plugin.health.add_failed(call.failed);
        }
        if call.faults > 0 {
            tracing::warn!(plugin = %plugin.name, generation = plugin.generation, table = %call.table, faults = call.faults, "the plugin failed on rows of this table");
        }
    }
}

/// The clock of the batch's partition.
fn clock_of(clocks: &mut HashMap<usize, (Weak<Progress>, PartitionClock)>, source: &SourceBatch) -> PartitionClock {
    let progress = source.ticket.progress();
    match clocks.get(&(Arc::as_ptr(progress) as usize)) {
        Some((known, clock)) if known.strong_count() > 0 => *clock,
        _ => {
            clocks.retain(|_, (known, _)| known.strong_count() > 0);
            PartitionClock::from_time(progress.first_clock())
        }
    }
}

fn letter_of(
    failure: Failure,
    source: &Arc<SourceBatch>,
    row: Row,
    plan: &TablePlan,
    out: &Operations,
    indices: &Indices,
) -> DeadLetter {
    let stage = match failure.stage {
        rowmill_engine::Stage::Plugin => Stage::Plugin,
        rowmill_engine::Stage::Document => Stage::Document,
    };
    let mut letter = DeadLetter::new(source, row.record, stage, failure.reason);
    letter.table = Some(plan.full_name.clone());
    letter.producer = failure.producer.map(|producer| out.producers[producer].clone());
    letter.index = failure.index.map(|index| indices.name(index));
    letter
}

fn report_truncate(metrics: &Metrics, plan: &TablePlan) {
    let kind = match plan.route.truncate {
        TruncatePolicy::Apply => "applied",
        TruncatePolicy::Ignore => {
            tracing::warn!(table = %plan.full_name, "ignoring a truncate: its rows stay in the index; set truncate = \"apply\" in the table's route to follow it");
            "ignored"
        }
    };
    metrics.truncates.get_or_create(&Kind { kind: kind.into() }).inc();
}

/// Counts a row that was written although a plugin failed on its before image, and logs the first one of each table.
fn report_before_image(
    warned: &mut HashSet<Arc<str>>,
    metrics: &Metrics,
    failure: &Failure,
    plan: &TablePlan,
    out: &Operations,
) {
    metrics.failed_before_images.inc();
    if warned.insert(format!("before image of {}", plan.full_name).into()) {
        let plugin = failure.producer.map(|producer| &*out.producers[producer].plugin);
        tracing::warn!(
            table = %plan.full_name,
            plugin,
            reason = failure.reason,
            "a plugin fails on the before image of an update; the row is written, but a document under an ID or in an index \
             that the plugin chose for the before image may remain"
        );
    }
}

fn warn_of_missing_image(warned: &mut HashSet<Arc<str>>, row: Row, plan: &TablePlan) {
    let is_missing = row.operation == RowOperation::Update && !row.before_is_complete && row.after.is_some();
    if is_missing && plan.names_indices && warned.insert(plan.full_name.clone()) {
        tracing::warn!(table = %plan.full_name, "the source sends no before image of updates: a document whose index or ID depends on a changed column cannot be moved; use the full Debezium envelope (no unwrapping) and binlog_row_image=FULL");
    }
}
