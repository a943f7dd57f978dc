//! Kafka: topics of the benchmark's events, a producer at a constant rate, and the raw consumer.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rowmill_tests::kafka::Kafka;
use serde_json::json;

use crate::events::{Events, Pool, key};

const PATIENCE: Duration = Duration::from_secs(120);
/// How often a producer at a constant rate sends what is due.
const TICK: Duration = Duration::from_micros(500);

/// A topic of this run; deleted when it is dropped, so that it does not fill the broker's disk.
pub struct Topic {
    /// Its name.
    pub name: String,
    brokers: String,
    partitions: u64,
}

impl Topic {
    /// Creates an empty topic.
    pub fn create(brokers: &str, partitions: u64) -> Self {
        let name = rowmill_tests::unique(&format!("flow-{partitions}"));
        Kafka { brokers: brokers.into() }.create(&name, partitions as i32);
        Self { name, brokers: brokers.into(), partitions }
    }

    /// Writes `n` events of this seed, each with content of its own. Returns how many of them the filter keeps, and their
    /// size in bytes.
    ///
    /// # Errors
    /// The broker does not accept them.
    pub fn fill(&self, n: u64, seed: u64) -> anyhow::Result<(u64, u64)> {
        let (mut producer, mut events) = (self.producer("20")?, Events::new(seed));
        let (mut event, mut kept, mut bytes) = (String::new(), 0, 0);
        for number in 0..n {
            kept += u64::from(events.write(number, &mut event));
            bytes += event.len() as u64;
            producer.send(number, event.as_bytes())?;
        }
        producer.flush()?;
        Ok((kept, bytes))
    }

    /// A producer for this topic, which waits this many milliseconds for a batch to fill.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn producer(&self, linger_ms: &str) -> anyhow::Result<RecordProducer<'_>> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("acks", "1")
            .set("linger.ms", linger_ms)
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "262144")
            .create()?;
        Ok(RecordProducer { topic: self, producer })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let client: Result<AdminClient<DefaultClientContext>, _> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let (Ok(client), Ok(runtime)) = (client, runtime) {
            // The broker's data is deleted after the benchmark in any case, unless it is a broker of the user's.
            let _ = runtime.block_on(client.delete_topics(&[&self.name], &AdminOptions::new()));
        }
    }
}

/// Writes events to a topic: event `n` to partition `n` modulo their number.
pub struct RecordProducer<'a> {
    topic: &'a Topic,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl RecordProducer<'_> {
    /// Sends an event that writes this document; waits if the producer's queue is full.
    ///
    /// # Errors
    /// The record is not accepted.
    pub fn send(&mut self, document: u64, event: &[u8]) -> anyhow::Result<()> {
        let (key, partition) = (key(document), (document % self.topic.partitions) as i32);
        let mut record = BaseRecord::to(&self.topic.name).partition(partition).key(&key).payload(event);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    record = returned;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Sends the events of a schedule, each at its time or as soon after it as possible. Returns by how much the latest one
    /// was late.
    ///
    /// # Errors
    /// A record is not accepted.
    pub fn send_on_time(&mut self, schedule: &Schedule, pool: &Pool) -> anyhow::Result<Duration> {
        let write = |n, event: &mut Vec<u8>| {
            pool.write(n, event);
            n
        };
        self.send_while(schedule, || true, write).map(|(_, late)| late)
    }

    /// Sends events like [`RecordProducer::send_on_time`], as long as `goes_on` returns true. `write` writes an event and returns
    /// the document that it writes. Also returns the number after the last event's.
    ///
    /// # Errors
    /// A record is not accepted.
    pub fn send_while(
        &mut self,
        schedule: &Schedule,
        goes_on: impl Fn() -> bool,
        mut write: impl FnMut(u64, &mut Vec<u8>) -> u64,
    ) -> anyhow::Result<(u64, Duration)> {
        let (mut event, mut next, mut late) = (Vec::new(), schedule.first, Duration::ZERO);
        while next < schedule.end && goes_on() {
            while next < schedule.end && schedule.time_of(next) <= Instant::now() {
                let document = write(next, &mut event);
                self.send(document, &event)?;
                late = late.max(schedule.time_of(next).elapsed());
                next += 1;
            }
            std::thread::sleep(TICK);
        }
        self.flush()?;
        Ok((next, late))
    }

    /// Waits until the broker has acknowledged everything.
    ///
    /// # Errors
    /// It does not.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.producer.flush(PATIENCE).context("the broker does not acknowledge the records")
    }
}

/// When each event is sent, whatever happened to those before it: a slow consumer does not slow it down.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// The number of the first event.
    pub first: u64,
    /// The number after the last event's.
    pub end: u64,
    /// The time of the first event.
    pub begin: Instant,
    /// Events per second.
    pub rate: f64,
}

impl Schedule {
    /// The time of event `n`.
    pub fn time_of(&self, n: u64) -> Instant {
        self.begin + Duration::from_secs_f64((n - self.first) as f64 / self.rate)
    }
}

/// A consumer with librdkafka's defaults and nothing else, which reads all partitions of a topic from their beginning.
pub struct RawConsumer(BaseConsumer);

impl RawConsumer {
    /// Starts to read.
    ///
    /// # Errors
    /// The broker does not know the topic.
    pub fn start(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "flow-raw-consumer")
            .set("enable.auto.commit", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            partitions.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        Ok(Self(consumer))
    }

    /// Reads this many records and calls `each` with the size of their values.
    ///
    /// # Errors
    /// The broker does not deliver them.
    pub fn read(&self, n: u64, mut each: impl FnMut(usize)) -> anyhow::Result<()> {
        let (begin, mut read) = (Instant::now(), 0);
        while read < n {
            ensure!(begin.elapsed() < PATIENCE, "{read} of {n} records");
            let Some(message) = self.0.poll(Duration::from_millis(100)) else { continue };
            each(message?.payload_len());
            read += 1;
        }
        Ok(())
    }
}

/// Reads `events` records of a topic, and prints a summary like the gateway's.
///
/// # Errors
/// The broker does not deliver them.
pub fn consume(brokers: &str, topic: &str, events: u64) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut bytes = 0;
    RawConsumer::start(brokers, topic)?.read(events, |size| bytes += size)?;
    println!("{}", json!({ "events": events, "bytes": bytes, "seconds": begin.elapsed().as_secs_f64() }));
    Ok(())
}
