//! How plugins are published: how their folder is watched, which files are accepted, the limits for compiling, the rollout,
//! and the probation.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How changes of the plugin folder are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WatchConfig {
    /// Whether file system events are used.
    pub events: bool,
    /// How often the folder is read without an event, since not every file system sends events.
    pub poll: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { events: true, poll: Duration::from_secs(2) }
    }
}

/// Which files are accepted. Without hashes and keys, every file is accepted; otherwise a file needs one of the hashes or a
/// signature by one of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrustConfig {
    /// SHA-256 of files, in lower-case hexadecimal.
    pub hashes: Vec<String>,
    /// PEM files of ed25519 public keys. The signature of a file is `NAME.wasm.sig` beside it.
    #[serde(rename = "trusted_keys")]
    pub keys: Vec<PathBuf>,
}

/// The limits for compiling a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompileConfig {
    /// The program (`rowmill`) that compiles in a separate process; `None` compiles in this process, without limits.
    #[serde(skip)]
    pub program: Option<PathBuf>,
    /// Address space of that process, in bytes.
    #[serde(rename = "compile_memory")]
    pub memory: usize,
    /// The CPU time of that process. It may take three times as long in wall time, since its priority is low.
    #[serde(rename = "compile_time")]
    pub time: Duration,
}

impl Default for CompileConfig {
    fn default() -> Self {
        // Measured: 30 MiB for the bundled plugins in 0.4 s, 73 MiB for one of 2 MB in JavaScript in 4 s.
        Self { program: None, memory: 512 << 20, time: Duration::from_secs(60) }
    }
}

/// How a new generation of a plugin is published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// What happens before it is published.
    pub mode: RolloutMode,
    /// The number of rows in the trial.
    pub rows: u64,
    /// The share that takes part, 0 to 1: of the batches in a shadow, of the document IDs in a canary.
    pub share: f64,
    /// Whether it is published automatically after the trial, within `max_changed`; otherwise manually.
    pub publish: bool,
    /// The share of documents that may differ in a shadow that is published automatically, 0 to 1.
    pub max_changed: f64,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { mode: RolloutMode::Direct, rows: 10_000, share: 0.1, publish: true, max_changed: 0.0 }
    }
}

/// A change of a rollout: the given values replace those of the rollout.
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
    /// The rollout with this change applied.
    ///
    /// # Errors
    /// A number is out of its range; the message starts with its name and says what to write.
    pub fn on(self, rollout: Rollout) -> Result<Rollout, String> {
        let changed = Rollout {
            mode: self.mode.unwrap_or(rollout.mode),
            rows: self.rows.unwrap_or(rollout.rows),
            share: self.share.unwrap_or(rollout.share),
            publish: self.publish.unwrap_or(rollout.publish),
            max_changed: self.max_changed.unwrap_or(rollout.max_changed),
        };
        if changed.rows == 0 {
            return Err(
                "rows = 0 is a trial without rows; write the number of rows in the trial, or use mode = \"direct\""
                    .into(),
            );
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

/// What happens between the validation of a generation and its publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// Nothing.
    #[default]
    Direct,
    /// Its documents are compared with those of the running generation, and not written.
    Shadow,
    /// It first produces the documents of a stable share of the IDs.
    Canary,
}

/// When a recently published generation is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProbationConfig {
    /// How long it is watched; zero disables probation.
    pub window: Duration,
    /// The number of rows that it must fail and the last good generation accepts, ...
    pub failed_rows: u64,
    /// ... and their share of the rows that it processed, 0 to 1.
    pub failed_share: f64,
    /// The maximum average time per row, measured once it has processed a few thousand.
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
