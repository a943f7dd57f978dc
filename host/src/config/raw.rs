//! The configuration file as it is written: every key, nothing decided yet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::publication::RolloutChange;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub source: RawSource,
    pub plugins: RawPlugins,
    pub routes: Vec<RawRoute>,
    /// Declared column types: table, column, MySQL type.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    pub sink: RawSink,
    pub dead_letter: RawDeadLetter,
    pub http: RawHttp,
    pub config_topic: RawConfigTopic,
    pub pipeline: RawPipeline,
    pub limits: RawLimits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSource {
    pub kind: Option<String>,
    pub brokers: Option<String>,
    pub topics: Vec<String>,
    pub group: Option<String>,
    pub format: Option<String>,
    pub start: Option<String>,
    pub path: Option<String>,
    pub max_message_bytes: Option<Size>,
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPlugins {
    pub dir: Option<String>,
    /// Names of plugins, in the order of the chain; those left out follow in the order of their files.
    pub order: Vec<String>,
    /// Names of plugins that are not used though their files are there.
    pub disabled: Vec<String>,
    /// Names of plugins that may import WASI, which then does nothing.
    pub wasi: Vec<String>,
    /// Whether documents tell which generations made them.
    pub stamp: bool,
    pub settings: BTreeMap<String, toml::Value>,
    /// The private folder; empty for none.
    pub state: Option<String>,
    pub events: Option<bool>,
    pub poll: Option<String>,
    /// SHA-256 of files: `sha256:HEX` or `HEX`.
    pub hashes: Vec<String>,
    /// Paths of PEM files of public keys.
    pub trusted_keys: Vec<String>,
    pub compile_memory: Option<Size>,
    pub compile_time: Option<String>,
    pub rollout: RolloutChange,
    /// By plugin; what is left out is as in `rollout`.
    pub rollouts: BTreeMap<String, RolloutChange>,
    pub probation: RawProbation,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProbation {
    pub window: Option<String>,
    pub failed_rows: Option<u64>,
    pub failed_share: Option<f64>,
    pub row_time: Option<String>,
}

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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSink {
    pub kind: Option<String>,
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<String>,
    pub api_key: Option<Secret>,
    pub api_key_file: Option<String>,
    pub ca: Option<String>,
    pub gzip: Option<bool>,
    pub bulk_bytes: Option<Size>,
    pub bulk_documents: Option<usize>,
    pub linger: Option<String>,
    pub in_flight: Option<usize>,
    pub timeout: Option<String>,
    pub retry_wait: Option<String>,
    pub retry_wait_max: Option<String>,
    pub create_indices: Option<bool>,
    /// The file of the sink `ndjson`.
    pub path: Option<String>,
    /// Where the embedded store listens.
    pub listen: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDeadLetter {
    pub kind: Option<String>,
    pub path: Option<String>,
    pub topic: Option<String>,
    pub brokers: Option<String>,
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHttp {
    pub listen: Option<String>,
    pub token: Option<Secret>,
    pub token_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfigTopic {
    pub topic: Option<String>,
    pub brokers: Option<String>,
    pub key: Option<String>,
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPipeline {
    pub workers: Option<usize>,
    pub batch_rows: Option<usize>,
    pub batch_bytes: Option<Size>,
    pub bytes_in_flight: Option<Size>,
    pub commit_interval: Option<String>,
    pub shutdown_timeout: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    pub plugin_memory: Option<Size>,
    pub plugin_file: Option<Size>,
    pub plugin_batch_time: Option<String>,
    pub plugin_image_time: Option<String>,
    pub plugin_setup_time: Option<String>,
}

/// A number of bytes: `5242880`, `"5MiB"`, `"512KB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => return Ok(Self(number as usize)),
            NumberOrText::Text(text) => text,
        };
        parse_size(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not a size; write it like \"5MiB\", \"512KB\" or 1048576"))
        })
    }
}

/// Bytes from `512`, `5MiB`, `64 KB`.
pub fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().ok()?;
    let unit: usize = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A text that is never printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}
