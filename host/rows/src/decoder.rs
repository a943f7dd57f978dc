//! The decoder: record by record, which format it is, and what became of each record.

mod detect;
pub(crate) mod work;

use std::collections::HashMap;
use std::sync::Arc;

use work::{Buffers, Topic};
pub(crate) use work::{Outcome, Work};

use crate::error::DecodeError;
use crate::json::{JsonError, Text, Walk};
use crate::record::{Record, RecordBatch};
use crate::row::{ARENA_LIMIT, Ignored, RowBatch, TableVersion, Undecodable};
use crate::settings::{DecoderSettings, Format};
use crate::table::Tables;
use crate::{canal, debezium, maxwell};

/// Decodes record batches of any topics. Keeps what it learns of topics and tables from batch to batch.
///
/// ```
/// use rowmill_rows::{Decoder, DecoderSettings, RecordBatch, RowBatch, TopicPartition};
///
/// let mut records = RecordBatch::new(TopicPartition { topic: "maxwell".into(), partition: 0 });
/// let value = br#"{"database":"shop","table":"t","type":"insert","ts":1,"data":{"id":1}}"#;
/// records.push(0, -1, None, Some(value), []);
///
/// let mut decoder = Decoder::new(DecoderSettings::default());
/// let mut rows = RowBatch::default();
/// decoder.decode(&records, &mut rows);
///
/// let row = &rows.rows[0];
/// assert_eq!(decoder.tables()[row.table as usize].full_name(), "shop.t");
/// let id = rows.cells[row.after.unwrap() as usize];
/// assert_eq!(id.bytes(&records.bytes, &rows.scratch), b"1");
/// ```
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    max_message_bytes: usize,
    tables: Tables,
    schemas: debezium::Schemas,
    topics: Vec<Topic>,
    topic_numbers: HashMap<Arc<str>, usize>,
    buffers: Buffers,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new(settings: DecoderSettings) -> Self {
        Self {
            format: settings.format,
            max_message_bytes: settings.max_message_bytes,
            tables: Tables::new(settings.declared),
            schemas: debezium::Schemas::default(),
            topics: Vec::new(),
            topic_numbers: HashMap::new(),
            buffers: Buffers::default(),
        }
    }

    /// The table versions met so far; [`crate::Row::table`] is an index. Versions are only ever appended.
    pub fn tables(&self) -> &[Arc<TableVersion>] {
        &self.tables.versions
    }

    /// Decodes all records in their order. `out` is emptied first; its cells point into `records` and into itself.
    pub fn decode(&mut self, records: &RecordBatch, out: &mut RowBatch) {
        out.clear();
        let topic = self.topic(&records.partition.topic);
        for (number, record) in records.records.iter().enumerate() {
            let number = number as u32;
            let (n_rows, n_cells, n_scratch) = (out.rows.len(), out.cells.len(), out.scratch.len());
            match self.record(records, topic, number, record, out) {
                Ok(Outcome::Rows) => {}
                Ok(Outcome::Ignored(kind)) => out.ignored.push((number, kind)),
                Err(error) => {
                    out.rows.truncate(n_rows);
                    out.cells.truncate(n_cells);
                    out.scratch.truncate(n_scratch);
                    out.undecodable.push(Undecodable { record: number, error });
                }
            }
        }
    }

    /// The number of a topic in `topics`.
    fn topic(&mut self, name: &Arc<str>) -> usize {
        if let Some(&known) = self.topic_numbers.get(name) {
            return known;
        }
        self.topics.push(Topic::new(name.clone(), self.format));
        self.topic_numbers.insert(name.clone(), self.topics.len() - 1);
        self.topics.len() - 1
    }

    fn record(
        &mut self,
        records: &RecordBatch,
        topic: usize,
        number: u32,
        record: &Record,
        out: &mut RowBatch,
    ) -> Result<Outcome, DecodeError> {
        let Some(value) = record.value else {
            return Ok(Outcome::Ignored(Ignored::Tombstone));
        };
        if records.bytes.len() >= ARENA_LIMIT {
            return Err(DecodeError::BatchTooLarge);
        }
        if value.len() > self.max_message_bytes {
            return Err(DecodeError::TooLong { bytes: value.len(), limit: self.max_message_bytes });
        }
        let text = Text::check(value.of(&records.bytes)).ok_or(DecodeError::NotText)?;
        let start = value.start as usize;
        let walk = Walk::new(&records.bytes[..value.end as usize], start, text);
        let work = Work {
            arena: &records.bytes,
            record: number,
            key: record.key.map(|k| k.of(&records.bytes)),
            walk,
            topic: &mut self.topics[topic],
            tables: &mut self.tables,
            schemas: &mut self.schemas,
            buffers: &mut self.buffers,
        };
        decode_one(work, out).map_err(|error| match error {
            // The walk counts in the arena, a person counts in the message.
            DecodeError::NotJson { at, expected } => DecodeError::NotJson { at: at - start.min(at), expected },
            other => other,
        })
    }
}

fn decode_one(mut work: Work<'_>, out: &mut RowBatch) -> Result<Outcome, DecodeError> {
    let whole = work.walk.clone();
    if work.topic.format == Format::Auto {
        match detect::detect(whole.clone(), &work.topic.name)? {
            Some(format) => work.topic.format = format,
            None => return Err(DecodeError::UnknownFormat),
        }
    }
    let expected = work.topic.format;
    let decoded = match expected {
        Format::Canal => canal::decode(&mut work, out),
        Format::Maxwell => maxwell::decode(&mut work, out),
        Format::Debezium | Format::Auto => debezium::decode(&mut work, out),
    };
    match decoded {
        Err(DecodeError::Envelope { .. }) => match detect::detect(whole, &work.topic.name)? {
            Some(found) if found != expected => Err(DecodeError::OtherFormat { found, expected }),
            _ => decoded,
        },
        _ => decoded,
    }
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        Self::NotJson { at: error.at, expected: error.expected }
    }
}
