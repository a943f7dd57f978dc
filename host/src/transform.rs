//! From records to document operations: decode, the chain of plugins, documents, versions.
//!
//! One [`Transformer`] belongs to one worker thread. A batch goes through it in three steps: all rows are decoded; the
//! images of each table go through the chain together; then the rows are walked in their order, and the documents of
//! the image after are written, and those that only the image before gives are deleted.

pub mod chain;
mod images;
mod mapping;
pub(crate) mod plan;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rowmill_decode::{Decoder, Operation as RowOperation, Row, RowBatch, Span};

use crate::checkpoint::Progress;
use crate::config::{Config, TruncatePolicy};
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::indices::Indices;
use crate::metrics::{Kind, Metrics};
use crate::operation::{Action, IndexNumber, OperationBatch, Producer, SourceBatch};
use crate::version::{PartitionClock, version};

use chain::{Chain, Running};
use images::{Fate, Images};
use plan::TablePlan;
use write::{Target, Writer};

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
}

/// A worker's way from records to document operations.
pub struct Transformer {
    shared: Shared,
    decoder: Decoder,
    rows: RowBatch,
    chain: Arc<Chain>,
    running: Vec<Running>,
    /// By the decoder's number of the table version.
    plans: Vec<Option<Arc<TablePlan>>>,
    /// Clocks of the partitions that this worker has.
    clocks: HashMap<usize, (std::sync::Weak<Progress>, PartitionClock)>,
    images: Images,
    keys: Vec<Target>,
    /// Whether any route applies truncates, so that a document outside of its table's own index must say whose it is.
    marks: bool,
    warned: std::collections::HashSet<(Arc<str>, &'static str)>,
}

/// Why a record is a dead letter.
struct Failure {
    stage: Stage,
    reason: String,
    plugin: Option<usize>,
    index: Option<IndexNumber>,
}

impl Transformer {
    /// A transformer for one worker thread.
    pub fn new(shared: Shared) -> Self {
        let marks = shared.config.routes.iter().any(|route| route.truncate == TruncatePolicy::Apply);
        Self {
            decoder: Decoder::new(shared.config.decoder.clone()),
            rows: RowBatch::default(),
            chain: Arc::new(Chain::default()),
            running: Vec::new(),
            plans: Vec::new(),
            clocks: HashMap::new(),
            images: Images::default(),
            keys: Vec::new(),
            marks,
            warned: Default::default(),
            shared,
        }
    }

    /// Turns the records of a batch into operations. What is settled here (rows that are filtered, records without a
    /// row) needs no further work; every operation and dead letter has its piece of the batch's ticket.
    pub fn process(&mut self, source: Arc<SourceBatch>) -> OperationBatch {
        self.renew_chain();
        self.decoder.decode(&source.records, &mut self.rows);
        let mut out = OperationBatch::new(source.clone());
        out.producers = self
            .running
            .iter()
            .map(|running| Producer { plugin: running.plugin.name.clone(), generation: running.plugin.generation })
            .collect();
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
        self.transform(&source.records.bytes);
        self.emit(&source, &mut out);
        source.ticket.add(out.operations.len() as u64);
        out
    }

    /// Reads the published chain; a new one gets instances, and all decisions are made anew.
    fn renew_chain(&mut self) {
        let published = self.shared.chain.load();
        if published.number == self.chain.number {
            return;
        }
        self.chain = published.clone();
        let mut old = std::mem::take(&mut self.running);
        for plugin in &self.chain.plugins {
            let kept = old.iter().position(|running| running.plugin.generation == plugin.generation);
            self.running.push(kept.map_or_else(|| Running::start(plugin.clone()), |place| old.swap_remove(place)));
        }
        self.plans.clear();
    }

    fn plan(&mut self, number: u32) -> Arc<TablePlan> {
        let number = number as usize;
        if self.plans.len() <= number {
            self.plans.resize_with(number + 1, || None);
        }
        if let Some(plan) = &self.plans[number] {
            return plan.clone();
        }
        let table = &self.decoder.tables()[number];
        let plugins = self.running.iter().map(|running| &*running.plugin).enumerate();
        let plan = Arc::new(TablePlan::new(table, &self.shared.config, plugins, &self.shared.indices));
        tracing::info!(
            table = %plan.full_name,
            columns = table.columns.len(),
            index = %self.shared.indices.name(plan.index),
            plugins = plan.chain.len(),
            "a table version is known"
        );
        self.plans[number] = Some(plan.clone());
        plan
    }

