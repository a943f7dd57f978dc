//! From records to document operations: decode, the chain of plugins, documents, versions.
//!
//! One [`Transformer`] belongs to one worker thread. A batch goes through it in three steps: all rows are decoded; the
//! images of each table go through the chain together; then the rows are walked in their order, and the documents of
//! the image after are written, and those that only the image before gives are deleted.

pub mod chain;
mod images;
mod mapping;
pub(crate) mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rowmill_decode::{Decoder, Operation as RowOperation, Row, RowBatch, Span};
use rowmill_runtime::{Cells, DocumentOperation, Item, Verdict, literal};

use crate::checkpoint::Progress;
use crate::config::{Config, DeletePolicy, TruncatePolicy};
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::indices::Indices;
use crate::metrics::{Kind, Metrics};
use crate::operation::{Action, IndexNumber, Operation, OperationBatch, Producer, SourceBatch};
use crate::version::{PartitionClock, version};

use chain::{Chain, Running};
use images::{Fate, Images};
use plan::TablePlan;

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

/// The cells of one image.
#[derive(Clone, Copy)]
struct ImageCells<'a> {
    rows: &'a RowBatch,
    records: &'a [u8],
    first: u32,
}

impl<'a> Cells<'a> for ImageCells<'a> {
    #[inline]
    fn get(&self, column: u32) -> &'a [u8] {
        self.rows.cells[self.first as usize + column as usize].bytes(self.records, &self.rows.scratch)
    }

    #[inline]
    fn joined(&self, first: u32, last: u32, gap: usize) -> Option<&'a [u8]> {
        let range = |column: u32| self.rows.cells[self.first as usize + column as usize].range_in_records();
        let (before, end) = (range(last - 1)?, range(last)?);
        if before.end + gap != end.start {
            return None;
        }
        self.records.get(range(first)?.start..end.end)
    }
}

/// What is written or deleted: a document, or a part of a merged one.
#[derive(Clone, Copy)]
struct Target {
    index: IndexNumber,
    id: Span,
    /// Of an item of a merged document: see [`Operation::item`].
    item: Span,
}

impl Target {
    fn whole(index: IndexNumber, id: Span) -> Self {
        Self { index, id, item: Span::default() }
    }

    fn is_same(self, other: Self, bytes: &[u8]) -> bool {
        self.index == other.index
            && self.id.of(bytes) == other.id.of(bytes)
            && self.item.of(bytes) == other.item.of(bytes)
    }
}

/// Writes the operations of one row.
struct Writer<'a> {
    shared: &'a Shared,
    rows: &'a RowBatch,
    images: &'a Images,
    running: &'a [Running],
    records: &'a [u8],
    plan: &'a TablePlan,
    version: u64,
    record: u32,
    table: u16,
    marks: bool,
    out: &'a mut OperationBatch,
}

