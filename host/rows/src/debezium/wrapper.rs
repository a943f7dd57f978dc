//! Messages of a JSON converter with schemas: `{"schema":…,"payload":…}`.

use super::state::RecordContext;
use crate::error::DecodeError;

/// Number of a topic's recent schemas that are compared before all others.
const MAX_RECENT: usize = 4;

/// A message `{"schema":…,"payload":…}`.
pub(super) struct Wrapped {
    /// The schema's number; `None` if it is `null`.
    pub schema: Option<u32>,
    /// Where the payload begins.
    pub payload: usize,
    /// Whether the syntax of the whole message has been checked.
    pub is_checked: bool,
}

/// Finds schema and payload; `None` if the message is not wrapped.
#[inline]
pub(super) fn unwrap(context: &mut RecordContext<'_>) -> Result<Option<Wrapped>, DecodeError> {
    let start = context.cursor.position();
    let ahead = &context.cursor.bytes()[start..];
    let recent = &mut context.state.topic.recent;
    if let Some(n) = recent.iter().position(|(beginning, _)| ahead.starts_with(beginning)) {
        recent.swap(0, n);
        let (beginning, schema) = &recent[0];
        let payload = start + beginning.len();
        return Ok(Some(Wrapped { schema: Some(*schema), payload, is_checked: false }));
    }
    let mut cursor = context.cursor.clone();
    cursor.enter_object()?;
    cursor.skip_whitespace();
    let name_ahead = &cursor.bytes()[cursor.position()..];
    if !name_ahead.starts_with(b"\"schema\"") && !name_ahead.starts_with(b"\"payload\"") {
        return Ok(None);
    }
    unwrap_new(context, start)
}

#[cold]
fn unwrap_new(context: &mut RecordContext<'_>, start: usize) -> Result<Option<Wrapped>, DecodeError> {
    let mut cursor = context.cursor.clone();
    let bytes = cursor.bytes();
    let (mut schema, mut payload, mut first) = (None, None, true);
    cursor.enter_object()?;
    while let Some((from, to)) = cursor.next_member(&mut first)? {
        let (value_from, value_to) = cursor.skip_value()?;
        match &bytes[from..to] {
            b"schema" => schema = Some((value_from, value_to)),
            b"payload" => payload = Some((value_from, value_to)),
            _ => return Ok(None),
        }
    }
    cursor.expect_end()?;
    let (Some((schema_from, schema_to)), Some((payload, payload_end))) = (schema, payload) else {
        return Ok(None);
    };
    let schema = &bytes[schema_from..schema_to];
    if schema == b"null" || bytes[payload] == b'n' {
        return Ok(Some(Wrapped { schema: None, payload, is_checked: true }));
    }
    if schema[0] != b'{' || !matches!(bytes[payload], b'{') || payload_end == payload {
        return Ok(None);
    }
    let schema = context.state.schemas.number(schema)?;
    // Only if the payload comes last can a message be recognised by its beginning.
    if payload > schema_to {
        let recent = &mut context.state.topic.recent;
        recent.truncate(MAX_RECENT - 1);
        recent.insert(0, (bytes[start..payload].into(), schema));
    }
    Ok(Some(Wrapped { schema: Some(schema), payload, is_checked: true }))
}
