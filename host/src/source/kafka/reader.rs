//! The poll loop: it follows the group's assignment, passes records on, and commits what is settled.
//!
//! Every partition is assigned to the consumer by itself, once the offset is known where reading begins. Until then the
//! group's assignment is only noted, so no answer of a broker can hold a rebalance up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rowmill_rows::TopicPartition;

use super::group::Group;
use super::lookups::{Answer, Lookups, Question};
use super::offsets::{self, Committed};
use super::partitions::{Partitions, Phase};
use super::queue::{Item, Record, RecordQueue};
use crate::config::KafkaConfig;
use crate::health::SourceReport;
use crate::record_versions::RecordVersions;
use crate::source::Intake;

/// The longest time between two looks at events, such as rebalances.
const TICK: Duration = Duration::from_millis(10);
/// How often commits and figures are updated.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// A run until caught up fails if no partition is assigned and the membership has not changed for this time.
const GROUP_TIMEOUT: Duration = Duration::from_secs(60);
/// The same while the group waits for another member, which may take as long as its `max.poll.interval.ms`.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(330);
/// How often a run until caught up says what it waits for.
const WAIT_LOG: Duration = Duration::from_secs(10);
/// A run until caught up also ends after this time without a record, if everything is settled: the last offsets of a
/// partition may hold no record that is read (open transactions).
const IDLE: Duration = Duration::from_secs(15);

/// An error of a partition.
pub(super) struct Trouble {
    pub partition: TopicPartition,
    /// The offset at which it occurred.
    pub offset: i64,
    pub code: RDKafkaErrorCode,
    pub reason: String,
}

/// The poll loop.
pub(super) struct Reader {
    pub(super) config: KafkaConfig,
    pub(super) intake: Intake,
    pub(super) partitions: Partitions,
    /// When the group first started with `start = "latest"`; committed with every offset.
    pub(super) began: Option<i64>,
    pub(super) questions: Sender<Question>,
    answers: Receiver<Answer>,
    /// Whether the group assigns the partitions; otherwise the configuration does.
    pub(super) is_member: bool,
    /// Whether the first assignment may be that of an earlier run, so that the group has to assign again.
    pub(super) joins_anew: bool,
    /// Whether the group assigns again because of that.
    pub(super) is_rejoining: bool,
    /// The partitions that are not read while the sink holds them back.
    pub(super) paused: HashSet<TopicPartition>,
    /// Whether a partition was ever assigned.
    pub(super) was_assigned: bool,
    started: Instant,
    pub(super) last_record: Instant,
    wait_logged: Instant,
    /// Errors of partitions that are not handled yet.
    troubles: Vec<Trouble>,
    // The queue is dropped before the consumer, as librdkafka requires.
    pub(super) queue: RecordQueue,
    pub(super) consumer: Arc<BaseConsumer<Group>>,
}

impl Reader {
    /// A reader for a consumer that has subscribed to its topics, or that is to read the configured partitions.
    pub fn new(
        config: KafkaConfig,
        client: &ClientConfig,
        consumer: Arc<BaseConsumer<Group>>,
        intake: Intake,
    ) -> anyhow::Result<Self> {
        let (questions, answers) = Lookups::spawn(client, config.start, config.topics.clone(), intake.shutdown())?;
        let (now, is_member) = (Instant::now(), config.partitions.is_none());
        Ok(Self {
            config,
            intake,
            partitions: Partitions::default(),
            began: None,
            questions,
            answers,
            is_member,
            joins_anew: client.get("group.instance.id").is_some(),
            is_rejoining: false,
            paused: HashSet::new(),
            was_assigned: false,
            started: now,
            last_record: now,
            wait_logged: now,
            troubles: Vec::new(),
            queue: RecordQueue::new(&consumer)?,
            consumer,
        })
    }

    /// Reads until the run is to end or, in a run until caught up, until everything is settled.
    pub fn run(mut self) -> anyhow::Result<()> {
        if let Some(partitions) = self.config.partitions.take() {
            partitions.into_iter().try_for_each(|partition| self.expect(partition))?;
        }
        let result = self.read();
        self.intake.discard();
        if result.is_ok() {
            self.drain()?;
            if let Err(error) = self.commit(None, CommitMode::Sync) {
                tracing::warn!("cannot commit the last offsets; some records will be read again: {error:#}");
            }
        }
        self.consumer.context().close();
        result
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let commit_interval = self.intake.config().commit_interval;
        let (mut housekept, mut committed, mut followed) = (Instant::now(), Instant::now(), Instant::now());
        while !self.intake.shutdown().is_requested() {
            self.serve(Duration::ZERO)?;
            if followed.elapsed() >= TICK {
                followed = Instant::now();
                self.follow_sink();
            }
            if self.intake.wait_for_room(TICK) {
                self.read_records()?;
            } else {
                // While nothing may be read, it is not known whether there is more.
                self.last_record = Instant::now();
            }
            if housekept.elapsed() < HOUSEKEEPING {
                continue;
            }
            housekept = Instant::now();
            self.queue.refresh();
            self.intake.show_flow();
            if committed.elapsed() >= commit_interval {
                committed = Instant::now();
                if let Err(error) = self.commit(None, CommitMode::Async) {
                    tracing::warn!("cannot commit offsets; retrying: {error:#}");
                }
                self.show_progress();
            }
            if self.intake.until_caught_up() && self.is_caught_up()? {
                break;
            }
        }
        Ok(())
    }

