//! One dead letter: a record and why it could not be processed, as a line of JSON and as Kafka headers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::message::{Header, OwnedHeaders};
use rowmill_engine::Producer;
use rowmill_rows::{Record, RecordBatch, Span};
use serde::Serialize;

use crate::operation::SourceBatch;
use crate::record_versions::RecordVersions;

/// What the names of a letter's headers begin with.
pub(crate) const PREFIX: &str = "rowmill.";

/// The stage that rejected a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The record is not a change event, or cannot be decoded.
    Decode,
    /// A plugin failed.
    Plugin,
    /// No document can be made of the row: it has no ID or no version.
    Document,
    /// The sink rejected the document.
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

/// A record and why it could not be processed.
#[derive(Debug)]
pub struct DeadLetter {
    source: Arc<SourceBatch>,
    record: u32,
    stage: Stage,
    reason: String,
    /// When the record was rejected.
    time: jiff::Timestamp,
    /// The table, if known.
    pub table: Option<Arc<str>>,
    /// The plugin that failed, or that produced the rejected document.
    pub producer: Option<Producer>,
    /// The index that the document was meant for.
    pub index: Option<Arc<str>>,
    /// The document's ID.
    pub id: Option<String>,
    /// The versions of the record's rows, which a replay uses again.
    pub versions: RecordVersions,
}

impl DeadLetter {
    /// A dead letter for the record with this number in `source`. It takes a share of the batch's ticket, which must
    /// still be open.
    pub fn new(source: &Arc<SourceBatch>, record: u32, stage: Stage, reason: String) -> Self {
        source.ticket.add(1);
        Self {
            source: source.clone(),
            record,
            stage,
            reason,
            time: jiff::Timestamp::now(),
            table: None,
            producer: None,
            index: None,
            id: None,
            versions: RecordVersions::default(),
        }
    }

    /// The record's number in its batch.
    pub fn record_number(&self) -> u32 {
        self.record
    }

    /// The stage that rejected the record.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Settles the letter's share of its batch: the letter is stored.
    pub fn settle(self) {
        self.source.ticket.settle(1);
    }

    /// Why the record was rejected.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Logs where the record is and why it was rejected, but no values of it.
    pub fn log(&self) {
        let partition = &self.records().partition;
        tracing::warn!(
            topic = %partition.topic,
            partition = partition.partition,
            offset = self.record().offset,
            stage = self.stage.name(),
            plugin = self.producer.as_ref().map(|producer| &*producer.plugin),
            reason = %self.reason,
            "dead letter"
        );
    }

    /// Appends the letter as a line with one JSON object: the record in the form that a file source reads, and the metadata
    /// under `error`, which comes first.
    pub fn append_line(&self, out: &mut Vec<u8>) {
        let (records, record) = (self.records(), self.record());
        let text = |span: Option<Span>| span.map(|span| Text::new(span.of(&records.bytes)));
        let metadata = self.metadata().into_iter();
        let line = Line {
            error: metadata.map(|(name, value)| (&name[PREFIX.len()..], value)).collect(),
            topic: &records.partition.topic,
            partition: records.partition.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            headers: self
                .own_headers()
                .map(|(name, value)| (String::from_utf8_lossy(name), value.map(Text::new)))
                .collect(),
            key: text(record.key),
            value: text(record.value),
        };
        // Neither these types nor writing into a Vec can fail.
        let _ = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }

    /// The record's own headers, followed by the metadata.
    pub fn kafka_headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new();
        for (name, value) in self.own_headers() {
            headers = headers.insert(Header { key: &String::from_utf8_lossy(name), value });
        }
        for (name, value) in self.metadata() {
            headers = headers.insert(Header { key: name, value: Some(&value) });
        }
        headers
    }

    /// The batch that holds the record, so that its bytes can outlive the letter.
    pub fn source(&self) -> &Arc<SourceBatch> {
        &self.source
    }

    /// The rejected record; its bytes are in [`DeadLetter::source`].
    pub fn record(&self) -> &Record {
        &self.records().records[self.record as usize]
    }

    /// The record's headers without those that an earlier letter added, if it was read again.
    fn own_headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.records().headers_of(self.record()).filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()))
    }

    fn records(&self) -> &RecordBatch {
        &self.source.records
    }

    /// Names and values that describe the failure.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        let partition = &self.records().partition;
        let mut metadata = vec![
            ("rowmill.stage", self.stage.name().to_string()),
            ("rowmill.reason", self.reason.clone()),
            ("rowmill.topic", partition.topic.to_string()),
            ("rowmill.partition", partition.partition.to_string()),
            ("rowmill.offset", self.record().offset.to_string()),
            ("rowmill.timestamp", self.record().timestamp.to_string()),
            ("rowmill.time", format!("{:.3}", self.time)),
        ];
        metadata.extend(self.table.iter().map(|table| ("rowmill.table", table.to_string())));
        if let Some(producer) = &self.producer {
            metadata.push(("rowmill.plugin", producer.plugin.to_string()));
            metadata.push(("rowmill.generation", producer.generation.to_string()));
        }
        metadata.extend(self.index.iter().map(|index| ("rowmill.index", index.to_string())));
        metadata.extend(self.id.iter().map(|id| ("rowmill.id", id.clone())));
        metadata.extend(self.versions.versions_text().map(|versions| ("rowmill.versions", versions)));
        let attempt = Some(self.versions.attempt).filter(|attempt| *attempt > 0);
        metadata.extend(attempt.map(|attempt| ("rowmill.attempt", attempt.to_string())));
        metadata.extend(self.versions.clock_text().map(|clock| ("rowmill.clock", clock)));
        metadata
    }
}

/// A letter as a line. It borrows the record: where all records fail, encoding them is the largest part of the work.
#[derive(Serialize)]
struct Line<'a> {
    error: BTreeMap<&'a str, String>,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    headers: Vec<(Cow<'a, str>, Option<Text<'a>>)>,
    key: Option<Text<'a>>,
    value: Option<Text<'a>>,
}

/// Bytes, which nearly always are text.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Text(&'a str),
    Bytes { base64: String },
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        use base64::Engine;
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes { base64: base64::engine::general_purpose::STANDARD.encode(bytes) },
        }
    }
}
