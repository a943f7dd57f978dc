//! The consumer's assignment: partitions as the group assigns and revokes them, and their committed offsets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use rowmill_rows::TopicPartition;

use super::PROPERTIES;
use crate::checkpoint::{Checkpoints, Progress, Watermark};
use crate::config::Start;
use crate::kafka::Access;

/// How long a request to the brokers may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The partition's clock in the metadata of a committed offset.
const CLOCK: &str = "rowmill:clock=";

/// State that the rebalance callback and the poll loop share.
#[derive(Default)]
pub(super) struct Assignment {
    /// Newly assigned partitions, for the loop to open.
    pub assigned: Vec<AssignedPartition>,
    /// Revoked partitions, for the loop to close.
    pub revoked: Vec<TopicPartition>,
    /// The partitions that are assigned now. The callback commits their watermarks before a partition is revoked.
    pub open: HashMap<TopicPartition, OpenPartition>,
    /// The ends of partitions, from the client's statistics, which come with every fetch. Asking the brokers would block
    /// the poll thread; behind a waiting fetch such a request times out, which closes the connection.
    pub ends: HashMap<TopicPartition, i64>,
}

/// A newly assigned partition.
pub(super) struct AssignedPartition {
    pub partition: TopicPartition,
    pub clock_seconds: i64,
    /// The first offset to read.
    pub start: i64,
    /// The partition's end when it was assigned.
    pub end: i64,
}

/// An assigned partition that the loop has opened.
pub(super) struct OpenPartition {
    pub progress: Arc<Progress>,
    pub committed: Option<Watermark>,
    /// The first offset to read.
    pub start: i64,
    /// The partition's end when it was assigned.
    pub end_at_start: i64,
}

impl OpenPartition {
    /// The next offset that is not settled.
    pub fn next_offset(&self) -> i64 {
        self.progress.watermark().map_or(self.start, |watermark| watermark.position)
    }
}

/// The consumer's context.
pub(super) struct Group {
    start: Start,
    /// Whether the group assigns the partitions; otherwise the configuration does.
    is_member: bool,
    pub access: Access,
    assignment: Mutex<Assignment>,
}

impl Group {
    pub fn new(start: Start, is_member: bool) -> Self {
        Self { start, is_member, access: Access::default(), assignment: Mutex::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts newly assigned partitions at the committed offset, or where the configuration says. The start is always a
    /// number, so that it is known how much there is to read.
    pub fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        let partitions = partitions_of(partitions);
        let committed = Commits { consumer, mode: CommitMode::Sync }.load(&partitions)?;
        let by_time = self.offsets_by_time(consumer, &partitions)?;
        let mut starts = TopicPartitionList::new();
        let mut assigned = Vec::new();
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let (low, end) = consumer.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT)?;
            let start = match (committed, self.start) {
                (Some(committed), _) => committed.position.max(low),
                (None, Start::Earliest) => low,
                (None, Start::Latest) => end,
                // Without a record of that time or later: at the end.
                (None, Start::At(_)) => by_time.get(&partition).copied().unwrap_or(end),
            };
            starts.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(start))?;
            let clock_seconds = committed.map_or(0, |committed| committed.clock_seconds);
            assigned.push(AssignedPartition { partition, clock_seconds, start, end });
        }
        match self.is_member {
            true => consumer.incremental_assign(&starts)?,
            false => consumer.assign(&starts)?,
        }
        self.lock().assigned.extend(assigned);
        Ok(())
    }

    /// The first offset of each partition at or after the configured time; empty unless one is configured.
    fn offsets_by_time(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, i64>, KafkaError> {
        let Start::At(milliseconds) = self.start else { return Ok(HashMap::new()) };
        let mut times = TopicPartitionList::new();
        for partition in partitions {
            times.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(milliseconds))?;
        }
        let offsets = consumer.offsets_for_times(times, REQUEST_TIMEOUT)?;
        let offsets = offsets.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                Some((TopicPartition { topic: element.topic().into(), partition: element.partition() }, offset))
            }
            _ => None,
        });
        Ok(offsets.collect())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        // While the partitions are still assigned, so that their next owner repeats as little as possible.
        if !consumer.assignment_lost() {
            let _ = self.commit(consumer, Some(partitions), CommitMode::Sync);
        }
        let mut assignment = self.lock();
        for partition in partitions_of(partitions) {
            assignment.open.remove(&partition);
            assignment.assigned.retain(|assigned| assigned.partition != partition);
            assignment.revoked.push(partition);
        }
        drop(assignment);
        Ok(consumer.incremental_unassign(partitions)?)
    }

    /// Commits the watermarks that have moved: of these partitions, or of all.
    pub fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        only: Option<&TopicPartitionList>,
        mode: CommitMode,
    ) -> anyhow::Result<()> {
        let is_wanted = |partition: &TopicPartition| {
            only.is_none_or(|only| only.find_partition(&partition.topic, partition.partition).is_some())
        };
        let mut moved = Vec::new();
        for (partition, open) in self.lock().open.iter().filter(|(partition, _)| is_wanted(partition)) {
            let watermark = open.progress.watermark();
            moved.extend(watermark.filter(|_| watermark != open.committed).map(|moved| (partition.clone(), moved)));
        }
        if moved.is_empty() {
            return Ok(());
        }
        Commits { consumer, mode }.commit(&moved)?;
        let mut assignment = self.lock();
        for (partition, watermark) in moved {
            if let Some(open) = assignment.open.get_mut(&partition) {
                open.committed = Some(watermark);
            }
        }
        Ok(())
    }
}

