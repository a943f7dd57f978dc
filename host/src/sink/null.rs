//! The sink that writes nothing: operations are counted and discarded.

use tokio::sync::mpsc;

use super::{Settlement, Sink, Supports};
use crate::operation::OperationBatch;
use crate::report::Report;
use crate::shutdown::Shutdown;

pub(super) struct NullSink;

impl Sink for NullSink {
    fn supports(&self) -> Supports {
        Supports::ELASTICSEARCH
    }

    fn check(&self, report: &mut Report) {
        report.note("sink", "null: documents are counted and discarded");
    }

    fn connect(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        Ok(())
    }

    fn run(
        self: Box<Self>,
        mut batches: mpsc::Receiver<OperationBatch>,
        settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        while let Some(batch) = batches.blocking_recv() {
            if shutdown.is_aborted() {
                break;
            }
            settlement.batch_written(&batch);
        }
        Ok(())
    }
}
