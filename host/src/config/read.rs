//! From the text of a configuration file to a [`Config`], with errors that name the line and what to write instead.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowmill_decode::{DecoderSettings, Format};
use rowmill_runtime::{Limits, Pattern};

use super::raw::{RawConfig, RawDeadLetter, RawLimits, RawPipeline, RawRoute, RawSink, RawSource, Secret};
use super::*;
use crate::version::{MAX_EPOCH, VersionStrategy};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

type Result<T> = std::result::Result<T, ConfigError>;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ConfigError(message.into()))
}

/// What the command line says on top of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--plugins DIR`.
    pub plugins: Option<PathBuf>,
    /// `--set KEY=VALUE`, as written.
    pub set: Vec<String>,
}

/// Reads a configuration file.
///
/// Relative paths in it count from the working directory. `${NAME}` and `${NAME:-default}` in values are replaced by
/// environment variables.
///
/// # Errors
/// The file cannot be read, or something in it is not understood; the message names the file, the line and, for an
/// unknown key, the nearest known one.
pub fn read(path: &Path, overrides: &Overrides) -> Result<Config> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("cannot read the configuration {}: {error}", path.display())))?;
    read_text(&text, &path.display().to_string(), overrides)
}

/// Reads a configuration from its text; `name` stands for it in messages.
///
/// # Errors
/// As [`read`].
pub fn read_text(text: &str, name: &str, overrides: &Overrides) -> Result<Config> {
    let text = expand(text, name, |variable| std::env::var(variable).ok())?;
    let raw: RawConfig = toml::from_str(&text).map_err(|error| ConfigError(explain(&error, &text, name)))?;
    let raw = apply_overrides(raw, &text, overrides)?;
    usable(raw, overrides).map_err(|error| ConfigError(format!("{name}: {error}")))
}

/// Replaces `${NAME}` outside of comments, and escapes what it puts in for a TOML string.
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

/// The line, the message, and for an unknown key the nearest known one.
fn explain(error: &toml::de::Error, text: &str, name: &str) -> String {
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

/// The known name nearest to `unknown`, if one is near.
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
    let mut decoder = DecoderSettings {
        format: one_of(
            "source.format",
            raw.source.format.as_deref(),
            &[
                ("auto", Format::Auto),
                ("canal", Format::Canal),
                ("debezium", Format::Debezium),
                ("maxwell", Format::Maxwell),
            ],
        )?,
        ..DecoderSettings::default()
    };
    if let Some(size) = raw.source.max_message_bytes {
        decoder.max_message_bytes = size.0;
    }
    for (table, columns) in &raw.tables {
        for (column, mysql_type) in columns {
            decoder
                .declared
                .declare(table, column, mysql_type)
                .map_err(|message| ConfigError(format!("tables.{table:?}.{column}: {message}")))?;
        }
    }
    let source = source(&raw.source)?;
    let dead_letter = dead_letter(&raw.dead_letter, &source)?;
    if let (SourceConfig::File { path: read }, DeadLetterConfig::File { path: written }) = (&source, &dead_letter)
        && read == written
    {
        return error(
            "dead_letter.path is the file that is read (source.path); what fails would be appended to it and read again",
        );
    }
    Ok(Config {
        dead_letter,
        source,
        decoder,
        plugins: PluginConfig {
            dir: overrides.plugins.clone().or_else(|| raw.plugins.dir.as_ref().map(PathBuf::from)),
            order: raw.plugins.order,
            disabled: raw.plugins.disabled,
            wasi: raw.plugins.wasi,
            settings: raw
                .plugins
                .settings
                .iter()
                .map(|(name, value)| {
                    let json = serde_json::to_string(value)
                        .map_err(|error| ConfigError(format!("plugins.settings.{name}: {error}")))?;
                    if !value.is_table() {
                        return error(format!("plugins.settings.{name} must be a table, [plugins.settings.{name}]"));
                    }
                    Ok((name.clone(), json))
                })
                .collect::<Result<_>>()?,
            ..PluginConfig::default()
        },
        routes: raw.routes.iter().map(route).collect::<Result<_>>()?,
        sink: sink(&raw.sink)?,
        http: raw.http.listen.as_deref().map(|text| address("http.listen", text)).transpose()?,
        pipeline: pipeline(&raw.pipeline)?,
        limits: limits(&raw.limits)?,
    })
}