/// The offsets that the group has committed, with the partition's clock as their metadata.
struct Commits<'a> {
    consumer: &'a BaseConsumer<Group>,
    mode: CommitMode,
}

impl Checkpoints for Commits<'_> {
    fn load(&self, partitions: &[TopicPartition]) -> anyhow::Result<Vec<Option<Watermark>>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let committed = self.consumer.committed_offsets(list, REQUEST_TIMEOUT)?;
        let watermark = |partition: &TopicPartition| {
            let element = committed.find_partition(&partition.topic, partition.partition)?;
            let Offset::Offset(position) = element.offset() else { return None };
            let clock = element.metadata().strip_prefix(CLOCK).and_then(|seconds| seconds.parse().ok());
            Some(Watermark { position, clock_seconds: clock.unwrap_or(0) })
        };
        Ok(partitions.iter().map(watermark).collect())
    }

    fn commit(&mut self, moved: &[(TopicPartition, Watermark)]) -> anyhow::Result<()> {
        let mut offsets = TopicPartitionList::new();
        for (partition, watermark) in moved {
            let mut element = offsets.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(watermark.position))?;
            element.set_metadata(format!("{CLOCK}{}", watermark.clock_seconds));
        }
        match self.consumer.commit(&offsets, self.mode) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let partition = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| TopicPartition {
        topic: element.topic().into(),
        partition: element.partition(),
    };
    elements.iter().map(partition).collect()
}

impl ClientContext for Group {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.access.log(facility, message);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        let mut assignment = self.lock();
        for topic in statistics.topics.values() {
            let known = topic.partitions.iter().filter(|(number, partition)| **number >= 0 && partition.hi_offset >= 0);
            for (number, partition) in known {
                assignment.ends.insert(
                    TopicPartition { topic: topic.topic.as_str().into(), partition: *number },
                    partition.hi_offset,
                );
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The client reports the end of a partition as an error, which it is not.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        // The poll that calls this returns the error too, and the loop logs it.
        self.access.note(&error, reason, PROPERTIES);
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: rd_kafka_resp_err_t,
        partitions: &mut TopicPartitionList,
    ) {
        let result = match error {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(partitions = partitions.count(), "partitions assigned");
                self.assign(consumer, partitions)
            }
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                tracing::info!(partitions = partitions.count(), "partitions revoked");
                self.revoke(consumer, partitions)
            }
            other => Err(KafkaError::Rebalance(other.into()).into()),
        };
        if let Err(error) = result {
            tracing::error!("rebalance failed, the group will retry: {error:#}");
            // Otherwise the group would count these partitions as assigned, and this consumer would stay idle for ever.
            let _ = consumer.unassign();
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        let mut assignment = self.lock();
        for partition in partitions_of(offsets) {
            if let Some(open) = assignment.open.get_mut(&partition) {
                open.committed = None;
            }
        }
        drop(assignment);
        if !matches!(error, KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) {
            tracing::warn!(%error, "cannot commit offsets; retrying");
        }
    }
}
