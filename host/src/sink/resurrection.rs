//! Holds back writes that could bring a deleted document back, for a replay of old letters.
//!
//! Elasticsearch remembers the version of a deleted document for an hour ([`REMEMBERED`]). A change that is older than that
//! can have been followed by a delete that is forgotten. Where the document exists, its version decides as always. Where it
//! does not, it cannot be known whether the row still exists, so the record becomes a dead letter again, which says so.
//! Merged documents are not affected: they keep the versions of parts that were removed.

use std::collections::BTreeSet;
use std::time::Duration;

use rowmill_engine::{Action, Operation};
use tokio::sync::mpsc;

use super::SinkContext;
use super::elasticsearch::client::{Client, Refused};
use super::elasticsearch::lookup::Wanted;
use crate::config::ElasticsearchConfig;
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::operation::OperationBatch;
use crate::shutdown::Shutdown;

/// For how long deletes are remembered (`index.gc_deletes`), less five minutes for clocks that differ.
pub const REMEMBERED: Duration = Duration::from_secs(55 * 60);

/// Why a record is held back.
pub const REASON: &str = "the change is older than Elasticsearch remembers deletes (gc_deletes), and the document does not exist: \
     the row may have been deleted since. If it exists, replay the letter with --recreate";

/// How long to wait before the documents are asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// The most documents that are asked for at once.
const AT_ONCE: usize = 500;

/// Stands before the sink.
pub struct ResurrectionGuard {
    client: Client,
    context: SinkContext,
    dead_letters: DeadLetters,
    shutdown: Shutdown,
}

impl ResurrectionGuard {
    /// A guard for documents in this cluster.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(
        config: &ElasticsearchConfig,
        context: SinkContext,
        dead_letters: DeadLetters,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(config)?, context, dead_letters, shutdown })
    }

    /// Passes batches on without the operations that are held back, until the channel is closed.
    ///
    /// # Errors
    /// Elasticsearch refuses access.
    pub fn run(
        self,
        mut batches: mpsc::Receiver<OperationBatch>,
        to_sink: &mpsc::Sender<OperationBatch>,
    ) -> anyhow::Result<()> {
        while let Some(mut batch) = batches.blocking_recv() {
            let runtime = self.context.runtime.clone();
            let Some(held) = runtime.block_on(self.held(&batch))? else { break };
            self.hold(&mut batch, &held);
            // A sink that is gone has failed, or the run was aborted. What is not written is not settled.
            if !batch.operations.list.is_empty() && to_sink.blocking_send(batch).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The operations to hold back, by their number; `None` if the run was aborted.
    async fn held(&self, batch: &OperationBatch) -> anyhow::Result<Option<BTreeSet<usize>>> {
        let mut held = BTreeSet::new();
        let list = batch.operations.list.iter().enumerate();
        let doubtful: Vec<(usize, &Operation)> = list.filter(|(_, one)| may_resurrect(batch, one)).collect();
        for some in doubtful.chunks(AT_ONCE) {
            let wanted: Vec<Wanted> = some.iter().map(|(_, one)| wanted(batch, one, &self.context)).collect();
            let found = loop {
                match self.client.documents(&wanted, false).await {
                    Ok(found) => break found,
                    Err(error) if error.is::<Refused>() => return Err(error.context("Elasticsearch")),
                    Err(error) => {
                        tracing::warn!("cannot look up documents before they are written; retrying: {error:#}")
                    }
                }
                tokio::select! {
                    () = self.shutdown.aborted() => return Ok(None),
                    () = tokio::time::sleep(RETRY) => {}
                }
            };
            held.extend(some.iter().zip(found).filter(|(_, found)| found.is_none()).map(|((number, _), _)| *number));
        }
        Ok(Some(held))
    }

    /// Takes operations out of the batch; each of their records becomes a dead letter.
    fn hold(&self, batch: &mut OperationBatch, held: &BTreeSet<usize>) {
        if held.is_empty() {
            return;
        }
        let mut last_record = None;
        for &number in held {
            let operation = &batch.operations.list[number];
            if last_record.replace(operation.record) == Some(operation.record) {
                continue;
            }
            let mut letter = DeadLetter::new(&batch.source, operation.record, Stage::Sink, REASON.into());
            letter.table = batch.operations.tables.get(operation.table as usize).cloned();
            letter.producer = batch.operations.producers.get(operation.producer as usize).cloned();
            letter.index = Some(self.context.indices.name(operation.index));
            letter.id = Some(batch.operations.text(operation.id).into());
            letter.versions = batch.versions_of(operation.record);
            self.dead_letters.send(letter);
        }
        let mut number = 0;
        batch.operations.list.retain(|_| {
            number += 1;
            !held.contains(&(number - 1))
        });
        // Each letter holds a share of its own.
        batch.source.ticket.settle(held.len() as u64);
    }
}

/// Whether an operation writes a whole document from a change that is older than deletes are remembered.
pub fn may_resurrect(batch: &OperationBatch, operation: &Operation) -> bool {
    let timestamp = batch.source.records.records[operation.record as usize].timestamp;
    let age = jiff::Timestamp::now().as_millisecond().saturating_sub(timestamp);
    operation.action == Action::Index && age > REMEMBERED.as_millis() as i64
}

/// The document that an operation writes.
pub fn wanted(batch: &OperationBatch, operation: &Operation, context: &SinkContext) -> Wanted {
    Wanted {
        index: context.indices.name(operation.index).to_string(),
        id: batch.operations.text(operation.id).into(),
        routing: operation.routing.map(|routing| batch.operations.text(routing).into()),
    }
}
