//! `[pipeline]` and `[limits]`.

use rowmill_sandbox::Limits;

use super::value::duration;
use super::{Result, error};
use crate::config::PipelineConfig;
use crate::config::raw::{RawLimits, RawPipeline};

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
