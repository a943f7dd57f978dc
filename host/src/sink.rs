//! Where document operations go: to Elasticsearch (or the store in this process), or nowhere.
//!
//! The way through it: `pending` holds one entry a document and folds what is overtaken; `writer` builds bulk
//! requests of it, keeps a document out of a second request while it is in one, and gives every operation exactly one
//! outcome by `outcome`; `client` speaks HTTP.

pub mod client;
pub mod merge;
pub mod outcome;
mod pending;
mod refused;
pub mod rules;
mod truncate;
mod writer;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::operation::{Action, OperationBatch};

pub use writer::{Writer, WriterSettings};

/// Operation batches that wait for the writer. Each is some hundred rows; the bytes on their way are bounded by the
/// source's budget.
const WAITING: usize = 64;

/// The workers' end of the sink.
#[derive(Clone, Debug)]
pub enum Sink {
    /// Counts and forgets.
    Null(Arc<Metrics>),
    /// To the writer.
    Writer(mpsc::Sender<OperationBatch>),
}

impl Sink {
    /// A channel to a writer.
    pub fn channel() -> (Self, mpsc::Receiver<OperationBatch>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self::Writer(sender), receiver)
    }

    /// Hands over a batch; waits while many wait. For plain threads, not for tasks.
    pub fn send(&self, batch: OperationBatch) {
        match self {
            Self::Null(metrics) => {
                let mut counts = [0; Action::COUNT];
                for operation in &batch.operations {
                    counts[operation.action as usize] += 1;
                }
                for action in Action::OF_DOCUMENTS.into_iter().chain([Action::Truncate]) {
                    if counts[action as usize] > 0 {
                        metrics.written(action, counts[action as usize]);
                    }
                }
                batch.source.ticket.settle(batch.operations.len() as u64);
            }
            Self::Writer(sender) => {
                if !batch.operations.is_empty() {
                    // A writer that is gone has said why; what is not written is not settled.
                    let _ = sender.blocking_send(batch);
                }
            }
        }
    }
}
