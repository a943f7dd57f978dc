//! The configuration topic: the last record of a compacted Kafka topic overrides the file, so that many gateways change at
//! once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::config::{ConfigError, ConfigTopicConfig, Layer};
use crate::kafka::{self, AccessContext};

/// The section with the login properties, for messages.
const PROPERTIES: &str = "[config_topic.properties]";
/// How long to wait for an answer from the brokers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The timeout of one poll, after which the shutdown and the deadline are checked.
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// The only partition. With several, the order of changes would be undefined.
const PARTITION: i32 = 0;

/// A topic that has been read to its end, and can be followed from there.
pub struct Topic {
    config: ConfigTopicConfig,
    consumer: BaseConsumer<AccessContext>,
    last: Option<PushedRecord>,
}

/// A record with this gateway's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedRecord {
    /// Its offset, in partition 0.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Its text; `None` if it removes the previous record.
    pub value: Option<Vec<u8>>,
}

impl Topic {
    /// Reads the topic to its end.
    ///
    /// # Errors
    /// The brokers do not answer or refuse the connection, or there is no such topic with one partition.
    pub fn open(config: &ConfigTopicConfig) -> anyhow::Result<Self> {
        let topic = &config.topic;
        Self::read(config).with_context(|| format!("the configuration topic {topic}"))
    }

