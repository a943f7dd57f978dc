//! Records in files: captured records, one JSON object per line, and plain events, one per line.
//!
//! A captured record is `{"topic":…,"partition":…,"offset":…,"timestamp":…,"headers":[[name,value]…],"key":…,"value":…}`.
//! Keys and values (also those of headers) are the record's bytes as text, `{"base64":"…"}` if they are not text, or
//! `null`. In a dead letter, `error` contains the details of the failure as texts. Any other line is the value of a record
//! without a key, in partition 0 of a topic named like the file, with the line's number, from 0, as its offset.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::record::RecordBatch;

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedRecord {
    /// The topic, or the file's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 if the file has none.
    pub timestamp: i64,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The member `error` of a dead letter, by name: why the record was rejected, and its versions. Empty for other records.
    pub error: BTreeMap<String, String>,
}

impl CapturedRecord {
    /// Appends the record to a batch, which must be of its topic and partition.
    pub fn push_to(&self, batch: &mut RecordBatch) {
        batch.push(
            self.offset,
            self.timestamp,
            self.key.as_deref(),
            self.value.as_deref(),
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())),
        );
    }
}

/// An error in a line of a file.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct CaptureError {
    /// The line's number, from 1 as editors count.
    pub line: u64,
    /// The kind of error.
    #[source]
    pub kind: CaptureErrorKind,
}

/// Kinds of [`CaptureError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureErrorKind {
    /// Reading failed. No further records follow.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The line has the members of a captured record, but one has the wrong type.
    #[error("not a captured record: expected {0}")]
    Form(&'static str),
}

/// Iterates over the records of a file, in order. Empty lines are skipped.
#[derive(Debug)]
pub struct Captures<R> {
    reader: R,
    name: String,
    line: Vec<u8>,
    n_lines: u64,
    is_over: bool,
}

impl<R: BufRead> Captures<R> {
    /// Reads records from `reader`; `name` is the topic of plain events.
    pub fn new(reader: R, name: impl Into<String>) -> Self {
        Self { reader, name: name.into(), line: Vec::new(), n_lines: 0, is_over: false }
    }

    /// The number of the last line that was read, from 1.
    pub fn line(&self) -> u64 {
        self.n_lines
    }

    fn record(&self) -> Result<CapturedRecord, CaptureErrorKind> {
        let line = self.line.trim_ascii();
        let plain = |value: &[u8]| CapturedRecord {
            topic: self.name.clone(),
            partition: 0,
            offset: self.n_lines as i64 - 1,
            timestamp: -1,
            headers: Vec::new(),
            key: None,
            value: Some(value.to_vec()),
            error: BTreeMap::new(),
        };
        // A line that is not a JSON object is left to the decoder, which reports it with the record's position.
        let Ok(Line { topic: Some(topic), partition: Some(partition), offset: Some(offset), rest }) =
            serde_json::from_slice::<Line>(line)
        else {
            return Ok(plain(line));
        };
        let Some(value) = rest.get("value") else {
            return Ok(plain(line));
        };
        let form = CaptureErrorKind::Form;
        let whole = |value: serde_json::Value, expected| value.as_i64().ok_or(form(expected));
        let timestamp = match rest.get("timestamp") {
            None | Some(serde_json::Value::Null) => -1,
            Some(timestamp) => whole(timestamp.clone(), "`timestamp` to be milliseconds")?,
        };
        let headers = match rest.get("headers") {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(headers) => {
                let pairs = headers.as_array().ok_or(form("`headers` to be an array"))?;
                pairs.iter().map(header).collect::<Result<_, _>>()?
            }
        };
        let partition = whole(partition, "`partition` to be a number")?;
        Ok(CapturedRecord {
            topic: topic.as_str().ok_or(form("`topic` to be text"))?.to_owned(),
            partition: i32::try_from(partition).map_err(|_| form("`partition` to be a small number"))?,
            offset: whole(offset, "`offset` to be a number")?,
            timestamp,
            headers,
            key: rest.get("key").map_or(Ok(None), bytes)?,
            value: bytes(value)?,
            error: rest.get("error").map_or(Ok(BTreeMap::new()), texts)?,
        })
    }
}