fn source(raw: &RawSource) -> Result<SourceConfig> {
    let kind = one_of("source.kind", raw.kind.as_deref(), &[("kafka", 0), ("file", 1), ("demo", 2)])?;
    let forbid = |what: &str, given: bool| match given {
        true => error(format!(
            "source.{what} has no meaning with source.kind = {:?}",
            raw.kind.as_deref().unwrap_or("kafka")
        )),
        false => Ok(()),
    };
    if kind != 0 {
        forbid("brokers", raw.brokers.is_some())?;
        forbid("topics", !raw.topics.is_empty())?;
        forbid("properties", !raw.properties.is_empty())?;
    }
    if kind != 1 {
        forbid("path", raw.path.is_some())?;
    }
    match kind {
        1 => match &raw.path {
            Some(path) => Ok(SourceConfig::File { path: path.into() }),
            None => error("source.kind = \"file\" needs source.path: a file of records, or \"-\" for standard input"),
        },
        2 => Ok(SourceConfig::Demo),
        _ => {
            let Some(brokers) = raw.brokers.clone() else {
                return error("source.kind = \"kafka\" needs source.brokers, for example \"127.0.0.1:9092\"");
            };
            if raw.topics.is_empty() {
                return error(
                    "source.kind = \"kafka\" needs source.topics, for example [\"shop.trade\", \"^shop\\\\..*\"]",
                );
            }
            for reserved in
                ["bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"]
            {
                if raw.properties.contains_key(reserved) {
                    return error(format!(
                        "source.properties: {reserved} is set by Rowmill; use source.brokers, source.group and source.start"
                    ));
                }
            }
            Ok(SourceConfig::Kafka(KafkaConfig {
                brokers,
                topics: raw.topics.clone(),
                group: raw.group.clone().unwrap_or_else(|| "rowmill".into()),
                start: match raw.start.as_deref() {
                    None | Some("earliest") => Start::Earliest,
                    Some("latest") => Start::Latest,
                    Some(text) => match text.parse::<jiff::Timestamp>() {
                        Ok(timestamp) => Start::At(timestamp.as_millisecond()),
                        Err(_) => {
                            return error(format!(
                                "source.start = {text:?} is neither \"earliest\", \"latest\" nor a time like \"2026-11-01T00:00:00Z\""
                            ));
                        }
                    },
                },
                properties: raw.properties.clone(),
                partitions: None,
            }))
        }
    }
}

fn route(raw: &RawRoute) -> Result<Route> {
    if raw.table.is_empty() {
        return error("a [[routes]] has no `table`; write table = \"shop.trade\", or a pattern with *");
    }
    let place = |key: &str| format!("route of {:?}, {key}", raw.table);
    if let Some(index) = &raw.index
        && !rowmill_runtime::is_index_name(index)
    {
        return error(format!(
            "{}: {index:?} is no index name that Elasticsearch takes (lower case, no blanks or \\/*?\"<>|,#:)",
            place("index")
        ));
    }
    if let Some(id) = &raw.id
        && (id.is_empty() || id.matches('{').count() != id.matches('}').count() || !id.contains('{'))
    {
        return error(format!(
            "{}: {id:?} names no column; write columns in braces, for example \"{{order_id}}-{{line_no}}\"",
            place("id")
        ));
    }
    let epoch = raw.epoch.unwrap_or(0);
    if epoch > MAX_EPOCH {
        return error(format!("{}: {epoch} is more than {MAX_EPOCH}", place("epoch")));
    }
    let version = match raw.version.as_deref() {
        Some(text) if text.starts_with("column:") => VersionStrategy::Column(text["column:".len()..].to_string()),
        other => one_of(
            &place("version"),
            other,
            &[
                ("auto", VersionStrategy::Auto),
                ("binlog", VersionStrategy::Binlog),
                ("time", VersionStrategy::Time),
                ("offset", VersionStrategy::Offset),
                ("column:NAME", VersionStrategy::Auto),
            ],
        )?,
    };
    let mapping = match &raw.mapping {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("{}: cannot read {path}: {error}", place("mapping"))))?;
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(serde_json::Value::Object(_)) => Some(text),
                Ok(_) => return error(format!("{}: {path} is not a JSON object", place("mapping"))),
                Err(problem) => return error(format!("{}: {path} is not JSON: {problem}", place("mapping"))),
            }
        }
    };
    Ok(Route {
        table: Pattern::new(&raw.table),
        index: raw.index.clone(),
        id: raw.id.clone(),
        version,
        epoch,
        truncate: one_of(
            &place("truncate"),
            raw.truncate.as_deref(),
            &[("ignore", TruncatePolicy::Ignore), ("apply", TruncatePolicy::Apply)],
        )?,
        delete: one_of(
            &place("delete"),
            raw.delete.as_deref(),
            &[("hard", DeletePolicy::Hard), ("soft", DeletePolicy::Soft)],
        )?,
        mapping,
    })
}