    fn read(config: &ConfigTopicConfig) -> anyhow::Result<Self> {
        let mut client = client(config);
        let topics = kafka::topics(&client, PROPERTIES, &config.brokers, ANSWER_TIMEOUT)?;
        match topics.iter().find(|(name, _)| *name == config.topic) {
            Some((_, 1)) => {}
            Some((_, n)) => bail!(ConfigError(format!(
                "it has {n} partitions, so the order of changes is undefined; use a topic with one partition"
            ))),
            None => bail!(ConfigError(
                "the topic does not exist; create it with one partition and cleanup.policy=compact".into()
            )),
        }
        client
            // A consumer needs a group; it does not join it and commits nothing.
            .set("group.id", "rowmill-config")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer<AccessContext> = client
            .create_with_context(AccessContext::new(PROPERTIES))
            .with_context(|| format!("a property in {PROPERTIES}"))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&config.topic, PARTITION, Offset::Beginning)?;
        consumer.assign(&list)?;
        let mut topic = Self { config: config.clone(), consumer, last: None };
        let mut deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match topic.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) => {
                    deadline = Instant::now() + ANSWER_TIMEOUT;
                    if let Some(record) = pushed_record(&message, &topic.config.key) {
                        topic.last = Some(record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(topic),
                Some(Err(_)) | None => {
                    let reason = topic.consumer.context().take_message().unwrap_or_else(|| "no records".into());
                    ensure!(
                        Instant::now() < deadline,
                        "it does not answer: {reason}; check config_topic.brokers, and that they run"
                    );
                }
            }
        }
    }

    /// The last record; `None` if there is none, or it was removed.
    pub fn record(&self) -> Option<&PushedRecord> {
        self.last.as_ref().filter(|record| record.value.is_some())
    }

    /// The layer in the last record, which overrides the file; `None` if there is none.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn layer(&self) -> Result<Option<Layer>, ConfigError> {
        self.record().map_or(Ok(None), |record| record.layer(&self.config.topic))
    }

    /// Follows the topic until `stopped` is closed, and sends new records to `sender`.
    pub(super) fn follow(self, sender: &Sender<PushedRecord>, stopped: &Receiver<()>) {
        while !stopped.try_recv().is_err_and(|error| error.is_disconnected()) {
            let Some(polled) = self.consumer.poll(POLL_TIMEOUT) else { continue };
            match polled {
                Ok(message) => {
                    if let Some(record) = pushed_record(&message, &self.config.key)
                        && sender.send(record).is_err()
                    {
                        return;
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                // The client retries automatically.
                Err(error) => {
                    let reason = self.consumer.context().take_message().unwrap_or_default();
                    tracing::warn!(%error, topic = self.config.topic, reason, "the configuration topic cannot be read, retrying; the running configuration stays in effect");
                }
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.topic
    }
}

impl PushedRecord {
    /// The layer in the record; `None` if it removes the previous record.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn layer(&self, topic: &str) -> Result<Option<Layer>, ConfigError> {
        let name = format!("the record at offset {} of partition {PARTITION} of the topic {topic}", self.offset);
        let Some(value) = &self.value else { return Ok(None) };
        match String::from_utf8(value.clone()) {
            Ok(text) => Ok(Some(Layer { text, name })),
            Err(_) => Err(ConfigError(format!("{name} is not UTF-8; push a TOML file with `rowmill config push`"))),
        }
    }
}

/// Writes a record, or removes the previous one. Returns the offset of the record.
///
/// # Errors
/// The brokers reject it or do not answer.
pub fn push(config: &ConfigTopicConfig, text: Option<&str>) -> anyhow::Result<i64> {
    let (sender, delivered) = bounded(1);
    let mut client = client(config);
    client.set("enable.idempotence", "true").set("acks", "all");
    let producer: ThreadedProducer<Delivery> =
        client.create_with_context(Delivery(sender)).with_context(|| format!("a property in {PROPERTIES}"))?;
    let mut record: BaseRecord<'_, str, str> =
        BaseRecord::to(&config.topic).partition(PARTITION).key(config.key.as_str());
    record.payload = text;
    producer.send(record).map_err(|(error, _)| error).context("cannot write the record")?;
    match delivered.recv_timeout(ANSWER_TIMEOUT) {
        Ok(result) => result.map_err(anyhow::Error::msg).context("Kafka rejects the record"),
        Err(_) => bail!("no answer from the brokers {} in {} s", config.brokers, ANSWER_TIMEOUT.as_secs()),
    }
}

fn client(config: &ConfigTopicConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    // librdkafka reports why a connection failed in its log only; `AccessContext` reads it there.
    client.set_log_level(RDKafkaLogLevel::Info);
    let properties: &BTreeMap<String, String> = &config.properties;
    for (key, value) in properties {
        client.set(key, value);
    }
    client
}

fn pushed_record(message: &BorrowedMessage<'_>, key: &str) -> Option<PushedRecord> {
    (message.key() == Some(key.as_bytes())).then(|| PushedRecord {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        value: message.payload().map(<[u8]>::to_vec),
    })
}

struct Delivery(Sender<Result<i64, String>>);

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivered = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        // The receiver may have timed out.
        let _ = self.0.try_send(delivered);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;

    fn cluster(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, ConfigTopicConfig) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("settings", partitions, 1).unwrap();
        let config = ConfigTopicConfig {
            brokers: cluster.bootstrap_servers(),
            topic: "settings".into(),
            key: "fleet".into(),
            properties: BTreeMap::new(),
        };
        (cluster, config)
    }

    #[test]
    fn the_last_record_of_the_key_counts_and_a_tombstone_removes_it() {
        let (_cluster, config) = cluster(1);
        assert_eq!(Topic::open(&config).unwrap().record(), None);
        for text in ["one", "two"] {
            push(&config, Some(text)).unwrap();
        }
        push(&ConfigTopicConfig { key: "another".into(), ..config.clone() }, Some("three")).unwrap();
        let topic = Topic::open(&config).unwrap();
        let layer = topic.layer().unwrap().unwrap();
        assert_eq!(layer.text, "two");
        assert!(layer.name.contains("offset 1 of partition 0 of the topic settings"), "{}", layer.name);

        let (sender, records) = crossbeam_channel::unbounded();
        let (stop, stopped) = bounded::<()>(0);
        let follower = std::thread::spawn(move || topic.follow(&sender, &stopped));
        for text in [Some("four"), None] {
            push(&config, text).unwrap();
            let record = records.recv_timeout(ANSWER_TIMEOUT).unwrap();
            assert_eq!(record.value.as_deref(), text.map(str::as_bytes));
        }
        drop(stop);
        follower.join().unwrap();
        assert_eq!(Topic::open(&config).unwrap().layer().unwrap(), None);
    }

    #[test]
    fn a_topic_that_cannot_be_used_is_an_error() {
        let (_cluster, config) = cluster(3);
        let error = |config: &ConfigTopicConfig| format!("{:#}", Topic::open(config).err().unwrap());
        assert!(error(&config).contains("3 partitions"));
        let other = ConfigTopicConfig { topic: "other".into(), ..config };
        assert!(error(&other).contains("cleanup.policy=compact"), "{}", error(&other));
    }
}
