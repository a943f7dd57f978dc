//! The demo's source: the captured Canal stream, from a broker in this process that speaks Kafka's protocol.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rowmill_rows::TopicPartition;
use rowmill_rows::capture::{CapturedRecord, Captures};

use super::{Intake, Stop, kafka};
use crate::config::{KafkaConfig, Start};

/// What Canal wrote of the shop's tables while they were worked with.
const STREAM: &[u8] = include_bytes!("../../demo/canal.ndjson");

/// Partitions of each topic of the stream.
const PARTITIONS: i32 = 3;

/// How often the living demo changes a row of each of [`LIVING`] again.
const PULSE: Duration = Duration::from_millis(500);

/// The topics of the tables whose rows keep changing.
const LIVING: [&str; 2] = ["shop_trade", "shop_orders"];

/// Runs the demo's source: the captured stream, and unless it is to run until caught up then changes for ever.
///
/// # Errors
/// The broker cannot be made.
pub fn run(intake: Intake) -> anyhow::Result<()> {
    let records = Captures::new(STREAM, "demo").collect::<Result<Vec<_>, _>>().context("the captured stream")?;
    let cluster: MockCluster<'_, DefaultProducerContext> =
        MockCluster::new(1).context("cannot start the broker of the demo")?;
    let mut topics: Vec<&str> = records.iter().map(|record| record.topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in &topics {
        cluster.create_topic(topic, PARTITIONS, 1)?;
    }
    let config = KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        topics: topics.iter().map(ToString::to_string).collect(),
        group: "rowmill-demo".into(),
        start: Start::Earliest,
        properties: Default::default(),
        partitions: Some(
            topics
                .iter()
                .flat_map(|topic| (0..PARTITIONS).map(|partition| TopicPartition { topic: (*topic).into(), partition }))
                .collect(),
        ),
    };
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).set("linger.ms", "1").create()?;
    for record in &records {
        produce(&producer, record)?;
    }
    producer.flush(Duration::from_secs(10))?;
    if intake.until_caught_up {
        return kafka::run(&config, intake);
    }
    let stop = intake.stop.clone();
    std::thread::scope(|scope| {
        let pulse = scope.spawn(|| keep_changing(&producer, &records, &stop));
        let result = kafka::run(&config, intake);
        stop.request();
        let _ = pulse.join();
        result
    })
}

/// A row as its last update left it: its partition, and the message.
type Last = (i32, serde_json::Value);

/// Sends the last updates of some tables again and again, as a shop would: with the time of now, so that they are newer
/// than what is there.
fn keep_changing(producer: &BaseProducer, records: &[CapturedRecord], stop: &Stop) -> anyhow::Result<()> {
    let mut tables: Vec<(&str, Vec<Last>)> = Vec::new();
    for topic in LIVING {
        tables.push((topic, last_updates(records, topic)?));
    }
    let mut last = Instant::now();
    let mut next = 0;
    while !stop.is_requested() {
        if last.elapsed() < PULSE {
            producer.poll(Duration::from_millis(20));
            continue;
        }
        last = Instant::now();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
        for (topic, rows) in tables.iter_mut().filter(|(_, rows)| !rows.is_empty()) {
            let place = next % rows.len();
            let (partition, value) = &mut rows[place];
            value["es"] = (now / 1000 * 1000).into();
            value["ts"] = now.into();
            // Only `trade` has a column that counts.
            let old = value["data"][0]["version"].clone();
            if let Some(version) = old.as_str().and_then(|version| version.parse::<u32>().ok()) {
                value["data"][0]["version"] = (version + 1).to_string().into();
                value["old"] = serde_json::json!([{ "version": old }]);
            }
            let payload = value.to_string();
            let _ = producer.send(BaseRecord::<(), _>::to(topic).partition(*partition).payload(payload.as_bytes()));
        }
        next += 1;
    }
    Ok(())
}

/// The last update of each row of a topic that is still there when the stream ends: what a later record deletes or moves
/// must not come back.
fn last_updates(records: &[CapturedRecord], topic: &str) -> anyhow::Result<Vec<Last>> {
    let mut rows: Vec<Last> = Vec::new();
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
        // A message may have several rows; each is sent again alone.
        for (row, old) in data.into_iter().zip(old).filter(|(_, old)| old["id"].is_null()) {
            let mut alone = value.clone();
            alone["data"] = vec![row].into();
            alone["old"] = vec![old].into();
            rows.push((record.partition, alone));
        }
    }
    Ok(rows)
}

/// The last row with this id that the captured stream has of the table `trade`, as Canal wrote it.
pub fn captured_trade(id: &str) -> Option<String> {
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
