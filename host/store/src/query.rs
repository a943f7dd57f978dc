//! The queries that the store understands, and which documents they match.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::EsError;
use crate::index::Document;
use crate::mapping::{FieldMapper, FieldType, Mapping, parse_date};
use crate::names::wildcard_matches;

/// How deep queries may nest, Elasticsearch's own limit.
const DEEPEST: usize = 30;

/// A query.
#[derive(Debug, Clone)]
pub(crate) enum Query {
    All,
    None,
    Ids(HashSet<String>),
    Exists(String),
    /// Any of the values.
    Terms(String, Vec<Value>),
    Prefix(String, String),
    Wildcard(String, String),
    Match(String, Value),
    Range(String, Vec<(Bound, Value)>),
    Bool {
        must: Vec<Query>,
        must_not: Vec<Query>,
        should: Vec<Query>,
        least: usize,
    },
}

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Query {
    /// Reads the query of a search body.
    pub(crate) fn parse(body: &Value) -> Result<Query, EsError> {
        parse(body, 0)
    }

    /// Whether the document matches.
    pub(crate) fn matches(&self, mapping: &Mapping, document: &Document) -> bool {
        match self {
            Query::All => true,
            Query::None => false,
            Query::Ids(ids) => ids.contains(&document.id),
            Query::Exists(field) => exists(mapping, document, field),
            Query::Terms(field, values) if field == "_id" => {
                values.iter().any(|value| plain_text(value).as_deref() == Some(&document.id))
            }
            Query::Terms(field, values) => any_value(mapping, document, field, |mapper, found| {
                values.iter().any(|value| equals(mapper, found, value))
            }),
            Query::Prefix(field, prefix) => any_value(mapping, document, field, |mapper, found| {
                keyword_text(mapper, found).is_some_and(|text| text.starts_with(prefix.as_str()))
            }),
            Query::Wildcard(field, pattern) => any_value(mapping, document, field, |mapper, found| {
                keyword_text(mapper, found).is_some_and(|text| wildcard_matches(pattern, &text))
            }),
            Query::Match(field, wanted) => any_value(mapping, document, field, |mapper, found| {
                if *mapper.field_type() != FieldType::Text {
                    return equals(mapper, found, wanted);
                }
                let wanted = plain_text(wanted).unwrap_or_default();
                let found = plain_text(found).unwrap_or_default();
                tokens(&wanted).any(|token| tokens(&found).any(|other| other == token))
            }),
            Query::Range(field, bounds) => any_value(mapping, document, field, |mapper, found| {
                bounds.iter().all(|(bound, limit)| match (order(mapper, found, limit), bound) {
                    (Some(order), Bound::Gt) => order == Ordering::Greater,
                    (Some(order), Bound::Gte) => order != Ordering::Less,
                    (Some(order), Bound::Lt) => order == Ordering::Less,
                    (Some(order), Bound::Lte) => order != Ordering::Greater,
                    (None, _) => false,
                })
            }),
            Query::Bool { must, must_not, should, least } => {
                must.iter().all(|query| query.matches(mapping, document))
                    && !must_not.iter().any(|query| query.matches(mapping, document))
                    && (*least == 0 || should.iter().filter(|query| query.matches(mapping, document)).count() >= *least)
            }
        }
    }
}

fn parsing(reason: String) -> EsError {
    EsError::new(400, "parsing_exception", reason).with("line", 1).with("col", 1)
}

