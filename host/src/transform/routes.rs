//! `[[routes]]`: the keys as written, and the validated [`Route`]s.

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
    /// The path of a JSON file with the mapping of the index.
    pub mapping: Option<String>,
}

pub fn route(raw: &RawRoute) -> Result<Route> {
    if raw.table.is_empty() {
        return error("a [[routes]] entry has no `table`; write table = \"shop.trade\", or a pattern with *");
    }
    let place = |key: &str| format!("route of {:?}, {key}", raw.table);
    if let Some(index) = &raw.index
        && !rules::elasticsearch().is_index_name(index)
    {
        return error(format!(
            "{}: {index:?} is not a valid index name (lower case, no spaces, none of \\/*?\"<>|,#:)",
            place("index")
        ));
    }
    if let Some(id) = &raw.id
        && (id.is_empty() || id.matches('{').count() != id.matches('}').count() || !id.contains('{'))
    {
        return error(format!(
            "{}: {id:?} contains no column, or a brace without its pair; write columns in braces, for example \"{{order_id}}-{{line_no}}\"",
            place("id")
        ));
    }
    let epoch = raw.epoch.unwrap_or(0);
    if epoch > MAX_EPOCH {
        return error(format!("{}: {epoch} must be from 0 to {MAX_EPOCH}", place("epoch")));
    }
    Ok(Route {
        table: Pattern::new(&raw.table),
        index: raw.index.clone(),
        id: raw.id.clone(),
        version: version(&place("version"), raw.version.as_deref())?,
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
        mapping: raw.mapping.as_deref().map(|path| mapping(&place("mapping"), path)).transpose()?,
    })
}

fn version(place: &str, text: Option<&str>) -> Result<VersionStrategy> {
    match text {
        Some(text) if text.starts_with("column:") => Ok(VersionStrategy::Column(text["column:".len()..].to_string())),
        other => one_of(
            place,
            other,
            &[
                ("auto", VersionStrategy::Auto),
                ("binlog", VersionStrategy::Binlog),
                ("time", VersionStrategy::Time),
                ("offset", VersionStrategy::Offset),
                ("column:NAME", VersionStrategy::Auto),
            ],
        ),
    }
}

/// Reads the mapping, a JSON object, from a file.
fn mapping(place: &str, path: &str) -> Result<String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{place}: cannot read {path}: {error}")))?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(_) => error(format!("{place}: {path} is not a JSON object")),
        Err(problem) => error(format!("{place}: {path} is not JSON: {problem}")),
    }
}
