//! Record batches: many records of one partition with their bytes in one arena.

use std::sync::Arc;

use crate::settings::Format;

/// A range of bytes of an arena, `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes of this span in `arena`.
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.end as usize]
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span is empty.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A topic and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name; for a file without topics, the file's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// One record. Its bytes are in the arena of its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The offset in the partition.
    pub offset: i64,
    /// The broker's timestamp in milliseconds since 1970; -1 without one.
    pub timestamp: i64,
    /// The key, if the record has one.
    pub key: Option<Span>,
    /// The value; `None` is a tombstone.
    pub value: Option<Span>,
    /// The record's headers: a range of [`RecordBatch::headers`].
    pub headers: (u32, u32),
}

/// A header of a record: its name and, if it has one, its value.
pub type Header = (Span, Option<Span>);

/// Consecutive records of one partition with their bytes.
///
/// One allocation holds keys, values and headers back to back: a batch moves between threads as one value, and a cell is a
/// range instead of a string.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// The topic and partition that the records come from.
    pub partition: TopicPartition,
    /// The format of the values, set by the source that read them.
    pub format: Format,
    /// The bytes of keys, values and headers; less than 2 GiB.
    pub bytes: Vec<u8>,
    /// The records, in ascending order of offset.
    pub records: Vec<Record>,
    /// The headers of all records.
    pub headers: Vec<Header>,
}

impl RecordBatch {
    /// An empty batch.
    pub fn new(partition: TopicPartition, format: Format) -> Self {
        Self { partition, format, bytes: Vec::new(), records: Vec::new(), headers: Vec::new() }
    }

    /// Appends a record, copying its bytes into the arena.
    pub fn push<'a>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        let key = key.map(|k| self.append(k));
        let value = value.map(|v| self.append(v));
        let first = self.headers.len() as u32;
        for (name, value) in headers {
            let name = self.append(name.as_bytes());
            let value = value.map(|v| self.append(v));
            self.headers.push((name, value));
        }
        self.records.push(Record { offset, timestamp, key, value, headers: (first, self.headers.len() as u32) });
    }

    /// Names and values of the headers of `record`.
    pub fn headers_of(&self, record: &Record) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers[record.headers.0 as usize..record.headers.1 as usize]
            .iter()
            .map(|(name, value)| (name.of(&self.bytes), value.map(|v| v.of(&self.bytes))))
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() as u32 }
    }
}
