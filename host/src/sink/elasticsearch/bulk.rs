//! Bulk requests: their bodies, and the answers to their items.

use std::collections::HashMap;
use std::io::Write as _;

use bytes::Bytes;
use rowmill_engine::{Action, Indices};
use rowmill_sandbox::literal;
use serde::Deserialize;

use super::merge::SCRIPT_ID;
use super::pending::Entry;

/// The body of a request that writes these entries, in their order.
pub(super) fn body(entries: &[Entry], indices: &Indices) -> Bytes {
    let mut body = Vec::with_capacity(entries.iter().map(Entry::bytes).sum());
    for entry in entries {
        write_entry(&mut body, entry, indices);
    }
    Bytes::from(body)
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry, indices: &Indices) {
    let part = &entry.parts[0];
    let first = &part.operation;
    let verb: &[u8] = match part.action() {
        Action::Index => b"{\"index\":{\"_index\":",
        Action::Delete => b"{\"delete\":{\"_index\":",
        _ => b"{\"update\":{\"_index\":",
    };
    out.extend_from_slice(verb);
    literal::write_string(out, &indices.name(first.operation().index));
    out.extend_from_slice(b",\"_id\":");
    literal::write_string(out, first.id_text());
    if let Some(routing) = first.routing() {
        out.extend_from_slice(b",\"routing\":");
        literal::write_string(out, routing);
    }
    if part.action().is_merge() {
        return write_merge(out, entry);
    }
    // Writing into a Vec cannot fail.
    let _ = write!(out, ",\"version\":{}", part.version());
    // At equal versions a write beats a delete, whichever arrives first.
    let version_type = if part.is_removal() { "external" } else { "external_gte" };
    let _ = writeln!(out, ",\"version_type\":\"{version_type}\"}}}}");
    if part.action() == Action::Index {
        out.extend_from_slice(part.body());
        out.push(b'\n');
    }
}

/// Completes the line of an update and appends the call of the merge script with all parts.
fn write_merge(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(b",\"retry_on_conflict\":5}}\n{\"scripted_upsert\":true,\"upsert\":{},\"script\":{\"id\":\"");
    out.extend_from_slice(SCRIPT_ID.as_bytes());
    out.extend_from_slice(b"\",\"params\":{\"parts\":[");
    for (place, part) in entry.parts.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"source\":");
        literal::write_string(out, part.operation.table());
        // Writing into a Vec cannot fail.
        let _ = write!(out, ",\"version\":{}", part.version());
        if !part.operation.item().is_empty() {
            out.push(b',');
            out.extend_from_slice(part.operation.item());
        }
        let body: &[u8] = match part.action() {
            Action::Merge => b",\"fields\":",
            Action::PutItem => b",\"item\":",
            Action::MergeRemove => b",\"fields\":{}",
            _ => b"",
        };
        out.extend_from_slice(body);
        out.extend_from_slice(part.body());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}}\n");
}

/// The answer to one item.
#[derive(Default, Deserialize)]
pub(super) struct Item {
    pub status: u16,
    error: Option<ItemError>,
    #[serde(default)]
    result: String,
}

impl Item {
    /// Returns true if the script changed nothing, since no part was newer.
    pub fn is_noop(&self) -> bool {
        self.result == "noop"
    }

    /// Type and reason of the error; empty without an error.
    pub fn error(&self) -> (&str, String) {
        self.error.as_ref().map_or(("", String::new()), |error| (error.error_type.as_str(), error.message()))
    }
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(default, rename = "type")]
    error_type: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<ItemError>>,
}

impl ItemError {
    /// The reason with all its causes.
    fn message(&self) -> String {
        match &self.caused_by {
            Some(cause) if !cause.reason.is_empty() => format!("{}: {}", self.reason, cause.message()),
            _ => self.reason.clone(),
        }
    }
}

/// The items of an answer, in the order of the request's `count` operations.
///
/// # Errors
/// The answer is not one to a bulk request of `count` operations.
pub(super) fn items(body: &str, count: usize) -> anyhow::Result<Vec<Item>> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        items: Vec<HashMap<String, Item>>,
    }
    let answer: Answer = serde_json::from_str(body)
        .map_err(|error| anyhow::anyhow!("the answer to a bulk request cannot be read: {error}"))?;
    anyhow::ensure!(
        answer.items.len() == count,
        "the answer to a bulk request of {count} operations has {} items",
        answer.items.len()
    );
    Ok(answer.items.into_iter().map(|item| item.into_values().next().unwrap_or_default()).collect())
}
