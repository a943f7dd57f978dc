//! Messages of a JSON converter with schemas: `{"schema":…,"payload":…}`.

use super::state::Work;
use crate::error::DecodeError;

/// So many of a topic's last schemas are tried before the others are.
const MAX_RECENT: usize = 4;

/// A message `{"schema":…,"payload":…}`.
pub(super) struct Wrapped {
    /// The schema's number; `None` if it is `null`.
    pub schema: Option<u32>,
    /// Where the payload begins.
    pub payload: usize,
    /// Whether the whole message has been walked over already.
    pub is_checked: bool,
}

/// Finds schema and payload; `None` if the message is not wrapped so.
#[inline]
pub(super) fn unwrap(work: &mut Work<'_>) -> Result<Option<Wrapped>, DecodeError> {
    let start = work.walk.at();
    let ahead = &work.walk.bytes()[start..];
    let recent = &mut work.state.topic.recent;
    if let Some(n) = recent.iter().position(|(beginning, _)| ahead.starts_with(beginning)) {
        recent.swap(0, n);
        let (beginning, schema) = &recent[0];
        let payload = start + beginning.len();
        return Ok(Some(Wrapped { schema: Some(*schema), payload, is_checked: false }));
    }
    let mut walk = work.walk.clone();
    walk.enter_object()?;
    walk.white();
    let name_ahead = &walk.bytes()[walk.at()..];
    if !name_ahead.starts_with(b"\"schema\"") && !name_ahead.starts_with(b"\"payload\"") {
        return Ok(None);
    }
    unwrap_new(work, start)
}

#[cold]
fn unwrap_new(work: &mut Work<'_>, start: usize) -> Result<Option<Wrapped>, DecodeError> {
    let mut walk = work.walk.clone();
    let bytes = walk.bytes();
    let (mut schema, mut payload, mut first) = (None, None, true);
    walk.enter_object()?;
    while let Some((from, to)) = walk.member(&mut first)? {
        let (value_from, value_to) = walk.value()?;
        match &bytes[from..to] {
            b"schema" => schema = Some((value_from, value_to)),
            b"payload" => payload = Some((value_from, value_to)),
            _ => return Ok(None),
        }
    }
    walk.end()?;
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
    let schema = work.state.schemas.number(schema)?;
    // Only what ends in the payload can be recognised by its beginning.
    if payload > schema_to {
        let recent = &mut work.state.topic.recent;
        recent.truncate(MAX_RECENT - 1);
        recent.insert(0, (bytes[start..payload].into(), schema));
    }
    Ok(Some(Wrapped { schema: Some(schema), payload, is_checked: true }))
}
