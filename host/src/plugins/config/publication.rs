//! What the publication of a plugin goes by: where it is looked for, whom it is trusted from, how it comes in, and when
//! it is taken back.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the folder of plugins is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WatchConfig {
    /// Whether the file system's events are asked for.
    pub events: bool,
    /// How often it is looked at without an event, since not every file system sends them.
    pub poll: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { events: true, poll: Duration::from_secs(2) }
    }
}

/// Which files are taken. With neither hashes nor keys any file is; otherwise one needs a listed hash, or a signature by
/// one of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrustConfig {
    /// SHA-256 of files, in lower-case hexadecimal.
    pub hashes: Vec<String>,
    /// PEM files of ed25519 public keys. A file's signature lies beside it: `NAME.wasm.sig`.
    #[serde(rename = "trusted_keys")]
    pub keys: Vec<PathBuf>,
}

/// What compiling a file may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompileConfig {
    /// The program that compiles in a process of its own (`rowmill`); `None` compiles in this process, without limits.
    #[serde(skip)]
    pub program: Option<PathBuf>,
    /// Address space of that process, in bytes.
    #[serde(rename = "compile_memory")]
    pub memory: usize,
    /// Time of a processor that it may take; by the clock three times as much, since it runs with a low priority.
    #[serde(rename = "compile_time")]
    pub time: Duration,
}

impl Default for CompileConfig {
    fn default() -> Self {
        // Measured: 30 MiB for the bundled plugins in 0.4 s, 73 MiB for one of 2 MB in JavaScript in 4 s.
        Self { program: None, memory: 512 << 20, time: Duration::from_secs(60) }
    }
}

/// How a new generation of a plugin comes in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// What happens before it is published.
    pub mode: RolloutMode,
    /// How many rows the trial takes.
    pub rows: u64,
    /// Which share of the rows takes part, 0 to 1: of the batches in a shadow, of the document ids in a canary.
    pub share: f64,
    /// Whether it is published on its own after the trial, within `max_changed`; otherwise by hand.
    pub publish: bool,
    /// Which share of the documents may differ in a shadow for it to be published on its own, 0 to 1.
    pub max_changed: f64,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { mode: RolloutMode::Direct, rows: 10_000, share: 0.1, publish: true, max_changed: 0.0 }
    }
}

/// How a new generation comes in, as far as it is written: the rest stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are those of `Rollout`")]
pub struct RolloutChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RolloutMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_changed: Option<f64>,
}

impl RolloutChange {
    /// The rollout with what is written here.
    ///
    /// # Errors
    /// A number is out of its range; the text begins with its name and says what to write.
    pub fn on(self, rollout: Rollout) -> Result<Rollout, String> {
        let changed = Rollout {
            mode: self.mode.unwrap_or(rollout.mode),
            rows: self.rows.unwrap_or(rollout.rows),
            share: self.share.unwrap_or(rollout.share),
            publish: self.publish.unwrap_or(rollout.publish),
            max_changed: self.max_changed.unwrap_or(rollout.max_changed),
        };
        if changed.rows == 0 {
            return Err("rows = 0 tries nothing; write how many rows the trial takes, or the mode \"direct\"".into());
        }
        if !(changed.share > 0.0 && changed.share <= 1.0) {
            return Err(format!(
                "share = {} must be more than 0 and at most 1; write 0.1 for a tenth of the rows",
                changed.share
            ));
        }
        if !(0.0..=1.0).contains(&changed.max_changed) {
            return Err(format!(
                "max_changed = {} must be from 0 to 1; write 0.01 for a hundredth of the documents",
                changed.max_changed
            ));
        }
        Ok(changed)
    }
}

/// What happens between a generation's proof and its publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// Nothing.
    #[default]
    Direct,
    /// Its documents are compared with those of the running generation, and not written.
    Shadow,
    /// A stable share of the document ids takes it first.
    Canary,
}

/// When a generation that was just published is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProbationConfig {
    /// How long it is watched; zero for not at all.
    pub window: Duration,
    /// Rows that it must have failed, which the last good generation does not fail, ...
    pub failed_rows: u64,
    /// ... and which share of the rows that it saw, 0 to 1.
    pub failed_share: f64,
    /// What a row may take on average, once it saw some thousand.
    pub row_time: Duration,
}

impl Default for ProbationConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            failed_rows: 5,
            failed_share: 0.001,
            row_time: Duration::from_millis(1),
        }
    }
}
