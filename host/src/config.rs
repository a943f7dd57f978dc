//! The configuration: read from TOML, checked once, and from then on usable as it is.

mod publication;
mod raw;
mod read;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowmill_engine::Route;
use rowmill_rows::{DecoderSettings, Format, TopicPartition};
use rowmill_sandbox::Limits;

pub use publication::{CompileConfig, ProbationConfig, Rollout, RolloutChange, RolloutMode, TrustConfig, WatchConfig};
pub use raw::{Secret, parse_size};
pub use read::{ConfigError, Layer, Overrides, read, read_layers, read_text};
pub(crate) use read::{is_live, nearest};

/// A configuration in which everything has a value and every value was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where records come from.
    pub source: SourceConfig,
    /// How records are decoded.
    pub decoder: DecoderSettings,
    /// The format of the source's records.
    pub format: Format,
    /// Which plugins run.
    pub plugins: PluginConfig,
    /// Where tables go; the first route that fits a table holds.
    pub routes: Vec<Route>,
    /// Where documents go.
    pub sink: SinkConfig,
    /// Where records go that cannot be processed.
    pub dead_letter: DeadLetterConfig,
    /// Where metrics, health and plugins are served, and to whom.
    pub http: HttpConfig,
    /// Where what is laid over the file comes from; `None` for nowhere.
    pub config_topic: Option<ConfigTopicConfig>,
    /// Threads, batches, memory.
    pub pipeline: PipelineConfig,
    /// What a plugin may use.
    pub limits: Limits,
}

/// Where records come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A Kafka cluster.
    Kafka(KafkaConfig),
    /// A file of records, or standard input (`-`).
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A Kafka cluster as a source.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaConfig {
    /// `host:port` of some brokers, separated by commas.
    pub brokers: String,
    /// Topics by name, and by regular expression where they begin with `^`.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where to begin where the group has committed nothing.
    pub start: Start,
    /// Further properties of librdkafka.
    pub properties: BTreeMap<String, String>,
    /// These partitions, without joining the group; `None` for those that the group assigns.
    pub partitions: Option<Vec<TopicPartition>>,
}

/// Where to begin without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is kept.
    Earliest,
    /// After the last record.
    Latest,
    /// At the first record that is not older, in milliseconds since 1970.
    At(i64),
}

/// Which plugins run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// The folder that holds them; `None` for no plugins.
    pub dir: Option<PathBuf>,
    /// Names in the order of the chain.
    pub order: Vec<String>,
    /// Names that are not used.
    pub disabled: Vec<String>,
    /// Names that may import WASI, which then does nothing.
    pub wasi: Vec<String>,
    /// Settings by name, as JSON objects.
    pub settings: BTreeMap<String, String>,
    /// Whether documents tell which generations made them.
    pub stamp: bool,
    /// The private folder of last good files, compiled code and decisions; `None` keeps nothing.
    pub state: Option<PathBuf>,
    /// How the folder is looked at.
    pub watch: WatchConfig,
    /// Which files are taken.
    pub trust: TrustConfig,
    /// What compiling may use.
    pub compile: CompileConfig,
    /// How a new generation comes in.
    pub rollout: Rollout,
    /// The same by name, for some plugins.
    pub rollouts: BTreeMap<String, Rollout>,
    /// When it is taken back.
    pub probation: ProbationConfig,
}

/// Where documents go.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkConfig {
    /// An Elasticsearch cluster.
    Elasticsearch(ElasticsearchConfig),
    /// The store in this process, and how to write to it.
    Embedded {
        /// Where it listens.
        listen: SocketAddr,
        /// Batches and retries, as for a real one.
        bulk: BulkConfig,
    },
    /// Nowhere: operations are counted and discarded.
    Null,
}

/// An Elasticsearch cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ElasticsearchConfig {
    /// Its nodes.
    pub urls: Vec<url::Url>,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// A file with the certificate authority, PEM.
    pub ca: Option<PathBuf>,
    /// Whether request bodies are compressed.
    pub gzip: bool,
    /// Batches and retries.
    pub bulk: BulkConfig,
}

impl SinkConfig {
    /// Batches and retries; for a sink that has none, the defaults.
    pub fn bulk(&self) -> BulkConfig {
        match self {
            Self::Elasticsearch(elasticsearch) => elasticsearch.bulk,
            Self::Embedded { bulk, .. } => *bulk,
            _ => BulkConfig::default(),
        }
    }
}

/// Who we are to Elasticsearch.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// User and password.
    Basic(String, Secret),
    /// An API key as Elasticsearch prints it in `encoded`.
    ApiKey(Secret),
}

/// How documents are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BulkConfig {
    /// Bytes of a bulk request.
    pub bytes: usize,
    /// Documents of a bulk request.
    pub documents: usize,
    /// How long the first document of a request waits for others.
    pub linger: Duration,
    /// Bulk requests at a time.
    pub in_flight: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// The first wait before an operation is sent again; doubles with each attempt.
    pub retry_wait: Duration,
    /// The longest such wait.
    pub retry_wait_max: Duration,
    /// Whether missing indices are created.
    pub create_indices: bool,
}

/// Where records go that cannot be processed.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetterConfig {
    /// A file, one JSON object a line.
    File {
        /// The file; appended to.
        path: PathBuf,
    },
    /// A Kafka topic.
    Kafka {
        /// `host:port` of some brokers.
        brokers: String,
        /// The topic.
        topic: String,
        /// Further properties of librdkafka.
        properties: BTreeMap<String, String>,
    },
}

/// A compacted Kafka topic of one partition, whose last record of a key is laid over the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigTopicConfig {
    /// `host:port` of some brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The key of our records.
    pub key: String,
    /// Further properties of librdkafka.
    pub properties: BTreeMap<String, String>,
}

/// Where metrics, health and plugins are served, and to whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpConfig {
    /// The address; `None` where none is written.
    pub listen: Option<SocketAddr>,
    /// What a caller must know to see and change plugins.
    pub token: Option<Secret>,
}

/// Threads, batches, memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Transform workers.
    pub workers: usize,
    /// Records of a batch between source and sink.
    pub batch_rows: usize,
    /// Bytes of such a batch.
    pub batch_bytes: usize,
    /// Bytes of records on their way; beyond it partitions are paused.
    pub bytes_in_flight: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long a shutdown may take.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// Where HTTP is served; `None` for nowhere. Without an address in the configuration it is this machine alone and any
    /// free port, if there are plugins, and a private folder in which `rowmill plugins` finds the port.
    pub fn http_listen(&self) -> Option<SocketAddr> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        self.http.listen.or_else(|| self.address_folder().map(|_| anywhere))
    }

    /// The private folder that the address of the HTTP side is written into; `None` for none.
    pub fn address_folder(&self) -> Option<&Path> {
        self.plugins.dir.as_ref().and(self.plugins.state.as_deref())
    }
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            batch_rows: 512,
            batch_bytes: 512 << 10,
            bytes_in_flight: 32 << 20,
            commit_interval: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self {
            bytes: 5 << 20,
            documents: 10_000,
            linger: Duration::from_millis(200),
            in_flight: 2,
            timeout: Duration::from_secs(60),
            retry_wait: Duration::from_millis(50),
            retry_wait_max: Duration::from_secs(15),
            create_indices: true,
        }
    }
}

/// The name of a format in the configuration.
pub fn format_name(format: Format) -> &'static str {
    match format {
        Format::Auto => "auto",
        Format::Canal => "canal",
        Format::Debezium => "debezium",
        Format::Maxwell => "maxwell",
    }
}

#[cfg(test)]
mod tests;
