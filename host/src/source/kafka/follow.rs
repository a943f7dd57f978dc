//! How the reader follows the group: partitions come, are looked up, are read, run out of range, and go.

use anyhow::Context;
use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use rowmill_rows::TopicPartition;

use super::group::{CommitAnswer, Rebalance};
use super::lookups::{Answer, Found, Question};
use super::offsets::{self, Committed};
use super::partitions::Phase;
use super::reader::{Reader, Trouble};
use crate::checkpoint::Watermark;
use crate::config::MissingRecords;

/// An expression that no topic matches.
const NO_TOPIC: &str = "^$";

impl Reader {
    /// Acts on a change of the group's assignment.
    pub(super) fn follow(&mut self, rebalance: Rebalance) -> anyhow::Result<()> {
        match rebalance {
            Rebalance::Assigned(partitions) => {
                anyhow::ensure!(
                    !matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Eager),
                    "the group uses an eager assignor; remove \"partition.assignment.strategy\" from [source.properties]"
                );
                // The rebalance is complete with this; the partitions are added one by one as they are looked up.
                self.consumer.incremental_assign(&TopicPartitionList::new()).context("cannot follow the group")?;
                if std::mem::take(&mut self.joins_anew) {
                    return self.join_anew();
                }
                tracing::info!(partitions = partitions.len(), "partitions assigned");
                self.is_rejoining = false;
                self.was_assigned |= !partitions.is_empty();
                partitions.into_iter().try_for_each(|partition| self.expect(partition))
            }
            Rebalance::Revoked(partitions) => {
                if !self.is_rejoining {
                    tracing::info!(partitions = partitions.len(), "partitions revoked");
                }
                self.give_up(&partitions)
            }
            Rebalance::Failed(error) => Err(error).context("the rebalance of the group failed"),
        }
    }

    /// Makes the group assign its partitions again.
    ///
    /// To a member that returns under a known identity, the brokers give what the member was last assigned, without asking
    /// who assigns. Topics and partitions that were created in the meantime would belong to nobody, and a topic that is no
    /// longer configured would still be read. The client library can only be made to join again by a change of the
    /// subscription: without a topic it gives back what it was assigned, of which nothing is read yet.
    fn join_anew(&mut self) -> anyhow::Result<()> {
        self.is_rejoining = true;
        let topics: Vec<&str> = self.config.topics.iter().map(String::as_str).collect();
        self.consumer
            .subscribe(&[NO_TOPIC])
            .and_then(|()| self.consumer.subscribe(&topics))
            .with_context(|| format!("cannot subscribe to {topics:?} again"))
    }

    /// Asks where reading begins in a newly assigned partition.
    pub(super) fn expect(&mut self, partition: TopicPartition) -> anyhow::Result<()> {
        let epoch = self.partitions.add(partition.clone());
        self.ask(Question::Assigned { partition, epoch })
    }

    fn ask(&self, question: Question) -> anyhow::Result<()> {
        self.questions.send(question).context("the thread that asks for offsets has ended; this is a bug in Rowmill")
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        // While the partitions are still assigned, so that their next owner repeats as little as possible.
        if !self.consumer.assignment_lost()
            && let Err(error) = self.commit(Some(partitions), CommitMode::Sync)
        {
            tracing::warn!("cannot commit revoked partitions; their next owner repeats some records: {error:#}");
        }
        let mut read = TopicPartitionList::new();
        for partition in partitions {
            if self.partitions.remove(partition).is_some_and(|assigned| assigned.progress.is_some()) {
                read.add_partition(&partition.topic, partition.partition);
            }
            self.intake.close(partition);
            self.intake.forget(partition);
            self.queue.remove(partition);
            self.ask(Question::Revoked(partition.clone()))?;
        }
        // Empty if none of them was read yet: the group waits for the call.
        self.consumer.incremental_unassign(&read).context("cannot give partitions back to the group")
    }

    /// Acts on an answer to a question about offsets.
    pub(super) fn note_answer(&mut self, answer: Answer) -> anyhow::Result<()> {
        let Answer { partition, epoch, found } = answer;
        let is_member = self.is_member;
        let Some(assigned) = self.partitions.current(&partition, epoch) else { return Ok(()) };
        match found {
            Found::Committed(committed) => {
                self.began = self.began.or(committed.began);
                assigned.committed = Some(committed.watermark);
                self.partitions.given_up.remove(&partition);
                self.begin(&partition, committed.watermark)
            }
            Found::Start(start) => {
                self.began = self.began.or(start.began);
                assigned.phase = Phase::CommittingStart(start.watermark);
                self.note_start(&partition, start.watermark.position)?;
                self.commit_start(&partition, start.watermark)?;
                // Without a group there may be no answer: partitions that are given are read all the same.
                if is_member { Ok(()) } else { self.begin(&partition, start.watermark) }
            }
            Found::Range { low, end } => match assigned.phase {
                Phase::OutOfRange(position) => self.leave_gap(&partition, position, low, end),
                _ => {
                    assigned.end_at_start.get_or_insert(end);
                    Ok(())
                }
            },
        }
    }

    /// Notices that a partition without a committed offset was read before: Kafka removes the offsets of deleted topics.
    fn note_start(&mut self, partition: &TopicPartition, position: i64) -> anyhow::Result<()> {
        let Some(expected) = self.partitions.given_up.remove(partition).filter(|expected| *expected > 0) else {
            return Ok(());
        };
        let TopicPartition { topic, partition: number } = partition;
        let what = format!(
            "topic {topic}, partition {number}, was deleted and created again: record {expected} is expected, but the group's \
             committed offset no longer exists. What the topic held beyond the records that were read is lost"
        );
        self.skip(partition, &what, 1, position)
    }

    /// Stops because of missing records, or logs that reading continues at `position`.
    fn skip(&self, partition: &TopicPartition, what: &str, records: i64, position: i64) -> anyhow::Result<()> {
        self.intake.count_missing(partition, records);
        match self.config.missing_records {
            MissingRecords::Stop => anyhow::bail!(
                "{what}. Set source.missing_records = \"continue\" to go on with record {position}, and compare the tables \
                 with their indices"
            ),
            MissingRecords::Continue => {
                tracing::error!(
                    "{what}; continuing with record {position}, since source.missing_records = \"continue\""
                );
                Ok(())
            }
        }
    }

    /// Commits where reading begins, before anything is read: otherwise a gateway that dies before its first commit would
    /// choose again, and with `start = "latest"` lose what came in between.
    fn commit_start(&mut self, partition: &TopicPartition, watermark: Watermark) -> anyhow::Result<()> {
        let start = Committed { watermark, began: self.began };
        let result = offsets::list(&[(partition.clone(), start)]).and_then(|offsets| self.queue.commit(&offsets));
        result.context("cannot commit where reading begins")
    }

    /// Reads a partition from this position on.
    fn begin(&mut self, partition: &TopicPartition, from: Watermark) -> anyhow::Result<()> {
        let Some(assigned) = self.partitions.all.get_mut(partition) else { return Ok(()) };
        assigned.phase = Phase::Reading;
        assigned.start = from.position;
        assigned.progress = Some(self.intake.open(partition.clone(), from.clock));
        self.consumer.context().lock().fetched.remove(partition);
        self.assign(partition, from.position)
    }

    /// Acts on the answer to a commit.
    pub(super) fn note_commit(&mut self, answer: CommitAnswer) -> anyhow::Result<()> {
        for (partition, offset) in answer.offsets {
            let Some(assigned) = self.partitions.all.get_mut(&partition) else { continue };
            match (assigned.phase, &answer.error) {
                (Phase::CommittingStart(start), None) if start.position == offset => {
                    assigned.committed = Some(start);
                    self.begin(&partition, start)?;
                }
                (Phase::CommittingStart(start), Some(_)) => self.commit_start(&partition, start)?,
                (_, Some(_)) => assigned.committed = None,
                _ => {}
            }
        }
        if let Some(error) = answer.error {
            tracing::warn!(%error, "cannot commit offsets; retrying");
        }
        Ok(())
    }

    /// Acts on an error of a partition.
    pub(super) fn handle_trouble(&mut self, trouble: Trouble) -> anyhow::Result<()> {
        let Trouble { partition, offset, code, reason } = trouble;
        match code {
            RDKafkaErrorCode::AutoOffsetReset => {
                let Some(assigned) = self.partitions.all.get_mut(&partition) else { return Ok(()) };
                if assigned.phase == Phase::Reading {
                    assigned.phase = Phase::OutOfRange(offset);
                    let epoch = assigned.epoch;
                    self.ask(Question::Range { partition, epoch })?;
                }
                Ok(())
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => anyhow::bail!(
                "Kafka refuses access to the topic {}: {reason}; check the topics and source.properties",
                partition.topic
            ),
            _ => {
                let TopicPartition { topic, partition } = partition;
                tracing::warn!(%topic, partition, offset, %reason, "Kafka error in a partition; retrying");
                Ok(())
            }
        }
    }

    /// The record at `position` does not exist; `low..end` does. Stops, or continues after the gap.
    fn leave_gap(&mut self, partition: &TopicPartition, position: i64, low: i64, end: i64) -> anyhow::Result<()> {
        let TopicPartition { topic, partition: number } = partition;
        if (low..=end).contains(&position) {
            return self.read_again(partition, position, false);
        }
        let what = if position < low {
            format!(
                "the records {position} to {} of topic {topic}, partition {number}, were deleted by the topic's retention \
                 before they were read",
                low - 1
            )
        } else {
            format!(
                "the offsets of topic {topic}, partition {number}, went back: record {position} is expected, but the \
                 partition ends at {end}. The topic was probably deleted and created again; what it held beyond the \
                 records that were read is lost"
            )
        };
        self.skip(partition, &what, (low - position).max(1), low)?;
        self.read_again(partition, low, position > end)
    }

    /// Assigns a partition once more, from another position on.
    fn read_again(&mut self, partition: &TopicPartition, position: i64, is_new_topic: bool) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        self.consumer.incremental_unassign(&list).context("cannot leave a partition")?;
        let Some(assigned) = self.partitions.all.get_mut(partition) else { return Ok(()) };
        if is_new_topic {
            let clock = assigned.committed.map_or(0, |watermark| watermark.clock);
            let from = Watermark { position, clock };
            // At once, so that a restart does not expect the old offsets again.
            self.commit_start(partition, from)?;
            return self.begin(partition, from);
        }
        // Records before the gap may not be settled yet: the watermark moves over the gap after them.
        assigned.phase = Phase::Reading;
        self.assign(partition, position)
    }

    fn assign(&mut self, partition: &TopicPartition, position: i64) -> anyhow::Result<()> {
        self.queue.add(partition)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(position))?;
        let TopicPartition { topic, partition } = partition;
        self.consumer
            .incremental_assign(&list)
            .with_context(|| format!("cannot read topic {topic}, partition {partition}"))
    }
}