fn parse(body: &Value, depth: usize) -> Result<Query, EsError> {
    let Value::Object(body) = body else {
        return Err(parsing("[_na] query malformed, must start with start_object".into()));
    };
    if depth > DEEPEST {
        return Err(EsError::illegal_argument(format!(
            "The nested depth of the query exceeds the maximum nested depth for queries set in \
             [indices.query.bool.max_nested_depth] ({DEEPEST})"
        )));
    }
    let mut clauses = body.iter();
    let Some((kind, clause)) = clauses.next() else {
        return Err(EsError::illegal_argument("query malformed, empty clause found at [1:1]"));
    };
    if clauses.next().is_some() {
        return Err(parsing(format!("[{kind}] malformed query, expected [END_OBJECT] but found [FIELD_NAME]")));
    }
    let empty = Map::new();
    let inner = clause.as_object().unwrap_or(&empty);
    match kind.as_str() {
        "match_all" => Ok(Query::All),
        "match_none" => Ok(Query::None),
        "ids" => Ok(Query::Ids(list(inner.get("values")).iter().filter_map(plain_text).collect())),
        "exists" => match inner.get("field").and_then(Value::as_str) {
            Some(field) => Ok(Query::Exists(field.into())),
            None => Err(parsing("[exists] must be provided with a [field]".into())),
        },
        "term" => {
            let (field, value) = single_field(kind, inner, "value")?;
            Ok(Query::Terms(field, vec![value]))
        }
        "terms" => match inner.iter().find(|(name, _)| !matches!(name.as_str(), "boost" | "_name")) {
            Some((field, values @ Value::Array(_))) => Ok(Query::Terms(field.clone(), list(Some(values)))),
            _ => Err(parsing("[terms] query requires an array of terms".into())),
        },
        "prefix" => {
            let (field, value) = single_field(kind, inner, "value")?;
            Ok(Query::Prefix(field, plain_text(&value).unwrap_or_default()))
        }
        "wildcard" => {
            let (field, value) = single_field(kind, inner, "value")?;
            Ok(Query::Wildcard(field, plain_text(&value).unwrap_or_default()))
        }
        "match" | "match_phrase" => {
            let (field, value) = single_field(kind, inner, "query")?;
            Ok(Query::Match(field, value))
        }
        "range" => {
            let Some((field, Value::Object(bounds))) = inner.iter().next() else {
                return Err(parsing("[range] query malformed, no field to indicate range".into()));
            };
            let bounds = bounds.iter().filter_map(|(name, value)| {
                let bound = match name.as_str() {
                    "gt" => Bound::Gt,
                    "gte" => Bound::Gte,
                    "lt" => Bound::Lt,
                    "lte" => Bound::Lte,
                    _ => return None,
                };
                (!value.is_null()).then(|| (bound, value.clone()))
            });
            Ok(Query::Range(field.clone(), bounds.collect()))
        }
        "constant_score" => parse(inner.get("filter").unwrap_or(&Value::Null), depth + 1),
        "nested" => parse(inner.get("query").unwrap_or(&Value::Null), depth + 1),
        "bool" => parse_bool(inner, depth),
        other => {
            let cause = EsError::new(400, "named_object_not_found_exception", format!("unknown field [{other}]"));
            Err(parsing(format!("unknown query [{other}]")).caused_by(cause))
        }
    }
}

fn parse_bool(inner: &Map<String, Value>, depth: usize) -> Result<Query, EsError> {
    let (mut must, mut must_not, mut should, mut least) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, value) in inner {
        let into = match name.as_str() {
            "must" | "filter" => &mut must,
            "must_not" => &mut must_not,
            "should" => &mut should,
            "minimum_should_match" => {
                least = plain_text(value).and_then(|text| text.parse::<usize>().ok());
                continue;
            }
            "boost" | "_name" | "adjust_pure_negative" => continue,
            other => {
                let reason = format!("[1:1] [bool] unknown field [{other}]");
                return Err(EsError::new(400, "x_content_parse_exception", reason));
            }
        };
        for query in list(Some(value)) {
            into.push(parse(&query, depth + 1)?);
        }
    }
    let otherwise = usize::from(must.is_empty() && !should.is_empty());
    Ok(Query::Bool { must, must_not, should, least: least.unwrap_or(otherwise) })
}

fn single_field(kind: &str, inner: &Map<String, Value>, value_name: &str) -> Result<(String, Value), EsError> {
    let mut fields = inner.iter();
    let Some((field, value)) = fields.next() else {
        return Err(parsing(format!("[{kind}] query malformed, no field")));
    };
    if let Some((other, _)) = fields.next() {
        return Err(parsing(format!("[{kind}] query doesn't support multiple fields, found [{field}] and [{other}]")));
    }
    match value {
        Value::Object(body) => Ok((field.clone(), body.get(value_name).cloned().unwrap_or_default())),
        Value::Array(_) => Err(parsing(format!("[{kind}] query does not support array of values"))),
        value => Ok((field.clone(), value.clone())),
    }
}

fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(values)) => values.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(value) => vec![value.clone()],
    }
}

