//! The index settings that the store acts on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::EsError;

/// The settings that the store knows, without `index.`, and their defaults.
const KNOWN: [(&str, &str); 6] = [
    ("number_of_shards", "1"),
    ("number_of_replicas", "1"),
    ("refresh_interval", "1s"),
    ("gc_deletes", "60s"),
    ("mapping.ignore_malformed", "false"),
    ("mapping.total_fields.limit", "1000"),
];

/// New values by setting, without `index.`; `None` restores the default.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

/// The settings of one index that differ from the defaults, by name without `index.`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Reads settings in each form that Elasticsearch accepts: nested or dotted, with or without `index.`.
    pub(crate) fn parse(body: &Value) -> Result<Changes, EsError> {
        let mut flat = BTreeMap::new();
        flatten("", body, &mut flat);
        let mut changes = BTreeMap::new();
        for (name, value) in flat {
            let name = name.trim_start_matches("index.");
            check(name, value.as_deref())?;
            changes.insert(name.to_owned(), value);
        }
        Ok(changes)
    }

    /// Applies changes.
    pub(crate) fn apply(&mut self, changes: Changes) {
        for (name, value) in changes {
            match value {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    fn text(&self, name: &str) -> &str {
        let default = || KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(_, default)| default);
        self.values.get(name).map_or_else(default, String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// How long the index remembers the versions of deleted documents.
    pub(crate) fn gc_deletes(&self) -> Duration {
        parse_duration(self.text("gc_deletes")).ok().flatten().unwrap_or_default()
    }

    /// The longest time until searches see a write; `None` if only an explicit refresh shows it.
    pub(crate) fn refresh_interval(&self) -> Option<Duration> {
        parse_duration(self.text("refresh_interval")).ok().flatten()
    }

    /// The number of copies of each shard besides the primary.
    pub(crate) fn replicas(&self) -> u64 {
        self.number("number_of_replicas")
    }

    /// The number of primary shards.
    pub(crate) fn shards(&self) -> u64 {
        self.number("number_of_shards")
    }

    /// Whether fields ignore malformed values unless their mapping says otherwise.
    pub(crate) fn ignore_malformed(&self) -> bool {
        self.text("mapping.ignore_malformed") == "true"
    }

    /// The largest number of fields in the mapping.
    pub(crate) fn field_limit(&self) -> usize {
        usize::try_from(self.number("mapping.total_fields.limit")).unwrap_or(usize::MAX)
    }

    /// The settings as Elasticsearch shows them: those that were set, the numbers of shards and replicas, and the
    /// UUID of the index.
    pub(crate) fn to_json(&self, flat: bool, uuid: &str) -> Value {
        let mut shown = if flat { json!({ "index.uuid": uuid }) } else { json!({ "index": { "uuid": uuid } }) };
        for (name, _) in KNOWN {
            if self.values.contains_key(name) || name.starts_with("number_of_") {
                let full_name = format!("index.{name}");
                let parts = if flat { vec![full_name.as_str()] } else { full_name.split('.').collect() };
                let member = parts.into_iter().fold(&mut shown, |object, part| &mut object[part]);
                *member = self.text(name).into();
            }
        }
        shown
    }
}

/// Reads `30s`, `2h`, `500ms` or `-1`, which is no limit (`None`).
pub(crate) fn parse_duration(text: &str) -> Result<Option<Duration>, EsError> {
    match text {
        "-1" => Ok(None),
        "0" => Ok(Some(Duration::ZERO)),
        text => match humantime::parse_duration(text) {
            Ok(duration) => Ok(Some(duration)),
            Err(error) => Err(EsError::illegal_argument(format!("failed to parse [{text}] as a time value: {error}"))),
        },
    }
}

fn check(name: &str, value: Option<&str>) -> Result<(), EsError> {
    if !KNOWN.iter().any(|(known, _)| *known == name) {
        return Err(EsError::illegal_argument(format!(
            "unknown setting [index.{name}], or one that the embedded store does not support"
        )));
    }
    let valid = match (name, value) {
        ("refresh_interval" | "gc_deletes", Some(value)) => parse_duration(value).map(|_| true)?,
        ("number_of_shards", Some(value)) => value.parse::<u64>().is_ok_and(|number| number > 0),
        ("mapping.ignore_malformed", Some(value)) => matches!(value, "true" | "false"),
        (_, Some(value)) => value.parse::<u64>().is_ok(),
        (_, None) => true,
    };
    match (valid, value) {
        (false, Some(value)) => {
            Err(EsError::illegal_argument(format!("Failed to parse value [{value}] for setting [index.{name}]")))
        }
        _ => Ok(()),
    }
}

fn flatten(prefix: &str, value: &Value, into: &mut Changes) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, into);
            }
        }
        Value::Null => drop(into.insert(prefix.into(), None)),
        Value::String(text) => drop(into.insert(prefix.into(), Some(text.clone()))),
        other => drop(into.insert(prefix.into(), Some(other.to_string()))),
    }
}
