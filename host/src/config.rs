//! The configuration: read from TOML and validated once. Each component defines its section in a `config.rs` beside it.

pub(crate) mod layers;
mod live;
mod raw;
mod read;
pub(crate) mod value;

use std::net::SocketAddr;
use std::path::Path;

use rowmill_engine::Route;
use rowmill_rows::{DecoderSettings, Format};
use rowmill_sandbox::Limits;

pub use crate::dead_letter::config::{DeadLetterConfig, KafkaLetters};
pub use crate::http::config::HttpConfig;
pub use crate::pipeline::config::PipelineConfig;
pub use crate::plugins::config::{
    CompileConfig, PluginConfig, ProbationConfig, Rollout, RolloutChange, RolloutMode, TrustConfig, WatchConfig,
};
pub use crate::reload::config::ConfigTopicConfig;
pub use crate::sink::config::{BulkConfig, Credentials, ElasticsearchConfig, IndexErrorPolicy, SinkConfig};
pub use crate::source::config::{KafkaConfig, Membership, MissingRecords, SourceConfig, Start};
pub use layers::Layer;
pub(crate) use live::{differing_keys, is_live};
pub use read::{ConfigError, Overrides, read, read_layers, read_text};
pub(crate) use read::{Result, error, nearest};
pub use value::{Secret, parse_size};

/// A validated configuration, in which every key has a value.
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
    /// The routes of the tables; the first matching route wins.
    pub routes: Vec<Route>,
    /// Where documents go.
    pub sink: SinkConfig,
    /// Where dead letters are stored.
    pub dead_letter: DeadLetterConfig,
    /// The address of the HTTP server, and who may use `/plugins`.
    pub http: HttpConfig,
    /// The topic whose record overrides the file; `None` for none.
    pub config_topic: Option<ConfigTopicConfig>,
    /// Threads, batches, memory.
    pub pipeline: PipelineConfig,
    /// What a plugin may use.
    pub limits: Limits,
}

impl Config {
    /// The address that HTTP is served on; `None` if it is not served. Without `http.listen` it is a free port on loopback,
    /// provided that there are plugins and a private folder in which `rowmill plugins` finds the port.
    pub fn http_listen(&self) -> Option<SocketAddr> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        self.http.listen.or_else(|| self.address_folder().map(|_| anywhere))
    }

    /// The private folder that the HTTP address is written into; `None` if there is none.
    pub fn address_folder(&self) -> Option<&Path> {
        self.plugins.dir.as_ref().and(self.plugins.state.as_deref())
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
