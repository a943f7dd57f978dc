//! The second place of a configuration: a record of a compacted Kafka topic, laid over the file, so that a fleet changes
//! together.

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

/// The section that says how to log in.
const PROPERTIES: &str = "[config_topic.properties]";
/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the end is thought of while nothing comes.
const STEP: Duration = Duration::from_millis(200);
/// The one partition: with several the order of changes would not be known.
const PARTITION: i32 = 0;

/// A topic that was read to its end, to be followed from there.
pub struct Topic {
    config: ConfigTopicConfig,
    consumer: BaseConsumer<AccessContext>,
    last: Option<Said>,
}

/// The last record of our key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its offset, in partition 0.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Its text; `None` where it takes away what was said before.
    pub value: Option<Vec<u8>>,
}

impl Topic {
    /// Reads the topic to its end.
    ///
    /// # Errors
    /// The brokers do not answer, do not let us in, or have no such topic of one partition.
    pub fn open(config: &ConfigTopicConfig) -> anyhow::Result<Self> {
        let topic = &config.topic;
        Self::read(config).with_context(|| format!("the configuration's topic {topic}"))
    }

    fn read(config: &ConfigTopicConfig) -> anyhow::Result<Self> {
        let mut client = client(config);
        let topics = kafka::topics(&client, PROPERTIES, &config.brokers, PATIENCE)?;
        match topics.iter().find(|(name, _)| *name == config.topic) {
            Some((_, 1)) => {}
            Some((_, n)) => bail!(ConfigError(format!(
                "it has {n} partitions, so the order of changes is not known; use a topic of one partition"
            ))),
            None => bail!(ConfigError(
                "there is none of that name; create it with one partition and cleanup.policy=compact".into()
            )),
        }
        client
            // Needed to make a consumer; the group is not joined and nothing is committed.
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
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            match topic.consumer.poll(STEP) {
                Some(Ok(message)) => {
                    deadline = Instant::now() + PATIENCE;
                    if let Some(said) = said(&message, &topic.config.key) {
                        topic.last = Some(said);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(topic),
                Some(Err(_)) | None => {
                    let told = topic.consumer.context().take_message().unwrap_or_else(|| "nothing came".into());
                    ensure!(
                        Instant::now() < deadline,
                        "it does not answer: {told}; are the brokers right and running?"
                    );
                }
            }
        }
    }

    /// What holds now; `None` if nothing is said, or it was taken away.
    pub fn said(&self) -> Option<&Said> {
        self.last.as_ref().filter(|said| said.value.is_some())
    }

    /// What holds now, to be laid over the file.
    ///
    /// # Errors
    /// It is no text.
    pub fn layer(&self) -> Result<Option<Layer>, ConfigError> {
        self.said().map_or(Ok(None), |said| said.layer(&self.config.topic))
    }

    /// Follows the topic until `stopped` is closed: what is said from now on arrives in `sender`.
    pub(super) fn follow(self, sender: &Sender<Said>, stopped: &Receiver<()>) {
        while !stopped.try_recv().is_err_and(|error| error.is_disconnected()) {
            let Some(polled) = self.consumer.poll(STEP) else { continue };
            match polled {
                Ok(message) => {
                    if let Some(said) = said(&message, &self.config.key)
                        && sender.send(said).is_err()
                    {
                        return;
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                // The client tries again by itself.
                Err(error) => {
                    let told = self.consumer.context().take_message().unwrap_or_default();
                    tracing::warn!(%error, topic = self.config.topic, told, "the configuration's topic cannot be read now; what runs stays");
                }
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.topic
    }
}

impl Said {
    /// The layer that it is; `None` if it takes away what was said before.
    ///
    /// # Errors
    /// It is no text.
    pub fn layer(&self, topic: &str) -> Result<Option<Layer>, ConfigError> {
        let name = format!("the record at offset {} of partition {PARTITION} of the topic {topic}", self.offset);
        let Some(value) = &self.value else { return Ok(None) };
        match String::from_utf8(value.clone()) {
            Ok(text) => Ok(Some(Layer { text, name })),
            Err(_) => Err(ConfigError(format!("{name} is no UTF-8 text"))),
        }
    }
}

/// Writes a text, or takes away what was said before. Returns the record's offset.
///
/// # Errors
/// The brokers do not take it.
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
    match delivered.recv_timeout(PATIENCE) {
        Ok(result) => result.map_err(anyhow::Error::msg).context("Kafka does not take the record"),
        Err(_) => bail!("no answer from the brokers {} in {} s", config.brokers, PATIENCE.as_secs()),
    }
}

fn client(config: &ConfigTopicConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    // Why a connection failed is told in the log alone; where it goes is for us to say.
    client.set_log_level(RDKafkaLogLevel::Info);
    let properties: &BTreeMap<String, String> = &config.properties;
    for (key, value) in properties {
        client.set(key, value);
    }
    client
}

fn said(message: &BorrowedMessage<'_>, key: &str) -> Option<Said> {
    (message.key() == Some(key.as_bytes())).then(|| Said {
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
        let told = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        // Whoever waited may have given up.
        let _ = self.0.try_send(told);
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
    fn the_last_record_of_the_key_holds_and_a_tombstone_takes_it_away() {
        let (_cluster, config) = cluster(1);
        assert_eq!(Topic::open(&config).unwrap().said(), None);
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
            let said = records.recv_timeout(PATIENCE).unwrap();
            assert_eq!(said.value.as_deref(), text.map(str::as_bytes));
        }
        drop(stop);
        follower.join().unwrap();
        assert_eq!(Topic::open(&config).unwrap().layer().unwrap(), None);
    }

    #[test]
    fn a_topic_that_cannot_be_used_is_an_error() {
        let (_cluster, config) = cluster(3);
        let told = |config: &ConfigTopicConfig| format!("{:#}", Topic::open(config).err().unwrap());
        assert!(told(&config).contains("3 partitions"));
        let other = ConfigTopicConfig { topic: "other".into(), ..config };
        assert!(told(&other).contains("cleanup.policy=compact"), "{}", told(&other));
    }
}
