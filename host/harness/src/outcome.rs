//! The outcome of a row, as a line of `expected.ndjson`.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What Rowmill does for a row: one document operation, or the reason why there is none.
///
/// A row has at least one outcome. An update may have several: the documents written, and the documents deleted because only the
/// before image produces them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The number of the row in the input, from 1; 0 if the outcome concerns no row.
    pub row: usize,
    /// `index`, `merge`, `delete` and the other operations on documents; `keep` for a row that goes on to the next
    /// plugin, with the document that the row becomes after the last plugin; `drop` for a filtered row; `fail` for a dead letter;
    /// `undecodable` for a record that cannot be decoded; `refused` if the plugin refused its settings.
    pub operation: String,
    /// The document's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The document's ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The document's routing value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
    /// The array item, for `put-item` and `remove-item`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemKey>,
    /// Why the row failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The document, with its fields in the plugin's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
}

/// An item of an array in a merged document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemKey {
    /// The field of the array.
    pub array: String,
    /// The key that identifies the item.
    pub key: String,
}

impl Outcome {
    /// An outcome with only a row and an operation.
    pub fn new(row: usize, operation: &str) -> Self {
        let operation = operation.to_string();
        Self { row, operation, index: None, id: None, routing: None, item: None, reason: None, body: None }
    }

    /// An outcome with a reason.
    pub fn because(row: usize, operation: &str, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::new(row, operation) }
    }

    /// Returns true if it writes, changes or deletes a document.
    pub fn is_document(&self) -> bool {
        self.index.is_some() && self.operation != "keep"
    }

    /// The document as a value; null if there is none.
    pub fn body(&self) -> Value {
        self.body.as_ref().and_then(|body| serde_json::from_str(body.get()).ok()).unwrap_or_default()
    }

    /// For users: one line about the operation, and the document below it.
    pub fn pretty(&self) -> String {
        let mut text = self.operation.clone();
        if let (Some(index), Some(id)) = (&self.index, &self.id) {
            text += &format!(" {index}/{id}");
        }
        if let Some(routing) = &self.routing {
            text += &format!(", routing {routing}");
        }
        if let Some(item) = &self.item {
            text += &format!(", {}[{}]", item.array, item.key);
        }
        if let Some(reason) = &self.reason {
            text += &format!(": {reason}");
        }
        if self.body.is_some() {
            text += &format!("\n{:#}", self.body());
        }
        text
    }

    /// The whole outcome as a value, for comparisons: every digit of a number counts, the order of fields does not.
    pub fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

/// Writes outcomes as lines of JSON.
pub fn to_ndjson(outcomes: &[Outcome]) -> String {
    let line = |outcome| serde_json::to_string(outcome).unwrap_or_default() + "\n";
    outcomes.iter().map(line).collect()
}

/// Reads outcomes from lines of JSON.
///
/// # Errors
/// A line is not an outcome.
pub fn from_ndjson(text: &str) -> anyhow::Result<Vec<Outcome>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(place, line)| {
            serde_json::from_str(line).with_context(|| format!("line {} is not an outcome", place + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were() {
        let body = RawValue::from_string(r#"{"b":18446744073709551616,"a":1.50}"#.to_owned()).unwrap();
        let outcomes = vec![
            Outcome { index: Some("t".into()), id: Some("1".into()), body: Some(body), ..Outcome::new(1, "index") },
            Outcome::because(2, "fail", "why"),
        ];
        let text = to_ndjson(&outcomes);
        assert_eq!(
            text,
            "{\"row\":1,\"operation\":\"index\",\"index\":\"t\",\"id\":\"1\",\"body\":{\"b\":18446744073709551616,\"a\":1.50}}\n\
             {\"row\":2,\"operation\":\"fail\",\"reason\":\"why\"}\n"
        );
        assert_eq!(from_ndjson(&text).unwrap(), outcomes);
    }

    #[test]
    fn the_order_of_fields_does_not_count_and_digits_do() {
        let of = |text: &str| from_ndjson(&format!("{{\"row\":1,\"operation\":\"index\",\"body\":{text}}}")).unwrap();
        assert_eq!(of(r#"{"a":1,"b":2}"#), of(r#"{"b":2,"a":1}"#));
        assert_ne!(of(r#"{"a":1.5}"#), of(r#"{"a":1.50}"#));
        assert!(from_ndjson("\n{\"row\":1,\"op\":\"x\"}").unwrap_err().to_string().contains("line 2"));
    }
}
