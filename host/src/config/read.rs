//! Parses the text of a configuration file into a [`Config`]. Errors name the line and what to write instead.

use std::path::{Path, PathBuf};

use super::layers::{self, Layer};
use super::raw::RawConfig;
use super::{Config, DeadLetterConfig, SourceConfig};
use crate::{dead_letter, http, pipeline, plugins, reload, sink, source, transform};

/// An error in a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

pub(crate) type Result<T> = std::result::Result<T, ConfigError>;

pub(crate) fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ConfigError(message.into()))
}

/// Values from the command line, which override the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--plugins DIR`.
    pub plugins: Option<PathBuf>,
    /// `--set KEY=VALUE`, as written.
    pub set: Vec<String>,
}

/// Reads a configuration file.
///
/// Relative paths in it start from the working directory. `${NAME}` and `${NAME:-default}` are replaced by environment
/// variables.
///
/// # Errors
/// The file cannot be read or is not valid. The message names the file, the line and, for an unknown key, the nearest known
/// one.
pub fn read(path: &Path, overrides: &Overrides) -> Result<Config> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("cannot read the configuration {}: {error}", path.display())))?;
    read_text(&text, &path.display().to_string(), overrides)
}

/// Reads a configuration from its text. `name` is its name in messages.
///
/// # Errors
/// As [`read`].
pub fn read_text(text: &str, name: &str, overrides: &Overrides) -> Result<Config> {
    read_layers(text, name, None, overrides)
}

/// Reads a configuration from its text, overridden by a layer, overridden by the command line. Environment variables are
/// replaced in the text only.
///
/// # Errors
/// As [`read`]; or the layer has a key that may not change at run time.
pub fn read_layers(text: &str, name: &str, layer: Option<&Layer>, overrides: &Overrides) -> Result<Config> {
    let mut text = expand(text, name, |variable| std::env::var(variable).ok())?;
    let mut raw: RawConfig = toml::from_str(&text).map_err(|error| ConfigError(explain(&error, &text, name)))?;
    let mut name = name.to_string();
    if let Some(layer) = layer {
        text = layers::merged(&text, layer)?;
        name = format!("{name}, overridden by {}", layer.name);
        raw = toml::from_str(&text).map_err(|error| ConfigError(format!("{name}: {}", error.message())))?;
    }
    let raw = apply_overrides(raw, &text, overrides)?;
    usable(raw, overrides).map_err(|error| ConfigError(format!("{name}: {error}")))
}

/// Replaces `${NAME}` outside of comments, and escapes the values for a TOML string.
fn expand(text: &str, name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            let Some(len) = rest[start..].find('}') else { break };
            let inner = &rest[start + 2..start + len];
            let (key, default) = inner.split_once(":-").map_or((inner, None), |(key, default)| (key, Some(default)));
            let value = variable(key).or_else(|| default.map(str::to_string)).ok_or_else(|| {
                ConfigError(format!(
                    "{name} line {}: the environment variable {key} is not set; set it, or write ${{{key}:-default}}",
                    number + 1
                ))
            })?;
            out.push_str(&rest[..start]);
            for c in value.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            rest = &rest[start + len + 1..];
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// Formats an error with its line and, for an unknown key, the nearest known one.
pub(super) fn explain(error: &toml::de::Error, text: &str, name: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map_or(name.to_string(), |line| format!("{name} line {line}"));
    let message = error.message().lines().next().unwrap_or_default();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.starts_with("unknown field"), quoted.split_first()) {
        (true, Some((unknown, known))) => {
            let nearest = nearest(unknown, known.iter().copied());
            let hint = nearest
                .map_or(format!("the keys here are {}", known.join(", ")), |key| format!("did you mean `{key}`?"));
            format!("{place}: unknown key `{unknown}`; {hint}")
        }
        _ => format!("{place}: {message}"),
    }
}

/// The known name most similar to `unknown`, if one is similar.
pub(crate) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map(|(_, name)| name)
}

fn apply_overrides(raw: RawConfig, text: &str, overrides: &Overrides) -> Result<RawConfig> {
    if overrides.set.is_empty() {
        return Ok(raw);
    }
    let mut root: toml::Table = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
    for set in &overrides.set {
        let Some((key, value)) = set.split_once('=') else {
            return error(format!("--set {set}: write it as KEY=VALUE, for example --set sink.kind=null"));
        };
        let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_string()));
        let mut table = &mut root;
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let next = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            table = match next {
                toml::Value::Table(next) => next,
                _ => return error(format!("--set {set}: `{part}` is not a table")),
            };
        }
        table.insert(last.to_string(), value);
    }
    let text = toml::to_string(&root).map_err(|error| ConfigError(error.to_string()))?;
    toml::from_str(&text)
        .map_err(|error| ConfigError(explain(&error, &text, "--set").replace("--set line", "--set, then line")))
}

fn usable(raw: RawConfig, overrides: &Overrides) -> Result<Config> {
    let decoder = source::config::decoder(&raw.source, &raw.tables)?;
    let format = source::config::format(&raw.source)?;
    // Without plugins nothing but the identity in the consumer group is kept.
    let identity = plugins::config::state_folder(&raw.plugins);
    let plugins = plugins::config::plugins(raw.plugins, overrides)?;
    let source = source::config::source(&raw.source, identity.as_deref())?;
    let dead_letter = dead_letter::config::dead_letter(&raw.dead_letter, &source, identity.as_deref())?;
    if let (SourceConfig::File { path: read }, DeadLetterConfig::File { path: written, .. }) = (&source, &dead_letter)
        && read == written
    {
        return error(
            "dead_letter.path is the source's file (source.path), so that dead letters would be read again; set dead_letter.path to another file",
        );
    }
    let config_topic = reload::config::config_topic(&raw.config_topic, &source)?;
    Ok(Config {
        dead_letter,
        config_topic,
        source,
        decoder,
        format,
        plugins,
        routes: raw.routes.iter().map(transform::routes::route).collect::<Result<_>>()?,
        sink: sink::config::sink(&raw.sink)?,
        http: http::config::http(&raw.http)?,
        pipeline: pipeline::config::pipeline(&raw.pipeline)?,
        limits: pipeline::config::limits(&raw.limits)?,
    })
}
