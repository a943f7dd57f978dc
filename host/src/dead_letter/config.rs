//! `[dead_letter]`: the keys as written, and the validated settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::value::{cluster, one_of};
use crate::config::{Result, SourceConfig, error};

/// Where dead letters are stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DeadLetterConfig {
    /// A file with one JSON object per line.
    File {
        /// The file, which is appended to.
        path: PathBuf,
    },
    /// A Kafka topic.
    Kafka {
        /// `host:port` of some brokers.
        brokers: String,
        /// The topic.
        topic: String,
        /// Additional librdkafka properties.
        properties: BTreeMap<String, String>,
        /// The file for letters that are too large for the topic.
        path: PathBuf,
    },
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

pub fn dead_letter(raw: &RawDeadLetter, source: &SourceConfig) -> Result<DeadLetterConfig> {
    let path = PathBuf::from(raw.path.clone().unwrap_or_else(|| "dead-letter.ndjson".into()));
    match one_of("dead_letter.kind", raw.kind.as_deref(), &[("file", 0), ("kafka", 1)])? {
        1 => {
            let (brokers, properties) = cluster("dead_letter", raw.brokers.as_ref(), &raw.properties, source)?;
            match &raw.topic {
                Some(topic) => Ok(DeadLetterConfig::Kafka { brokers, topic: topic.clone(), properties, path }),
                None => error("dead_letter.kind = \"kafka\" needs dead_letter.topic"),
            }
        }
        _ => Ok(DeadLetterConfig::File { path }),
    }
}
