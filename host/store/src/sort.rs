//! The order of hits: sort keys, the values that they find, and how those compare.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::error::EsError;
use crate::index::Document;
use crate::mapping::{FieldMapper, FieldType};
use crate::query::{SortValue, sort_value, values_at};
use crate::search::View;

/// One key of a sort.
#[derive(Debug, Clone)]
pub(crate) struct SortKey {
    field: String,
    descending: bool,
    missing_first: bool,
}

/// Reads `sort`: a name, an object, or a list of both.
pub(crate) fn parse_sort(value: &Value) -> Vec<SortKey> {
    match value {
        Value::Array(keys) => keys.iter().flat_map(parse_sort).collect(),
        Value::String(text) => {
            let (field, order) = text.rsplit_once(':').unwrap_or((text, "asc"));
            vec![SortKey { field: field.into(), descending: order == "desc", missing_first: false }]
        }
        Value::Object(keys) => keys
            .iter()
            .map(|(field, options)| {
                let order = options.as_str().or_else(|| options.get("order").and_then(Value::as_str));
                let missing_first = options.get("missing").and_then(Value::as_str) == Some("_first");
                SortKey { field: field.clone(), descending: order == Some("desc"), missing_first }
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A sort key that has found its field.
pub(crate) struct ResolvedKey<'a> {
    field: Option<(&'a FieldMapper, &'a str)>,
    key: &'a SortKey,
}

impl SortKey {
    /// Finds the field in an index.
    pub(crate) fn resolve<'a>(&'a self, view: &'a View) -> Result<ResolvedKey<'a>, EsError> {
        if matches!(self.field.as_str(), "_doc" | "_score" | "_shard_doc") {
            return Ok(ResolvedKey { field: None, key: self });
        }
        let Some((field, path)) = view.mapping.field(&self.field) else {
            let cause = EsError::new(
                400,
                "query_shard_exception",
                format!("No mapping found for [{}] in order to sort on", self.field),
            )
            .with("index_uuid", view.uuid.as_str())
            .with("index", &*view.name);
            return Err(shards_failed(&view.name, &cause).with_root(cause));
        };
        if *field.field_type() == FieldType::Text {
            let cause = EsError::illegal_argument(format!(
                "Fielddata is disabled on [{0}] in [{1}]. Text fields are not optimised for operations that require \
                 per-document field data like aggregations and sorting, so these operations are disabled by default. \
                 Please use a keyword field instead. Alternatively, set fielddata=true on [{0}] in order to load field \
                 data by uninverting the inverted index. Note that this can use significant memory.",
                self.field, view.name
            ));
            return Err(shard_refused(&view.name, cause));
        }
        Ok(ResolvedKey { field: Some((field, path)), key: self })
    }
}

impl ResolvedKey<'_> {
    /// The least value of the document, or the greatest where the order is reversed.
    pub(crate) fn value(&self, position: usize, document: &Document) -> Value {
        let Some((field, path)) = self.field else {
            return position.into();
        };
        let mut found = Vec::new();
        values_at(document.tree(), path, &mut found);
        let mut values: Vec<Value> = found.iter().filter_map(|value| sort_value(field, value)).map(sort_json).collect();
        values.sort_by(|one, other| match (one, other) {
            (Value::String(one), Value::String(other)) => one.cmp(other),
            (one, other) => compare_numbers(one, other),
        });
        let value = if self.key.descending { values.pop() } else { values.into_iter().next() };
        let first = self.key.missing_first != self.key.descending;
        value.unwrap_or_else(|| match field.field_type() {
            FieldType::Keyword | FieldType::Ip | FieldType::Flattened | FieldType::Other(_) => Value::Null,
            FieldType::Double | FieldType::Float | FieldType::HalfFloat => {
                if first {
                    "-Infinity".into()
                } else {
                    "Infinity".into()
                }
            }
            _ => {
                if first {
                    i64::MIN.into()
                } else {
                    i64::MAX.into()
                }
            }
        })
    }
}

fn sort_json(value: SortValue) -> Value {
    match value {
        SortValue::Whole(number) => i64::try_from(number).map_or_else(|_| (number as f64).into(), Value::from),
        SortValue::Decimal(number) => number.into(),
        SortValue::Text(text) => text.into(),
    }
}

fn compare_numbers(one: &Value, other: &Value) -> Ordering {
    if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64()) {
        return one.cmp(&other);
    }
    let number = |value: &Value| match value {
        Value::String(text) if text == "-Infinity" => f64::NEG_INFINITY,
        Value::String(_) => f64::INFINITY,
        value => value.as_f64().unwrap_or(0.0),
    };
    number(one).total_cmp(&number(other))
}

/// How the sort values of two hits stand to each other.
pub(crate) fn compare(keys: &[SortKey], one: &[Value], other: &[Value]) -> Ordering {
    for (key, (one, other)) in keys.iter().zip(one.iter().zip(other)) {
        let order = match (one, other) {
            (Value::String(one), Value::String(other)) => one.cmp(other),
            (Value::Null, Value::Null) => Ordering::Equal,
            // What is missing comes last whatever the direction, unless it was wanted first.
            (Value::Null, _) if key.missing_first => return Ordering::Less,
            (Value::Null, _) => return Ordering::Greater,
            (_, Value::Null) if key.missing_first => return Ordering::Greater,
            (_, Value::Null) => return Ordering::Less,
            (one, other) => compare_numbers(one, other),
        };
        let order = if key.descending { order.reverse() } else { order };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// `search_phase_execution_exception` in which the shard of `index` failed for this reason.
fn shards_failed(index: &str, reason: &EsError) -> EsError {
    let failed = json!([{ "shard": 0, "index": index, "node": "embedded", "reason": reason.to_item() }]);
    EsError::new(reason.status, "search_phase_execution_exception", "all shards failed")
        .with("phase", "query")
        .with("grouped", true)
        .with("failed_shards", failed)
}

/// The same for a reason that Elasticsearch wraps in itself.
pub(crate) fn shard_refused(index: &str, reason: EsError) -> EsError {
    shards_failed(index, &reason).with_root(reason.clone()).caused_by(reason.clone().caused_by(reason))
}
