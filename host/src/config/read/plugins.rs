//! `[plugins]`.

use std::path::PathBuf;

use super::{ConfigError, Overrides, Result, error};
use crate::config::PluginConfig;
use crate::config::raw::RawPlugins;

pub fn plugins(raw: RawPlugins, overrides: &Overrides) -> Result<PluginConfig> {
    Ok(PluginConfig {
        dir: overrides.plugins.clone().or_else(|| raw.dir.map(PathBuf::from)),
        order: raw.order,
        disabled: raw.disabled,
        wasi: raw.wasi,
        settings: raw.settings.iter().map(settings).collect::<Result<_>>()?,
        ..PluginConfig::default()
    })
}

fn settings((name, value): (&String, &toml::Value)) -> Result<(String, String)> {
    let json =
        serde_json::to_string(value).map_err(|error| ConfigError(format!("plugins.settings.{name}: {error}")))?;
    if !value.is_table() {
        return error(format!("plugins.settings.{name} must be a table, [plugins.settings.{name}]"));
    }
    Ok((name.clone(), json))
}
