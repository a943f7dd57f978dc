//! From records to document operations: decode, the chain of plugins, documents, versions.
//!
//! One [`Transformer`] belongs to one worker thread. A batch goes through it in three steps: all rows are decoded; the
//! images of each table go through the chain together; then the rows are walked in their order, and the documents of
//! the image after are written, and those that only the image before gives are deleted.
//!
//! The chain is at work in a *lane*. While a generation is tried there are more: the lane of the last good generations,
//! which transforms a batch again that has rows which only a generation on probation fails; and that of a trial, whose
//! documents are compared (shadow) or written for a share of the ids (canary).

pub mod chain;
mod emit;
pub mod health;
mod images;
mod lane;
mod mapping;
pub(crate) mod plan;
pub mod probe;
pub mod recent;
pub mod running;
pub mod trial;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rowmill_rows::{Decoder, Operation as RowOperation, Row, RowBatch, Span, TableVersion};

use crate::checkpoint::Progress;
use crate::config::{Config, TruncatePolicy};
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::indices::Indices;
use crate::metrics::{Kind, Metrics};
use crate::operation::{Action, IndexNumber, OperationBatch, SourceBatch};
use crate::version::{PartitionClock, version};

use chain::Chain;
use emit::{Emission, EmittedRow, document_failure};
use lane::Lane;
use plan::TablePlan;
use recent::{Recent, Sampling};
use running::{Pause, Retire, Retired, Running, Stopwatch};
use trial::{Report, RowOperations, Trial};
use write::Target;

/// What all transformers share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The published chain, read once a batch.
    pub chain: Arc<ArcSwap<Chain>>,
    /// The indices.
    pub indices: Arc<Indices>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Where records go that cannot be processed.
    pub dead_letters: DeadLetters,
    /// The last rows of each table.
    pub recent: Arc<Recent>,
    /// Where generations go that are not used any more.
    pub retire: Retire,
}

/// A worker's way from records to document operations.
pub struct Transformer {
    shared: Shared,
    decoder: Decoder,
    rows: RowBatch,
    /// The published chain.
    main: Lane,
    /// The last good generations, while there is something to fall back from.
    fallback: Lane,
    /// The chain with a generation on trial.
    trial: Lane,
    /// What the trial's lane takes part in: what is only compared must not count, and create no index.
    apart: Shared,
    /// For each row of the batch the lane that answers for it; empty where that is the main lane for all.
    lanes: Vec<Which>,
    /// What is owed to a shadow's share, in batches.
    owed: f64,
    /// Clocks of the partitions that this worker has.
    clocks: HashMap<usize, (std::sync::Weak<Progress>, PartitionClock)>,
    keys: Vec<Target>,
    id: Vec<u8>,
    /// Whether any route applies truncates, so that a document outside of its table's own index must say whose it is.
    marks: bool,
    /// Table versions that were told of.
    told: usize,
    warned: std::collections::HashSet<(Arc<str>, &'static str)>,
    sampling: Sampling,
    pause: Option<Pause>,
}

/// A lane's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Main,
    Fallback,
    Trial,
}

/// Why a record is a dead letter.
struct Failure {
    stage: Stage,
    reason: String,
    plugin: Option<usize>,
    index: Option<IndexNumber>,
}

/// What a trial needs beside the emission of the real documents.
struct Comparison {
    trial: Arc<Trial>,
    report: Report,
    scratch: OperationBatch,
    rows: u64,
    /// What the published chain numbers its indices by; the trial has numbers of its own.
    old_indices: Arc<Indices>,
}

impl Transformer {
    /// A transformer for one worker thread.
    pub fn new(shared: Shared) -> Self {
        let apart = Shared { indices: Arc::default(), metrics: Metrics::new(), ..shared.clone() };
        Self {
            decoder: Decoder::new(shared.config.decoder.clone()),
            rows: RowBatch::default(),
            main: Lane::default(),
            fallback: Lane::default(),
            trial: Lane::default(),
            apart,
            lanes: Vec::new(),
            owed: 0.0,
            clocks: HashMap::new(),
            keys: Vec::new(),
            id: Vec::new(),
            marks: false,
            told: 0,
            warned: Default::default(),
            sampling: Sampling::default(),
            pause: None,
            shared,
        }
    }

