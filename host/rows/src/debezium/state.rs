//! The state of Debezium's decoder: per topic, and the schemas of all topics.

use super::schema::Schemas;
use crate::context;
use crate::error::DecodeError;
use crate::settings::Format;

/// The state that Debezium's decoder keeps for a topic.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    pub shape: Option<u32>,
    /// The beginnings of recent messages, from `{` to the payload, with the numbers of their schemas; most recently used
    /// first.
    pub recent: Vec<(Box<[u8]>, u32)>,
    /// The beginning of the last key, up to its payload.
    pub key_schema: Vec<u8>,
}

/// The state for decoding one record: that of its topic, and the schemas of all topics.
pub(crate) struct State<'a> {
    pub topic: &'a mut TopicState,
    pub schemas: &'a mut Schemas,
}

pub(super) type RecordContext<'a> = context::RecordContext<'a, State<'a>>;

pub(super) fn not_debezium<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Debezium, expected })
}
