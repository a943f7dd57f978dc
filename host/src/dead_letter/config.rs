//! `[dead_letter]`: the keys as written, and the validated settings.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::value::{Size, cluster, one_of};
use crate::config::{Result, SourceConfig, error};

/// Where dead letters are stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DeadLetterConfig {
    /// A file with one JSON object per line.
    File {
        /// The file, which is appended to.
        path: PathBuf,
        /// The size in bytes from which the file is rotated; `None` for never.
        rotate_at: Option<u64>,
        /// The most letters within a minute; `None` for any number.
        max_per_minute: Option<NonZeroU32>,
    },
    /// A Kafka topic.
    Kafka(KafkaLetters),
}

impl DeadLetterConfig {
    /// The most letters within a minute; `None` for any number.
    pub fn max_per_minute(&self) -> Option<NonZeroU32> {
        match self {
            Self::File { max_per_minute, .. } | Self::Kafka(KafkaLetters { max_per_minute, .. }) => *max_per_minute,
        }
    }
}

/// A Kafka topic for dead letters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KafkaLetters {
    /// `host:port` of some brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The file for letters that the topic finds too large.
    pub path: PathBuf,
    /// The size in bytes from which that file is rotated; `None` for never.
    pub rotate_at: Option<u64>,
    /// The most letters within a minute; `None` for any number.
    pub max_per_minute: Option<NonZeroU32>,
    /// Additional librdkafka properties.
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDeadLetter {
    pub kind: Option<String>,
    pub path: Option<String>,
    pub rotate_at: Option<Size>,
    pub max_per_minute: Option<u32>,
    pub topic: Option<String>,
    pub brokers: Option<String>,
    pub properties: BTreeMap<String, String>,
}

/// The size from which a file is rotated if the configuration names none: a size that tools still open.
const ROTATE_AT: Size = Size(256 << 20);

/// Reads the section. `state` is the private folder, if there is one.
pub fn dead_letter(raw: &RawDeadLetter, source: &SourceConfig, state: Option<&Path>) -> Result<DeadLetterConfig> {
    let is_kafka = one_of("dead_letter.kind", raw.kind.as_deref(), &[("file", false), ("kafka", true)])?;
    let rotate_at = Some(raw.rotate_at.unwrap_or(ROTATE_AT).0 as u64).filter(|size| *size > 0);
    let max_per_minute = raw.max_per_minute.and_then(NonZeroU32::new);
    let path = raw.path.as_ref().map(PathBuf::from);
    if !is_kafka {
        let path = path.unwrap_or_else(|| "dead-letter.ndjson".into());
        return Ok(DeadLetterConfig::File { path, rotate_at, max_per_minute });
    }
    let (brokers, properties) = cluster("dead_letter", raw.brokers.as_ref(), &raw.properties, source)?;
    let Some(topic) = raw.topic.clone() else {
        return error("dead_letter.kind = \"kafka\" needs dead_letter.topic");
    };
    let path = path.unwrap_or_else(|| state.unwrap_or(Path::new("")).join("dead-letter-too-large.ndjson"));
    Ok(DeadLetterConfig::Kafka(KafkaLetters { brokers, topic, path, rotate_at, max_per_minute, properties }))
}
