//! Holds back writes that could bring a deleted document back, for a replay of old letters.
//!
//! Elasticsearch remembers the version of a deleted document for the `gc_deletes` of its index, an hour where Rowmill may set
//! it. A change that is older can have been followed by a delete that is forgotten. Where the document exists, its version
//! decides as always. Where it does not, it cannot be known whether the row still exists, so the record becomes a dead letter
//! again, which says so. Merged documents are not affected: they keep the versions of parts that were removed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rowmill_engine::{Action, IndexNumber, Operation};
use tokio::sync::mpsc;

use super::SinkContext;
use super::elasticsearch::client::{Client, Refused};
use super::elasticsearch::lookup::Wanted;
use crate::config::ElasticsearchConfig;
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::operation::OperationBatch;
use crate::shutdown::Shutdown;

/// How much sooner a delete counts as forgotten, because clocks differ; at most half of the time.
const MARGIN: Duration = Duration::from_secs(5 * 60);

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
    memory: DeleteMemory,
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
        let client = Client::new(config)?;
        let memory = DeleteMemory::new(client.clone(), context.clone());
        Ok(Self { client, memory, context, dead_letters, shutdown })
    }

    /// Passes batches on without the operations that are held back, until the channel is closed.
    ///
    /// # Errors
    /// Elasticsearch refuses access.
    pub fn run(
        mut self,
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
    async fn held(&mut self, batch: &OperationBatch) -> anyhow::Result<Option<BTreeSet<usize>>> {
        loop {
            match self.try_held(batch).await {
                Ok(held) => return Ok(Some(held)),
                Err(error) if error.is::<Refused>() => return Err(error.context("Elasticsearch")),
                Err(error) => tracing::warn!("cannot look up documents before they are written; retrying: {error:#}"),
            }
            tokio::select! {
                () = self.shutdown.aborted() => return Ok(None),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn try_held(&mut self, batch: &OperationBatch) -> anyhow::Result<BTreeSet<usize>> {
        let mut doubtful: Vec<(usize, &Operation)> = Vec::new();
        for (number, operation) in batch.operations.list.iter().enumerate() {
            if self.memory.may_have_forgotten(batch, operation).await? {
                doubtful.push((number, operation));
            }
        }
        let mut held = BTreeSet::new();
        for some in doubtful.chunks(AT_ONCE) {
            let wanted: Vec<Wanted> = some.iter().map(|(_, one)| wanted(batch, one, &self.context)).collect();
            let found = self.client.documents(&wanted, false).await?;
            held.extend(some.iter().zip(found).filter(|(_, found)| found.is_none()).map(|((number, _), _)| *number));
        }
        Ok(held)
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

/// For how long the indices remember deletes.
pub struct DeleteMemory {
    client: Client,
    context: SinkContext,
    known: HashMap<IndexNumber, Duration>,
}

impl DeleteMemory {
    /// The memory of this cluster's indices; asks for nothing yet.
    pub fn new(client: Client, context: SinkContext) -> Self {
        Self { client, context, known: HashMap::new() }
    }

    /// Whether an operation writes a whole document from a change that is older than its index remembers deletes.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn may_have_forgotten(&mut self, batch: &OperationBatch, operation: &Operation) -> anyhow::Result<bool> {
        if operation.action != Action::Index {
            return Ok(false);
        }
        let remembered = match self.known.get(&operation.index) {
            Some(known) => *known,
            None => match self.client.gc_deletes(&self.context.indices.name(operation.index)).await? {
                Some(remembered) => *self.known.entry(operation.index).or_insert(remembered),
                // Nothing was deleted from an index that does not exist.
                None => return Ok(false),
            },
        };
        let timestamp = batch.source.records.records[operation.record as usize].timestamp;
        let age = jiff::Timestamp::now().as_millisecond().saturating_sub(timestamp);
        let limit = remembered - MARGIN.min(remembered / 2);
        Ok(u128::try_from(age).is_ok_and(|age| age > limit.as_millis()))
    }
}

/// The document that an operation writes.
pub fn wanted(batch: &OperationBatch, operation: &Operation, context: &SinkContext) -> Wanted {
    Wanted {
        index: context.indices.name(operation.index).to_string(),
        id: batch.operations.text(operation.id).into(),
        routing: operation.routing.map(|routing| batch.operations.text(routing).into()),
    }
}
