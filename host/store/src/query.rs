//! The queries that the store supports, and the documents that they match.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::EsError;
use crate::index::Document;
use crate::json::{as_list, scalar_text};
use crate::mapping::{FieldMapper, FieldType, Mapping};
use crate::values::{SortValue, sort_value, values_at};

/// A query.
#[derive(Debug, Clone)]
pub(crate) enum Query {
    All,
    /// Documents with one of these IDs.
    Ids(HashSet<String>),
    /// Documents in which a field has one of these values.
    Terms(String, Vec<Value>),
}

impl Query {
    /// Reads the query of a search body: `match_all`, `ids`, `term` or `terms`.
    pub(crate) fn parse(body: &Value) -> Result<Query, EsError> {
        let clauses = body.as_object().ok_or_else(|| parsing("the query has to be an object"))?;
        let Some((kind, clause)) = clauses.iter().next() else {
            return Err(EsError::illegal_argument("the query is empty"));
        };
        if clauses.len() > 1 {
            return Err(parsing("the query has more than one kind"));
        }
        match (kind.as_str(), clause) {
            ("match_all", Value::Object(_)) => Ok(Query::All),
            ("ids", Value::Object(clause)) => {
                let values = clause.get("values").unwrap_or(&Value::Null);
                Ok(Query::Ids(as_list(values).iter().filter_map(scalar_text).collect()))
            }
            ("term" | "terms", Value::Object(fields)) if fields.len() == 1 => {
                let mut fields = fields.iter();
                match (kind.as_str(), fields.next()) {
                    ("terms", Some((field, Value::Array(values)))) => Ok(Query::Terms(field.clone(), values.clone())),
                    ("term", Some((field, Value::Object(options)))) => {
                        let value = options.get("value").cloned().unwrap_or_default();
                        Ok(Query::Terms(field.clone(), vec![value]))
                    }
                    ("term", Some((field, value))) if !value.is_array() => {
                        Ok(Query::Terms(field.clone(), vec![value.clone()]))
                    }
                    _ => Err(parsing(&format!("[{kind}] has a value of the wrong type"))),
                }
            }
            ("term" | "terms", _) => Err(parsing(&format!("[{kind}] needs exactly one field"))),
            _ => Err(parsing(&format!("[{kind}] is unknown, or a query that the embedded store does not support"))),
        }
    }

    /// Reads the parameter `q`: `*:*`, or one field and its value.
    pub(crate) fn parse_parameter(text: &str) -> Result<Query, EsError> {
        match text.split_once(':') {
            _ if text == "*" => Ok(Query::All),
            Some(("*", "*")) => Ok(Query::All),
            Some((field, value)) => {
                // The words of text fields are indexed in lower case.
                let value = value.trim_matches('"');
                Ok(Query::Terms(field.into(), vec![value.into(), value.to_lowercase().into()]))
            }
            None => Err(EsError::illegal_argument("the embedded store supports [q] only as field:value")),
        }
    }

    /// Returns true if the document matches.
    pub(crate) fn matches(&self, mapping: &Mapping, document: &Document) -> bool {
        match self {
            Query::All => true,
            Query::Ids(ids) => ids.contains(&document.id),
            Query::Terms(field, wanted) if field == "_id" => {
                wanted.iter().any(|wanted| wanted.as_str() == Some(&document.id))
            }
            Query::Terms(field, wanted) => {
                let Some((field, path)) = mapping.field(field) else {
                    return false;
                };
                let mut found = Vec::new();
                values_at(document.tree(), path, &mut found);
                found.iter().any(|found| wanted.iter().any(|wanted| equals(field, found, wanted)))
            }
        }
    }
}

fn parsing(reason: &str) -> EsError {
    EsError::new(400, "parsing_exception", reason)
}

fn equals(field: &FieldMapper, found: &Value, wanted: &Value) -> bool {
    if field.field_type == FieldType::Text {
        let wanted = scalar_text(wanted).unwrap_or_default();
        return tokens(&scalar_text(found).unwrap_or_default()).any(|token| token == wanted);
    }
    match (sort_value(field, found), sort_value(field, wanted)) {
        (Some(SortValue::Text(found)), Some(SortValue::Text(wanted))) => found == wanted,
        (Some(found), Some(wanted)) => found.compare(&wanted).is_eq(),
        _ => false,
    }
}

/// The words of a text, close to those of the standard analyzer.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}
