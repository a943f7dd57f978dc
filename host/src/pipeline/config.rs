//! `[pipeline]` and `[limits]`: the keys as written, and the validated settings.

use std::time::Duration;

use rowmill_sandbox::Limits;
use serde::{Deserialize, Serialize};

use crate::config::value::{Size, duration};
use crate::config::{Result, error};

/// Threads, batches, memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PipelineConfig {
    /// The number of transform workers.
    pub workers: usize,
    /// The maximum number of records in a batch.
    pub batch_rows: usize,
    /// The maximum number of bytes in a batch.
    pub batch_bytes: usize,
    /// The maximum number of bytes that are held: records, operations and bulk requests. Above it, nothing is read.
    pub bytes_in_flight: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long a graceful shutdown may take.
    pub shutdown_timeout: Duration,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            batch_rows: 512,
            batch_bytes: 512 << 10,
            bytes_in_flight: 40 << 20,
            commit_interval: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPipeline {
    pub workers: Option<usize>,
    pub batch_rows: Option<usize>,
    pub batch_bytes: Option<Size>,
    pub bytes_in_flight: Option<Size>,
    pub commit_interval: Option<String>,
    pub shutdown_timeout: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    pub plugin_memory: Option<Size>,
    pub plugin_file: Option<Size>,
    pub plugin_batch_time: Option<String>,
    pub plugin_image_time: Option<String>,
    pub plugin_setup_time: Option<String>,
}

pub fn pipeline(raw: &RawPipeline) -> Result<PipelineConfig> {
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

pub fn limits(raw: &RawLimits) -> Result<Limits> {
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
