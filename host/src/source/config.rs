//! `[source]` and `[tables]`: the keys as written, and the validated settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rowmill_rows::{DecoderSettings, Format, TopicPartition};
use serde::{Deserialize, Serialize};

use super::ReplayConfig;
use crate::config::value::{Size, one_of};
use crate::config::{ConfigError, Result, error};

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceConfig {
    /// A Kafka cluster.
    Kafka(KafkaConfig),
    /// A file of records, or standard input (`-`).
    File {
        /// The file.
        path: PathBuf,
    },
    /// Dead letters.
    #[serde(skip)]
    Replay(ReplayConfig),
}

/// A Kafka cluster as a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KafkaConfig {
    /// `host:port` of some brokers, separated by commas.
    pub brokers: String,
    /// Topic names, or regular expressions that start with `^`.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where to start if the group has no committed offset.
    pub start: Start,
    /// Whether the gateway has an identity in the group.
    #[serde(rename = "instance", skip_serializing_if = "Membership::is_kept")]
    pub membership: Membership,
    /// What to do about records that no longer exist.
    pub missing_records: MissingRecords,
    /// Additional librdkafka properties.
    pub properties: BTreeMap<String, String>,
    /// Reads these partitions without joining the group; `None` reads the partitions that the group assigns.
    #[serde(skip)]
    pub partitions: Option<Vec<TopicPartition>>,
}

impl KafkaConfig {
    /// Whether the group uses Kafka's newer protocol, in which the brokers assign partitions.
    pub fn has_consumer_protocol(&self) -> bool {
        self.properties.get(GROUP_PROTOCOL).is_some_and(|protocol| protocol == "consumer")
    }
}

/// The identity of a gateway in its consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Membership {
    /// An identity that is kept in this folder.
    Kept(PathBuf),
    /// An identity with this name.
    Named(String),
    /// Every start is a new member.
    Dynamic,
}

impl Membership {
    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// What to do about records that no longer exist when they are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum MissingRecords {
    /// End the run.
    Stop,
    /// Continue with the first record that exists.
    Continue,
}

/// Where to start without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Start {
    /// At the first retained record.
    Earliest,
    /// After the last record.
    Latest,
    /// At the first record that is not older than this, in milliseconds since 1970.
    At(i64),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSource {
    pub kind: Option<String>,
    pub brokers: Option<String>,
    pub topics: Vec<String>,
    pub group: Option<String>,
    pub format: Option<String>,
    pub start: Option<String>,
    pub instance: Option<String>,
    pub missing_records: Option<String>,
    pub path: Option<String>,
    pub max_message_bytes: Option<Size>,
    pub partial_rows: Option<String>,
    pub properties: BTreeMap<String, String>,
}

/// The librdkafka property that chooses the protocol of consumer groups.
const GROUP_PROTOCOL: &str = "group.protocol";
/// The librdkafka property that chooses how partitions are assigned.
const ASSIGNOR: &str = "partition.assignment.strategy";

/// Reads the source. `state` is the private folder, if there is one.
pub fn source(raw: &RawSource, state: Option<&Path>) -> Result<SourceConfig> {
    let kind = one_of("source.kind", raw.kind.as_deref(), &[("kafka", 0), ("file", 1)])?;
    let forbid = |what: &str, given: bool| match given {
        true => error(format!(
            "source.{what} cannot be used with source.kind = {:?}; remove it",
            raw.kind.as_deref().unwrap_or("kafka")
        )),
        false => Ok(()),
    };
    if kind != 0 {
        forbid("brokers", raw.brokers.is_some())?;
        forbid("topics", !raw.topics.is_empty())?;
        forbid("properties", !raw.properties.is_empty())?;
        forbid("instance", raw.instance.is_some())?;
        forbid("missing_records", raw.missing_records.is_some())?;
    }
    if kind != 1 {
        forbid("path", raw.path.is_some())?;
    }
    match kind {
        1 => match &raw.path {
            Some(path) => Ok(SourceConfig::File { path: path.into() }),
            None => error("source.kind = \"file\" needs source.path: a file of records, or \"-\" for standard input"),
        },
        _ => kafka(raw, state).map(SourceConfig::Kafka),
    }
}