    /// Sends the images of each table through the chain.
    fn transform(&mut self, records: &[u8]) {
        self.images.start(&self.rows);
        for number in self.images.tables().to_vec() {
            let plan = self.plan(number);
            self.images.select(number, &self.rows);
            for &place in &plan.chain {
                self.images.run(place, &mut self.running[place], number, &plan, &mut self.rows, &self.shared, records);
            }
        }
    }

    fn emit(&mut self, source: &Arc<SourceBatch>, out: &mut OperationBatch) {
        let mut clock = self.clock(source);
        let mut table_numbers: HashMap<u32, u16> = HashMap::new();
        let mut filtered = 0;
        let mut failed = None;
        for place in 0..self.rows.rows.len() {
            let row = self.rows.rows[place];
            let plan = self.plan(row.table);
            let table = *table_numbers.entry(row.table).or_insert_with(|| {
                out.tables.push(plan.full_name.clone());
                (out.tables.len() - 1) as u16
            });
            let operations = out.operations.len();
            match self.emit_row(place, row, &plan, table, source, &mut clock, out) {
                Ok(()) => {
                    filtered += u64::from(out.operations.len() == operations && row.operation != RowOperation::Truncate)
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

    #[allow(clippy::too_many_arguments, reason = "one row's whole surroundings")]
    fn emit_row(
        &mut self,
        place: usize,
        row: Row,
        plan: &TablePlan,
        table: u16,
        source: &Arc<SourceBatch>,
        clock: &mut PartitionClock,
        out: &mut OperationBatch,
    ) -> Result<(), Failure> {
        let records = &source.records.bytes;
        let offset = source.records.records[row.record as usize].offset;
        let column = plan.version_column.and_then(|column| {
            let cells = row.after.or(row.before)? as usize;
            Some(self.rows.cells[cells + column as usize].bytes(records, &self.rows.scratch))
        });
        let version =
            version(&plan.route.version, plan.route.epoch, row.position, offset, clock, column, row.after.is_none())
                .map_err(|reason| Failure {
                    stage: Stage::Document,
                    reason: format!("{}: {reason}", plan.full_name),
                    plugin: None,
                    index: None,
                })?;
        let mut writer = Writer {
            shared: &self.shared,
            rows: &self.rows,
            images: &self.images,
            running: &self.running,
            records,
            plan,
            version,
            record: row.record,
            table,
            marks: self.marks,
            out,
        };
        if row.operation == RowOperation::Truncate {
            let policy = match plan.route.truncate {
                TruncatePolicy::Apply => {
                    let body = writer.append(plan.other_patterns.as_bytes());
                    writer.push(Action::Truncate, Target::whole(plan.index, Span::default()), None, body, None);
                    "applied"
                }
                TruncatePolicy::Ignore => {
                    tracing::warn!(table = %plan.full_name, "a truncate is ignored: its rows stay in the index; set truncate = \"apply\" in the table's route to follow it");
                    "ignored"
                }
            };
            self.shared.metrics.truncates.get_or_create(&Kind { kind: policy.into() }).inc();
            return Ok(());
        }
        let (before, after) = self.images.of_row(place);
        for fate in [before, after].into_iter().flatten() {
            if let Fate::Failed(failure) = self.images.fate(fate) {
                let (plugin, stage, reason) = self.images.failure(failure);
                return Err(Failure { stage, reason: reason.to_string(), plugin: Some(plugin), index: None });
            }
        }
        self.keys.clear();
        if let Some(image) = after {
            writer.documents(image, &mut self.keys)?;
        }
        match before {
            Some(image) => writer.deletes(image, &mut self.keys)?,
            // No image before the update: what the row was cannot be asked, so all places are cleared where it would
            // be under its usual id.
            None if row.operation == RowOperation::Update && !row.before_is_whole => {
                if let Some(image) = after {
                    let warn = plan.chain.iter().any(|place| !self.running[*place].plugin.indices.is_empty());
                    if warn && self.warned.insert((plan.full_name.clone(), "no image before")) {
                        tracing::warn!(table = %plan.full_name, "the source sends no image before an update: documents whose index or id depends on a changed column cannot be moved; use the full envelope (no unwrapping) and binlog_row_image=FULL");
                    }
                    writer.deletes_without_before(image, &mut self.keys)?;
                }
            }
            None => {}
        }
        Ok(())
    }
}