    /// Passes records on; waits for a moment if there are none.
    fn read_records(&mut self) -> anyhow::Result<()> {
        if self.take(self.intake.until_due(TICK)) > 0 {
            self.last_record = Instant::now();
        }
        self.intake.flush_if_due();
        std::mem::take(&mut self.troubles).into_iter().try_for_each(|trouble| self.handle_trouble(trouble))
    }

    fn take(&mut self, wait: Duration) -> usize {
        let Self { queue, intake, troubles, .. } = self;
        queue.read(wait, |item| match item {
            Item::Record(record) => push(intake, record),
            Item::Error { topic, partition, offset, code, reason } => {
                let partition = TopicPartition { topic: topic.into(), partition };
                troubles.push(Trouble { partition, offset, code, reason });
            }
        })
    }

    /// Serves the client's events, acts on what the group wants, and takes the answers to questions about offsets.
    fn serve(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.consumer.poll(timeout) {
            // Records come in the other queue.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => self.handle(error)?,
        }
        let (rebalances, commits) = {
            let mut events = self.consumer.context().lock();
            (std::mem::take(&mut events.rebalances), std::mem::take(&mut events.commits))
        };
        rebalances.into_iter().try_for_each(|rebalance| self.follow(rebalance))?;
        commits.into_iter().try_for_each(|commit| self.note_commit(commit))?;
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.note_answer(answer)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => anyhow::bail!("the thread that asks for offsets has ended"),
            }
        }
    }

    /// Logs an error that may pass; returns one that will not.
    fn handle(&self, error: KafkaError) -> anyhow::Result<()> {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            anyhow::bail!(fatal(code, &reason));
        }
        let access = &self.consumer.context().access;
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                if self.is_rejoining {
                    return Ok(());
                }
                tracing::warn!(topics = ?self.config.topics, "a topic does not exist (yet): {code}");
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::InvalidGroupId,
            ) => {
                return Err(error).context("Kafka refuses access; check the topics, the group and source.properties");
            }
            Some(RDKafkaErrorCode::InconsistentGroupProtocol) => anyhow::bail!(
                "the other members of the group {:?} use another protocol or assignor than cooperative-sticky; give Rowmill \
                 a group of its own in source.group",
                self.config.group
            ),
            // After a first successful login a refusal means that the cluster is being changed.
            _ if !self.was_assigned
                && let Some(refused) = access.refused() =>
            {
                anyhow::bail!(refused)
            }
            _ => tracing::warn!(%error, reason = access.take_message(), "Kafka error; retrying"),
        }
        Ok(())
    }

    /// Commits the watermarks that have moved: of these partitions, or of all.
    pub(super) fn commit(&mut self, only: Option<&[TopicPartition]>, mode: CommitMode) -> anyhow::Result<()> {
        let began = self.began;
        let mut moved = Vec::new();
        for (partition, assigned) in &mut self.partitions.all {
            if only.is_none_or(|only| only.contains(partition))
                && let Some(watermark) = assigned.moved()
            {
                // A commit that fails later clears this.
                assigned.committed = Some(watermark);
                moved.push((partition.clone(), Committed { watermark, began }));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let result = offsets::list(&moved).and_then(|offsets| match mode {
            CommitMode::Sync => self.consumer.commit(&offsets, mode),
            CommitMode::Async => self.queue.commit(&offsets),
        });
        result.map_err(|error| {
            for (partition, _) in &moved {
                if let Some(assigned) = self.partitions.all.get_mut(partition) {
                    assigned.committed = None;
                }
            }
            error.into()
        })
    }

    /// Returns true if every partition is read and settled up to its end at start-up.
    fn is_caught_up(&mut self) -> anyhow::Result<bool> {
        if self.partitions.all.is_empty() {
            self.wait_for_group()?;
            return Ok(false);
        }
        let is_settled = self.intake.is_settled();
        let quiet = self.last_record.elapsed();
        let is_done = is_settled && {
            let events = self.consumer.context().lock();
            self.partitions.all.iter().all(|(partition, assigned)| {
                // Said twice, so that it is about this assignment, and what was fetched then has been read since.
                let fetched =
                    events.fetched.get(partition).filter(|fetched| fetched.repeated > 0 && quiet > HOUSEKEEPING);
                let is_idle = quiet > IDLE && assigned.phase == Phase::Reading && assigned.end_at_start.is_some();
                assigned.is_caught_up(fetched.and_then(|fetched| fetched.next)) || is_idle
            })
        };
        if !is_done && self.wait_logged.elapsed() > WAIT_LOG {
            self.wait_logged = Instant::now();
            let open = self.partitions.all.iter().filter(|(_, one)| one.phase != Phase::Reading);
            let open: Vec<_> = open.map(|(name, one)| (&*name.topic, name.partition, one.phase)).take(5).collect();
            if !open.is_empty() {
                tracing::info!(partitions = ?open, "waiting for partitions that cannot be read yet");
            }
        }
        Ok(is_done)
    }

    /// Fails if there is no reason to wait for partitions any longer.
    fn wait_for_group(&mut self) -> anyhow::Result<()> {
        let membership = self.consumer.context().lock().membership.clone();
        let (state, since) = membership.unwrap_or_else(|| ("not connected".into(), self.started));
        let waits_for_members = state.contains("wait-join") || state.contains("wait-sync");
        let patience = if waits_for_members { MEMBER_TIMEOUT } else { GROUP_TIMEOUT };
        let topics = &self.config.topics;
        anyhow::ensure!(
            since.elapsed() < patience,
            "no partition of {topics:?} was assigned, and the membership in the group {:?} has been {state:?} for {} s; do \
             the topics exist, and does the group have no other members?",
            self.config.group,
            since.elapsed().as_secs()
        );
        if self.wait_logged.elapsed() > WAIT_LOG {
            self.wait_logged = Instant::now();
            let reason = if waits_for_members { "the group waits for another member" } else { "no partition yet" };
            tracing::info!(group = self.config.group, state, "waiting for the group to assign partitions: {reason}");
        }
        Ok(())
    }

    fn show_progress(&mut self) {
        let mut report = SourceReport::default();
        let events = self.consumer.context().lock();
        if self.partitions.all.is_empty()
            && let Some((state, since)) = &events.membership
        {
            // No wait: a group may have more members than partitions.
            tracing::debug!(state, seconds = since.elapsed().as_secs(), "no partition is assigned");
        }
        for (partition, assigned) in &self.partitions.all {
            let end = events.fetched.get(partition).map(|fetched| fetched.end).max(assigned.end_at_start);
            let lag = end.map_or(0, |end| (end - assigned.next_offset()).max(0));
            let age = assigned.progress.as_ref().map_or(Duration::ZERO, |progress| progress.oldest_age());
            self.intake.show_progress(partition, lag, age);
            report.lag += lag;
            report.settled += assigned.next_offset();
            if !age.is_zero() && report.oldest.as_ref().is_none_or(|(_, oldest)| age > *oldest) {
                report.oldest = Some((partition.clone(), age));
            }
            if self.paused.contains(partition) {
                let TopicPartition { topic, partition } = partition;
                let wait = "not read while an index that it fills accepts no writes";
                report.waits_for.push(format!("topic {topic}, partition {partition}: {wait}"));
            }
            if assigned.phase != Phase::Reading {
                let TopicPartition { topic, partition } = partition;
                report.waits_for.push(format!("topic {topic}, partition {partition}: {}", assigned.phase));
            }
        }
        drop(events);
        self.intake.report(report);
    }

    /// Waits until everything that was handed over is settled. It keeps serving the group, so that this gateway stays a
    /// member.
    fn drain(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.intake.config().shutdown_timeout;
        while !self.intake.is_settled() && Instant::now() < deadline && !self.intake.shutdown().is_aborted() {
            self.serve(Duration::from_millis(5))?;
        }
        Ok(())
    }
}

/// Why the consumer can never continue.
fn fatal(code: RDKafkaErrorCode, reason: &str) -> String {
    match code {
        RDKafkaErrorCode::FencedInstanceId => format!(
            "another gateway has joined the group under the same identity ({reason}); give each gateway a state folder of its \
             own, or another name in source.instance"
        ),
        RDKafkaErrorCode::UnreleasedInstanceId => format!(
            "the group still has a member with the same identity ({reason}); with \"group.protocol\" = \"consumer\" set \
             source.instance = \"none\", or wait until its session has timed out"
        ),
        _ => format!("the Kafka consumer cannot continue: {reason} ({code})"),
    }
}

fn push(intake: &mut Intake, record: Record<'_>) {
    // A record without a buffer is of a partition that has just been lost.
    if let Some(buffer) = intake.buffer(record.topic, record.partition) {
        // A dead letter in a topic keeps the versions that its rows got when the record was first read.
        match RecordVersions::of_headers(record.headers.clone()) {
            None => {}
            Some(Ok(versions)) => intake.replay(buffer, versions),
            Some(Err(problem)) => tracing::warn!(
                topic = record.topic,
                partition = record.partition,
                offset = record.offset,
                "a dead letter has a damaged header, so its rows get versions from the letter's own position: {problem}"
            ),
        }
        intake.push(buffer, record.offset, record.timestamp, record.key, record.value, record.headers);
    }
}
