//! Batches on their way through the pipeline: records with their ticket, and the operations made of them.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rowmill_engine::Operations;
use rowmill_rows::RecordBatch;

use crate::checkpoint::Ticket;

/// Records together with their ticket; shared by everything that is made of them.
#[derive(Debug)]
pub struct SourceBatch {
    /// The records.
    pub records: RecordBatch,
    /// Settled piece by piece; once it is settled the watermark can move past the records.
    pub ticket: Arc<Ticket>,
}

/// The operations of one source batch.
#[derive(Debug)]
pub struct OperationBatch {
    /// The records that the operations were made of.
    pub source: Arc<SourceBatch>,
    /// The operations.
    pub operations: Operations,
    /// Operations without an outcome; the sink counts them down.
    pub without_outcome: AtomicU32,
}

impl OperationBatch {
    /// An empty batch.
    pub fn new(source: Arc<SourceBatch>) -> Self {
        Self { source, operations: Operations::default(), without_outcome: AtomicU32::new(0) }
    }
}
