//! The order of hits: sort keys, and the values by which they compare hits.

use std::cmp::Ordering;

use serde_json::Value;

use crate::error::EsError;
use crate::index::Document;
use crate::json::scalar_text;
use crate::mapping::{FieldMapper, FieldType, Mapping};
use crate::values::{SortValue, sort_value, values_at};

/// One key of a sort.
#[derive(Debug, Clone)]
pub(crate) struct SortKey {
    field: String,
    descending: bool,
}

/// Reads `sort`: a name, an object, or a list of both.
pub(crate) fn parse_sort(value: &Value) -> Vec<SortKey> {
    match value {
        Value::Array(keys) => keys.iter().flat_map(parse_sort).collect(),
        Value::String(text) => {
            let (field, order) = text.rsplit_once(':').unwrap_or((text, "asc"));
            vec![SortKey { field: field.into(), descending: order == "desc" }]
        }
        Value::Object(keys) => keys
            .iter()
            .map(|(field, options)| {
                let order = options.as_str().or_else(|| options.get("order").and_then(Value::as_str));
                SortKey { field: field.clone(), descending: order == Some("desc") }
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A sort key with the field that it names in one index; without one, it sorts in the order of writing.
pub(crate) struct ResolvedKey<'a> {
    field: Option<(&'a FieldMapper, &'a str)>,
    descending: bool,
}

impl SortKey {
    /// Finds the key's field in a mapping.
    pub(crate) fn resolve<'a>(&'a self, mapping: &'a Mapping) -> Result<ResolvedKey<'a>, EsError> {
        let descending = self.descending;
        if matches!(self.field.as_str(), "_doc" | "_score" | "_shard_doc") {
            return Ok(ResolvedKey { field: None, descending });
        }
        match mapping.field(&self.field) {
            None => Err(search_failed(format!("No mapping found for [{}] in order to sort on", self.field))),
            Some((field, _)) if field.field_type == FieldType::Text => {
                Err(search_failed(format!("[{}] is a text field; sort by a keyword field instead", self.field)))
            }
            field => Ok(ResolvedKey { field, descending }),
        }
    }
}

impl ResolvedKey<'_> {
    /// Returns the document's least value, or its greatest if the order is descending. `position` is the document's
    /// place in the order of writing. `None` is a keyword that the document does not have.
    pub(crate) fn value(&self, position: usize, document: &Document) -> Option<SortValue> {
        let Some((field, path)) = self.field else {
            return Some(SortValue::Whole(position as i128));
        };
        let mut found = Vec::new();
        values_at(document.tree(), path, &mut found);
        let values = found.iter().filter_map(|value| sort_value(field, value));
        let extreme = match self.descending {
            false => values.min_by(SortValue::compare),
            true => values.max_by(SortValue::compare),
        };
        // Elasticsearch sorts missing numbers as the largest ones, and in descending order as the smallest ones.
        extreme.or_else(|| match (field.field_type, self.descending) {
            (FieldType::Decimal { .. }, false) => Some(SortValue::Decimal(f64::INFINITY)),
            (FieldType::Decimal { .. }, true) => Some(SortValue::Decimal(f64::NEG_INFINITY)),
            (FieldType::Whole { .. } | FieldType::Date, false) => Some(SortValue::Whole(i64::MAX.into())),
            (FieldType::Whole { .. } | FieldType::Date, true) => Some(SortValue::Whole(i64::MIN.into())),
            _ => None,
        })
    }
}

/// Compares two hits by their sort values.
pub(crate) fn compare(keys: &[SortKey], one: &[Option<SortValue>], other: &[Option<SortValue>]) -> Ordering {
    for (key, values) in keys.iter().zip(one.iter().zip(other)) {
        let order = match values {
            (Some(one), Some(other)) if key.descending => other.compare(one),
            (Some(one), Some(other)) => one.compare(other),
            // Missing keywords come last, whatever the order.
            (one, other) => one.is_none().cmp(&other.is_none()),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Reads a value of `search_after`, which is a sort value of an earlier answer.
pub(crate) fn parse_search_after(value: &Value) -> Option<SortValue> {
    let text = scalar_text(value)?;
    match value {
        Value::Number(_) => {
            let whole = text.parse().map(SortValue::Whole);
            whole.ok().or_else(|| text.parse().ok().map(SortValue::Decimal))
        }
        _ if text == "Infinity" => Some(SortValue::Decimal(f64::INFINITY)),
        _ if text == "-Infinity" => Some(SortValue::Decimal(f64::NEG_INFINITY)),
        _ => Some(SortValue::Text(text)),
    }
}

/// `search_phase_execution_exception`, status 400.
pub(crate) fn search_failed(reason: impl Into<String>) -> EsError {
    EsError::new(400, "search_phase_execution_exception", reason)
}
