//! Batches on their way through the pipeline: records with their ticket, and the operations made of them.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rowmill_engine::{Operation, Operations};
use rowmill_rows::RecordBatch;

use crate::budget::{Budget, Passage, Reservation};
use crate::checkpoint::Ticket;
use crate::record_versions::{RecordVersions, RowVersion};

/// About how many bytes the sink needs to keep track of one operation.
const BYTES_PER_OPERATION: usize = size_of::<Operation>() + 250;

/// Records together with their ticket; shared by everything that is made of them.
#[derive(Debug)]
pub struct SourceBatch {
    /// The records.
    pub records: RecordBatch,
    /// Versions of the records that are replayed, by their number in ascending order; empty in a batch from the stream.
    replayed: Vec<(u32, RecordVersions)>,
    /// The memory of the records.
    held: Reservation,
    /// Settled piece by piece; once it is settled the watermark can move past the records.
    pub ticket: Arc<Ticket>,
}

/// Records on their way to a worker.
#[derive(Debug)]
pub struct Handed {
    /// The records.
    pub source: Arc<SourceBatch>,
    /// Ends when the sink has taken the operations, or there are none.
    pub passage: Passage,
}

impl SourceBatch {
    /// Records with their ticket, whose memory counts against `budget`.
    pub fn new(records: RecordBatch, ticket: Arc<Ticket>, budget: &Arc<Budget>) -> Arc<Self> {
        Self::with_replayed(records, Vec::new(), ticket, budget)
    }

    /// Records of which some are replayed: with the versions of those, by the records' numbers in ascending order.
    pub fn with_replayed(
        records: RecordBatch,
        replayed: Vec<(u32, RecordVersions)>,
        ticket: Arc<Ticket>,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let held = budget.reserve(records.memory());
        Arc::new(Self { records, replayed, held, ticket })
    }

    /// The versions of a record that is replayed; `None` for one from the stream.
    pub fn replayed(&self, record: u32) -> Option<&RecordVersions> {
        let place = self.replayed.binary_search_by_key(&record, |(replayed, _)| *replayed).ok()?;
        Some(&self.replayed[place].1)
    }

    /// Keeps the records that these operations come from: another one can no longer become a dead letter. Does nothing if a
    /// dead letter holds the batch, or if little would be gained.
    fn keep_records_of(batch: &mut Arc<Self>, operations: &mut [Operation], versions: &mut Vec<RowVersion>) {
        let Some(batch) = Arc::get_mut(batch) else { return };
        let mut places: Vec<u32> = operations.iter().map(|operation| operation.record).collect();
        places.dedup();
        // Records are about equally large. The operations are in the order of the records.
        if places.len() * 8 > batch.records.records.len() * 7 || !places.is_sorted() {
            return;
        }
        batch.records.retain(&places);
        let mut rank = 0;
        for operation in operations {
            while places[rank] != operation.record {
                rank += 1;
            }
            operation.record = rank as u32;
        }
        versions.retain_mut(|row| keeps(&places, &mut row.record));
        batch.replayed.retain_mut(|(record, _)| keeps(&places, record));
        batch.held.resize(batch.records.memory());
    }
}

/// Returns true if the record with this number is among those that are kept; the number is then its new one.
fn keeps(places: &[u32], record: &mut u32) -> bool {
    let rank = places.binary_search(record);
    *record = rank.unwrap_or_default() as u32;
    rank.is_ok()
}

/// The operations of one source batch.
#[derive(Debug)]
pub struct OperationBatch {
    /// The records that the operations were made of.
    pub source: Arc<SourceBatch>,
    /// The operations.
    pub operations: Operations,
    /// The versions of the batch's rows, in their order.
    versions: Vec<RowVersion>,
    /// Operations without an outcome; the sink counts them down.
    pub without_outcome: AtomicU32,
    /// The memory of the operations.
    held: Reservation,
    /// Ends when the sink takes the batch.
    pub passage: Option<Passage>,
}

impl OperationBatch {
    /// The operations of these records, with the versions of their rows in the order of the rows. Frees the memory of records that have none.
    pub fn new(mut source: Arc<SourceBatch>, mut operations: Operations, mut versions: Vec<RowVersion>) -> Self {
        operations.bytes.shrink_to_fit();
        operations.list.shrink_to_fit();
        SourceBatch::keep_records_of(&mut source, &mut operations.list, &mut versions);
        let bytes = operations.bytes.len()
            + operations.list.len() * BYTES_PER_OPERATION
            + versions.capacity() * size_of::<RowVersion>();
        let held = source.held.another(bytes);
        Self { source, operations, versions, without_outcome: AtomicU32::new(0), held, passage: None }
    }

    /// The versions of one record's rows.
    pub fn versions_of(&self, record: u32) -> RecordVersions {
        let begin = self.versions.partition_point(|row| row.record < record);
        let rows = self.versions[begin..].iter().take_while(|row| row.record == record);
        let mut versions = self.source.replayed(record).cloned().unwrap_or_default();
        versions.set_rows(rows.map(|row| row.version));
        versions
    }

    /// The bytes that count against the budget as long as the batch exists: its operations and their records.
    pub fn bytes(&self) -> usize {
        self.held.bytes() + self.source.held.bytes()
    }
}
