//! Records that cannot be processed, kept whole with the reason.
//!
//! A dead letter settles its piece of the batch only when it is kept: flushed to the disk, or acknowledged by Kafka.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use rowmill_rows::RecordBatch;
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, DeadLetterConfig};
use crate::metrics::{Kind, Metrics};
use crate::operation::{Producer, SourceBatch};
use crate::kafka::Access;

/// Dead letters that wait to be written. A failing plugin makes them as fast as rows come; a full channel slows the
/// pipeline down instead of growing.
const WAITING: usize = 1024;

/// The sections that say how to log in.
pub(crate) const PROPERTIES: &str =
    "[dead_letter.properties] (those of [source.properties] hold too where the brokers are the source's)";

/// Which stage refused a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is no change event that can be read.
    Decode,
    /// A plugin failed.
    Plugin,
    /// No document could be made: no id, no version.
    Document,
    /// Elasticsearch refused the document.
    Sink,
}

impl Stage {
    /// The name in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Plugin => "plugin",
            Self::Document => "document",
            Self::Sink => "sink",
        }
    }
}

/// A record and why it is not processed.
#[derive(Debug)]
pub struct DeadLetter {
    source: Arc<SourceBatch>,
    record: u32,
    stage: Stage,
    reason: String,
    /// The table, where it is known.
    pub table: Option<Arc<str>>,
    /// The plugin that made or failed it.
    pub producer: Option<Producer>,
    /// The index that it was for.
    pub index: Option<Arc<str>>,
    /// The document's id.
    pub id: Option<String>,
}

impl DeadLetter {
    /// A dead letter; takes a piece of the batch's ticket, which must not be settled yet.
    pub fn new(source: &Arc<SourceBatch>, record: u32, stage: Stage, reason: String) -> Self {
        source.ticket.add(1);
        Self { source: source.clone(), record, stage, reason, table: None, producer: None, index: None, id: None }
    }

    /// What is told of it besides the record: names and values.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let records = &self.source.records;
        let mut facts = vec![
            ("rowmill.stage", self.stage.name().to_string()),
            ("rowmill.reason", self.reason.clone()),
            ("rowmill.topic", records.partition.topic.to_string()),
            ("rowmill.partition", records.partition.partition.to_string()),
            ("rowmill.offset", records.records[self.record as usize].offset.to_string()),
        ];
        facts.extend(self.table.iter().map(|table| ("rowmill.table", table.to_string())));
        if let Some(producer) = &self.producer {
            facts.push(("rowmill.plugin", producer.plugin.to_string()));
            facts.push(("rowmill.generation", producer.generation.to_string()));
        }
        facts.extend(self.index.iter().map(|index| ("rowmill.index", index.to_string())));
        facts.extend(self.id.iter().map(|id| ("rowmill.id", id.clone())));
        facts
    }
}

/// Where dead letters are sent to be kept.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    sender: Sender<DeadLetter>,
    metrics: Arc<Metrics>,
}

impl DeadLetters {
    /// Starts the writer. When it cannot keep a letter it calls `fatal` with the reason and keeps no further ones:
    /// what is not kept is not settled, so nothing is lost.
    ///
    /// # Errors
    /// The file cannot be opened, or the producer cannot be made.
    pub fn start(
        config: &DeadLetterConfig,
        metrics: Arc<Metrics>,
        fatal: impl Fn(anyhow::Error) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let fatal: Arc<dyn Fn(anyhow::Error) + Send + Sync> = Arc::new(fatal);
        let (sender, receiver) = crossbeam_channel::bounded(WAITING);
        let mut keeper: Box<dyn Keep> = match config {
            DeadLetterConfig::File { path } => {
                // Opened when there is something to write: a run without letters leaves no empty file, and a file that
                // was moved away is made anew. But a path that cannot be is said at start.
                let folder = folder_of(path);
                anyhow::ensure!(
                    folder.is_dir(),
                    ConfigError(format!(
                        "the folder of dead_letter.path, {}, does not exist; create it",
                        folder.display()
                    ))
                );
                Box::new(FileKeeper { path: path.clone() })
            }
            DeadLetterConfig::Kafka { brokers, topic, properties } => {
                let context =
                    KafkaContext { fatal: fatal.clone(), access: Access::default(), keeps: AtomicBool::new(false) };
                let producer = client(brokers, properties).create_with_context(context).map_err(|error| {
                    ConfigError(format!("cannot make the producer of dead letters: {error}; check {PROPERTIES}"))
                })?;
                Box::new(KafkaKeeper { producer, topic: topic.clone() })
            }
        };
        std::thread::Builder::new().name("dead-letters".into()).spawn(move || {
            if let Err(error) = keep_all(keeper.as_mut(), &receiver) {
                fatal(error);
                // What waits and what comes is dropped unsettled; its offsets are not committed.
                for _ in receiver {}
            }
        })?;
        Ok(Self { sender, metrics })
    }

