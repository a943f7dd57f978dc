//! Value types that several keys share: sizes, secrets, durations, addresses, choices.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, Result, SourceConfig, error, nearest};

/// A number of bytes: `5242880`, `"5MiB"`, `"512KB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
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

/// Parses a number of bytes from `512`, `5MiB`, `64 KB`.
pub fn parse_size(text: &str) -> Option<usize> {
    text.trim().parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64() as usize)
}

/// A string that is never printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(pub String);

/// Serialized as its hash, which is enough to detect changes.
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use sha2::{Digest, Sha256};
        serializer.collect_str(&format_args!("{:x}", Sha256::digest(&self.0)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The value of a key with these choices; the first one is the default.
pub fn one_of<T: Clone>(key: &str, given: Option<&str>, choices: &[(&str, T)]) -> Result<T> {
    let Some(given) = given else { return Ok(choices[0].1.clone()) };
    match choices.iter().find(|(name, _)| *name == given) {
        Some((_, value)) => Ok(value.clone()),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint =
                nearest(given, names.iter().copied()).map_or(String::new(), |name| format!("; did you mean {name:?}?"));
            error(format!("{key} = {given:?} is not one of {}{hint}", names.join(", ")))
        }
    }
}

pub fn duration(key: &str, text: Option<&str>) -> Result<Option<Duration>> {
    text.map(|text| {
        humantime::parse_duration(text)
            .map_err(|_| ConfigError(format!("{key} = {text:?} is not a duration; write it like \"200ms\" or \"5s\"")))
    })
    .transpose()
}

pub fn address(key: &str, text: &str) -> Result<SocketAddr> {
    text.parse()
        .map_err(|_| ConfigError(format!("{key} = {text:?} is not an address; write it like \"127.0.0.1:8088\"")))
}

/// The brokers of a section and the librdkafka properties for them; by default, the brokers of the source.
pub fn cluster(
    section: &str,
    brokers: Option<&String>,
    properties: &BTreeMap<String, String>,
    source: &SourceConfig,
) -> Result<(String, BTreeMap<String, String>)> {
    match (brokers, source) {
        (Some(brokers), _) => Ok((brokers.clone(), properties.clone())),
        // The same cluster, so the same credentials.
        (None, SourceConfig::Kafka(kafka)) => {
            let is_security =
                |key: &str| key.starts_with("sasl.") || key.starts_with("ssl.") || key == "security.protocol";
            let mut all = kafka.properties.clone();
            all.retain(|key, _| is_security(key));
            all.extend(properties.clone());
            Ok((kafka.brokers.clone(), all))
        }
        (None, _) => error(format!("{section}.topic needs {section}.brokers if source.kind is not \"kafka\"")),
    }
}

pub fn secret(key: &str, given: Option<&Secret>, file: Option<&str>) -> Result<Option<Secret>> {
    match (given, file) {
        (Some(_), Some(_)) => error(format!("set either {key} or {key}_file, not both")),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Secret(text.trim_end_matches(['\n', '\r']).to_string()))),
            Err(problem) => error(format!("{key}_file: cannot read {path}: {problem}")),
        },
        (None, None) => Ok(None),
    }
}
