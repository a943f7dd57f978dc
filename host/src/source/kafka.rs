//! Records from Kafka: one thread polls, batches, pauses and commits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use rowmill_rows::TopicPartition;

use crate::kafka::{self, Access};
use super::{Intake, Lanes};
use crate::checkpoint::{Progress, Watermark};
use crate::config::{ConfigError, KafkaConfig, Start};

/// How long a record waits for others of its batch when the stream is slow.
const LINGER: Duration = Duration::from_millis(5);
/// How long a question to the brokers may take.
const ASK: Duration = Duration::from_secs(10);
/// How often pausing, committing and the lag are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// Without any partition after this time, a run until caught up gives up.
const NO_ASSIGNMENT: Duration = Duration::from_secs(60);

/// Without any record for this time, and everything settled, a run until caught up takes the end as reached.
const IDLE: Duration = Duration::from_secs(15);

/// The section that says how to log in.
const PROPERTIES: &str = "[source.properties]";

/// The partition's clock in the metadata of a committed offset.
const CLOCK: &str = "rowmill:clock=";

/// What the rebalance callback and the poll loop tell each other.
#[derive(Default)]
struct Assignment {
    /// Newly assigned partitions, for the loop to open.
    assigned: Vec<Assigned>,
    /// Lost partitions, for the loop to close.
    revoked: Vec<TopicPartition>,
    /// What is settled of each partition that is assigned now; the callback commits from it before a partition goes.
    open: HashMap<TopicPartition, Open>,
    /// The ends of partitions as the client's statistics tell them. They come with every fetch: to ask for them would
    /// hold up the poll thread, and behind a waiting fetch the questions time out, which closes the connection.
    ends: HashMap<TopicPartition, i64>,
}

/// A newly assigned partition.
struct Assigned {
    partition: TopicPartition,
    clock_seconds: i64,
    /// The first offset to read.
    start: i64,
    /// The partition's end at that time.
    end: i64,
}

struct Open {
    progress: Arc<Progress>,
    committed: Option<Watermark>,
    /// The partition's end when it was assigned.
    end_at_start: i64,
    /// The first offset that was to be read.
    start: i64,
}

struct Rebalancer {
    start: Start,
    /// Whether the partitions come from the group; else they are given.
    member: bool,
    access: Access,
    assignment: Mutex<Assignment>,
}

impl Rebalancer {
    fn lock(&self) -> std::sync::MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to begin in newly assigned partitions: at the commit, else where the configuration says. Always a number,
    /// so that it is known how much there is to read.
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        let committed = consumer.committed_offsets(partitions.clone(), ASK)?;
        let mut by_time = HashMap::new();
        if let Start::At(milliseconds) = self.start {
            let mut times = TopicPartitionList::new();
            for element in committed.elements() {
                times.add_partition_offset(element.topic(), element.partition(), Offset::Offset(milliseconds))?;
            }
            for element in consumer.offsets_for_times(times, ASK)?.elements() {
                if let Offset::Offset(offset) = element.offset() {
                    by_time.insert((element.topic().to_string(), element.partition()), offset);
                }
            }
        }
        let mut starts = TopicPartitionList::new();
        let mut assigned = Vec::new();
        for element in committed.elements() {
            let (low, end) = consumer.fetch_watermarks(element.topic(), element.partition(), ASK)?;
            let start = match (element.offset(), self.start) {
                (Offset::Offset(committed), _) => committed.max(low),
                (_, Start::Earliest) => low,
                (_, Start::Latest) => end,
                // Nothing is as new as that: at the end.
                (_, Start::At(_)) => {
                    by_time.get(&(element.topic().to_string(), element.partition())).copied().unwrap_or(end)
                }
            };
            starts.add_partition_offset(element.topic(), element.partition(), Offset::Offset(start))?;
            let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() };
            let clock_seconds =
                element.metadata().strip_prefix(CLOCK).and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
            assigned.push(Assigned { partition, clock_seconds, start, end });
        }
        match self.member {
            true => consumer.incremental_assign(&starts)?,
            false => consumer.assign(&starts)?,
        }
        self.lock().assigned.extend(assigned);
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        // While it is ours what is settled is committed, so that the next owner repeats as little as possible.
        if !consumer.assignment_lost() {
            let _ = self.commit(consumer, Some(partitions), CommitMode::Sync);
        }
        let mut assignment = self.lock();
        for element in partitions.elements() {
            let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() };
            assignment.open.remove(&partition);
            assignment.assigned.retain(|assigned| assigned.partition != partition);
            assignment.revoked.push(partition);
        }
        drop(assignment);
        consumer.incremental_unassign(partitions)
    }

    /// Commits the watermarks that moved: of these partitions, or of all.
    fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        only: Option<&TopicPartitionList>,
        mode: CommitMode,
    ) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::new();
        let mut moved = Vec::new();
        {
            let assignment = self.lock();
            for (partition, open) in &assignment.open {
                let wanted =
                    only.is_none_or(|only| only.find_partition(&partition.topic, partition.partition).is_some());
                let Some(watermark) = open.progress.watermark().filter(|mark| wanted && open.committed != Some(*mark))
                else {
                    continue;
                };
                let mut element = offsets.add_partition(&partition.topic, partition.partition);
                element.set_offset(Offset::Offset(watermark.next_offset))?;
                element.set_metadata(format!("{CLOCK}{}", watermark.clock_seconds));
                moved.push((partition.clone(), watermark));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        consumer.commit(&offsets, mode)?;
        let mut assignment = self.lock();
        for (partition, watermark) in moved {
            if let Some(open) = assignment.open.get_mut(&partition) {
                open.committed = Some(watermark);
            }
        }
        Ok(())
    }
}

