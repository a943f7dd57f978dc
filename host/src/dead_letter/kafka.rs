//! Dead letters in a Kafka topic: each is its record, unchanged, with the reason in headers. Letters that the topic finds too
//! large go to a file.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::letter_file::LetterFile;
use super::{DeadLetter, DeadLetterWriter};
use crate::config::{ConfigError, KafkaLetters};
use crate::kafka::{self, Access};
use crate::report::{self, Report};
use crate::shutdown::Shutdown;

/// The section of the configuration with the properties of the producer.
const PROPERTIES: &str =
    "[dead_letter.properties] (those of [source.properties] apply too if the brokers are the source's)";

/// How long one wait for acknowledgements takes before the writer looks whether the run was aborted.
const STEP: Duration = Duration::from_millis(100);

/// The largest message that the client sends. The limit that counts is the topic's, and only the brokers know it.
const MAX_MESSAGE_BYTES: &str = "1000000000";

/// Produces letters to a topic.
pub(super) struct KafkaWriter {
    config: KafkaLetters,
    too_large: TooLarge,
    producer: Option<(ThreadedProducer<ProducerEvents>, Shutdown)>,
}

impl KafkaWriter {
    pub fn new(config: KafkaLetters) -> Self {
        let file = LetterFile::new(&config.path, config.rotate_at);
        let too_large = TooLarge { file, is_logged: Arc::default() };
        Self { config, too_large, producer: None }
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.config.brokers).set("enable.idempotence", "true").set("acks", "all");
        client.set("message.max.bytes", MAX_MESSAGE_BYTES);
        // librdkafka reports why a connection failed only in its log, which `ProducerEvents::log` receives.
        client.set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &self.config.properties {
            client.set(key, value);
        }
        client
    }
}

/// The file for letters that are too large for the topic.
#[derive(Clone)]
struct TooLarge {
    file: LetterFile,
    /// Whether the reason was logged. The letters themselves are logged like any other.
    is_logged: Arc<AtomicBool>,
}

impl TooLarge {
    /// Whether Kafka refuses a message because of its size, which sending it again does not change.
    fn is_reason(error: &KafkaError) -> bool {
        let code = error.rdkafka_error_code();
        matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge))
    }

    /// Stores and settles a letter.
    fn store(&self, letter: DeadLetter) -> anyhow::Result<()> {
        let mut line = Vec::new();
        letter.append_line(&mut line);
        let file = &self.file;
        // By default, the file is in the private folder, which may not exist yet.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(file.folder()).with_context(|| {
            format!(
                "cannot create the folder {} for a dead letter that is too large for Kafka",
                file.folder().display()
            )
        })?;
        file.append(&line).context("a dead letter is too large for Kafka")?;
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                file = %file.path().display(),
                bytes = line.len(),
                offset = letter.record().offset,
                "a dead letter is too large for Kafka; such letters are stored in the file. Raise the topic's max.message.bytes"
            );
        }
        letter.settle();
        Ok(())
    }

    fn check(&self, report: &mut Report) {
        let file = &self.file;
        let path = file.path().display();
        // A folder that does not exist is created with the first letter.
        match file.can_append() {
            Err(problem) if file.folder().is_dir() => report.fail(
                "dead letters",
                &format!("{problem}; letters that are too large for the topic go there: set dead_letter.path"),
            ),
            _ => report.ok("dead letters", &format!("letters that are too large for the topic go to {path}")),
        }
    }
}

impl DeadLetterWriter for KafkaWriter {
    fn check(&self, report: &mut Report) {
        let KafkaLetters { brokers, topic, .. } = &self.config;
        match kafka::topics(&self.client(), PROPERTIES, brokers, report::TIMEOUT) {
            Err(error) => report.fail("dead letters", &format!("{error:#}")),
            Ok(topics) if topics.iter().any(|(name, _)| name == topic) => {
                report.ok("dead letters", &format!("{brokers} answers and has the topic {topic}"));
            }
            Ok(_) => report.note(
                "dead letters",
                &format!(
                    "{brokers} answers, but has no topic {topic} yet; create it, unless the brokers create topics \
                     automatically (auto.create.topics.enable)"
                ),
            ),
        }
        self.too_large.check(report);
    }

    fn open(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let events = ProducerEvents {
            shutdown: shutdown.clone(),
            access: Access::default(),
            has_delivered: AtomicBool::new(false),
            too_large: self.too_large.clone(),
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
            let mut message = BaseRecord::with_opaque_to(&self.config.topic, Box::new(letter)).headers(headers);
            if let Some(key) = record.key {
                message = message.key(key.of(bytes));
            }
            if let Some(value) = record.value {
                message = message.payload(value.of(bytes));
            }
            while let Err((error, unsent)) = producer.send(message) {
                if TooLarge::is_reason(&error) {
                    self.too_large.store(*unsent.delivery_opaque)?;
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
    too_large: TooLarge,
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
            Err((error, _)) if TooLarge::is_reason(error) => {
                if let Err(error) = self.too_large.store(*letter) {
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
