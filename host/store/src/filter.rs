//! Which parts of a JSON value are kept: `filter_path` of answers and `_source` filters of documents.

use serde_json::{Map, Value};

use crate::names::wildcard_matches;

/// Keeps what `include` names (everything if it is empty) less what `exclude` names.
///
/// A path is dotted; `*` stands for any run of characters of one name, `**` for any number of names.
pub(crate) fn filter(value: Value, include: &[String], exclude: &[String]) -> Value {
    let mut value = value;
    if !exclude.is_empty() {
        let paths: Vec<Vec<&str>> = exclude.iter().map(|path| path.split('.').collect()).collect();
        let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
        value = without(value, &paths);
    }
    if !include.is_empty() {
        let paths: Vec<Vec<&str>> = include.iter().map(|path| path.split('.').collect()).collect();
        let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
        value = only(value, &paths).unwrap_or_else(|| Value::Object(Map::new()));
    }
    value
}

/// Reads `filter_path`: what is to stay, and behind a minus what is to go.
pub(crate) fn filter_path(value: Value, paths: &str) -> Value {
    let (exclude, include): (Vec<&str>, Vec<&str>) =
        paths.split(',').map(str::trim).filter(|path| !path.is_empty()).partition(|path| path.starts_with('-'));
    let include: Vec<String> = include.into_iter().map(Into::into).collect();
    let exclude: Vec<String> = exclude.into_iter().map(|path| path.trim_start_matches('-').into()).collect();
    filter(value, &include, &exclude)
}

/// What is left of each path behind one name.
fn behind<'a, 'b>(paths: &'b [&'b [&'a str]], name: &str) -> Vec<&'b [&'a str]> {
    let mut next: Vec<&[&str]> = Vec::new();
    for path in paths {
        match path.split_first() {
            Some((&"**", rest)) => {
                next.push(path);
                next.extend(behind_one(rest, name));
            }
            _ => next.extend(behind_one(path, name)),
        }
    }
    next
}

fn behind_one<'a, 'b>(path: &'b [&'a str], name: &str) -> Option<&'b [&'a str]> {
    let (first, rest) = path.split_first()?;
    if wildcard_matches(first, name) {
        return Some(rest);
    }
    // A key with dots in it is named by as many parts.
    let parts = name.matches('.').count() + 1;
    (parts > 1 && path.len() >= parts && path[..parts].join(".") == name).then(|| &path[parts..])
}

fn only(value: Value, paths: &[&[&str]]) -> Option<Value> {
    match value {
        Value::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                let next = behind(paths, &name);
                if next.iter().any(|path| path.is_empty()) {
                    kept.insert(name, value);
                } else if !next.is_empty()
                    && let Some(value) = only(value, &next)
                {
                    kept.insert(name, value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> = items.into_iter().filter_map(|item| only(item, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn without(value: Value, paths: &[&[&str]]) -> Value {
    match value {
        Value::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                let next = behind(paths, &name);
                if !next.iter().any(|path| path.is_empty()) {
                    let value = if next.is_empty() { value } else { without(value, &next) };
                    kept.insert(name, value);
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| without(item, paths)).collect()),
        scalar => scalar,
    }
}

/// Which part of a document's source an answer shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFilter {
    pub(crate) hidden: bool,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

impl SourceFilter {
    /// Reads `_source` of a body: a flag, a name, a list, or an object of two lists.
    pub(crate) fn parse(value: &Value) -> SourceFilter {
        let names = |value: Option<&Value>| match value {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(Into::into).collect(),
            Some(Value::String(name)) => vec![name.clone()],
            _ => Vec::new(),
        };
        match value {
            Value::Bool(shown) => SourceFilter { hidden: !shown, ..SourceFilter::default() },
            Value::Object(body) => SourceFilter {
                hidden: false,
                include: names(body.get("includes").or_else(|| body.get("include"))),
                exclude: names(body.get("excludes").or_else(|| body.get("exclude"))),
            },
            other => SourceFilter { include: names(Some(other)), ..SourceFilter::default() },
        }
    }

    /// Whether documents are shown as they are.
    pub(crate) fn is_all(&self) -> bool {
        !self.hidden && self.include.is_empty() && self.exclude.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(paths: &str, expect: Value) {
        let value = json!({"errors": true, "took": 3, "items": [{"index": {"status": 200}}, {"create": {"status": 409, "error": {"type": "x"}}}]});
        assert_eq!(filter_path(value, paths), expect, "{paths}");
    }

    #[test]
    fn paths() {
        check("errors,items.*.error", json!({"errors": true, "items": [{"create": {"error": {"type": "x"}}}]}));
        check("items.*.status", json!({"items": [{"index": {"status": 200}}, {"create": {"status": 409}}]}));
        check("**.type", json!({"items": [{"create": {"error": {"type": "x"}}}]}));
        check("-items", json!({"errors": true, "took": 3}));
        check("nothing", json!({}));
    }
}
