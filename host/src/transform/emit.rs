//! One row's operations out of its fate in a lane.

use rowmill_rows::{Operation as RowOperation, Row, RowBatch};

use super::images::Fate;
use super::lane::Lane;
use super::plan::TablePlan;
use super::write::{Target, Writer};
use super::{Failure, Shared};
use crate::dead_letter::Stage;
use crate::operation::OperationBatch;

/// What the rows of a batch have in common.
pub(super) struct Emission<'a> {
    pub shared: &'a Shared,
    pub rows: &'a RowBatch,
    pub records: &'a [u8],
    /// Whether a document outside of its table's own index must say whose it is.
    pub marks: bool,
}

/// A row, and what was decided for it.
pub(super) struct EmittedRow<'a> {
    pub place: usize,
    pub row: Row,
    pub plan: &'a TablePlan,
    /// Its table's place among those of the batch that is made.
    pub table: u16,
    pub version: u64,
    /// Where the lane's plugins begin among the producers of the batch that is made.
    pub first_producer: usize,
}

impl Emission<'_> {
    /// Appends a row's operations to `out`. A truncate has none here.
    ///
    /// # Errors
    /// A plugin failed the row, or no document can be made of it. What was appended until then is to be cut off.
    pub fn row(
        &self,
        lane: &Lane,
        emitted: &EmittedRow<'_>,
        keys: &mut Vec<Target>,
        out: &mut OperationBatch,
    ) -> Result<(), Failure> {
        let (before, after) = lane.images.of_row(emitted.place);
        for fate in [before, after].into_iter().flatten() {
            if let Fate::Failed(failure) = lane.images.fate(fate) {
                let (plugin, stage, reason) = lane.images.failure(failure);
                let plugin = Some(emitted.first_producer + plugin);
                return Err(Failure { stage, reason: reason.to_string(), plugin, index: None });
            }
        }
        let row = emitted.row;
        let mut writer = self.writer(lane, emitted, out);
        keys.clear();
        let written = (|| {
            if let Some(image) = after {
                writer.documents(image, keys)?;
            }
            match before {
                Some(image) => writer.deletes(image, keys)?,
                // No image before the update: what the row was cannot be asked, so all places are cleared where it would
                // be under its usual id.
                None if row.operation == RowOperation::Update && !row.before_is_complete => {
                    if let Some(image) = after {
                        writer.deletes_without_before(image, keys)?;
                    }
                }
                None => {}
            }
            Ok(())
        })();
        written.map_err(|failure: Failure| Failure {
            plugin: failure.plugin.map(|plugin| emitted.first_producer + plugin),
            ..failure
        })
    }

    pub fn writer<'b>(&'b self, lane: &'b Lane, emitted: &EmittedRow<'b>, out: &'b mut OperationBatch) -> Writer<'b> {
        Writer {
            shared: self.shared,
            rows: self.rows,
            images: &lane.images,
            running: &lane.running,
            records: self.records,
            plan: emitted.plan,
            version: emitted.version,
            record: emitted.row.record,
            table: emitted.table,
            first_producer: emitted.first_producer,
            marks: self.marks,
            stamp: &lane.stamp,
            out,
        }
    }

    /// The usual id of a row, by which a canary chooses; `None` where it has none.
    pub fn usual_id(&self, row: Row, plan: &TablePlan, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        // The image before, where it is known: a row whose key changes stays with the generation that wrote it.
        let cells = row.before.filter(|_| row.before_is_complete).or(row.after)? as usize;
        let cell = |column: u32| self.rows.cells[cells + column as usize].bytes(self.records, &self.rows.scratch);
        plan.write_id(out, cell).ok()
    }
}

/// A failure before any plugin's answer counts.
pub(super) fn document_failure(plan: &TablePlan, reason: String) -> Failure {
    Failure { stage: Stage::Document, reason: format!("{}: {reason}", plan.full_name), plugin: None, index: None }
}
