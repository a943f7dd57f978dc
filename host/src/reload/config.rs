//! `[config_topic]`: the keys as written, and the validated settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::value::cluster;
use crate::config::{Result, SourceConfig, error};

/// A compacted Kafka topic with one partition. The last record with the key overrides the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigTopicConfig {
    /// `host:port` of some brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The key of this gateway's records.
    pub key: String,
    /// Additional librdkafka properties.
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfigTopic {
    pub topic: Option<String>,
    pub brokers: Option<String>,
    pub key: Option<String>,
    pub properties: BTreeMap<String, String>,
}

pub fn config_topic(raw: &RawConfigTopic, source: &SourceConfig) -> Result<Option<ConfigTopicConfig>> {
    let Some(topic) = raw.topic.clone() else {
        if raw.brokers.is_some() || raw.key.is_some() || !raw.properties.is_empty() {
            return error(
                "[config_topic] needs config_topic.topic, a topic with one partition and cleanup.policy=compact",
            );
        }
        return Ok(None);
    };
    let (brokers, properties) = cluster("config_topic", raw.brokers.as_ref(), &raw.properties, source)?;
    let key = raw.key.clone().unwrap_or_else(|| match source {
        SourceConfig::Kafka(kafka) => kafka.group.clone(),
        _ => "rowmill".into(),
    });
    Ok(Some(ConfigTopicConfig { brokers, topic, key, properties }))
}