    /// Sends a letter; waits where many wait already.
    pub fn send(&self, letter: DeadLetter) {
        let records = &letter.source.records;
        tracing::warn!(
            topic = %records.partition.topic,
            partition = records.partition.partition,
            offset = records.records[letter.record as usize].offset,
            stage = letter.stage.name(),
            plugin = letter.producer.as_ref().map(|producer| &*producer.plugin),
            reason = %letter.reason,
            "dead letter"
        );
        self.metrics.dead_letters.get_or_create(&Kind { kind: letter.stage.name().into() }).inc();
        // The writer only ends with its last sender.
        let _ = self.sender.send(letter);
    }
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The producer's configuration.
pub(crate) fn client(brokers: &str, properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
    // Why a connection failed is told in the log alone; where it goes is for us to say.
    client.set_log_level(RDKafkaLogLevel::Info);
    for (key, value) in properties {
        client.set(key, value);
    }
    client
}

/// A place that keeps letters.
trait Keep: Send {
    /// Keeps them all; settles each when it is kept.
    fn keep(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()>;
}

fn keep_all(keeper: &mut dyn Keep, receiver: &Receiver<DeadLetter>) -> anyhow::Result<()> {
    while let Ok(first) = receiver.recv() {
        let mut letters = vec![first];
        letters.extend(receiver.try_iter().take(WAITING));
        keeper.keep(letters)?;
    }
    Ok(())
}

struct FileKeeper {
    path: std::path::PathBuf,
}

impl Keep for FileKeeper {
    fn keep(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let context = || format!("cannot write dead letters to {}", self.path.display());
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path).with_context(context)?;
        let mut lines = Vec::new();
        for letter in &letters {
            lines.extend_from_slice(line(letter).to_string().as_bytes());
            lines.push(b'\n');
        }
        file.write_all(&lines).and_then(|()| file.sync_data()).with_context(context)?;
        for letter in letters {
            letter.source.ticket.settle(1);
        }
        Ok(())
    }
}

/// A letter as one JSON object: the record in the form that a file source reads, and what is told of it under `error`.
fn line(letter: &DeadLetter) -> Value {
    let records: &RecordBatch = &letter.source.records;
    let record = &records.records[letter.record as usize];
    let bytes =
        |span: Option<rowmill_rows::Span>| span.map_or(Value::Null, |span| text_or_base64(span.of(&records.bytes)));
    let headers: Vec<Value> = records
        .headers_of(record)
        .map(|(name, value)| json!([String::from_utf8_lossy(name), value.map_or(Value::Null, text_or_base64)]))
        .collect();
    let error: Map<String, Value> =
        letter.facts().into_iter().map(|(name, value)| (name["rowmill.".len()..].to_string(), value.into())).collect();
    json!({
        "topic": &*records.partition.topic,
        "partition": records.partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "headers": headers,
        "key": bytes(record.key),
        "value": bytes(record.value),
        "error": error,
    })
}

fn text_or_base64(bytes: &[u8]) -> Value {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

struct KafkaContext {
    fatal: Arc<dyn Fn(anyhow::Error) + Send + Sync>,
    access: Access,
    /// Whether a letter was ever acknowledged.
    keeps: AtomicBool,
}

impl ClientContext for KafkaContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.access.log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.access.note(&error, reason, PROPERTIES);
        tracing::warn!(%error, reason, "Kafka, for dead letters; trying again");
        // Said before the first letter, not by a time-out behind it. Later it is a cluster at work on itself.
        if !self.keeps.load(Ordering::Relaxed)
            && let Some(refused) = self.access.refused()
        {
            (self.fatal)(anyhow::anyhow!("dead letters cannot be kept: {refused}"));
        }
    }
}

impl ProducerContext for KafkaContext {
    /// The letter itself: settled when Kafka has acknowledged it.
    type DeliveryOpaque = Box<DeadLetter>;

    fn delivery(&self, result: &DeliveryResult<'_>, letter: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                self.keeps.store(true, Ordering::Relaxed);
                letter.source.ticket.settle(1);
            }
            Err((error, _)) => {
                (self.fatal)(anyhow::anyhow!("Kafka does not take a dead letter: {error}; its offset is not committed"))
            }
        }
    }
}

struct KafkaKeeper {
    producer: ThreadedProducer<KafkaContext>,
    topic: String,
}

impl Keep for KafkaKeeper {
    fn keep(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        for letter in letters {
            let source = letter.source.clone();
            let record = &source.records.records[letter.record as usize];
            let bytes = &source.records.bytes;
            let mut headers = OwnedHeaders::new();
            for (name, value) in source.records.headers_of(record) {
                headers = headers.insert(Header { key: &String::from_utf8_lossy(name), value });
            }
            for (name, value) in letter.facts() {
                headers = headers.insert(Header { key: name, value: Some(&value) });
            }
            let mut message = BaseRecord::with_opaque_to(&self.topic, Box::new(letter)).headers(headers);
            if let Some(key) = record.key {
                message = message.key(key.of(bytes));
            }
            if let Some(value) = record.value {
                message = message.payload(value.of(bytes));
            }
            loop {
                match self.producer.send(message) {
                    Ok(()) => break,
                    // The producer's own queue is full: it empties as Kafka acknowledges.
                    Err((KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull), back)) => {
                        message = back;
                        self.producer.poll(Duration::from_millis(100));
                    }
                    Err((error, _)) => return Err(error).context("cannot send a dead letter"),
                }
            }
        }
        Ok(())
    }
}
