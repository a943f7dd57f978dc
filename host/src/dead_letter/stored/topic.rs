//! Reads the letters of a topic, from its begin to the end that it has now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rowmill_rows::capture::CapturedRecord;

use super::StoredLetter;
use crate::dead_letter::HEADER_PREFIX;
use crate::dead_letter::config::KafkaLetters;
use crate::kafka::{self, AccessContext};

/// The section with the login properties, for messages.
const PROPERTIES: &str = "[dead_letter.properties]";
/// How long to wait for an answer from the brokers, or for the next letter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The time of one poll, after which the deadline is checked.
const POLL: Duration = Duration::from_millis(200);

/// Passes on the letters that the topic has now; returns false once `each` does.
pub(super) fn read(
    config: &KafkaLetters,
    each: &mut impl FnMut(StoredLetter) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    read_topic(config, each).with_context(|| format!("cannot read the dead letters in the topic {}", config.topic))
}

fn read_topic(
    config: &KafkaLetters,
    each: &mut impl FnMut(StoredLetter) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let consumer = consumer(config)?;
    let mut open = assign(config, &consumer)?;
    let mut deadline = Instant::now() + ANSWER_TIMEOUT;
    while !open.is_empty() {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                deadline = Instant::now() + ANSWER_TIMEOUT;
                let Some(end) = open.get(&message.partition()).copied() else { continue };
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
                if message.offset() < end
                    && let Some(letter) = letter(&message)
                    && !each(letter)?
                {
                    return Ok(false);
                }
            }
            // The last offsets of a partition may hold no record, after a transaction or a compaction.
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
            Some(Err(error)) => tracing::debug!(%error, "an error of the consumer of dead letters"),
            None if Instant::now() >= deadline => {
                let reason = consumer.context().take_message().unwrap_or_else(|| "no records arrive".into());
                bail!("{reason}; check dead_letter.brokers and {PROPERTIES}");
            }
            None => {}
        }
    }
    Ok(true)
}

fn consumer(config: &KafkaLetters) -> anyhow::Result<BaseConsumer<AccessContext>> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    client.set_log_level(RDKafkaLogLevel::Info);
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    let topics = kafka::topics(&client, PROPERTIES, &config.brokers, ANSWER_TIMEOUT)?;
    anyhow::ensure!(topics.iter().any(|(name, _)| *name == config.topic), "it does not exist");
    client
        // A consumer needs a group; it does not join it and commits nothing.
        .set("group.id", "rowmill-dead-letters")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    client.create_with_context(AccessContext::new(PROPERTIES)).with_context(|| format!("a property in {PROPERTIES}"))
}

/// Assigns all partitions that have records; returns their ends.
fn assign(config: &KafkaLetters, consumer: &BaseConsumer<AccessContext>) -> anyhow::Result<BTreeMap<i32, i64>> {
    let metadata = consumer.fetch_metadata(Some(&config.topic), ANSWER_TIMEOUT)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
    let (mut list, mut open) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions {
        let (begin, end) = consumer.fetch_watermarks(&config.topic, partition, ANSWER_TIMEOUT)?;
        if begin < end {
            list.add_partition_offset(&config.topic, partition, Offset::Beginning)?;
            open.insert(partition, end);
        }
    }
    consumer.assign(&list)?;
    Ok(open)
}

/// The letter in a message; `None` if it is another message.
fn letter(message: &BorrowedMessage<'_>) -> Option<StoredLetter> {
    let (mut headers, mut error) = (Vec::new(), BTreeMap::new());
    for header in message.headers()?.iter() {
        match header.key.strip_prefix(HEADER_PREFIX) {
            Some(name) => {
                let text = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                _ = error.insert(name.to_string(), text);
            }
            None => headers.push((header.key.to_string(), header.value.map(<[u8]>::to_vec))),
        }
    }
    let place = format!("{}[{}]@{}", message.topic(), message.partition(), message.offset());
    let record = CapturedRecord {
        topic: error.get("topic")?.clone(),
        partition: error.get("partition")?.parse().ok()?,
        offset: error.get("offset")?.parse().ok()?,
        timestamp: error.get("timestamp").and_then(|timestamp| timestamp.parse().ok()).unwrap_or(-1),
        headers,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        error,
    };
    Some(StoredLetter::new(record, place))
}