impl ClientContext for Rebalancer {
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
        // The end of a partition is reported as an error; it is none.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        // The poll that brought it returns it too, and says it.
        self.access.note(&error, reason, PROPERTIES);
    }
}

impl ConsumerContext for Rebalancer {
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
            other => Err(KafkaError::Rebalance(other.into())),
        };
        if let Err(error) = result {
            tracing::error!(%error, "a rebalance failed; the group will try again");
            // Left unassigned, the consumer would idle for ever: the group is told that it has nothing.
            let _ = consumer.unassign();
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            let mut assignment = self.lock();
            for element in offsets.elements() {
                let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() };
                if let Some(open) = assignment.open.get_mut(&partition) {
                    open.committed = None;
                }
            }
            drop(assignment);
            if !matches!(error, KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) {
                tracing::warn!(%error, "offsets could not be committed; they are tried again");
            }
        }
    }
}

/// The client's configuration.
fn client(config: &KafkaConfig) -> ClientConfig {
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
        // New topics of a regular expression are found within half a minute.
        .set("topic.metadata.refresh.interval.ms", "30000")
        // What is fetched ahead is memory; the default of 64 MB a consumer is more than the rest of Rowmill uses.
        .set("queued.max.messages.kbytes", "16384")
        // A full queue must not stop fetching for a second.
        .set("fetch.queue.backoff.ms", "10")
        // Why a connection failed is told in the log alone; where it goes is for us to say.
        .set_log_level(RDKafkaLogLevel::Info);
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
}

/// Asks the brokers for their topics, to check a configuration. Returns names and numbers of partitions.
///
/// # Errors
/// The brokers cannot be reached or do not let us in, or a property is not known; the message says what to do.
pub fn check(config: &KafkaConfig, timeout: Duration) -> anyhow::Result<Vec<(String, usize)>> {
    let mut client = client(config);
    client.set("statistics.interval.ms", "0");
    kafka::topics(&client, PROPERTIES, &config.brokers, timeout)
}