fn kafka(raw: &RawSource, state: Option<&Path>) -> Result<KafkaConfig> {
    let Some(brokers) = raw.brokers.clone() else {
        return error("source.kind = \"kafka\" needs source.brokers, for example \"127.0.0.1:9092\"");
    };
    if raw.topics.is_empty() {
        return error("source.kind = \"kafka\" needs source.topics, for example [\"shop.trade\", \"^shop\\\\..*\"]");
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
    if raw.properties.contains_key("group.instance.id") {
        return error("source.properties: group.instance.id is set by Rowmill; use source.instance");
    }
    if let Some(assignor) = raw.properties.get(ASSIGNOR).filter(|assignor| *assignor != "cooperative-sticky") {
        return error(format!(
            "source.properties: {ASSIGNOR} = {assignor:?} cannot be used; Rowmill needs cooperative-sticky, which is the \
             default, since eager assignors take all partitions away at every rebalance"
        ));
    }
    Ok(KafkaConfig {
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
                        "source.start = {text:?} is not \"earliest\", \"latest\" or a time like \"2026-11-01T00:00:00Z\""
                    ));
                }
            },
        },
        membership: membership(raw, state)?,
        missing_records: one_of(
            "source.missing_records",
            raw.missing_records.as_deref(),
            &[("stop", MissingRecords::Stop), ("continue", MissingRecords::Continue)],
        )?,
        properties: raw.properties.clone(),
        partitions: None,
    })
}

fn membership(raw: &RawSource, state: Option<&Path>) -> Result<Membership> {
    if raw.properties.get(GROUP_PROTOCOL).is_some_and(|protocol| protocol == "consumer") {
        // The brokers refuse a member that comes back under the identity of one whose session has not timed out.
        return match raw.instance.as_deref() {
            None | Some("none") => Ok(Membership::Dynamic),
            Some(_) => error(
                "source.instance cannot be used with \"group.protocol\" = \"consumer\": after a crash the brokers would \
                 refuse the gateway until its session has timed out; remove one of them",
            ),
        };
    }
    Ok(match raw.instance.as_deref() {
        None => state.map_or(Membership::Dynamic, |folder| Membership::Kept(folder.into())),
        Some("none") => Membership::Dynamic,
        Some("") => return error("source.instance is empty; give a name, or \"none\" for no identity in the group"),
        Some(name) => Membership::Named(name.into()),
    })
}

/// Reads the format of the source's records.
pub fn format(raw: &RawSource) -> Result<Format> {
    one_of(
        "source.format",
        raw.format.as_deref(),
        &[
            ("auto", Format::Auto),
            ("canal", Format::Canal),
            ("debezium", Format::Debezium),
            ("maxwell", Format::Maxwell),
        ],
    )
}

/// Reads how records are decoded; `tables` declares the MySQL type of columns by table and column.
pub fn decoder(raw: &RawSource, tables: &BTreeMap<String, BTreeMap<String, String>>) -> Result<DecoderSettings> {
    let mut decoder = DecoderSettings::default();
    if let Some(size) = raw.max_message_bytes {
        decoder.max_message_bytes = size.0;
    }
    let partial_rows = raw.partial_rows.as_deref();
    decoder.allows_partial_rows =
        one_of("source.partial_rows", partial_rows, &[("dead_letter", false), ("write", true)])?;
    for (table, columns) in tables {
        for (column, mysql_type) in columns {
            decoder
                .declared
                .declare(table, column, mysql_type)
                .map_err(|message| ConfigError(format!("tables.{table:?}.{column}: {message}")))?;
        }
    }
    Ok(decoder)
}