impl<R: BufRead> Iterator for Captures<R> {
    type Item = Result<CapturedRecord, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            self.line.clear();
            let read = self.reader.read_until(b'\n', &mut self.line);
            self.n_lines += 1;
            let line = self.n_lines;
            match read {
                Ok(0) => self.is_over = true,
                Ok(_) if self.line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(self.record().map_err(|kind| CaptureError { line, kind })),
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(CaptureError { line, kind: error.into() }));
                }
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct Line {
    topic: Option<serde_json::Value>,
    partition: Option<serde_json::Value>,
    offset: Option<serde_json::Value>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

fn header(pair: &serde_json::Value) -> Result<(String, Option<Vec<u8>>), CaptureErrorKind> {
    match pair.as_array().map(Vec::as_slice) {
        Some([serde_json::Value::String(name), value]) => Ok((name.clone(), bytes(value)?)),
        _ => Err(CaptureErrorKind::Form("each of `headers` to be [name, value]")),
    }
}

fn texts(error: &serde_json::Value) -> Result<BTreeMap<String, String>, CaptureErrorKind> {
    let form = CaptureErrorKind::Form("`error` to be an object of texts");
    let Some(members) = error.as_object() else { return Err(form) };
    let text = |(name, value): (&String, &serde_json::Value)| Some((name.clone(), value.as_str()?.to_owned()));
    members.iter().map(text).collect::<Option<_>>().ok_or(form)
}

fn bytes(value: &serde_json::Value) -> Result<Option<Vec<u8>>, CaptureErrorKind> {
    match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(text.clone().into_bytes())),
        serde_json::Value::Object(object) if object.len() == 1 => {
            let text = object.get("base64").and_then(|t| t.as_str());
            let decoded = text.and_then(|t| STANDARD.decode(t).ok());
            decoded.map(Some).ok_or(CaptureErrorKind::Form("base64 text in `base64`"))
        }
        _ => Err(CaptureErrorKind::Form("keys and values to be text, null or {\"base64\": …}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Result<CapturedRecord, String>> {
        Captures::new(text, "events.ndjson").map(|r| r.map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn both_forms() {
        let text = "{\"topic\":\"t\",\"partition\":2,\"offset\":7,\"timestamp\":5,\"timestampType\":\"CreateTime\",\
                    \"headers\":[[\"h\",\"v\"],[\"n\",null]],\"key\":null,\"value\":\"{\\\"a\\\":1}\"}\n\n\
                    {\"topic\":\"t\",\"partition\":0,\"offset\":0,\"key\":{\"base64\":\"AP8=\"},\"value\":null}\n\
                    {\"op\":\"c\"}\nnot json";
        let records = read(text.as_bytes());
        let first = records[0].clone().unwrap();
        assert_eq!((first.topic.as_str(), first.partition, first.offset, first.timestamp), ("t", 2, 7, 5));
        assert_eq!(first.headers, [("h".to_owned(), Some(b"v".to_vec())), ("n".to_owned(), None)]);
        assert_eq!((first.key, first.value), (None, Some(b"{\"a\":1}".to_vec())));
        let second = records[1].clone().unwrap();
        assert_eq!((second.key, second.value, second.timestamp), (Some(vec![0, 255]), None, -1));
        for (record, offset, value) in [(&records[2], 3, "{\"op\":\"c\"}"), (&records[3], 4, "not json")] {
            let record = record.clone().unwrap();
            assert_eq!((record.topic.as_str(), record.offset), ("events.ndjson", offset));
            assert_eq!(record.value.unwrap(), value.as_bytes());
        }
    }

    #[test]
    fn errors_name_the_line() {
        let text = b"\n{\"topic\":\"t\",\"partition\":\"x\",\"offset\":0,\"value\":null}\n\
                     {\"topic\":\"t\",\"partition\":0,\"offset\":0,\"value\":{\"base64\":\"?\"}}\n";
        let messages: Vec<String> = read(text).into_iter().map(|r| r.unwrap_err()).collect();
        assert_eq!(messages[0], "line 2: not a captured record: expected `partition` to be a number");
        assert_eq!(messages[1], "line 3: not a captured record: expected base64 text in `base64`");
    }
}
