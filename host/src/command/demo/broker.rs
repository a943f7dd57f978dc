//! The demo's Kafka: a broker in this process that holds the captured Canal stream, and rows that keep changing.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rowmill_rows::TopicPartition;
use rowmill_rows::capture::{CapturedRecord, Captures};

use crate::config::{KafkaConfig, Membership, MissingRecords, Start};
use crate::shutdown::Shutdown;

/// What Canal wrote while a shop's tables were being used.
const STREAM: &[u8] = include_bytes!("../../../demo/canal.ndjson");

/// Partitions of each topic of the stream.
const PARTITIONS: i32 = 3;

/// How often a row of each of [`CHANGING`] changes again.
const CHANGE_INTERVAL: Duration = Duration::from_millis(500);

/// The topics of the tables whose rows keep changing.
const CHANGING: [&str; 2] = ["shop_trade", "shop_orders"];

/// A broker in this process, which ends when it is dropped.
pub(super) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    topics: Vec<String>,
}

/// Changes rows of the captured stream again and again.
pub(super) struct Changes {
    producer: BaseProducer,
    records: Vec<CapturedRecord>,
}

impl Broker {
    /// Starts the broker and writes the captured stream to it.
    ///
    /// # Errors
    /// The broker cannot be started.
    pub fn start() -> anyhow::Result<(Self, Changes)> {
        let records = Captures::new(STREAM, "demo").collect::<Result<Vec<_>, _>>().context("the captured stream")?;
        let cluster = MockCluster::new(1).context("cannot start the broker of the demo")?;
        let mut topics: Vec<String> = records.iter().map(|record| record.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in &topics {
            cluster.create_topic(topic, PARTITIONS, 1)?;
        }
        let mut client = ClientConfig::new();
        let client = client.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "1");
        let producer: BaseProducer = client.create()?;
        for record in &records {
            produce(&producer, record)?;
        }
        producer.flush(Duration::from_secs(10))?;
        Ok((Self { cluster, topics }, Changes { producer, records }))
    }

    /// The source that reads all topics from their beginning. The partitions are given: the broker would let a group wait
    /// for seconds.
    pub fn source(&self) -> KafkaConfig {
        let partitions = self.topics.iter().flat_map(|topic| {
            (0..PARTITIONS).map(|partition| TopicPartition { topic: topic.as_str().into(), partition })
        });
        KafkaConfig {
            brokers: self.cluster.bootstrap_servers(),
            topics: self.topics.clone(),
            group: "rowmill-demo".into(),
            start: Start::Earliest,
            membership: Membership::Dynamic,
            missing_records: MissingRecords::Stop,
            properties: Default::default(),
            partitions: Some(partitions.collect()),
        }
    }
}

impl Changes {
    /// Repeats the last updates of some tables until the run is to end, as a shop would make them: with the current time, so
    /// that they are newer than the documents.
    ///
    /// # Errors
    /// The captured stream cannot be read.
    pub fn run(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut tables: Vec<(&str, Vec<LastUpdate>)> = Vec::new();
        for topic in CHANGING {
            tables.push((topic, last_updates(&self.records, topic)?));
        }
        let mut last = Instant::now();
        let mut next = 0;
        while !shutdown.is_requested() {
            if last.elapsed() < CHANGE_INTERVAL {
                self.producer.poll(Duration::from_millis(20));
                continue;
            }
            last = Instant::now();
            for (topic, rows) in tables.iter_mut().filter(|(_, rows)| !rows.is_empty()) {
                let place = next % rows.len();
                let (partition, value) = &mut rows[place];
                change(value)?;
                let payload = value.to_string();
                let message = BaseRecord::<(), _>::to(topic).partition(*partition).payload(payload.as_bytes());
                let _ = self.producer.send(message);
            }
            next += 1;
        }
        Ok(())
    }
}

/// Gives a message the current time, and the row's counter its next value.
fn change(value: &mut serde_json::Value) -> anyhow::Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    value["es"] = (now / 1000 * 1000).into();
    value["ts"] = now.into();
    // Only `trade` has such a column.
    let old = value["data"][0]["version"].clone();
    if let Some(version) = old.as_str().and_then(|version| version.parse::<u32>().ok()) {
        value["data"][0]["version"] = (version + 1).to_string().into();
        value["old"] = serde_json::json!([{ "version": old }]);
    }
    Ok(())
}

/// The last update of a row: its partition and the message.
type LastUpdate = (i32, serde_json::Value);

/// The last update of each row of a topic that still exists at the end of the stream: a row that a later record deletes or
/// moves must not return.
fn last_updates(records: &[CapturedRecord], topic: &str) -> anyhow::Result<Vec<LastUpdate>> {
    let mut rows: Vec<LastUpdate> = Vec::new();
    for record in records.iter().filter(|record| record.topic == topic) {
        let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default())?;
        let side = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let (data, old) = (side("data"), side("old"));
        for row in data.iter().chain(&old) {
            rows.retain(|(_, known)| known["data"][0]["id"] != row["id"]);
        }
        if value["type"] != "UPDATE" {
            continue;
        }
        // A message may hold several rows; each gets a message of its own.
        for (row, old) in data.into_iter().zip(old).filter(|(_, old)| old["id"].is_null()) {
            let mut single = value.clone();
            single["data"] = vec![row].into();
            single["old"] = vec![old].into();
            rows.push((record.partition, single));
        }
    }
    Ok(rows)
}

/// The last row with this ID in the captured stream of the table `trade`, as Canal wrote it.
pub(super) fn captured_trade(id: &str) -> Option<String> {
    let mut found = None;
    for record in Captures::new(STREAM, "demo").flatten().filter(|record| record.topic == "shop_trade") {
        let message: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).ok()?;
        let rows = message["data"].as_array().into_iter().flatten();
        found = rows.filter(|row| row["id"] == id).map(ToString::to_string).next_back().or(found);
    }
    found
}

fn produce(producer: &BaseProducer, record: &CapturedRecord) -> anyhow::Result<()> {
    let mut message =
        BaseRecord::<[u8], [u8]>::to(&record.topic).partition(record.partition).timestamp(record.timestamp);
    if let Some(key) = &record.key {
        message = message.key(key);
    }
    if let Some(value) = &record.value {
        message = message.payload(value);
    }
    producer.send(message).map_err(|(error, _)| error)?;
    Ok(())
}
