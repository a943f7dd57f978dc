//! Records from Kafka: one thread polls, batches, pauses and commits.

mod group;

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::{Intake, Source};
use crate::config::{ConfigError, KafkaConfig, Start};
use crate::kafka;
use crate::report::{self, Report};
use group::{AssignedPartition, Group, OpenPartition};

/// How long a record waits for others of its batch while the stream is slow.
const LINGER: Duration = Duration::from_millis(5);
/// How often pauses, commits and the lag are updated.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// A run until caught up fails if no partition is assigned within this time.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// A run until caught up also ends after this time without a record, if everything is settled.
const IDLE: Duration = Duration::from_secs(15);

/// The section of the configuration with the properties of the consumer.
const PROPERTIES: &str = "[source.properties]";

/// Reads topics of a Kafka cluster.
pub(super) struct KafkaSource {
    config: KafkaConfig,
}

impl KafkaSource {
    pub fn new(config: KafkaConfig) -> Self {
        Self { config }
    }

    fn client(&self) -> ClientConfig {
        let config = &self.config;
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.brokers)
            .set("group.id", &config.group)
            .set("client.id", "rowmill")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", if config.start == Start::Latest { "latest" } else { "earliest" })
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "1000")
            // New topics that match a regular expression are found within half a minute.
            .set("topic.metadata.refresh.interval.ms", "30000")
            // Records that are fetched ahead take memory; the default of 64 MB is more than the rest of Rowmill uses.
            .set("queued.max.messages.kbytes", "16384")
            // A full queue must not stop fetching for a second.
            .set("fetch.queue.backoff.ms", "10")
            // librdkafka reports why a connection failed only in its log, which the context receives.
            .set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &config.properties {
            client.set(key, value);
        }
        client
    }

    /// A consumer that has joined the group, or has been assigned the configured partitions.
    fn consumer(&self) -> anyhow::Result<BaseConsumer<Group>> {
        let partitions = self.config.partitions.as_ref();
        let group = Group::new(self.config.start, partitions.is_none());
        let consumer: BaseConsumer<Group> = self.client().create_with_context(group).map_err(|error| {
            ConfigError(format!("cannot create the Kafka consumer: {error}; check the properties in {PROPERTIES}"))
        })?;
        match partitions {
            None => {
                let topics: Vec<&str> = self.config.topics.iter().map(String::as_str).collect();
                consumer.subscribe(&topics).with_context(|| format!("cannot subscribe to {topics:?}"))?;
            }
            Some(partitions) => {
                let mut list = TopicPartitionList::new();
                for partition in partitions {
                    list.add_partition(&partition.topic, partition.partition);
                }
                consumer.context().assign(&consumer, &list).context("cannot assign the partitions")?;
            }
        }
        Ok(consumer)
    }

    fn check_topic(wanted: &str, topics: &[(String, usize)], report: &mut Report) {
        let found: Vec<&(String, usize)> = match wanted.strip_prefix('^') {
            // librdkafka matches regular expressions. For a check it is enough that a topic begins like the expression.
            Some(pattern) => {
                let is_literal = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
                let prefix: String = pattern.replace("\\.", ".").chars().take_while(is_literal).collect();
                topics.iter().filter(|(name, _)| name.starts_with(&prefix)).collect()
            }
            None => topics.iter().filter(|(name, partitions)| name == wanted && *partitions > 0).collect(),
        };
        match found.as_slice() {
            [] => report.fail(
                "topic",
                &format!(
                    "{wanted}: not found; does the CDC tool write to another topic, or has it written nothing yet?"
                ),
            ),
            [(_, partitions)] => report.ok("topic", &format!("{wanted}: {partitions} partitions")),
            many => report.ok("topic", &format!("{wanted}: {} topics", many.len())),
        }
    }
}

impl Source for KafkaSource {
    fn check(&self, report: &mut Report) {
        let mut client = self.client();
        client.set("statistics.interval.ms", "0");
        match kafka::topics(&client, PROPERTIES, &self.config.brokers, report::TIMEOUT) {
            Err(error) => report.fail("Kafka", &format!("{error:#}")),
            Ok(topics) => {
                report.ok("Kafka", &format!("{} answers; {} topics", self.config.brokers, topics.len()));
                for wanted in &self.config.topics {
                    Self::check_topic(wanted, &topics, report);
                }
            }
        }
    }

    fn run(self: Box<Self>, intake: Intake) -> anyhow::Result<()> {
        let consumer = self.consumer()?;
        let mut reader = Reader {
            topics: self.config.topics,
            consumer,
            intake,
            is_paused: false,
            was_assigned: false,
            started: Instant::now(),
            last_record: Instant::now(),
        };
        reader.read()?;
        reader.drain();
        if let Err(error) = reader.commit(CommitMode::Sync) {
            tracing::warn!("cannot commit the last offsets; some records will be read again: {error:#}");
        }
        Ok(())
    }
}

/// The poll loop.
struct Reader {
    topics: Vec<String>,
    consumer: BaseConsumer<Group>,
    intake: Intake,
    is_paused: bool,
    /// Whether a partition was ever assigned.
    was_assigned: bool,
    started: Instant,
    last_record: Instant,
}

