//! The consumer's context: it records what librdkafka reports, for the poll loop to act on.
//!
//! Nothing is asked or changed in a callback: an error there could only be logged, and librdkafka would wait for an answer
//! that never comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use rowmill_rows::TopicPartition;

use super::PROPERTIES;
use crate::kafka::Access;

/// What the group wants.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Failed(KafkaError),
}

/// The answer to a commit: the offset of each partition, and why it could not be committed.
pub(super) struct CommitAnswer {
    pub offsets: Vec<(TopicPartition, i64)>,
    pub error: Option<KafkaError>,
}

/// How far a partition was fetched, from the client's statistics.
#[derive(Clone, Copy)]
pub(super) struct Fetched {
    /// The partition's end, as it came with the last fetch.
    pub end: i64,
    /// The offset of the next fetch; `None` while nothing is fetched, when the client shows that of an earlier assignment.
    pub next: Option<i64>,
    /// How many statistics in a row had this `next`.
    pub repeated: u32,
}

/// What has been reported since the loop last looked.
#[derive(Default)]
pub(super) struct Events {
    pub rebalances: Vec<Rebalance>,
    pub commits: Vec<CommitAnswer>,
    /// What the client's statistics say about partitions.
    pub fetched: HashMap<TopicPartition, Fetched>,
    /// The state of the membership, in the client's words, and since when it has been the same.
    pub membership: Option<(String, Instant)>,
}

/// The consumer's context.
#[derive(Default)]
pub(super) struct Group {
    pub access: Access,
    events: Mutex<Events>,
    is_closing: AtomicBool,
}

impl Group {
    pub fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no loop acts on what is recorded: the consumer is about to be closed.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }
}

/// The partitions of a list.
pub(super) fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
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
        let mut events = self.lock();
        for topic in statistics.topics.values() {
            let known = topic.partitions.iter().filter(|(number, partition)| **number >= 0 && partition.hi_offset >= 0);
            for (number, partition) in known {
                let name = TopicPartition { topic: topic.topic.as_str().into(), partition: *number };
                let end = partition.hi_offset;
                let next = (partition.fetch_state == "active").then_some(partition.next_offset);
                let known = events.fetched.get(&name).filter(|known| known.next == next);
                let repeated = known.map_or(0, |known| known.repeated + 1);
                events.fetched.insert(name, Fetched { end, next, repeated });
            }
        }
        if let Some(group) = statistics.cgrp {
            let state = format!("{}, {}", group.state, group.join_state);
            if events.membership.as_ref().is_none_or(|(known, _)| *known != state) {
                events.membership = Some((state, Instant::now()));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
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
        if self.is_closing.load(Ordering::Relaxed) {
            let _ = consumer.unassign();
            return;
        }
        let partitions = partitions_of(partitions);
        self.lock().rebalances.push(match error {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => Rebalance::Revoked(partitions),
            other => Rebalance::Failed(KafkaError::Rebalance(other.into())),
        });
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        let elements = offsets.elements();
        let offsets = elements.iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                Some((TopicPartition { topic: element.topic().into(), partition: element.partition() }, offset))
            }
            _ => None,
        });
        // With nothing to commit, the client reports an error although nothing has failed.
        let error = result.err().filter(|error| error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset));
        let element_error = elements.iter().find_map(|element| element.error().err());
        let offsets = offsets.collect();
        self.lock().commits.push(CommitAnswer { offsets, error: error.or(element_error) });
    }
}