impl<'a> Writer<'a> {
    fn cells(&self, first: u32) -> ImageCells<'a> {
        ImageCells { rows: self.rows, records: self.records, first }
    }

    fn cell(&self, first: u32) -> impl Fn(u32) -> &'a [u8] + use<'a> {
        let cells = self.cells(first);
        move |column| cells.get(column)
    }

    fn push(
        &mut self,
        action: Action,
        Target { index, id, item }: Target,
        routing: Option<Span>,
        body: Span,
        plugin: Option<usize>,
    ) {
        self.out.operations.push(Operation {
            action,
            index,
            id,
            routing,
            item,
            body,
            version: self.version,
            record: self.record,
            table: self.table,
            producer: plugin.map_or(u16::MAX, |plugin| plugin as u16),
            outlives_truncates: self.outlives_truncates(index, plugin),
        });
    }

    /// Documents that a plugin of the mode `change` writes beside the table's own index tell of changes (an audit
    /// trail): they are no images of rows, and a truncate does not take them.
    fn outlives_truncates(&self, index: IndexNumber, plugin: Option<usize>) -> bool {
        index != self.plan.index && plugin.is_some_and(|plugin| self.running[plugin].is_change_mode())
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.out.bytes.len() as u32;
        self.out.bytes.extend_from_slice(bytes);
        Span { start, end: self.out.bytes.len() as u32 }
    }

    fn append_item(&mut self, item: Item<'_>) -> Span {
        let start = self.out.bytes.len() as u32;
        self.out.bytes.extend_from_slice(b"\"array\":");
        self.out.bytes.extend_from_slice(item.array());
        self.out.bytes.extend_from_slice(b",\"key\":");
        literal::write_string(&mut self.out.bytes, item.key);
        Span { start, end: self.out.bytes.len() as u32 }
    }

    fn usual_id(&mut self, cells: u32) -> Result<Span, Failure> {
        let start = self.out.bytes.len() as u32;
        let cell = self.cell(cells);
        self.plan.write_id(&mut self.out.bytes, cell).map_err(|reason| Failure {
            stage: Stage::Document,
            reason,
            plugin: None,
            index: Some(self.plan.index),
        })?;
        Ok(Span { start, end: self.out.bytes.len() as u32 })
    }

    fn admit(&self, index: IndexNumber, action: Action, plugin: Option<usize>) -> Result<(), Failure> {
        if self.shared.indices.admits(index, action) {
            return Ok(());
        }
        let reason = "an index holds whole documents or merged ones, never both; let the plugin use another index for one of them";
        Err(Failure { stage: Stage::Document, reason: reason.into(), plugin, index: Some(index) })
    }

    /// Ends a body that was begun at `start`, with the mark of its table where that is needed.
    fn end_body(&mut self, start: u32, index: IndexNumber, plugin: Option<usize>, deleted: bool) -> Span {
        let add = |bytes: &mut Vec<u8>, field: &str| {
            bytes.pop();
            if bytes.last() != Some(&b'{') {
                bytes.push(b',');
            }
            bytes.extend_from_slice(field.as_bytes());
            bytes.push(b'}');
        };
        if deleted {
            add(&mut self.out.bytes, "\"is_deleted\":true");
        }
        if self.marks && index != self.plan.index && !self.outlives_truncates(index, plugin) {
            let table = serde_json::Value::from(&*self.plan.full_name);
            add(&mut self.out.bytes, &format!("\"_rowmill\":{{\"table\":{table}}}"));
        }
        Span { start, end: self.out.bytes.len() as u32 }
    }

    /// The documents of the image after.
    fn documents(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
        let cells = self.images.cells(image);
        match self.images.fate(image) {
            Fate::Alive => {
                let index = self.plan.index;
                self.plan.tell_mapping(&self.shared.indices);
                self.admit(index, Action::Index, None)?;
                let id = self.usual_id(cells)?;
                let start = self.out.bytes.len() as u32;
                let cells = self.cells(cells);
                self.plan.columns.write_body(&mut self.out.bytes, cells);
                let body = self.end_body(start, index, None, false);
                let target = Target::whole(index, id);
                keys.push(target);
                self.push(Action::Index, target, None, body, None);
                Ok(())
            }
            Fate::Documents { part, image: place, .. } => {
                self.plugin_documents(cells, part, place, keys, Purpose::Write)
            }
            Fate::Dropped | Fate::Suppressed | Fate::Failed(_) => Ok(()),
        }
    }

    /// Deletes what only the image before gives.
    fn deletes(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
        let cells = self.images.cells(image);
        match self.images.fate(image) {
            Fate::Alive => {
                self.plan.tell_mapping(&self.shared.indices);
                let id = self.usual_id(cells)?;
                let body = match self.plan.route.delete {
                    DeletePolicy::Hard => None,
                    DeletePolicy::Soft => {
                        let start = self.out.bytes.len() as u32;
                        let cells = self.cells(cells);
                        self.plan.columns.write_body(&mut self.out.bytes, cells);
                        Some(self.end_body(start, self.plan.index, None, true))
                    }
                };
                self.delete(Action::Index, Target::whole(self.plan.index, id), None, body, None, keys);
                Ok(())
            }
            // In the mode `change` the plugin answers for deletes itself: what it says of a delete is written.
            Fate::Documents { part, image: place, change: true } => {
                self.plugin_documents(cells, part, place, keys, Purpose::Write)
            }
            Fate::Documents { part, image: place, change: false } => {
                self.plugin_documents(cells, part, place, keys, Purpose::Delete)
            }
            Fate::Dropped | Fate::Suppressed | Fate::Failed(_) => Ok(()),
        }
    }

    /// Where the image before is not known: deletes the usual id wherever the row's documents could be and are not now.
    fn deletes_without_before(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
        if matches!(self.images.fate(image), Fate::Suppressed | Fate::Documents { change: true, .. }) {
            return Ok(());
        }
        let id = self.usual_id(self.images.cells(image))?;
        let indices = std::iter::once(self.plan.index).chain(self.plan.other_indices.iter().copied());
        for index in indices {
            if self.shared.indices.admits(index, Action::Delete) {
                self.delete(Action::Index, Target::whole(index, id), None, None, None, keys);
            }
        }
        Ok(())
    }

    /// Deletes what `written` had written, unless it is among `keys`, what is there now.
    fn delete(
        &mut self,
        written: Action,
        target: Target,
        routing: Option<Span>,
        soft: Option<Span>,
        plugin: Option<usize>,
        keys: &mut Vec<Target>,
    ) {
        let bytes = &self.out.bytes;
        if keys.iter().any(|known| known.is_same(target, bytes)) {
            return;
        }
        keys.push(target);
        let none = Span::default();
        match (written, soft) {
            (Action::Merge, _) => self.push(Action::MergeRemove, target, routing, none, plugin),
            (Action::PutItem, _) => self.push(Action::RemoveItem, target, routing, none, plugin),
            (_, Some(body)) => self.push(Action::Index, target, routing, body, plugin),
            (_, None) => self.push(Action::Delete, target, routing, none, plugin),
        }
    }

    fn plugin_documents(
        &mut self,
        cells: u32,
        part: u32,
        place: u32,
        keys: &mut Vec<Target>,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        let (plugin, output) = self.images.output(part);
        let Verdict::Documents(documents) = output.verdict(place) else { return Ok(()) };
        for document in documents {
            let index = match document.index {
                None => self.plan.index,
                Some(name) => self.shared.indices.number(name, self.running[plugin].plugin.mapping_of(name)),
            };
            let action = match document.operation {
                DocumentOperation::Index => Action::Index,
                DocumentOperation::Merge => Action::Merge,
                DocumentOperation::Delete => Action::Delete,
                DocumentOperation::PutItem => Action::PutItem,
                DocumentOperation::RemoveItem => Action::RemoveItem,
            };
            self.admit(index, action, Some(plugin))?;
            let id = match document.id {
                Some(id) => self.append(id.as_bytes()),
                None => self.usual_id(cells)?,
            };
            let routing = document.routing.map(|routing| self.append(routing.as_bytes()));
            let item = document.item.map(|item| self.append_item(item)).unwrap_or_default();
            let target = Target { index, id, item };
            let soft = self.plan.route.delete == DeletePolicy::Soft && action == Action::Index;
            let body = match (purpose, action) {
                (_, Action::Delete | Action::RemoveItem) => None,
                (Purpose::Delete, _) if !soft => None,
                _ => {
                    let start = self.out.bytes.len() as u32;
                    let cells = self.cells(cells);
                    document.write_body(&mut self.out.bytes, &self.plan.columns, cells);
                    Some(if action.is_merge() {
                        Span { start, end: self.out.bytes.len() as u32 }
                    } else {
                        self.end_body(start, index, Some(plugin), purpose == Purpose::Delete)
                    })
                }
            };
            match purpose {
                Purpose::Write => {
                    keys.push(target);
                    self.push(action, target, routing, body.unwrap_or_default(), Some(plugin));
                }
                Purpose::Delete => self.delete(action, target, routing, body, Some(plugin), keys),
            }
        }
        Ok(())
    }
}

/// What is done with a plugin's documents.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Write,
    Delete,
}
