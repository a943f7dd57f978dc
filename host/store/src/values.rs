//! The values of a document's fields, in a form that can be compared.

use std::cmp::Ordering;

use serde_json::Value;

use crate::json::scalar_text;
use crate::mapping::{FieldMapper, FieldType, decimal, parse_date, whole};

/// A value of a field, in the form in which the field compares its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortValue {
    Whole(i128),
    Decimal(f64),
    Text(String),
}

impl SortValue {
    /// Compares two values of one field. Text comes after numbers.
    pub(crate) fn compare(&self, other: &SortValue) -> Ordering {
        match (self, other) {
            (SortValue::Whole(one), SortValue::Whole(other)) => one.cmp(other),
            (SortValue::Text(one), SortValue::Text(other)) => one.cmp(other),
            (one, other) => one.number().total_cmp(&other.number()),
        }
    }

    fn number(&self) -> f64 {
        match self {
            SortValue::Whole(number) => *number as f64,
            SortValue::Decimal(number) => *number,
            SortValue::Text(_) => f64::INFINITY,
        }
    }

    /// The value as answers show it in `sort`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            SortValue::Whole(number) => i64::try_from(*number).map_or_else(|_| (*number as f64).into(), Value::from),
            SortValue::Decimal(number) if number.is_infinite() => {
                if *number > 0.0 {
                    "Infinity".into()
                } else {
                    "-Infinity".into()
                }
            }
            SortValue::Decimal(number) => (*number).into(),
            SortValue::Text(text) => text.as_str().into(),
        }
    }
}

/// Returns the value as this field compares it; `None` if the field does not index it.
pub(crate) fn sort_value(field: &FieldMapper, value: &Value) -> Option<SortValue> {
    let text = scalar_text(value)?;
    match field.field_type {
        FieldType::Whole { .. } => match decimal(text.trim())? {
            number if number.fract() == 0.0 => whole(text.trim()).map(SortValue::Whole),
            number => Some(SortValue::Decimal(number)),
        },
        FieldType::Decimal { .. } => decimal(text.trim()).map(SortValue::Decimal),
        FieldType::Date => parse_date(&field.format, &text).map(|milliseconds| SortValue::Whole(milliseconds.into())),
        _ => {
            let is_skipped = field.ignore_above.is_some_and(|longest| text.chars().count() as u64 > longest);
            (!is_skipped).then_some(SortValue::Text(text))
        }
    }
}

/// Adds every scalar at a dotted path to `into`, also those inside arrays.
pub(crate) fn values_at<'a>(value: &'a Value, path: &str, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values_at(item, path, into)),
        Value::Object(object) if !path.is_empty() => {
            if let Some(found) = object.get(path) {
                values_at(found, "", into);
            }
            for (position, _) in path.match_indices('.') {
                if let Some(found) = object.get(&path[..position]) {
                    values_at(found, &path[position + 1..], into);
                }
            }
        }
        Value::Null | Value::Object(_) => {}
        scalar if path.is_empty() => into.push(scalar),
        _ => {}
    }
}
