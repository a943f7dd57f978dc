//! `[dead_letter]`.

use super::value::{cluster, one_of};
use super::{Result, error};
use crate::config::raw::RawDeadLetter;
use crate::config::{DeadLetterConfig, SourceConfig};

pub fn dead_letter(raw: &RawDeadLetter, source: &SourceConfig) -> Result<DeadLetterConfig> {
    match one_of("dead_letter.kind", raw.kind.as_deref(), &[("file", 0), ("kafka", 1)])? {
        1 => {
            let (brokers, properties) = cluster("dead_letter", raw.brokers.as_ref(), &raw.properties, source)?;
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
