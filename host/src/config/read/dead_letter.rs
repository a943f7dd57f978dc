//! `[dead_letter]`.

use std::collections::BTreeMap;

use super::value::one_of;
use super::{Result, error};
use crate::config::raw::RawDeadLetter;
use crate::config::{DeadLetterConfig, SourceConfig};

pub fn dead_letter(raw: &RawDeadLetter, source: &SourceConfig) -> Result<DeadLetterConfig> {
    match one_of("dead_letter.kind", raw.kind.as_deref(), &[("file", 0), ("kafka", 1)])? {
        1 => {
            let (brokers, properties) = match (&raw.brokers, source) {
                (Some(brokers), _) => (brokers.clone(), raw.properties.clone()),
                // The same cluster, and so the same way to log in.
                (None, SourceConfig::Kafka(kafka)) => {
                    let security = kafka.properties.iter().filter(|(key, _)| {
                        key.starts_with("sasl.") || key.starts_with("ssl.") || *key == "security.protocol"
                    });
                    let mut properties: BTreeMap<String, String> =
                        security.map(|(key, value)| (key.clone(), value.clone())).collect();
                    properties.extend(raw.properties.clone());
                    (kafka.brokers.clone(), properties)
                }
                (None, _) => return error("dead_letter.kind = \"kafka\" needs dead_letter.brokers"),
            };
            match &raw.topic {
                Some(topic) => Ok(DeadLetterConfig::Kafka { brokers, topic: topic.clone(), properties }),
                None => error("dead_letter.kind = \"kafka\" needs dead_letter.topic"),
            }
        }
        _ => {
            Ok(DeadLetterConfig::File { path: raw.path.clone().unwrap_or_else(|| "dead-letter.ndjson".into()).into() })
        }
    }
}
