//! The state of Debezium's decoder: what it keeps of each topic, and the schemas of all topics.

use super::schema::Schemas;
use crate::context;
use crate::error::DecodeError;
use crate::settings::Format;

/// What Debezium's decoder keeps of a topic from message to message.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// The shape of the topic's last row.
    pub shape: Option<u32>,
    /// The beginnings of recent messages, from `{` to the payload, with the numbers of their schemas; the last used
    /// comes first.
    pub recent: Vec<(Box<[u8]>, u32)>,
    /// The beginning of the last key, up to its payload.
    pub key_schema: Vec<u8>,
}

/// The state that decoding one record needs: that of its topic, and the schemas of all topics.
pub(crate) struct State<'a> {
    pub topic: &'a mut TopicState,
    pub schemas: &'a mut Schemas,
}

pub(super) type Work<'a> = context::Work<'a, State<'a>>;

pub(super) fn not_debezium<T>(expected: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Envelope { format: Format::Debezium, expected })
}