fn sink(raw: &RawSink) -> Result<SinkConfig> {
    let default = BulkConfig::default();
    let bulk = BulkConfig {
        bytes: raw.bulk_bytes.map_or(default.bytes, |size| size.0),
        documents: raw.bulk_documents.unwrap_or(default.documents),
        linger: duration("sink.linger", raw.linger.as_deref())?.unwrap_or(default.linger),
        in_flight: raw.in_flight.unwrap_or(default.in_flight),
        timeout: duration("sink.timeout", raw.timeout.as_deref())?.unwrap_or(default.timeout),
        create_indices: raw.create_indices.unwrap_or(true),
    };
    if !(1..=64).contains(&bulk.in_flight) {
        return error("sink.in_flight must be from 1 to 64");
    }
    if bulk.bytes < 1024 || bulk.bytes > 90 << 20 {
        return error("sink.bulk_bytes must be from 1KiB to 90MiB; Elasticsearch refuses requests over 100 MB");
    }
    if bulk.documents == 0 {
        return error("sink.bulk_documents must be at least 1");
    }
    let kinds = [("elasticsearch", 0), ("embedded", 1), ("null", 2)];
    match one_of("sink.kind", raw.kind.as_deref(), &kinds)? {
        1 => {
            let listen = address("sink.listen", raw.listen.as_deref().unwrap_or("127.0.0.1:0"))?;
            if listen.ip() != std::net::Ipv4Addr::LOCALHOST {
                return error("sink.listen: the embedded store has no access control and listens on 127.0.0.1 only");
            }
            Ok(SinkConfig::Embedded { listen, bulk })
        }
        2 => Ok(SinkConfig::Null),
        _ => {
            if raw.urls.is_empty() {
                return error("sink.kind = \"elasticsearch\" needs sink.urls, for example [\"http://127.0.0.1:9200\"]");
            }
            let urls = raw
                .urls
                .iter()
                .map(|text| match url::Url::parse(text) {
                    Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
                    _ => error(format!("sink.urls: {text:?} is not a URL like \"http://127.0.0.1:9200\"")),
                })
                .collect::<Result<_>>()?;
            let password = secret("sink.password", raw.password.as_ref(), raw.password_file.as_deref())?;
            let api_key = secret("sink.api_key", raw.api_key.as_ref(), raw.api_key_file.as_deref())?;
            let credentials = match (&raw.username, password, api_key) {
                (None, None, None) => None,
                (Some(user), Some(password), None) => Some(Credentials::Basic(user.clone(), password)),
                (None, None, Some(key)) => Some(Credentials::ApiKey(key)),
                (Some(_), None, None) => return error("sink.username needs sink.password or sink.password_file"),
                (None, Some(_), None) => return error("sink.password needs sink.username"),
                _ => return error("sink: give either username and password, or an api_key"),
            };
            Ok(SinkConfig::Elasticsearch(ElasticsearchConfig {
                urls,
                credentials,
                ca: raw.ca.as_ref().map(PathBuf::from),
                gzip: raw.gzip.unwrap_or(false),
                bulk,
            }))
        }
    }
}

fn dead_letter(raw: &RawDeadLetter, source: &SourceConfig) -> Result<DeadLetterConfig> {
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

fn pipeline(raw: &RawPipeline) -> Result<PipelineConfig> {
    let default = PipelineConfig::default();
    let config = PipelineConfig {
        workers: raw.workers.unwrap_or(default.workers),
        batch_rows: raw.batch_rows.unwrap_or(default.batch_rows),
        batch_bytes: raw.batch_bytes.map_or(default.batch_bytes, |size| size.0),
        bytes_in_flight: raw.bytes_in_flight.map_or(default.bytes_in_flight, |size| size.0),
        commit_interval: duration("pipeline.commit_interval", raw.commit_interval.as_deref())?
            .unwrap_or(default.commit_interval),
        shutdown_timeout: duration("pipeline.shutdown_timeout", raw.shutdown_timeout.as_deref())?
            .unwrap_or(default.shutdown_timeout),
    };
    if !(1..=256).contains(&config.workers) {
        return error("pipeline.workers must be from 1 to 256");
    }
    if config.batch_rows == 0 || config.batch_bytes == 0 {
        return error("pipeline.batch_rows and pipeline.batch_bytes must be at least 1");
    }
    Ok(config)
}

fn limits(raw: &RawLimits) -> Result<Limits> {
    let mut limits = Limits::default();
    if let Some(size) = raw.plugin_memory {
        limits.memory_bytes = size.0;
    }
    if let Some(size) = raw.plugin_file {
        limits.file_bytes = size.0;
    }
    for (key, text, value) in [
        ("limits.plugin_batch_time", &raw.plugin_batch_time, &mut limits.batch_time),
        ("limits.plugin_image_time", &raw.plugin_image_time, &mut limits.image_time),
        ("limits.plugin_setup_time", &raw.plugin_setup_time, &mut limits.setup_time),
    ] {
        if let Some(given) = duration(key, text.as_deref())? {
            *value = given;
        }
    }
    Ok(limits)
}

/// The value of a key that takes one of some words; the first is the default.
fn one_of<T: Clone>(key: &str, given: Option<&str>, choices: &[(&str, T)]) -> Result<T> {
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

fn duration(key: &str, text: Option<&str>) -> Result<Option<Duration>> {
    text.map(|text| {
        humantime::parse_duration(text)
            .map_err(|_| ConfigError(format!("{key} = {text:?} is not a time; write it like \"200ms\" or \"5s\"")))
    })
    .transpose()
}

fn address(key: &str, text: &str) -> Result<SocketAddr> {
    text.parse()
        .map_err(|_| ConfigError(format!("{key} = {text:?} is not an address; write it like \"127.0.0.1:8088\"")))
}

fn secret(key: &str, given: Option<&Secret>, file: Option<&str>) -> Result<Option<Secret>> {
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