/// A scalar as text.
pub(crate) fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The words of a text, near enough to the standard analyzer's.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Every scalar under a dotted path, through arrays.
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

fn any_value(
    mapping: &Mapping,
    document: &Document,
    field: &str,
    accept: impl Fn(&FieldMapper, &Value) -> bool,
) -> bool {
    let Some((mapper, path)) = mapping.field(field) else {
        return false;
    };
    let mut values = Vec::new();
    values_at(document.tree(), path, &mut values);
    values.into_iter().any(|value| accept(mapper, value))
}

fn exists(mapping: &Mapping, document: &Document, field: &str) -> bool {
    if field == "_id" {
        return true;
    }
    if mapping.is_object(field) {
        fn any_scalar(value: &Value) -> bool {
            match value {
                Value::Array(items) => items.iter().any(any_scalar),
                Value::Object(object) => object.values().any(any_scalar),
                value => !value.is_null(),
            }
        }
        let mut at = Some(document.tree());
        for name in field.split('.') {
            at = at.and_then(|value| value.get(name));
        }
        return at.is_some_and(any_scalar);
    }
    any_value(mapping, document, field, |mapper, value| keyword_text(mapper, value).is_some())
}

/// The value as a keyword, if it is indexed.
fn keyword_text(mapper: &FieldMapper, value: &Value) -> Option<String> {
    let text = plain_text(value)?;
    let too_long = mapper.ignore_above().is_some_and(|longest| text.chars().count() as u64 > longest);
    (!too_long).then_some(text)
}

fn equals(mapper: &FieldMapper, found: &Value, wanted: &Value) -> bool {
    match mapper.field_type() {
        FieldType::Text => {
            let wanted = plain_text(wanted).unwrap_or_default();
            tokens(&plain_text(found).unwrap_or_default()).any(|token| token == wanted)
        }
        FieldType::Keyword | FieldType::Flattened | FieldType::Other(_) | FieldType::Binary => {
            keyword_text(mapper, found).is_some_and(|text| plain_text(wanted).as_deref() == Some(&text))
        }
        _ => order(mapper, found, wanted) == Some(Ordering::Equal),
    }
}

/// How two values of one field stand to each other.
pub(crate) fn order(mapper: &FieldMapper, one: &Value, other: &Value) -> Option<Ordering> {
    match (sort_value(mapper, one)?, sort_value(mapper, other)?) {
        (SortValue::Whole(one), SortValue::Whole(other)) => Some(one.cmp(&other)),
        (SortValue::Text(one), SortValue::Text(other)) => Some(one.cmp(&other)),
        (one, other) => one.number()?.partial_cmp(&other.number()?),
    }
}

/// A value as it sorts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortValue {
    Whole(i128),
    Decimal(f64),
    Text(String),
}

impl SortValue {
    fn number(&self) -> Option<f64> {
        match self {
            SortValue::Whole(number) => Some(*number as f64),
            SortValue::Decimal(number) => Some(*number),
            SortValue::Text(_) => None,
        }
    }
}

/// The value of a field as it sorts.
pub(crate) fn sort_value(mapper: &FieldMapper, value: &Value) -> Option<SortValue> {
    let text = plain_text(value)?;
    match mapper.field_type() {
        FieldType::Long | FieldType::Integer | FieldType::Short | FieldType::Byte | FieldType::UnsignedLong => {
            match text.trim().parse::<i128>() {
                Ok(number) => Some(SortValue::Whole(number)),
                Err(_) => {
                    let number = text.trim().parse::<f64>().ok()?;
                    match number.fract() == 0.0 {
                        true => Some(SortValue::Whole(number as i128)),
                        false => Some(SortValue::Decimal(number)),
                    }
                }
            }
        }
        FieldType::Double | FieldType::HalfFloat => text.trim().parse().ok().map(SortValue::Decimal),
        FieldType::Float => text.trim().parse::<f32>().ok().map(|number| SortValue::Decimal(f64::from(number))),
        FieldType::Date => {
            parse_date(mapper.format(), &text).ok().map(|milliseconds| SortValue::Whole(i128::from(milliseconds)))
        }
        _ => keyword_text(mapper, value).map(SortValue::Text),
    }
}
