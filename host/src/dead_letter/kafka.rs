//! Dead letters in a Kafka topic: each is its record, unchanged, with the reason in headers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::file::FileWriter;
use super::{DeadLetter, DeadLetterWriter};
use crate::config::ConfigError;
use crate::kafka::{self, Access};
use crate::report::{self, Report};
use crate::shutdown::Shutdown;

/// The section of the configuration with the properties of the producer.
const PROPERTIES: &str =
    "[dead_letter.properties] (those of [source.properties] apply too if the brokers are the source's)";

/// How long one wait for acknowledgements takes before the writer looks whether the run was aborted.
const STEP: Duration = Duration::from_millis(100);

/// Produces letters to a topic.
pub(super) struct KafkaWriter {
    brokers: String,
    topic: String,
    properties: BTreeMap<String, String>,
    /// Where letters go that are too large for the topic.
    path: PathBuf,
    producer: Option<(ThreadedProducer<ProducerEvents>, Shutdown)>,
}

impl KafkaWriter {
    pub fn new(brokers: &str, topic: &str, properties: BTreeMap<String, String>, path: &Path) -> Self {
        Self { brokers: brokers.into(), topic: topic.into(), properties, path: path.into(), producer: None }
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true").set("acks", "all");
        // librdkafka reports why a connection failed only in its log, which `ProducerEvents::log` receives.
        client.set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        client
    }
}

impl DeadLetterWriter for KafkaWriter {
    fn check(&self, report: &mut Report) {
        let Self { brokers, topic, .. } = self;
        match kafka::topics(&self.client(), PROPERTIES, brokers, report::TIMEOUT) {
            Err(error) => report.fail("dead letters", &format!("{error:#}")),
            Ok(topics) if topics.iter().any(|(name, _)| name == topic) => {
                report.ok("dead letters", &format!("{brokers} answers and has the topic {topic}"));
                report.note(
                    "dead letters",
                    &format!("letters that are too large for the topic go to the file {}", self.path.display()),
                );
            }
            Ok(_) => report.note(
                "dead letters",
                &format!(
                    "{brokers} answers, but has no topic {topic} yet; create it, unless the brokers create topics \
                     automatically (auto.create.topics.enable)"
                ),
            ),
        }
    }

    fn open(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let events = ProducerEvents {
            shutdown: shutdown.clone(),
            access: Access::default(),
            has_delivered: AtomicBool::new(false),
            file: TooLarge::new(&self.path),
        };
        let producer = self.client().create_with_context(events).map_err(|error| {
            ConfigError(format!("cannot create the producer of dead letters: {error}; check {PROPERTIES}"))
        })?;
        self.producer = Some((producer, shutdown.clone()));
        Ok(())
    }

    fn write(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let (producer, shutdown) = self.producer.as_ref().context("the producer of dead letters is not open")?;
        for letter in letters {
            let (source, headers) = (letter.source().clone(), letter.kafka_headers());
            let (record, bytes) = (*letter.record(), &source.records.bytes);
            let mut message = BaseRecord::with_opaque_to(&self.topic, Box::new(letter)).headers(headers);
            if let Some(key) = record.key {
                message = message.key(key.of(bytes));
            }
            if let Some(value) = record.value {
                message = message.payload(value.of(bytes));
            }
            while let Err((error, unsent)) = producer.send(message) {
                if is_too_large(&error) {
                    producer.context().file.store(*unsent.delivery_opaque)?;
                    break;
                }
                let is_full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                if shutdown.is_aborted() {
                    return Ok(());
                }
                anyhow::ensure!(is_full, anyhow::Error::from(error).context("cannot send a dead letter"));
                // The producer's own queue empties as Kafka acknowledges.
                producer.poll(STEP);
                message = unsent;
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Some((producer, shutdown)) = &self.producer {
            while producer.in_flight_count() > 0 && !shutdown.is_aborted() {
                // An error says that letters are still waiting.
                let _ = producer.flush(STEP);
            }
        }
    }
}

/// Receives what the producer reports.
struct ProducerEvents {
    shutdown: Shutdown,
    access: Access,
    /// Whether Kafka has acknowledged a letter yet.
    has_delivered: AtomicBool,
    file: TooLarge,
}

/// The file for letters that are larger than the topic's limit: a letter is larger than its record.
struct TooLarge {
    /// Locked, since the writer's thread and that of the client append.
    file: Mutex<FileWriter>,
    path: PathBuf,
    /// Whether the reason was logged. The letters themselves are logged like any other.
    is_logged: AtomicBool,
}

impl TooLarge {
    fn new(path: &Path) -> Self {
        Self { file: Mutex::new(FileWriter::new(path)), path: path.into(), is_logged: AtomicBool::new(false) }
    }

    fn store(&self, letter: DeadLetter) -> anyhow::Result<()> {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %self.path.display(),
                "a dead letter is too large for Kafka; such letters are stored in the file. Raise the topic's max.message.bytes, \
                 and message.max.bytes in [dead_letter.properties]"
            );
        }
        self.file.lock().unwrap_or_else(PoisonError::into_inner).append(vec![letter])
    }
}

/// Returns true if the producer or a broker will never take this message because of its size.
fn is_too_large(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge))
}

impl ClientContext for ProducerEvents {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.access.log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.access.note(&error, reason, PROPERTIES);
        tracing::warn!(%error, reason, "Kafka error of the dead-letter producer; retrying");
        // Before the first letter this ends the run, without waiting for a letter to time out. Later it is a cluster that
        // is being changed.
        if !self.has_delivered.load(Ordering::Relaxed)
            && let Some(refused) = self.access.refused()
        {
            self.shutdown.fail(anyhow::anyhow!("dead letters cannot be stored: {refused}"));
        }
    }
}

impl ProducerContext for ProducerEvents {
    /// The letter itself, which is settled once Kafka has acknowledged it.
    type DeliveryOpaque = Box<DeadLetter>;

    fn delivery(&self, result: &DeliveryResult<'_>, letter: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                self.has_delivered.store(true, Ordering::Relaxed);
                letter.settle();
            }
            Err((error, _)) if is_too_large(error) => {
                if let Err(error) = self.file.store(*letter) {
                    self.shutdown.fail(error);
                }
            }
            // The producer drops what is in flight when it ends.
            Err(_) if self.shutdown.is_aborted() => {}
            Err((error, _)) => self.shutdown.fail(anyhow::anyhow!(
                "Kafka rejected a dead letter: {error}; the offset of its record is not committed"
            )),
        }
    }
}
