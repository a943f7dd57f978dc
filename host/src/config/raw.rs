//! The configuration file as written. Each component defines its own section.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dead_letter::config::RawDeadLetter;
use crate::http::config::RawHttp;
use crate::pipeline::config::{RawLimits, RawPipeline};
use crate::plugins::config::RawPlugins;
use crate::reload::config::RawConfigTopic;
use crate::sink::config::RawSink;
use crate::source::config::RawSource;
use crate::transform::routes::RawRoute;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub source: RawSource,
    pub plugins: RawPlugins,
    pub routes: Vec<RawRoute>,
    /// Declared column types: table, column, MySQL type.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    pub sink: RawSink,
    pub dead_letter: RawDeadLetter,
    pub http: RawHttp,
    pub config_topic: RawConfigTopic,
    pub pipeline: RawPipeline,
    pub limits: RawLimits,
}
