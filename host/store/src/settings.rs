//! The settings of an index: flat, as text, with the few that the store acts on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::EsError;

/// What an index may be told; everything below a name that ends in a dot.
const KNOWN: [&str; 60] = [
    "number_of_shards",
    "number_of_replicas",
    "refresh_interval",
    "gc_deletes",
    "codec",
    "hidden",
    "mode",
    "priority",
    "auto_expand_replicas",
    "number_of_routing_shards",
    "routing_partition_size",
    "max_result_window",
    "max_inner_result_window",
    "max_rescore_window",
    "max_docvalue_fields_search",
    "max_script_fields",
    "max_ngram_diff",
    "max_shingle_diff",
    "max_refresh_listeners",
    "max_terms_count",
    "max_regex_length",
    "default_pipeline",
    "final_pipeline",
    "load_fixed_bitset_filters_eagerly",
    "fast_refresh",
    "routing_path",
    "check_on_startup",
    "shard.",
    "mapping.",
    "translog.",
    "routing.",
    "analysis.",
    "similarity.",
    "sort.",
    "blocks.",
    "lifecycle.",
    "merge.",
    "search.",
    "indexing.",
    "query.",
    "store.",
    "soft_deletes.",
    "unassigned.",
    "write.",
    "allocation.",
    "time_series.",
    "highlight.",
    "requests.",
    "analyze.",
    "warmer.",
    "flush_after_merge",
    "optimize_auto_generated_id",
    "recovery.",
    "version.",
    "uuid",
    "provided_name",
    "creation_date",
    "seq_no.",
    "frozen",
    "resize.",
];

/// Those that are fixed when the index is made.
const FIXED: [&str; 8] = [
    "number_of_shards",
    "number_of_routing_shards",
    "routing_partition_size",
    "codec",
    "mode",
    "sort.",
    "store.type",
    "routing_path",
];

/// The settings of one index, by full name (`index.gc_deletes`).
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Reads settings in any of the forms that Elasticsearch takes: nested or dotted, with or without `index.`.
    pub(crate) fn parse(body: &Value) -> Result<BTreeMap<String, Option<String>>, EsError> {
        let mut flat = BTreeMap::new();
        flatten("", body, &mut flat);
        let mut named = BTreeMap::new();
        for (name, value) in flat {
            let name = if name.starts_with("index.") { name } else { format!("index.{name}") };
            check(&name, value.as_deref())?;
            named.insert(name, value);
        }
        Ok(named)
    }

    /// Takes over changes; `None` removes a setting.
    pub(crate) fn apply(&mut self, changes: BTreeMap<String, Option<String>>) {
        for (name, value) in changes {
            match value {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    /// Sets one setting.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// Sets what has no value yet.
    pub(crate) fn set_default(&mut self, name: &str, value: impl Into<String>) {
        self.values.entry(name.into()).or_insert_with(|| value.into());
    }

    /// The setting's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A whole number, or `otherwise`.
    pub(crate) fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    }

    /// A length of time, or `otherwise`; negative ones are `None`.
    pub(crate) fn duration(&self, name: &str, otherwise: Duration) -> Option<Duration> {
        match self.text(name).map(parse_duration) {
            Some(Ok(duration)) => duration,
            _ => Some(otherwise),
        }
    }

    /// How long the index remembers deletions.
    pub(crate) fn gc_deletes(&self) -> Duration {
        self.duration("index.gc_deletes", Duration::from_secs(60)).unwrap_or_default()
    }

    /// How long a write may wait until searches see it; `None` is for ever.
    pub(crate) fn refresh_interval(&self) -> Option<Duration> {
        self.duration("index.refresh_interval", Duration::from_secs(1))
    }

    /// Copies of each shard, the first one not counted.
    pub(crate) fn replicas(&self) -> u64 {
        self.number("index.number_of_replicas", 1)
    }

    /// The number of primary shards.
    pub(crate) fn shards(&self) -> u64 {
        self.number("index.number_of_shards", 1)
    }

    /// The settings whose full names `keep` accepts, nested or flat.
    pub(crate) fn to_json(&self, flat: bool, keep: impl Fn(&str) -> bool) -> Value {
        let mut root = Map::new();
        for (name, value) in self.values.iter().filter(|(name, _)| keep(name)) {
            if flat {
                root.insert(name.clone(), value.as_str().into());
            } else {
                insert_nested(&mut root, name, value);
            }
        }
        Value::Object(root)
    }
}

/// Changes that an index that is open does not take.
pub(crate) fn fixed_settings(changes: &BTreeMap<String, Option<String>>) -> Vec<&str> {
    let fixed =
        |name: &str| FIXED.iter().any(|fixed| name == *fixed || fixed.ends_with('.') && name.starts_with(fixed));
    let names = changes.keys().map(String::as_str);
    names.filter(|name| fixed(name.trim_start_matches("index."))).collect()
}

/// Reads `30s`, `2h`, `500ms`, `-1` (nothing); the error is Elasticsearch's complaint.
pub(crate) fn parse_duration(text: &str) -> Result<Option<Duration>, &'static str> {
    if text == "-1" {
        return Ok(None);
    }
    if text == "0" {
        return Ok(Some(Duration::ZERO));
    }
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanoseconds: u64 = match unit.trim() {
        "nanos" => 1,
        "micros" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return Err("unit is missing or unrecognized"),
    };
    let number: u64 = number.parse().map_err(|_| "unit is missing or unrecognized")?;
    Ok(Some(Duration::from_nanos(number.saturating_mul(nanoseconds))))
}

fn check(name: &str, value: Option<&str>) -> Result<(), EsError> {
    let short = name.trim_start_matches("index.");
    if !KNOWN.iter().any(|known| short == *known || known.ends_with('.') && short.starts_with(known)) {
        return Err(EsError::illegal_argument(format!(
            "unknown setting [{name}] please check that any required plugins are installed, or check the breaking \
             changes documentation for removed settings"
        )));
    }
    let Some(value) = value else { return Ok(()) };
    match short {
        "number_of_shards" | "number_of_replicas" => {
            let least = u64::from(short == "number_of_shards");
            match value.parse::<i64>() {
                Ok(number) if number >= 0 && number.unsigned_abs() >= least => Ok(()),
                Ok(_) => Err(EsError::illegal_argument(format!(
                    "Failed to parse value [{value}] for setting [{name}] must be >= {least}"
                ))),
                Err(_) => {
                    Err(EsError::illegal_argument(format!("Failed to parse value [{value}] for setting [{name}]")))
                }
            }
        }
        "refresh_interval" | "gc_deletes" => match parse_duration(value) {
            Ok(_) => Ok(()),
            Err(complaint) => Err(EsError::illegal_argument(format!(
                "failed to parse setting [{name}] with value [{value}] as a time value: {complaint}"
            ))),
        },
        _ => Ok(()),
    }
}

fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, Option<String>>) {
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

fn insert_nested(root: &mut Map<String, Value>, name: &str, value: &str) {
    match name.split_once('.') {
        None => drop(root.insert(name.into(), value.into())),
        Some((first, rest)) => {
            let below = root.entry(first).or_insert_with(|| Value::Object(Map::new()));
            match below {
                Value::Object(below) => insert_nested(below, rest, value),
                _ => drop(root.insert(name.into(), value.into())),
            }
        }
    }
}
