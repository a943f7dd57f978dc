//! Records from Kafka: one thread polls, batches and commits; another asks the brokers about offsets.

mod follow;
mod group;
mod hold_back;
mod instance;
mod lookups;
mod offsets;
mod partitions;
mod queue;
mod reader;

use std::sync::Arc;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Intake, Source};
use crate::config::{ConfigError, KafkaConfig, Membership};
use crate::kafka;
use crate::report::{self, Report};
use group::Group;
use instance::Instance;
use reader::Reader;

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
            // An offset that no longer exists is never skipped silently.
            .set("auto.offset.reset", "error")
            .set("statistics.interval.ms", "1000")
            // New topics that match a regular expression are found within half a minute.
            .set("topic.metadata.refresh.interval.ms", "30000")
            // Records that are fetched ahead take memory; the defaults of 64 MB in the queue and 50 MB per answer are more
            // than the rest of Rowmill uses. While records are taken, the client counts the queue as empty and may fetch more.
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.max.bytes", "4194304")
            // A full queue must not stop fetching for a second.
            .set("fetch.queue.backoff.ms", "5")
            // The client has one fetch at a time per broker. If it asks only for partitions without new records, because the
            // queue was full for the others, these wait until the broker answers: half a second by default.
            .set("fetch.wait.max.ms", "50")
            // librdkafka reports why a connection failed only in its log, which the context receives.
            .set_log_level(RDKafkaLogLevel::Info);
        if !config.has_consumer_protocol() {
            client
                .set("partition.assignment.strategy", "cooperative-sticky")
                // Another gateway takes the partitions of a dead one over after this time.
                .set("session.timeout.ms", "10000")
                // Members notice within this time that the group assigns again.
                .set("heartbeat.interval.ms", "1000");
        }
        for (key, value) in &config.properties {
            client.set(key, value);
        }
        client
    }

    /// The identity in the group; `None` if every start is a new member.
    fn instance(&self) -> Option<Instance> {
        match &self.config.membership {
            Membership::Dynamic => None,
            Membership::Named(name) => Some(Instance::named(name)),
            Membership::Kept(folder) => match Instance::of_folder(folder) {
                Ok(instance) => Some(instance),
                Err(error) => {
                    tracing::warn!(
                        "no identity for the consumer group: {error:#}; after a crash the group waits for \
                         session.timeout.ms before partitions are assigned again"
                    );
                    None
                }
            },
        }
    }

    fn check_topic(wanted: &str, topics: &[(String, usize)], report: &mut Report) {
        let found: Vec<&(String, usize)> = match wanted.strip_prefix('^') {
            // librdkafka matches regular expressions. For a check it is enough that a topic begins like the expression.
            Some(pattern) => {
                let prefix = literal_prefix(pattern);
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
        let mut client = self.client();
        // In use, and locked, until the consumer is closed.
        let instance = self.instance();
        if let Some(instance) = &instance {
            client.set("group.instance.id", &instance.id);
        }
        let consumer: BaseConsumer<Group> = client.create_with_context(Group::default()).map_err(|error| {
            ConfigError(format!("cannot create the Kafka consumer: {error}; check the properties in {PROPERTIES}"))
        })?;
        if self.config.partitions.is_none() {
            let topics: Vec<&str> = self.config.topics.iter().map(String::as_str).collect();
            consumer.subscribe(&topics).with_context(|| format!("cannot subscribe to {topics:?}"))?;
        }
        Reader::new(self.config, &client, Arc::new(consumer), intake)?.run()
    }
}

/// A text that every topic begins with that a regular expression of librdkafka matches, without its `^`.
fn literal_prefix(pattern: &str) -> String {
    let mut prefix = String::new();
    if pattern.contains('|') {
        return prefix;
    }
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some(escaped) if !escaped.is_alphanumeric() => prefix.push(escaped),
                _ => break,
            },
            // The character before it may be absent.
            '*' | '?' | '{' => {
                prefix.pop();
                break;
            }
            literal if literal.is_alphanumeric() || matches!(literal, '-' | '_') => prefix.push(literal),
            _ => break,
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_prefix_of_an_expression_ends_at_its_first_operator() {
        for (pattern, prefix) in [
            ("shop\\..*", "shop."),
            ("shop.*", "shop"),
            ("shop.trade$", "shop"),
            ("shop-1_a[0-9]", "shop-1_a"),
            ("shops?\\.trade", "shop"),
            ("shop(s|)", ""),
            ("shop|trade", ""),
            ("shop\\d", "shop"),
            (".*", ""),
        ] {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
    }
}