/// Reads from Kafka until it is stopped, or until it has caught up.
///
/// # Errors
/// The client cannot be made, or Kafka refuses it for good.
pub fn run(config: &KafkaConfig, intake: Intake) -> anyhow::Result<()> {
    let context = Rebalancer {
        start: config.start,
        member: config.partitions.is_none(),
        access: Access::default(),
        assignment: Mutex::default(),
    };
    let consumer: BaseConsumer<Rebalancer> = client(config).create_with_context(context).map_err(|error| {
        ConfigError(format!("cannot make the Kafka consumer: {error}; check the properties in {PROPERTIES}"))
    })?;
    let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
    match &config.partitions {
        None => consumer.subscribe(&topics).with_context(|| format!("cannot subscribe to {topics:?}"))?,
        Some(partitions) => {
            let mut list = TopicPartitionList::new();
            for partition in partitions {
                list.add_partition(&partition.topic, partition.partition);
            }
            consumer.context().assign(&consumer, &list).context("cannot assign the partitions")?;
        }
    }
    let commit_interval = intake.config.commit_interval;
    let until_caught_up = intake.until_caught_up;
    let mut lanes = Lanes::new(intake);
    let mut paused = false;
    let (begin, mut looked, mut committed) = (Instant::now(), Instant::now(), Instant::now());
    let mut ever_assigned = false;
    let mut last_record = Instant::now();

    while !lanes.intake().stop.is_requested() {
        match consumer.poll(LINGER) {
            None => lanes.flush(),
            Some(Ok(message)) => {
                last_record = Instant::now();
                paused &= !take_assignment(&consumer, &mut lanes);
                if let Some(lane) = lanes.lane(message.topic(), message.partition()) {
                    let timestamp = message.timestamp().to_millis().unwrap_or(-1);
                    match message.headers() {
                        None => lanes.push(lane, message.offset(), timestamp, message.key(), message.payload(), []),
                        Some(headers) => {
                            let headers = headers.iter().map(|header| (header.key, header.value));
                            lanes.push(lane, message.offset(), timestamp, message.key(), message.payload(), headers);
                        }
                    }
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => lanes.flush(),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(code @ (RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                    tracing::warn!(?topics, "a topic does not exist (yet): {code}");
                }
                Some(
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::Fatal
                    | RDKafkaErrorCode::InvalidGroupId,
                ) => {
                    return Err(error).context("Kafka refuses us; check the topics, the group and source.properties");
                }
                // Once we were let in, a refusal is a cluster at work on itself, and tried again.
                _ if !ever_assigned && let Some(refused) = consumer.context().access.refused() => {
                    anyhow::bail!(refused);
                }
                _ => tracing::warn!(%error, reason = consumer.context().access.take_told(), "Kafka; trying again"),
            },
        }
        if looked.elapsed() < HOUSEKEEPING && !lanes.is_full() {
            continue;
        }
        looked = Instant::now();
        paused &= !take_assignment(&consumer, &mut lanes);
        ever_assigned |= !consumer.context().lock().open.is_empty();
        lanes.retry_held();
        if lanes.is_full() && !paused {
            consumer.pause(&consumer.assignment()?)?;
            paused = true;
        } else if paused && lanes.has_room() {
            consumer.resume(&consumer.assignment()?)?;
            paused = false;
        }
        let metrics = &lanes.intake().metrics;
        metrics.paused.set(i64::from(paused));
        metrics.bytes_in_flight.set(lanes.intake().bytes.now() as i64);
        if committed.elapsed() >= commit_interval {
            committed = Instant::now();
            if let Err(error) = consumer.context().commit(&consumer, None, CommitMode::Async) {
                tracing::warn!(%error, "offsets could not be committed; they are tried again");
            }
            show_lag(&consumer, &lanes);
        }
        if until_caught_up {
            if is_caught_up(&consumer, &lanes, last_record.elapsed()) {
                break;
            }
            anyhow::ensure!(
                ever_assigned || begin.elapsed() < NO_ASSIGNMENT,
                "no partition of {topics:?} was assigned within {} s; do the topics exist, and has the group no other members?",
                NO_ASSIGNMENT.as_secs()
            );
        }
    }
    lanes.discard();
    drain(&consumer, &mut lanes);
    match consumer.context().commit(&consumer, None, CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            tracing::warn!(%error, "the last offsets could not be committed; some records will be read again")
        }
    }
    Ok(())
}

/// Opens and closes lanes as the rebalance callback said.
///
/// Returns whether there are new partitions: they are not paused, whatever the others are.
fn take_assignment(consumer: &BaseConsumer<Rebalancer>, lanes: &mut Lanes) -> bool {
    let (assigned, revoked) = {
        let mut assignment = consumer.context().lock();
        if assignment.assigned.is_empty() && assignment.revoked.is_empty() {
            return false;
        }
        (std::mem::take(&mut assignment.assigned), std::mem::take(&mut assignment.revoked))
    };
    for partition in revoked {
        lanes.close(&partition);
    }
    let new = !assigned.is_empty();
    let mut assignment = consumer.context().lock();
    for Assigned { partition, clock_seconds, start, end } in assigned {
        let progress = lanes.open(partition.clone(), clock_seconds);
        assignment.open.insert(partition, Open { progress, committed: None, end_at_start: end, start });
    }
    new
}

/// Whether each partition's end at start-up is read and settled. The last offsets of a partition can hold no record
/// (markers of transactions, compaction), so a long idle time with everything settled counts as the end too.
fn is_caught_up(consumer: &BaseConsumer<Rebalancer>, lanes: &Lanes, idle: Duration) -> bool {
    let assignment = consumer.context().lock();
    let at_end =
        |open: &Open| open.progress.watermark().map_or(open.start, |mark| mark.next_offset) >= open.end_at_start;
    !assignment.open.is_empty() && lanes.is_settled() && (assignment.open.values().all(at_end) || idle > IDLE)
}

fn show_lag(consumer: &BaseConsumer<Rebalancer>, lanes: &Lanes) {
    let open: Vec<_> = consumer
        .context()
        .lock()
        .open
        .iter()
        .map(|(partition, open)| (partition.clone(), open.progress.watermark(), open.start, open.end_at_start))
        .collect();
    let ends = consumer.context().lock().ends.clone();
    for (partition, watermark, start, end_at_start) in open {
        let end = ends.get(&partition).copied().unwrap_or(end_at_start);
        let next = watermark.map_or(start, |mark| mark.next_offset);
        lanes.show_lag(&partition, (end - next).max(0));
    }
}

/// Waits until what was handed over is settled, polling on so that the group does not take us for dead.
fn drain(consumer: &BaseConsumer<Rebalancer>, lanes: &mut Lanes) {
    let deadline = Instant::now() + lanes.intake().config.shutdown_timeout;
    if let Ok(assignment) = consumer.assignment() {
        let _ = consumer.pause(&assignment);
    }
    while !lanes.is_settled() && Instant::now() < deadline && !lanes.intake().stop.is_now() {
        lanes.retry_held();
        let _ = consumer.poll(Duration::from_millis(5));
    }
}
