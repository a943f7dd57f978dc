//! Writes one row's operations: bodies, IDs, table marks, and deletes of what only the before image becomes.

use rowmill_rows::Span;
use rowmill_sandbox::{Cells, DocumentOperation, Item, Verdict, literal};

use crate::batch::Batch;
use crate::chain_instance::ChainInstance;
use crate::emitted::RowToEmit;
use crate::failure::{Failure, Stage};
use crate::images::Disposition;
use crate::operation::{Action, IndexNumber, Operation, Operations};
use crate::plan::TablePlan;
use crate::route::DeletePolicy;
use crate::target::Target;

/// The cells of one image.
#[derive(Clone, Copy)]
struct ImageCells<'a> {
    batch: &'a Batch<'a>,
    first: u32,
}

impl<'a> Cells<'a> for ImageCells<'a> {
    #[inline]
    fn get(&self, column: u32) -> &'a [u8] {
        self.batch.bytes_of(self.first as usize + column as usize)
    }

    #[inline]
    fn joined(&self, first: u32, last: u32, gap: usize) -> Option<&'a [u8]> {
        let range = |column: u32| self.batch.rows.cells[self.first as usize + column as usize].range_in_records();
        let (before, end) = (range(last - 1)?, range(last)?);
        if before.end + gap != end.start {
            return None;
        }
        self.batch.records.bytes.get(range(first)?.start..end.end)
    }
}

/// Writes the operations of one row.
pub(crate) struct Writer<'a> {
    pub instance: &'a ChainInstance,
    pub batch: &'a Batch<'a>,
    pub plan: &'a TablePlan,
    pub row: RowToEmit,
    /// The number of the row's record.
    pub record: u32,
    /// The number of the row's table among the tables of the operations.
    pub table: u16,
    pub out: &'a mut Operations,
}

