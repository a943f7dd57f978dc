//! A row's fate as document operations: bodies, ids, marks, and deletes of what only the image before gives.

use rowmill_engine::{Action, DeletePolicy, IndexNumber, Operation, Operations};
use rowmill_rows::{RowBatch, Span};
use rowmill_sandbox::{Cells, DocumentOperation, Item, Verdict, literal};

use super::images::{Fate, Images};
use super::plan::TablePlan;
use super::running::Running;
use super::{Failure, Shared};
use crate::dead_letter::Stage;

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
pub(super) struct Target {
    index: IndexNumber,
    id: Span,
    /// Of an item of a merged document: see [`Operation::item`].
    item: Span,
}

impl Target {
    pub fn whole(index: IndexNumber, id: Span) -> Self {
        Self { index, id, item: Span::default() }
    }

    fn is_same(self, other: Self, bytes: &[u8]) -> bool {
        self.index == other.index
            && self.id.of(bytes) == other.id.of(bytes)
            && self.item.of(bytes) == other.item.of(bytes)
    }
}

/// Writes the operations of one row.
pub(super) struct Writer<'a> {
    pub shared: &'a Shared,
    pub rows: &'a RowBatch,
    pub images: &'a Images,
    pub running: &'a [Running],
    pub records: &'a [u8],
    pub plan: &'a TablePlan,
    pub version: u64,
    pub record: u32,
    pub table: u16,
    /// Where the chain's plugins begin among the batch's producers.
    pub first_producer: usize,
    pub marks: bool,
    /// Which generations made it, as a member of a JSON object; empty where documents do not tell.
    pub stamp: &'a str,
    pub out: &'a mut Operations,
}

impl<'a> Writer<'a> {
    fn cells(&self, first: u32) -> ImageCells<'a> {
        ImageCells { rows: self.rows, records: self.records, first }
    }

    fn cell(&self, first: u32) -> impl Fn(u32) -> &'a [u8] + use<'a> {
        let cells = self.cells(first);
        move |column| cells.get(column)
    }

    pub fn push(
        &mut self,
        action: Action,
        Target { index, id, item }: Target,
        routing: Option<Span>,
        body: Span,
        plugin: Option<usize>,
    ) {
        self.out.list.push(Operation {
            action,
            index,
            id,
            routing,
            item,
            body,
            version: self.version,
            record: self.record,
            table: self.table,
            producer: plugin.map_or(u16::MAX, |plugin| (self.first_producer + plugin) as u16),
            outlives_truncates: self.outlives_truncates(index, plugin),
        });
    }

    /// Documents that a plugin of the mode `change` writes beside the table's own index tell of changes (an audit
    /// trail): they are no images of rows, and a truncate does not take them.
    fn outlives_truncates(&self, index: IndexNumber, plugin: Option<usize>) -> bool {
        index != self.plan.index && plugin.is_some_and(|plugin| self.running[plugin].is_change_mode())
    }

    pub fn append(&mut self, bytes: &[u8]) -> Span {
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

    /// Ends a body that was begun at `start`, with the mark of its table where that is needed, and
    /// the generations that made it where the configuration wants them.
    fn end_body(&mut self, start: u32, index: IndexNumber, plugin: Option<usize>, deleted: bool) -> Span {
        let add = |bytes: &mut Vec<u8>, field: &[&[u8]]| {
            bytes.pop();
            if bytes.last() != Some(&b'{') {
                bytes.push(b',');
            }
            field.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.push(b'}');
        };
        if deleted {
            add(&mut self.out.bytes, &[b"\"is_deleted\":true"]);
        }
        let is_marked = self.marks && index != self.plan.index && !self.outlives_truncates(index, plugin);
        match (is_marked.then_some(&self.plan.table_mark), self.stamp) {
            (None, "") => {}
            (Some(mark), "") => add(&mut self.out.bytes, &[b"\"_rowmill\":{", mark.as_bytes(), b"}"]),
            (None, stamp) => add(&mut self.out.bytes, &[b"\"_rowmill\":{", stamp.as_bytes(), b"}"]),
            (Some(mark), stamp) => {
                add(&mut self.out.bytes, &[b"\"_rowmill\":{", mark.as_bytes(), b",", stamp.as_bytes(), b"}"]);
            }
        }
        Span { start, end: self.out.bytes.len() as u32 }
    }

    /// The documents of the image after.
    pub fn documents(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
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
    pub fn deletes(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
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
    pub fn deletes_without_before(&mut self, image: u32, keys: &mut Vec<Target>) -> Result<(), Failure> {
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
