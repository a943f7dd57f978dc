//! Filters that keep parts of a JSON value: `filter_path` of answers and `_source` of documents.

use serde_json::{Map, Value};

use crate::index::Document;
use crate::json::{as_list, round_decimals};
use crate::names::wildcard_matches;

/// Returns the parts of an object that the paths name. A path is dotted; `*` stands for any number of characters of one
/// name, and arrays are passed through.
pub(crate) fn keep_paths(value: Value, paths: &[String]) -> Value {
    let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    keep(value, &paths).unwrap_or_else(|| Value::Object(Map::new()))
}

fn keep(value: Value, paths: &[&[&str]]) -> Option<Value> {
    match value {
        Value::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                let rests: Vec<&[&str]> = paths.iter().filter_map(|path| rest_of_path(path, &name)).collect();
                let value = if rests.iter().any(|rest| rest.is_empty()) { Some(value) } else { keep(value, &rests) };
                if let Some(value) = value {
                    kept.insert(name, value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> = items.into_iter().filter_map(|item| keep(item, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

/// Returns the rest of a path after the name; `None` if the path does not begin with it.
fn rest_of_path<'a, 'b>(path: &'b [&'a str], name: &str) -> Option<&'b [&'a str]> {
    let (first, rest) = path.split_first()?;
    if wildcard_matches(first, name) {
        return Some(rest);
    }
    // A name that contains dots is named by as many parts.
    let n_parts = name.matches('.').count() + 1;
    (n_parts > 1 && path.len() >= n_parts && path[..n_parts].join(".") == name).then(|| &path[n_parts..])
}

/// The part of a document's source that an answer shows.
#[derive(Debug, Clone, Default)]
pub(crate) enum SourceFilter {
    #[default]
    All,
    None,
    Paths(Vec<String>),
}

impl SourceFilter {
    /// Reads `_source`: a flag, a path, or a list of paths.
    pub(crate) fn parse(value: &Value) -> SourceFilter {
        match value {
            Value::Bool(true) | Value::Null => SourceFilter::All,
            Value::Bool(false) => SourceFilter::None,
            value => SourceFilter::Paths(as_list(value).iter().filter_map(Value::as_str).map(Into::into).collect()),
        }
    }

    /// Returns the JSON of the parameter `_source`, which is a flag, or paths separated by commas.
    pub(crate) fn value_of_parameter(text: &str) -> Value {
        match text {
            "" | "true" => true.into(),
            "false" => false.into(),
            paths => paths.split(',').collect(),
        }
    }

    /// Returns the JSON of the part to show: the bytes that were written if it is the whole source.
    pub(crate) fn apply(&self, document: &Document) -> Option<String> {
        match self {
            SourceFilter::All => Some(document.source.get().to_owned()),
            SourceFilter::None => None,
            SourceFilter::Paths(paths) => {
                let mut kept = keep_paths(document.tree().clone(), paths);
                round_decimals(&mut kept);
                Some(kept.to_string())
            }
        }
    }
}

/// Renders a document of an answer: `frame`, an object, with the shown part of the source as its member `_source`.
pub(crate) fn document_json(frame: &Value, document: &Document, shown: &SourceFilter) -> String {
    let mut text = frame.to_string();
    if let Some(source) = shown.apply(document) {
        text.truncate(text.len() - 1);
        text.push_str(",\"_source\":");
        text.push_str(&source);
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(paths: &[&str], expect: Value) {
        let value = json!({
            "errors": true, "took": 3,
            "items": [{"index": {"status": 200}}, {"create": {"status": 409, "error": {"type": "x"}}}],
        });
        let names: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(keep_paths(value, &names), expect, "{paths:?}");
    }

    #[test]
    fn paths() {
        check(&["errors", "items.*.error"], json!({"errors": true, "items": [{"create": {"error": {"type": "x"}}}]}));
        check(&["items.*.status"], json!({"items": [{"index": {"status": 200}}, {"create": {"status": 409}}]}));
        check(&["items.index.st*"], json!({"items": [{"index": {"status": 200}}]}));
        check(&["nothing"], json!({}));
    }
}
