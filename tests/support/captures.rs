//! Kafka records for tests: captured ones, and those that a test builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The five captured streams: files of `tests/fixtures` without their ending.
pub const STREAMS: [&str; 5] = ["canal/flat", "debezium/full", "debezium/plain", "debezium/flat", "maxwell/records"];

/// One Kafka record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kafka's own words")]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// A record of partition 0 without a key.
    pub fn new(topic: &str, offset: i64, value: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            partition: 0,
            offset,
            timestamp: 1_795_216_532_308,
            headers: Vec::new(),
            key: None,
            value: Some(value.into()),
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// As a line of a file of records.
    pub fn line(&self) -> String {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, bytes(value.as_deref())])).collect();
        json!({
            "topic": self.topic, "partition": self.partition, "offset": self.offset, "timestamp": self.timestamp,
            "headers": headers, "key": bytes(self.key.as_deref()), "value": bytes(self.value.as_deref()),
        })
        .to_string()
    }

    /// From a line of a file of records, or of dead letters, which have the same form.
    ///
    /// # Panics
    /// It is not a record.
    pub fn of_line(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let header = |header: &Value| (header[0].as_str().expect("a header's name").to_string(), unbytes(&header[1]));
        Self {
            topic: line["topic"].as_str().expect("a topic").into(),
            partition: line["partition"].as_i64().expect("a partition") as i32,
            offset: line["offset"].as_i64().expect("an offset"),
            timestamp: line["timestamp"].as_i64().expect("a timestamp"),
            headers: line["headers"].as_array().expect("headers").iter().map(header).collect(),
            key: unbytes(&line["key"]),
            value: unbytes(&line["value"]),
        }
    }
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => json!({ "base64": STANDARD.encode(bytes.unwrap_or_default()) }),
    }
}

fn unbytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(STANDARD.decode(other["base64"].as_str().expect("text or base64")).expect("base64")),
    }
}

/// The records of a captured stream, in the file's order.
pub fn captured(stream: &str) -> Vec<Record> {
    let path = crate::fixture(&format!("{stream}.ndjson"));
    std::fs::read_to_string(path).expect("a fixture is text").lines().map(Record::of_line).collect()
}

/// Writes a file of records.
///
/// # Panics
/// It cannot be written.
pub fn write(folder: &Path, name: &str, records: &[Record]) -> PathBuf {
    let path = folder.join(name);
    let text: String = records.iter().map(|record| record.line() + "\n").collect();
    std::fs::write(&path, text).expect("records can be written");
    path
}

/// The records in another order, in which each partition's own order is kept.
pub fn interleaved(records: &[Record], random: &mut fastrand::Rng) -> Vec<Record> {
    let mut partitions: BTreeMap<(&str, i32), std::collections::VecDeque<&Record>> = BTreeMap::new();
    for record in records {
        partitions.entry((&record.topic, record.partition)).or_default().push_back(record);
    }
    let mut partitions: Vec<_> = partitions.into_values().collect();
    let mut mixed = Vec::with_capacity(records.len());
    while !partitions.is_empty() {
        // Runs of one partition, as a consumer reads them: long ones bring whole partitions out of step.
        let place = random.usize(..partitions.len());
        let run = if random.bool() { 1 } else { random.usize(1..=200) };
        for _ in 0..run {
            mixed.extend(partitions[place].pop_front().cloned());
        }
        partitions.retain(|partition| !partition.is_empty());
    }
    mixed
}
