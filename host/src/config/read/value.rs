//! Values that many keys have: one of some words, times, addresses, secrets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{ConfigError, Result, error, nearest};
use crate::config::SourceConfig;
use crate::config::raw::Secret;

/// The value of a key that takes one of some words; the first is the default.
pub fn one_of<T: Clone>(key: &str, given: Option<&str>, choices: &[(&str, T)]) -> Result<T> {
    let Some(given) = given else { return Ok(choices[0].1.clone()) };
    match choices.iter().find(|(name, _)| *name == given) {
        Some((_, value)) => Ok(value.clone()),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint =
                nearest(given, names.iter().copied()).map_or(String::new(), |name| format!("; did you mean {name:?}?"));
            error(format!("{key} = {given:?} is none of {}{hint}", names.join(", ")))
        }
    }
}

pub fn duration(key: &str, text: Option<&str>) -> Result<Option<Duration>> {
    text.map(|text| {
        humantime::parse_duration(text)
            .map_err(|_| ConfigError(format!("{key} = {text:?} is not a time; write it like \"200ms\" or \"5s\"")))
    })
    .transpose()
}

pub fn address(key: &str, text: &str) -> Result<SocketAddr> {
    text.parse()
        .map_err(|_| ConfigError(format!("{key} = {text:?} is not an address; write it like \"127.0.0.1:8088\"")))
}

/// The brokers of a section that are the source's where it names none, and how to log in there.
pub fn cluster(
    section: &str,
    brokers: Option<&String>,
    properties: &BTreeMap<String, String>,
    source: &SourceConfig,
) -> Result<(String, BTreeMap<String, String>)> {
    match (brokers, source) {
        (Some(brokers), _) => Ok((brokers.clone(), properties.clone())),
        // The same cluster, and so the same way to log in.
        (None, SourceConfig::Kafka(kafka)) => {
            let is_security =
                |key: &str| key.starts_with("sasl.") || key.starts_with("ssl.") || key == "security.protocol";
            let mut all = kafka.properties.clone();
            all.retain(|key, _| is_security(key));
            all.extend(properties.clone());
            Ok((kafka.brokers.clone(), all))
        }
        (None, _) => error(format!("{section}.topic needs {section}.brokers where source.kind is not \"kafka\"")),
    }
}

pub fn secret(key: &str, given: Option<&Secret>, file: Option<&str>) -> Result<Option<Secret>> {
    match (given, file) {
        (Some(_), Some(_)) => error(format!("give either {key} or {key}_file")),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Secret(text.trim_end_matches(['\n', '\r']).to_string()))),
            Err(problem) => error(format!("{key}_file: cannot read {path}: {problem}")),
        },
        (None, None) => Ok(None),
    }
}