impl Reader {
    /// Reads until the run is to end or, in a run until caught up, until everything is settled.
    fn read(&mut self) -> anyhow::Result<()> {
        let commit_interval = self.intake.config().commit_interval;
        let (mut housekept, mut committed) = (Instant::now(), Instant::now());
        while !self.intake.shutdown().is_requested() {
            self.poll()?;
            if housekept.elapsed() < HOUSEKEEPING && !self.intake.is_full() {
                continue;
            }
            housekept = Instant::now();
            self.is_paused &= !apply_assignment(&self.consumer, &mut self.intake);
            self.was_assigned |= !self.consumer.context().lock().open.is_empty();
            self.pause_or_resume()?;
            if committed.elapsed() >= commit_interval {
                committed = Instant::now();
                if let Err(error) = self.commit(CommitMode::Async) {
                    tracing::warn!("cannot commit offsets; retrying: {error:#}");
                }
                self.show_lag();
            }
            if self.intake.until_caught_up() && self.is_caught_up()? {
                break;
            }
        }
        self.intake.discard();
        Ok(())
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        match self.consumer.poll(LINGER) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => self.intake.flush(),
            Some(Ok(message)) => {
                self.last_record = Instant::now();
                // The poll may have called the rebalance callback, and the record may be of a new partition.
                self.is_paused &= !apply_assignment(&self.consumer, &mut self.intake);
                push(&mut self.intake, &message);
            }
            Some(Err(error)) => self.handle(error)?,
        }
        Ok(())
    }

    /// Logs an error that may pass; returns one that will not.
    fn handle(&self, error: KafkaError) -> anyhow::Result<()> {
        let access = &self.consumer.context().access;
        match error.rdkafka_error_code() {
            Some(code @ (RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                tracing::warn!(topics = ?self.topics, "a topic does not exist (yet): {code}");
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::InvalidGroupId,
            ) => {
                return Err(error).context("Kafka refuses access; check the topics, the group and source.properties");
            }
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

    /// Applies back-pressure.
    fn pause_or_resume(&mut self) -> anyhow::Result<()> {
        self.intake.retry_held();
        if self.intake.is_full() && !self.is_paused {
            self.consumer.pause(&self.consumer.assignment()?)?;
            self.is_paused = true;
        } else if self.is_paused && self.intake.has_room() {
            self.consumer.resume(&self.consumer.assignment()?)?;
            self.is_paused = false;
        }
        self.intake.show_flow(self.is_paused);
        Ok(())
    }

    fn commit(&self, mode: CommitMode) -> anyhow::Result<()> {
        self.consumer.context().commit(&self.consumer, None, mode)
    }

    /// Returns true if every partition is read and settled up to its end at start-up. The last offsets of a partition may
    /// hold no record (transaction markers, compaction), so a long idle time with everything settled counts too.
    fn is_caught_up(&self) -> anyhow::Result<bool> {
        anyhow::ensure!(
            self.was_assigned || self.started.elapsed() < ASSIGNMENT_TIMEOUT,
            "no partition of {:?} was assigned within {} s; do the topics exist, and does the group have no other members?",
            self.topics,
            ASSIGNMENT_TIMEOUT.as_secs()
        );
        let assignment = self.consumer.context().lock();
        let mut open = assignment.open.values();
        let is_at_end = |open: &OpenPartition| open.next_offset() >= open.end_at_start;
        Ok(!assignment.open.is_empty()
            && self.intake.is_settled()
            && (open.all(is_at_end) || self.last_record.elapsed() > IDLE))
    }

    fn show_lag(&self) {
        let assignment = self.consumer.context().lock();
        for (partition, open) in &assignment.open {
            let end = assignment.ends.get(partition).copied().unwrap_or(open.end_at_start);
            self.intake.show_lag(partition, (end - open.next_offset()).max(0));
        }
    }

    /// Waits until everything that was handed over is settled. It keeps polling, so that the group does not consider this
    /// member dead.
    fn drain(&mut self) {
        let deadline = Instant::now() + self.intake.config().shutdown_timeout;
        if let Ok(assignment) = self.consumer.assignment() {
            let _ = self.consumer.pause(&assignment);
        }
        while !self.intake.is_settled() && Instant::now() < deadline && !self.intake.shutdown().is_aborted() {
            self.intake.retry_held();
            let _ = self.consumer.poll(Duration::from_millis(5));
        }
    }
}

fn push(intake: &mut Intake, message: &BorrowedMessage<'_>) {
    let Some(buffer) = intake.buffer(message.topic(), message.partition()) else { return };
    let timestamp = message.timestamp().to_millis().unwrap_or(-1);
    let (offset, key, value) = (message.offset(), message.key(), message.payload());
    match message.headers() {
        None => intake.push(buffer, offset, timestamp, key, value, []),
        Some(headers) => {
            let headers = headers.iter().map(|header| (header.key, header.value));
            intake.push(buffer, offset, timestamp, key, value, headers);
        }
    }
}

/// Opens and closes buffers as the rebalance callback recorded.
///
/// Returns true if there are new partitions. They are not paused, even if the others are.
fn apply_assignment(consumer: &BaseConsumer<Group>, intake: &mut Intake) -> bool {
    let (assigned, revoked) = {
        let mut assignment = consumer.context().lock();
        if assignment.assigned.is_empty() && assignment.revoked.is_empty() {
            return false;
        }
        (std::mem::take(&mut assignment.assigned), std::mem::take(&mut assignment.revoked))
    };
    for partition in revoked {
        intake.close(&partition);
    }
    let has_new = !assigned.is_empty();
    let mut assignment = consumer.context().lock();
    for AssignedPartition { partition, clock_seconds, start, end } in assigned {
        let progress = intake.open(partition.clone(), clock_seconds);
        assignment.open.insert(partition, OpenPartition { progress, committed: None, end_at_start: end, start });
    }
    has_new
}