impl<'a> Writer<'a> {
    fn cells(&self, first: u32) -> ImageCells<'a> {
        ImageCells { batch: self.batch, first }
    }

    fn cell(&self, first: u32) -> impl Fn(u32) -> &'a [u8] + use<'a> {
        let cells = self.cells(first);
        move |column| cells.get(column)
    }

    pub fn push(
        &mut self,
        action: Action,
        Target { index, id, routing, item }: Target,
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
            version: self.row.version,
            record: self.record,
            table: self.table,
            producer: plugin.map_or(u16::MAX, |plugin| (self.row.first_producer + plugin) as u16),
            outlives_truncates: self.outlives_truncates(index, plugin),
            is_soft_delete: false,
        });
    }

    /// Documents that a plugin in change mode writes beside the table's index record changes, as an audit trail does. They
    /// are not images of rows, so a truncate leaves them.
    fn outlives_truncates(&self, index: IndexNumber, plugin: Option<usize>) -> bool {
        index != self.plan.index && plugin.is_some_and(|plugin| self.instance.plugins[plugin].plugin.is_change_mode())
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

    fn default_id(&mut self, cells: u32) -> Result<Span, Failure> {
        let start = self.out.bytes.len() as u32;
        let cell = self.cell(cells);
        self.plan.write_id(&mut self.out.bytes, cell).map_err(|reason| Failure {
            stage: Stage::Document,
            reason,
            producer: None,
            index: Some(self.plan.index),
        })?;
        Ok(Span { start, end: self.out.bytes.len() as u32 })
    }

    fn admit(&self, index: IndexNumber, action: Action, plugin: Option<usize>) -> Result<(), Failure> {
        if self.instance.indices.admits(index, action) {
            return Ok(());
        }
        let reason = "an index holds whole documents or merged ones, never both; let the plugin use another index for one of them";
        let producer = plugin.map(|plugin| self.row.first_producer + plugin);
        Err(Failure { stage: Stage::Document, reason: reason.into(), producer, index: Some(index) })
    }

    /// Ends a body that began at `start`: adds the mark of its table if a truncate needs it, and the generations that made it
    /// if the configuration asks for them.
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
        let is_marked =
            self.instance.marks_tables && index != self.plan.index && !self.outlives_truncates(index, plugin);
        match (is_marked.then_some(&self.plan.table_mark), self.instance.stamp.as_str()) {
            (None, "") => {}
            (Some(mark), "") => add(&mut self.out.bytes, &[b"\"_rowmill\":{", mark.as_bytes(), b"}"]),
            (None, stamp) => add(&mut self.out.bytes, &[b"\"_rowmill\":{", stamp.as_bytes(), b"}"]),
            (Some(mark), stamp) => {
                add(&mut self.out.bytes, &[b"\"_rowmill\":{", mark.as_bytes(), b",", stamp.as_bytes(), b"}"]);
            }
        }
        Span { start, end: self.out.bytes.len() as u32 }
    }

    /// Writes the documents of the after image.
    pub fn documents(&mut self, image: u32, targets: &mut Vec<Target>) -> Result<(), Failure> {
        let cells = self.instance.images.cells(image);
        match self.instance.images.disposition(image) {
            Disposition::Pending => {
                let index = self.plan.index;
                self.plan.register_mapping(&self.instance.indices);
                self.admit(index, Action::Index, None)?;
                let id = self.default_id(cells)?;
                let start = self.out.bytes.len() as u32;
                let cells = self.cells(cells);
                self.plan.columns.write_body(&mut self.out.bytes, cells);
                let body = self.end_body(start, index, None, false);
                let target = Target::whole(index, id);
                targets.push(target);
                self.push(Action::Index, target, body, None);
                Ok(())
            }
            Disposition::Documents { part, image: place, .. } => {
                self.plugin_documents(cells, part, place, targets, Purpose::Write)
            }
            Disposition::Dropped | Disposition::Suppressed | Disposition::Failed(_) => Ok(()),
        }
    }

    /// Deletes the documents that only the before image becomes.
    pub fn deletes(&mut self, image: u32, targets: &mut Vec<Target>) -> Result<(), Failure> {
        let cells = self.instance.images.cells(image);
        match self.instance.images.disposition(image) {
            Disposition::Pending => {
                self.plan.register_mapping(&self.instance.indices);
                let id = self.default_id(cells)?;
                let body = match self.plan.route.delete {
                    DeletePolicy::Hard => None,
                    DeletePolicy::Soft => {
                        let start = self.out.bytes.len() as u32;
                        let cells = self.cells(cells);
                        self.plan.columns.write_body(&mut self.out.bytes, cells);
                        Some(self.end_body(start, self.plan.index, None, true))
                    }
                };
                self.delete(Action::Index, Target::whole(self.plan.index, id), body, None, targets);
                Ok(())
            }
            // In change mode the plugin answers for deletes itself: its documents of a delete are written.
            Disposition::Documents { part, image: place, change: true } => {
                self.plugin_documents(cells, part, place, targets, Purpose::Write)
            }
            Disposition::Documents { part, image: place, change: false } => {
                self.plugin_documents(cells, part, place, targets, Purpose::Delete)
            }
            Disposition::Dropped | Disposition::Suppressed | Disposition::Failed(_) => Ok(()),
        }
    }

    /// Without a usable before image: deletes the default ID in every index where the row may have had a document and has none
    /// now.
    pub fn deletes_without_before(&mut self, image: u32, targets: &mut Vec<Target>) -> Result<(), Failure> {
        if matches!(
            self.instance.images.disposition(image),
            Disposition::Suppressed | Disposition::Documents { change: true, .. }
        ) {
            return Ok(());
        }
        let cells = self.instance.images.cells(image);
        let id = self.default_id(cells)?;
        let indices = std::iter::once(self.plan.index).chain(self.plan.other_indices.iter().copied());
        for index in indices {
            let target = Target::whole(index, id);
            if !self.instance.indices.admits(index, Action::Delete)
                || targets.iter().any(|known| known.is_same(target, &self.out.bytes))
            {
                continue;
            }
            let body = (self.plan.route.delete == DeletePolicy::Soft).then(|| self.deleted_row(index, cells));
            self.delete(Action::Index, target, body, None, targets);
        }
        Ok(())
    }

    /// The body of a soft delete of a document that the row may have had. It has the row's columns where documents consist of
    /// them. Elsewhere it has only the mark, since a plugin made the document of values that are unknown now.
    fn deleted_row(&mut self, index: IndexNumber, cells: u32) -> Span {
        let start = self.out.bytes.len() as u32;
        if index == self.plan.index && self.plan.holds_columns {
            self.plan.register_mapping(&self.instance.indices);
            let cells = self.cells(cells);
            self.plan.columns.write_body(&mut self.out.bytes, cells);
        } else {
            self.out.bytes.extend_from_slice(b"{}");
        }
        self.end_body(start, index, None, true)
    }

    /// Deletes what the action `written` wrote, unless it is among `targets`, which the row writes now.
    fn delete(
        &mut self,
        written: Action,
        target: Target,
        soft: Option<Span>,
        plugin: Option<usize>,
        targets: &mut Vec<Target>,
    ) {
        let bytes = &self.out.bytes;
        if targets.iter().any(|known| known.is_same(target, bytes)) {
            return;
        }
        targets.push(target);
        let none = Span::default();
        match (written, soft) {
            (Action::Merge, _) => self.push(Action::MergeRemove, target, none, plugin),
            (Action::PutItem, _) => self.push(Action::RemoveItem, target, none, plugin),
            (_, Some(body)) => {
                self.push(Action::Index, target, body, plugin);
                if let Some(pushed) = self.out.list.last_mut() {
                    pushed.is_soft_delete = true;
                }
            }
            (_, None) => self.push(Action::Delete, target, none, plugin),
        }
    }

    fn plugin_documents(
        &mut self,
        cells: u32,
        part: u32,
        place: u32,
        targets: &mut Vec<Target>,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        let (plugin, output) = self.instance.images.output(part);
        let Verdict::Documents(documents) = output.verdict(place) else { return Ok(()) };
        for document in documents {
            let index = match document.index {
                None => self.plan.index,
                Some(name) => self.instance.indices.number(name, self.instance.plugins[plugin].plugin.mapping_of(name)),
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
                None => self.default_id(cells)?,
            };
            let routing = document.routing.map(|routing| self.append(routing.as_bytes()));
            let item = document.item.map(|item| self.append_item(item)).unwrap_or_default();
            let target = Target { index, id, routing, item };
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
                    targets.push(target);
                    self.push(action, target, body.unwrap_or_default(), Some(plugin));
                }
                Purpose::Delete => self.delete(action, target, body, Some(plugin), targets),
            }
        }
        Ok(())
    }
}

/// What to do with a plugin's documents.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Write,
    Delete,
}
