//! One row's operations: its version, what is written, and what is deleted.

use std::sync::Arc;

use rowmill_rows::Operation as RowOperation;

use crate::basis::Basis;
use crate::batch::Batch;
use crate::chain_instance::ChainInstance;
use crate::emitted::{Emitted, RowToEmit};
use crate::failure::{Failure, Stage};
use crate::images::Disposition;
use crate::operation::{Action, Operations};
use crate::plan::TablePlan;
use crate::route::TruncatePolicy;
use crate::target::Target;
use crate::version::{PartitionClock, Source, version};
use crate::write::Writer;

impl ChainInstance {
    /// Decides of what `auto` makes the versions of the row's table, if that is not decided yet. To be called for streamed rows,
    /// before their version is asked for, and not for replayed ones: a replay shows what the source sent once. Rows of snapshots
    /// decide nothing, since Maxwell's carry a time where the table's changes carry a binlog position.
    pub fn decide_basis(&mut self, batch: &Batch<'_>, row: usize) {
        let number = row;
        let row = batch.row(number);
        if row.operation != RowOperation::Snapshot {
            self.plan(row.table, batch.table_of(number)).basis.get_or_init(|| Basis::of(row.position));
        }
    }

    /// The version of a row's documents by the strategy of its route.
    ///
    /// # Errors
    /// The record does not carry what the strategy needs.
    pub fn version_of(&mut self, batch: &Batch<'_>, row: usize, clock: &mut PartitionClock) -> Result<u64, Failure> {
        let number = row;
        let row = batch.row(number);
        let plan = self.plan(row.table, batch.table_of(number));
        let column = plan.version_column.and_then(|column| {
            let cells = row.after.or(row.before)? as usize;
            Some(batch.bytes_of(cells + column as usize))
        });
        let source = Source {
            position: row.position,
            offset: batch.records.records[row.record as usize].offset,
            column,
            is_delete: row.after.is_none(),
            is_snapshot: row.operation == RowOperation::Snapshot,
            pinned: plan.basis.get().copied(),
        };
        version(&plan.route.version, plan.route.epoch, source, clock)
            .map_err(|reason| Failure::of_document(&plan, reason))
    }

    /// Appends a row's operations to `out`. The row must have been part of the last [`ChainInstance::run`]. A truncate
    /// has an operation only if its route applies truncates.
    ///
    /// # Errors
    /// A plugin failed on the row, or no document can be made of it. No operation is appended then.
    pub fn emit_row(&mut self, batch: &Batch<'_>, row: RowToEmit, out: &mut Operations) -> Result<Emitted, Failure> {
        let table = batch.row(row.row).table;
        let plan = self.plan(table, batch.table_of(row.row));
        let n_operations = out.list.len();
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        let result = self.try_emit_row(batch, row, &plan, &mut targets, out);
        self.targets = targets;
        if result.is_err() {
            out.list.truncate(n_operations);
        }
        result
    }

    fn try_emit_row(
        &self,
        batch: &Batch<'_>,
        emitted: RowToEmit,
        plan: &Arc<TablePlan>,
        targets: &mut Vec<Target>,
        out: &mut Operations,
    ) -> Result<Emitted, Failure> {
        let row = batch.row(emitted.row);
        let n_operations = out.list.len();
        let (before, after) = self.images.of_row(emitted.row);
        let failure_of = |image: Option<u32>| match self.images.disposition(image?) {
            Disposition::Failed(failure) => Some(self.plugin_failure(failure, emitted.first_producer)),
            _ => None,
        };
        let before_failure = failure_of(before);
        // A delete has only its before image. An update may just fix what the plugin fails on.
        if let Some(failure) = failure_of(after.or(before)) {
            return Err(failure);
        }
        let table = out.table_number(&plan.full_name);
        let mut writer = Writer { instance: self, batch, plan, row: emitted, record: row.record, table, out };
        if row.operation == RowOperation::Truncate {
            if plan.route.truncate == TruncatePolicy::Apply {
                let body = writer.append(plan.other_patterns.as_bytes());
                writer.push(Action::Truncate, Target::whole(plan.index, Default::default()), body, None);
            }
            return Ok(Emitted { written: writer.out.list.len() - n_operations, before_failure: None });
        }
        if let Some(image) = after {
            writer.documents(image, targets)?;
        }
        let mut written = writer.out.list.len() - n_operations;
        match (before, after) {
            (Some(image), after) if before_failure.is_some() => {
                // A plugin in change mode answers for the change, whichever image another one failed on.
                let is_answered = |image| {
                    let disposition = self.images.disposition(image);
                    matches!(disposition, Disposition::Suppressed | Disposition::Documents { change: true, .. })
                };
                if !after.is_some_and(is_answered) {
                    writer.deletes_without_before(image, targets)?;
                }
            }
            (Some(image), _) => {
                writer.deletes(image, targets)?;
                // A plugin in change mode says itself what a delete writes.
                if let Disposition::Documents { change: true, .. } = self.images.disposition(image) {
                    written = writer.out.list.len() - n_operations;
                }
            }
            // The source sends no before image, so it is unknown what the row was: its default ID is deleted in every index
            // where it may have been.
            (None, Some(image)) if row.operation == RowOperation::Update && !row.before_is_complete => {
                writer.deletes_without_before(image, targets)?;
            }
            _ => {}
        }
        Ok(Emitted { written, before_failure })
    }

    fn plugin_failure(&self, failure: u32, first_producer: usize) -> Failure {
        let (place, stage, reason): (usize, Stage, &str) = self.images.failure(failure);
        Failure { stage, reason: reason.to_string(), producer: Some(first_producer + place), index: None }
    }
}
