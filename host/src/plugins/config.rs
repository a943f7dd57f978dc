//! `[plugins]`: the keys as written, and the validated settings.

mod publication;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::{Size, duration};
use crate::config::{ConfigError, Overrides, Result, error};

pub use publication::{CompileConfig, ProbationConfig, Rollout, RolloutChange, RolloutMode, TrustConfig, WatchConfig};

/// Which plugins run, and how new generations are published.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PluginConfig {
    /// The folder of `.wasm` files; `None` for no plugins.
    pub dir: Option<PathBuf>,
    /// Names of plugins that run first, in this order.
    pub order: Vec<String>,
    /// Names of plugins that do not run.
    pub disabled: Vec<String>,
    /// Names of plugins that may import WASI, which then does nothing.
    pub wasi: Vec<String>,
    /// Settings by plugin name, as JSON objects.
    pub settings: BTreeMap<String, String>,
    /// Whether documents name the generations that produced them.
    pub stamp: bool,
    /// The private folder for last good files, compiled code and operator commands; `None` saves nothing.
    pub state: Option<PathBuf>,
    /// How changes of the folder are noticed.
    #[serde(flatten)]
    pub watch: WatchConfig,
    /// Which files are accepted.
    #[serde(flatten)]
    pub trust: TrustConfig,
    /// The limits for compiling a file.
    #[serde(flatten)]
    pub compile: CompileConfig,
    /// How a new generation is published.
    pub rollout: Rollout,
    /// The rollouts of single plugins, by name.
    pub rollouts: BTreeMap<String, Rollout>,
    /// When it is rolled back.
    pub probation: ProbationConfig,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPlugins {
    pub dir: Option<String>,
    /// Names of plugins that run first, in this order; the others follow in the order of their file names.
    pub order: Vec<String>,
    /// Names of plugins that do not run although their files are in the folder.
    pub disabled: Vec<String>,
    /// Names of plugins that may import WASI, which then does nothing.
    pub wasi: Vec<String>,
    /// Whether documents name the generations that produced them.
    pub stamp: bool,
    pub settings: BTreeMap<String, toml::Value>,
    /// The private folder; an empty string for none.
    pub state: Option<String>,
    pub events: Option<bool>,
    pub poll: Option<String>,
    /// SHA-256 of files: `sha256:HEX` or `HEX`.
    pub hashes: Vec<String>,
    /// Paths of PEM files of public keys.
    pub trusted_keys: Vec<String>,
    pub compile_memory: Option<Size>,
    pub compile_time: Option<String>,
    pub rollout: RolloutChange,
    /// By plugin; omitted keys have the values from `rollout`.
    pub rollouts: BTreeMap<String, RolloutChange>,
    pub probation: RawProbation,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProbation {
    pub window: Option<String>,
    pub failed_rows: Option<u64>,
    pub failed_share: Option<f64>,
    pub row_time: Option<String>,
}

/// The default private folder.
const DEFAULT_STATE: &str = ".rowmill";
/// The shortest interval between two readings of the folder.
const MIN_POLL: Duration = Duration::from_millis(10);
/// The compiler alone needs about this much address space.
const MIN_COMPILE_MEMORY: usize = 64 << 20;

/// The private folder, unless the configuration says that nothing is kept.
pub fn state_folder(raw: &RawPlugins) -> Option<PathBuf> {
    match raw.state.as_deref() {
        None => Some(DEFAULT_STATE.into()),
        Some("") => None,
        Some(path) => Some(path.into()),
    }
}

pub fn plugins(raw: RawPlugins, overrides: &Overrides) -> Result<PluginConfig> {
    let dir = overrides.plugins.clone().or_else(|| raw.dir.as_ref().map(PathBuf::from));
    let state = state_folder(&raw).filter(|_| dir.is_some() || raw.state.is_some());
    let rollout = rollout("plugins.rollout", raw.rollout, Rollout::default())?;
    Ok(PluginConfig {
        dir,
        state,
        watch: watch(&raw)?,
        trust: trust(&raw)?,
        compile: compile(&raw)?,
        rollout,
        rollouts: rollouts(&raw.rollouts, rollout)?,
        probation: probation(&raw.probation)?,
        order: raw.order,
        disabled: raw.disabled,
        wasi: raw.wasi,
        stamp: raw.stamp,
        settings: raw.settings.iter().map(settings).collect::<Result<_>>()?,
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

fn watch(raw: &RawPlugins) -> Result<WatchConfig> {
    let default = WatchConfig::default();
    let poll = duration("plugins.poll", raw.poll.as_deref())?.unwrap_or(default.poll);
    if poll < MIN_POLL {
        return error("plugins.poll must be at least 10ms; the default is \"2s\"");
    }
    Ok(WatchConfig { events: raw.events.unwrap_or(default.events), poll })
}

fn trust(raw: &RawPlugins) -> Result<TrustConfig> {
    let hash = |text: &String| {
        let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        match hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(hex),
            false => error(format!(
                "plugins.hashes: {text:?} is not a SHA-256 hash; write the 64 hexadecimal digits that `sha256sum FILE.wasm` prints"
            )),
        }
    };
    let key = |path: &String| {
        let text = std::fs::read_to_string(path)
            .map_err(|problem| ConfigError(format!("plugins.trusted_keys: cannot read {path}: {problem}")))?;
        match text.contains("-----BEGIN PUBLIC KEY-----") {
            true => Ok(PathBuf::from(path)),
            false => error(format!(
                "plugins.trusted_keys: {path} does not contain a public key; create one with `openssl pkey -in PRIVATE.pem -pubout -out {path}`, and keep the private key on another machine"
            )),
        }
    };
    Ok(TrustConfig {
        hashes: raw.hashes.iter().map(hash).collect::<Result<_>>()?,
        keys: raw.trusted_keys.iter().map(key).collect::<Result<_>>()?,
    })
}

fn compile(raw: &RawPlugins) -> Result<CompileConfig> {
    let default = CompileConfig::default();
    let memory = raw.compile_memory.map_or(default.memory, |size| size.0);
    if memory < MIN_COMPILE_MEMORY {
        return error(format!(
            "plugins.compile_memory must be at least 64MiB; the default is \"{}MiB\"",
            default.memory >> 20
        ));
    }
    let time = duration("plugins.compile_time", raw.compile_time.as_deref())?.unwrap_or(default.time);
    if time.is_zero() {
        return error("plugins.compile_time must be more than 0; the default is \"60s\"");
    }
    Ok(CompileConfig { memory, time, ..default })
}

fn rollout(key: &str, written: RolloutChange, base: Rollout) -> Result<Rollout> {
    written.on(base).map_err(|problem| ConfigError(format!("{key}.{problem}")))
}

fn rollouts(raw: &BTreeMap<String, RolloutChange>, base: Rollout) -> Result<BTreeMap<String, Rollout>> {
    raw.iter()
        .map(|(name, written)| Ok((name.clone(), rollout(&format!("plugins.rollouts.{name}"), *written, base)?)))
        .collect()
}

fn probation(raw: &RawProbation) -> Result<ProbationConfig> {
    let default = ProbationConfig::default();
    let probation = ProbationConfig {
        window: duration("plugins.probation.window", raw.window.as_deref())?.unwrap_or(default.window),
        failed_rows: raw.failed_rows.unwrap_or(default.failed_rows),
        failed_share: raw.failed_share.unwrap_or(default.failed_share),
        row_time: duration("plugins.probation.row_time", raw.row_time.as_deref())?.unwrap_or(default.row_time),
    };
    if probation.failed_rows == 0 {
        return error("plugins.probation.failed_rows must be at least 1; to disable probation, write window = \"0s\"");
    }
    if !(0.0..=1.0).contains(&probation.failed_share) {
        return error(format!(
            "plugins.probation.failed_share = {} must be from 0 to 1; write 0.001 for a thousandth of the rows",
            probation.failed_share
        ));
    }
    if probation.row_time.is_zero() {
        return error("plugins.probation.row_time must be more than 0; the default is \"1ms\"");
    }
    Ok(probation)
}
