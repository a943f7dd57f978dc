//! The keys that may change while the gateway runs, and the keys in which two configurations differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Config;

/// The keys that may change while the gateway runs; all others need a restart. A key includes those below it.
const LIVE: [&str; 22] = [
    "routes",
    "plugins.order",
    "plugins.disabled",
    "plugins.wasi",
    "plugins.stamp",
    "plugins.settings",
    "plugins.hashes",
    "plugins.trusted_keys",
    "plugins.compile_memory",
    "plugins.compile_time",
    "plugins.rollout",
    "plugins.rollouts",
    "plugins.probation",
    "sink.bulk_bytes",
    "sink.bulk_documents",
    "sink.linger",
    "sink.in_flight",
    "sink.timeout",
    "sink.retry_wait",
    "sink.retry_wait_max",
    "sink.create_indices",
    "sink.on_index_error",
];

/// Keys whose values are compared one by one.
const BY_NAME: [&str; 2] = ["plugins.settings", "plugins.rollouts"];

/// Returns true if a key may change while the gateway runs.
pub(crate) fn is_live(key: &str) -> bool {
    let is_below = |live: &str| key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    LIVE.iter().any(|live| is_below(live))
}

/// The keys in which two configurations differ, in alphabetical order. Different spellings of the
/// same value do not differ. If the `kind` of a section differs, its other keys are not compared.
pub(crate) fn differing_keys(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (keys(old), keys(new));
    let names = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let differs = |key: &String| old.get(key) != new.get(key);
    let mut differing: Vec<String> = names.filter(|key| differs(key)).cloned().collect();
    differing.sort();
    let kinds: Vec<String> = differing.iter().filter_map(|key| key.strip_suffix(".kind")).map(str::to_string).collect();
    differing.retain(|key| {
        let section = key.split('.').next().unwrap_or_default();
        key.ends_with(".kind") || !kinds.iter().any(|kind| kind == section)
    });
    differing
}

/// Every key of a configuration with its value.
fn keys(config: &Config) -> BTreeMap<String, Value> {
    let Config { source, decoder, format, plugins, routes, sink, dead_letter, http, config_topic, pipeline, limits } =
        config;
    let rowmill_sandbox::Limits { file_bytes, memory_bytes, setup_time, batch_time, image_time, .. } = limits;
    let mut keys = BTreeMap::new();
    for (section, value) in [
        ("source", json!(source)),
        ("source", json!({ "format": format!("{format:?}"), "max_message_bytes": decoder.max_message_bytes })),
        ("plugins", json!(plugins)),
        ("sink", json!(sink)),
        ("dead_letter", json!(dead_letter)),
        ("http", json!(http)),
        ("pipeline", json!(pipeline)),
        (
            "limits",
            json!({
                "plugin_file": file_bytes,
                "plugin_memory": memory_bytes,
                "plugin_setup_time": setup_time,
                "plugin_batch_time": batch_time,
                "plugin_image_time": image_time,
            }),
        ),
    ] {
        let Value::Object(fields) = value else { continue };
        add(&mut keys, section, fields);
    }
    // Compared as a whole.
    keys.insert("tables".into(), json!(format!("{:?}", decoder.declared)));
    keys.insert("routes".into(), json!(format!("{routes:?}")));
    keys.insert("config_topic".into(), json!(config_topic));
    keys
}

fn add(keys: &mut BTreeMap<String, Value>, section: &str, fields: Map<String, Value>) {
    for (field, value) in fields {
        let key = format!("{section}.{field}");
        match value {
            Value::Object(fields) if BY_NAME.contains(&key.as_str()) => add(keys, &key, fields),
            value => drop(keys.insert(key, value)),
        }
    }
}
