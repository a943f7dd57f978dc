//! `[[routes]]`: their keys, read into [`Route`]s.

use rowmill_engine::version::{MAX_EPOCH, VersionStrategy};
use rowmill_engine::{DeletePolicy, Route, TruncatePolicy};
use rowmill_sandbox::Pattern;
use serde::Deserialize;

use crate::config::value::one_of;
use crate::config::{ConfigError, Result, error};
use crate::sink::rules;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoute {
    pub table: String,
    pub index: Option<String>,
    pub id: Option<String>,
    pub version: Option<String>,
    pub epoch: Option<u64>,
    pub truncate: Option<String>,
    pub delete: Option<String>,
    /// Path of a JSON file with the mapping of the index.
    pub mapping: Option<String>,
}

pub fn route(raw: &RawRoute) -> Result<Route> {
    if raw.table.is_empty() {
        return error("a [[routes]] has no `table`; write table = \"shop.trade\", or a pattern with *");
    }
    let place = |key: &str| format!("route of {:?}, {key}", raw.table);
    if let Some(index) = &raw.index
        && !rules::elasticsearch().is_index_name(index)
    {
        return error(format!(
            "{}: {index:?} is no index name that Elasticsearch takes (lower case, no blanks or \\/*?\"<>|,#:)",
            place("index")
        ));
    }
    if let Some(id) = &raw.id
        && (id.is_empty() || id.matches('{').count() != id.matches('}').count() || !id.contains('{'))
    {
        return error(format!(
            "{}: {id:?} names no column; write columns in braces, for example \"{{order_id}}-{{line_no}}\"",
            place("id")
        ));
    }
    let epoch = raw.epoch.unwrap_or(0);
    if epoch > MAX_EPOCH {
        return error(format!("{}: {epoch} is more than {MAX_EPOCH}", place("epoch")));
    }
    let version = match raw.version.as_deref() {
        Some(text) if text.starts_with("column:") => VersionStrategy::Column(text["column:".len()..].to_string()),
        other => one_of(
            &place("version"),
            other,
            &[
                ("auto", VersionStrategy::Auto),
                ("binlog", VersionStrategy::Binlog),
                ("time", VersionStrategy::Time),
                ("offset", VersionStrategy::Offset),
                ("column:NAME", VersionStrategy::Auto),
            ],
        )?,
    };
    let mapping = match &raw.mapping {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("{}: cannot read {path}: {error}", place("mapping"))))?;
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(serde_json::Value::Object(_)) => Some(text),
                Ok(_) => return error(format!("{}: {path} is not a JSON object", place("mapping"))),
                Err(problem) => return error(format!("{}: {path} is not JSON: {problem}", place("mapping"))),
            }
        }
    };
    Ok(Route {
        table: Pattern::new(&raw.table),
        index: raw.index.clone(),
        id: raw.id.clone(),
        version,
        epoch,
        truncate: one_of(
            &place("truncate"),
            raw.truncate.as_deref(),
            &[("ignore", TruncatePolicy::Ignore), ("apply", TruncatePolicy::Apply)],
        )?,
        delete: one_of(
            &place("delete"),
            raw.delete.as_deref(),
            &[("hard", DeletePolicy::Hard), ("soft", DeletePolicy::Soft)],
        )?,
        mapping,
    })
}