    /// Turns the records of a batch into operations. What is settled here (rows that are filtered, records without a
    /// row) needs no further work; every operation and dead letter has its piece of the batch's ticket.
    pub fn process(&mut self, source: Arc<SourceBatch>) -> OperationBatch {
        let turning = self.renew_chain();
        self.decoder.decode(&source.records, &mut self.rows);
        let mut out = OperationBatch::new(source.clone());
        let metrics = self.shared.metrics.clone();
        metrics.events.inc_by(source.records.records.len() as u64);
        metrics.bytes.inc_by(source.records.bytes.len() as u64);
        metrics.rows.inc_by(self.rows.rows.len() as u64);
        for (_, kind) in &self.rows.ignored {
            metrics.ignored.get_or_create(&Kind { kind: format!("{kind:?}").to_lowercase() }).inc();
        }
        for undecodable in &self.rows.undecodable {
            self.shared.dead_letters.send(DeadLetter::new(
                &source,
                undecodable.record,
                Stage::Decode,
                undecodable.error.to_string(),
            ));
        }
        self.tell_of_tables();
        self.transform(&source.records.bytes);
        self.pause = turning.map(|turning| turning + self.take_telling());
        if let Some(pause) = self.pause {
            self.shared.metrics.plugin_swap_seconds.observe(pause.wall.as_secs_f64());
        }
        self.emit(&source, &mut out);
        self.sampling.offer(&self.shared.recent, &source.records, &self.rows, self.decoder.tables());
        source.ticket.add(out.operations.len() as u64);
        out
    }

    /// What the last batch paid for a chain that was published before it: turning to it, and telling its instances of
    /// the batch's tables. `None` if there was none.
    pub fn last_pause(&self) -> Option<Pause> {
        self.pause
    }

    fn take_telling(&mut self) -> Pause {
        let lanes = [&mut self.main, &mut self.fallback, &mut self.trial];
        let running = lanes.into_iter().flat_map(|lane| &mut lane.running);
        running.map(Running::take_telling).fold(Pause::default(), std::ops::Add::add)
    }

    /// Reads the published chain; a new one gets instances, and all decisions are made anew. Tells what that took.
    fn renew_chain(&mut self) -> Option<Pause> {
        let published = self.shared.chain.load();
        if published.number == self.main.chain.number {
            return None;
        }
        let stopwatch = Stopwatch::start();
        let chain = published.clone();
        self.marks = chain.routes.iter().any(|route| route.truncate == TruncatePolicy::Apply);
        // A generation that goes from one lane to another takes its instances along: it costs no batch any time.
        let mut spare = Vec::new();
        for lane in [&mut self.main, &mut self.fallback, &mut self.trial] {
            spare.append(&mut lane.running);
        }
        let canary = chain.trial.as_ref().filter(|beside| beside.trial.is_canary());
        // What a canary fails goes where everything else goes.
        let fallback = chain.last_good.clone().or_else(|| canary.map(|_| chain.clone())).unwrap_or_default();
        let trial = chain.trial.as_ref().map(|beside| beside.chain.clone()).unwrap_or_default();
        let is_new = |chain: &Chain, place: usize, old: &Chain| !chain.shares(place, old);
        let (of_main, of_trial) = (chain.clone(), trial.clone());
        let in_main = |place: usize| of_main.last_good.as_ref().is_some_and(|good| is_new(&of_main, place, good));
        let chains = vec![
            self.main.turn_to(chain, &mut spare, in_main),
            self.fallback.turn_to(fallback, &mut spare, |_| false),
            self.trial.turn_to(trial, &mut spare, |place| is_new(&of_trial, place, &of_main)),
        ];
        self.shared.retire.take(Retired::new(spare, chains));
        Some(stopwatch.stop())
    }

