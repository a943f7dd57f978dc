//! The decoder: finds the format of each topic and hands every record to that format's decoder.

mod detect;

use std::collections::HashMap;
use std::sync::Arc;

use crate::context::{Buffers, Outcome, RecordContext};

use crate::error::DecodeError;
use crate::json::{Cursor, JsonError, Text};
use crate::record::{Record, RecordBatch};
use crate::row::{ARENA_LIMIT, Ignored, RowBatch, TableVersion, Undecodable};
use crate::settings::{DecoderSettings, Format};
use crate::table::Tables;
use crate::{canal, debezium, maxwell};

/// Decodes record batches of any topics and formats. Keeps state about topics and tables from batch to batch.
///
/// ```
/// use rowmill_rows::{Decoder, DecoderSettings, Format, RecordBatch, RowBatch, TopicPartition};
///
/// let mut records = RecordBatch::new(TopicPartition { topic: "maxwell".into(), partition: 0 }, Format::Maxwell);
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
    max_message_bytes: usize,
    tables: Tables,
    schemas: debezium::Schemas,
    topics: Vec<Topic>,
    /// Numbers of `topics`, by name and by the format of their batches.
    topic_numbers: HashMap<(Arc<str>, Format), usize>,
    buffers: Buffers,
}

/// A topic, as read in one format.
#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// `None` until the format is detected.
    state: Option<TopicState>,
}

/// The state that a format's decoder keeps for a topic.
#[derive(Debug)]
enum TopicState {
    Canal(canal::TopicState),
    Debezium(debezium::TopicState),
    Maxwell(maxwell::TopicState),
}

impl TopicState {
    /// The state of a new topic; `None` if its format has to be detected.
    fn new(format: Format) -> Option<Self> {
        match format {
            Format::Auto => None,
            Format::Canal => Some(Self::Canal(canal::TopicState::default())),
            Format::Debezium => Some(Self::Debezium(debezium::TopicState::default())),
            Format::Maxwell => Some(Self::Maxwell(maxwell::TopicState::default())),
        }
    }

    fn format(&self) -> Format {
        match self {
            Self::Canal(_) => Format::Canal,
            Self::Debezium(_) => Format::Debezium,
            Self::Maxwell(_) => Format::Maxwell,
        }
    }
}

impl Decoder {
    /// A decoder without any state.
    pub fn new(settings: DecoderSettings) -> Self {
        Self {
            max_message_bytes: settings.max_message_bytes,
            tables: Tables::new(settings.declared, settings.allows_partial_rows),
            schemas: debezium::Schemas::default(),
            topics: Vec::new(),
            topic_numbers: HashMap::new(),
            buffers: Buffers::default(),
        }
    }

    /// The table versions seen so far; [`crate::Row::table`] is an index into them. Versions are only appended.
    pub fn tables(&self) -> &[Arc<TableVersion>] {
        &self.tables.versions
    }

    /// Decodes all records in order into `out`, which is cleared first. Its cells point into `records` and `out`.
    pub fn decode(&mut self, records: &RecordBatch, out: &mut RowBatch) {
        out.clear();
        let topic = self.topic(&records.partition.topic, records.format);
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

    /// The topic's index in `topics`; adds the topic if it is new.
    fn topic(&mut self, name: &Arc<str>, format: Format) -> usize {
        *self.topic_numbers.entry((name.clone(), format)).or_insert_with(|| {
            self.topics.push(Topic { name: name.clone(), state: TopicState::new(format) });
            self.topics.len() - 1
        })
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
        let topic = &mut self.topics[topic];
        let context = RecordContext {
            arena: &records.bytes,
            record: number,
            key: record.key.map(|k| k.of(&records.bytes)),
            cursor: Cursor::new(&records.bytes[..value.end as usize], start, text),
            topic: &topic.name,
            state: (),
            tables: &mut self.tables,
            buffers: &mut self.buffers,
        };
        decode_one(context, &mut topic.state, &mut self.schemas, out).map_err(|error| match error {
            // Positions count from the start of the arena; report them from the start of the message.
            DecodeError::NotJson { at, expected } => DecodeError::NotJson { at: at - start.min(at), expected },
            other => other,
        })
    }
}

fn decode_one<'a>(
    context: RecordContext<'a, ()>,
    state: &'a mut Option<TopicState>,
    schemas: &'a mut debezium::Schemas,
    out: &mut RowBatch,
) -> Result<Outcome, DecodeError> {
    let (whole, topic) = (context.cursor.clone(), context.topic);
    let state = match state {
        Some(state) => state,
        None => match detect::detect(whole.clone(), topic)?.and_then(TopicState::new) {
            Some(detected) => state.insert(detected),
            None => return Err(DecodeError::UnknownFormat),
        },
    };
    let expected = state.format();
    let decoded = match state {
        TopicState::Canal(state) => canal::decode(&mut context.with_state(state), out),
        TopicState::Debezium(topic) => {
            debezium::decode(&mut context.with_state(debezium::State { topic, schemas }), out)
        }
        TopicState::Maxwell(state) => maxwell::decode(&mut context.with_state(state), out),
    };
    match decoded {
        Err(DecodeError::Envelope { .. }) => match detect::detect(whole, topic)? {
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
