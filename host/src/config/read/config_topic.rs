//! `[config_topic]`.

use super::value::cluster;
use super::{Result, error};
use crate::config::raw::RawConfigTopic;
use crate::config::{ConfigTopicConfig, SourceConfig};

pub fn config_topic(raw: &RawConfigTopic, source: &SourceConfig) -> Result<Option<ConfigTopicConfig>> {
    let Some(topic) = raw.topic.clone() else {
        if raw.brokers.is_some() || raw.key.is_some() || !raw.properties.is_empty() {
            return error(
                "[config_topic] needs config_topic.topic, a topic of one partition with cleanup.policy=compact",
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