    fn tell_of_tables(&mut self) {
        for table in &self.decoder.tables()[self.told..] {
            let (table, columns) = (table.full_name(), table.columns.len());
            tracing::info!(table, columns, "a table version is known");
        }
        self.told = self.decoder.tables().len();
    }

    /// Sends the images through the chain, and where it is needed through others.
    fn transform(&mut self, records: &[u8]) {
        let Self { main, fallback, trial, decoder, rows, shared, lanes, .. } = self;
        let tables = decoder.tables();
        lanes.clear();
        let canary = main.chain.trial.as_ref().map(|beside| beside.trial.clone()).filter(|trial| trial.is_canary());
        if let Some(canary) = &canary {
            let emission = Emission { shared, rows, records, marks: self.marks };
            for row in &rows.rows {
                let table = &tables[row.table as usize];
                let plan = main.plan(row.table, table, shared);
                let takes = emission
                    .usual_id(*row, &plan, &mut self.id)
                    .is_some_and(|()| canary.has_id(&plan.full_name, &self.id));
                lanes.push(if takes { Which::Trial } else { Which::Main });
            }
        }
        main.run(tables, rows, records, shared, |row| lane_of(lanes, row) == Which::Main);
        if let Some(last_good) = main.chain.last_good.clone() {
            let new = |place: usize| !main.chain.shares(place, &last_good);
            if main.images.has_failures(new) {
                fall_back(Which::Main, main, fallback, tables, rows, records, shared, lanes, &last_good);
            }
        }
        if let Some(canary) = &canary {
            trial.run(tables, rows, records, shared, |row| lane_of(lanes, row) == Which::Trial);
            let taken = lanes.iter().filter(|lane| **lane == Which::Trial).count() as u64;
            let new = |place: usize| trial.running[place].plugin.generation == canary.generation;
            let mut report = Report::default();
            if trial.images.has_failures(new) {
                report.failed_new =
                    (0..rows.rows.len()).filter(|row| trial.images.failure_of(*row).is_some()).count() as u64;
                let chain = fallback.chain.clone();
                fall_back(Which::Trial, trial, fallback, tables, rows, records, shared, lanes, &chain);
            }
            canary.add(taken, report);
        }
    }

    /// The shadow that this batch takes part in.
    fn comparison(&mut self, source: &Arc<SourceBatch>) -> Option<Comparison> {
        let trial = self.main.chain.trial.as_ref()?.trial.clone();
        if trial.is_canary() || trial.is_over() {
            return None;
        }
        self.owed += trial.share;
        if self.owed < 1.0 {
            return None;
        }
        self.owed -= 1.0;
        let Self { trial: lane, decoder, rows, apart, .. } = self;
        lane.run(decoder.tables(), rows, &source.records.bytes, apart, |_| true);
        let old_indices = self.shared.indices.clone();
        let scratch = OperationBatch::new(source.clone());
        Some(Comparison { trial, report: Report::default(), scratch, rows: 0, old_indices })
    }

