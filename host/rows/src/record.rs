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

    /// The bytes of memory that the batch takes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.records.capacity() * size_of::<Record>()
            + self.headers.capacity() * size_of::<Header>()
    }

    /// Keeps the records at these places, which ascend, and frees the memory of the others. A record's new place is its rank
    /// among those that are kept.
    pub fn retain(&mut self, places: &[u32]) {
        let (mut n_records, mut n_bytes, mut n_headers) = (0, 0, 0);
        // Records lie back to back, so a record ends where the next one begins.
        let (mut begin, mut wanted) = (0, places.iter().copied().peekable());
        for place in 0..self.records.len() {
            let mut record = self.records[place];
            let end = self.end_of(&record, begin);
            if wanted.next_if_eq(&(place as u32)).is_some() {
                let shift = begin - n_bytes;
                let moved = |span: Span| Span { start: span.start - shift, end: span.end - shift };
                self.bytes.copy_within(begin as usize..end as usize, n_bytes as usize);
                let first_header = n_headers;
                for header in record.headers.0..record.headers.1 {
                    let (name, value) = self.headers[header as usize];
                    self.headers[n_headers as usize] = (moved(name), value.map(moved));
                    n_headers += 1;
                }
                record.key = record.key.map(moved);
                record.value = record.value.map(moved);
                record.headers = (first_header, n_headers);
                self.records[n_records] = record;
                n_records += 1;
                n_bytes += end - begin;
            }
            begin = end;
        }
        self.records.truncate(n_records);
        self.records.shrink_to_fit();
        self.headers.truncate(n_headers as usize);
        self.headers.shrink_to_fit();
        self.bytes.truncate(n_bytes as usize);
        self.bytes.shrink_to_fit();
    }

    /// Where the bytes of a record end that begin at `begin`.
    fn end_of(&self, record: &Record, begin: u32) -> u32 {
        let headers = &self.headers[record.headers.0 as usize..record.headers.1 as usize];
        let of_headers = headers.iter().flat_map(|(name, value)| [Some(*name), *value]);
        of_headers.chain([record.key, record.value]).flatten().map(|span| span.end).max().unwrap_or(begin)
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Text = Option<&'static [u8]>;
    type Parts<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, Vec<(&'a [u8], Option<&'a [u8]>)>);

    fn parts<'a>(batch: &'a RecordBatch, record: &'a Record) -> Parts<'a> {
        let text = |span: Option<Span>| span.map(|span| span.of(&batch.bytes));
        (record.offset, text(record.key), text(record.value), batch.headers_of(record).collect())
    }

    fn record() -> impl Strategy<Value = (Text, Text, Vec<(&'static str, Text)>, bool)> {
        let text = || {
            prop_oneof![
                Just(None),
                Just(Some(b"".as_slice())),
                Just(Some(b"key".as_slice())),
                Just(Some(b"a longer value".as_slice()))
            ]
        };
        (text(), text(), prop::collection::vec((prop_oneof![Just("name"), Just("")], text()), 0..3), any::<bool>())
    }

    proptest! {
        #[test]
        fn retained_records_are_unchanged(records in prop::collection::vec(record(), 0..12)) {
            let mut batch = RecordBatch::new(TopicPartition { topic: "t".into(), partition: 0 }, Format::Auto);
            for (offset, (key, value, headers, _)) in records.iter().enumerate() {
                batch.push(offset as i64, 0, *key, *value, headers.iter().copied());
            }
            let places: Vec<u32> = (0..records.len() as u32).filter(|place| records[*place as usize].3).collect();
            let before = batch.clone();
            batch.retain(&places);
            let wanted: Vec<_> = places.iter().map(|place| parts(&before, &before.records[*place as usize])).collect();
            let kept: Vec<_> = batch.records.iter().map(|record| parts(&batch, record)).collect();
            prop_assert_eq!(kept, wanted);
            prop_assert_eq!(batch.bytes.len(), batch.bytes.capacity());
        }
    }
}