    fn emit(&mut self, source: &Arc<SourceBatch>, out: &mut OperationBatch) {
        let mut comparison = self.comparison(source);
        let mut clock = self.clock(source);
        out.producers.extend(self.main.producers());
        let first_of_fallback = out.producers.len();
        if self.lanes.contains(&Which::Fallback) {
            out.producers.extend(self.fallback.producers());
        }
        let first_of_trial = out.producers.len();
        if self.lanes.contains(&Which::Trial) {
            out.producers.extend(self.trial.producers());
        }
        let mut table_numbers: HashMap<u32, u16> = HashMap::new();
        let mut filtered = 0;
        let mut failed = None;
        for place in 0..self.rows.rows.len() {
            let row = self.rows.rows[place];
            let (lane, first_producer) = match lane_of(&self.lanes, place) {
                Which::Main => (&mut self.main, 0),
                Which::Fallback => (&mut self.fallback, first_of_fallback),
                Which::Trial => (&mut self.trial, first_of_trial),
            };
            let table_version = &self.decoder.tables()[row.table as usize];
            let plan = lane.plan(row.table, table_version, &self.shared);
            let table = *table_numbers.entry(row.table).or_insert_with(|| {
                out.tables.push(plan.full_name.clone());
                (out.tables.len() - 1) as u16
            });
            let operations = out.operations.len();
            let emission =
                Emission { shared: &self.shared, rows: &self.rows, records: &source.records.bytes, marks: self.marks };
            let result = version_of(&emission, row, &plan, source, &mut clock).and_then(|version| {
                let emitted = EmittedRow { place, row, plan: &plan, table, version, first_producer };
                if row.operation == RowOperation::Truncate {
                    truncate(&emission, lane, &emitted, out);
                    return Ok(());
                }
                emission.row(lane, &emitted, &mut self.keys, out)
            });
            if let Some(comparison) = &mut comparison
                && row.operation != RowOperation::Truncate
            {
                let old = result.is_ok().then_some(operations..out.operations.len());
                let emission = Emission { shared: &self.apart, ..emission };
                comparison.row(&emission, &mut self.trial, table_version, place, row, out, old, &mut self.keys);
            }
            match result {
                Ok(()) => {
                    filtered +=
                        u64::from(out.operations.len() == operations && row.operation != RowOperation::Truncate);
                    self.warn_of_missing_image(place, row, &plan);
                }
                Err(failure) => {
                    out.operations.truncate(operations);
                    // One dead letter a record: it holds the record whole, whichever of its rows failed.
                    if failed != Some(row.record) {
                        failed = Some(row.record);
                        let mut letter = DeadLetter::new(source, row.record, failure.stage, failure.reason);
                        letter.table = Some(plan.full_name.clone());
                        letter.producer = failure.plugin.map(|plugin| out.producers[plugin].clone());
                        letter.index = failure.index.map(|index| self.shared.indices.name(index));
                        self.shared.dead_letters.send(letter);
                    }
                }
            }
        }
        if let Some(comparison) = comparison {
            comparison.trial.add(comparison.rows, comparison.report);
        }
        self.shared.metrics.filtered.inc_by(filtered);
        source.ticket.set_clock(clock.seconds);
        self.clocks
            .insert(Arc::as_ptr(source.ticket.progress()) as usize, (Arc::downgrade(source.ticket.progress()), clock));
    }

    fn clock(&mut self, source: &Arc<SourceBatch>) -> PartitionClock {
        let progress = source.ticket.progress();
        match self.clocks.get(&(Arc::as_ptr(progress) as usize)) {
            Some((known, clock)) if known.strong_count() > 0 => *clock,
            _ => {
                self.clocks.retain(|_, (known, _)| known.strong_count() > 0);
                PartitionClock::from_seconds(progress.first_clock_seconds())
            }
        }
    }

    fn warn_of_missing_image(&mut self, place: usize, row: Row, plan: &TablePlan) {
        if row.operation != RowOperation::Update || row.before_is_complete || self.main.images.of_row(place).1.is_none()
        {
            return;
        }
        let warn = plan.chain.iter().any(|place| !self.main.running[*place].plugin.indices.is_empty());
        if warn && self.warned.insert((plan.full_name.clone(), "no image before")) {
            tracing::warn!(table = %plan.full_name, "the source sends no image before an update: documents whose index or id depends on a changed column cannot be moved; use the full envelope (no unwrapping) and binlog_row_image=FULL");
        }
    }
}

fn lane_of(lanes: &[Which], row: usize) -> Which {
    lanes.get(row).copied().unwrap_or(Which::Main)
}

/// The rows of `from` have failures that a new generation made. They go through the lane of the last good ones too; if
/// that fails fewer of them it answers for all rows of `from`, so that they have one generation of each plugin.
#[allow(clippy::too_many_arguments, reason = "a batch's whole surroundings")]
fn fall_back(
    from: Which,
    lane: &Lane,
    fallback: &mut Lane,
    tables: &[Arc<TableVersion>],
    rows: &mut RowBatch,
    records: &[u8],
    shared: &Shared,
    lanes: &mut Vec<Which>,
    last_good: &Chain,
) {
    // What both lanes of a canary's batch fail is asked at once.
    fallback.run(tables, rows, records, shared, |row| {
        let which = lane_of(lanes, row);
        which == from || which == Which::Fallback
    });
    let mut is_better = false;
    for row in 0..rows.rows.len() {
        if lane_of(lanes, row) != from {
            continue;
        }
        let Some((place, reason)) = lane.images.failure_of(row) else { continue };
        if !lane.chain.shares(place, last_good) && fallback.images.failure_of(row).is_none() {
            is_better = true;
            let table = &tables[rows.rows[row].table as usize];
            lane.running[place].plugin.health.add_regressed(|| format!("{}: {reason}", table.full_name()));
        }
    }
    if !is_better {
        return;
    }
    lanes.resize(rows.rows.len(), Which::Main);
    for which in lanes.iter_mut().filter(|which| **which == from) {
        *which = Which::Fallback;
    }
    if let Some(alarm) = &shared.chain.load().alarm {
        alarm.ring();
    }
}

fn version_of(
    emission: &Emission<'_>,
    row: Row,
    plan: &TablePlan,
    source: &SourceBatch,
    clock: &mut PartitionClock,
) -> Result<u64, Failure> {
    let offset = source.records.records[row.record as usize].offset;
    let column = plan.version_column.and_then(|column| {
        let cells = row.after.or(row.before)? as usize;
        Some(emission.rows.cells[cells + column as usize].bytes(emission.records, &emission.rows.scratch))
    });
    version(&plan.route.version, plan.route.epoch, row.position, offset, clock, column, row.after.is_none())
        .map_err(|reason| document_failure(plan, reason))
}

fn truncate(emission: &Emission<'_>, lane: &Lane, emitted: &EmittedRow<'_>, out: &mut OperationBatch) {
    let plan = emitted.plan;
    let policy = match plan.route.truncate {
        TruncatePolicy::Apply => {
            let mut writer = emission.writer(lane, emitted, out);
            let body = writer.append(plan.other_patterns.as_bytes());
            writer.push(Action::Truncate, Target::whole(plan.index, Span::default()), None, body, None);
            "applied"
        }
        TruncatePolicy::Ignore => {
            tracing::warn!(table = %plan.full_name, "a truncate is ignored: its rows stay in the index; set truncate = \"apply\" in the table's route to follow it");
            "ignored"
        }
    };
    emission.shared.metrics.truncates.get_or_create(&Kind { kind: policy.into() }).inc();
}

impl Comparison {
    /// Compares a row's operations in the published chain (`old`; `None` where it failed) with those of the trial.
    #[allow(clippy::too_many_arguments, reason = "one row's whole surroundings")]
    fn row(
        &mut self,
        emission: &Emission<'_>,
        lane: &mut Lane,
        table: &Arc<TableVersion>,
        place: usize,
        row: Row,
        out: &OperationBatch,
        old: Option<std::ops::Range<usize>>,
        keys: &mut Vec<Target>,
    ) {
        self.rows += 1;
        self.scratch.operations.clear();
        self.scratch.bytes.clear();
        let plan = lane.plan(row.table, table, emission.shared);
        let emitted = EmittedRow { place, row, plan: &plan, table: 0, version: 0, first_producer: 0 };
        if emission.row(lane, &emitted, keys, &mut self.scratch).is_err() {
            self.report.failed_new += 1;
            self.scratch.operations.clear();
        }
        let old_indices = &*self.old_indices;
        if old.is_none() {
            self.report.failed_old += 1;
        }
        let old = RowOperations { operations: &out.operations[old.unwrap_or(0..0)], batch: out, indices: old_indices };
        let new = RowOperations {
            operations: &self.scratch.operations,
            batch: &self.scratch,
            indices: &emission.shared.indices,
        };
        self.report.compare(&plan.full_name, old, new);
    }
}
