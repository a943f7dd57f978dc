//! The status of plugins and the operator commands, as the HTTP API and the command line share them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Rollout, RolloutMode};
pub use crate::transform::trial::{DocumentDifference, FieldDifference};

/// All plugins, as `GET /plugins` returns them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The number of the published chain.
    pub chain: u64,
    /// The watched folder; `None` if the gateway runs without plugins.
    pub folder: Option<PathBuf>,
    /// The plugins in the order of the chain; disabled ones last.
    pub plugins: Vec<PluginStatus>,
    /// Files that were refused, with the reason.
    pub refused: Vec<RefusedFile>,
}

/// A plugin with its generations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The file it was loaded from.
    pub file: PathBuf,
    /// Its current state.
    pub state: PluginState,
    /// The generation that processes rows, or would if the plugin were enabled.
    pub running: GenerationStatus,
    /// The generation that a rollback restores.
    pub last_good: Option<GenerationStatus>,
    /// The generation that is not published, or not yet.
    pub candidate: Option<CandidateStatus>,
    /// How the next generation is rolled out.
    pub rollout: Rollout,
    /// The latest events, the oldest first.
    pub history: Vec<PluginEvent>,
}

/// The state of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// It processes rows.
    Running,
    /// It processes rows, and is rolled back if it fails.
    Probation,
    /// It processes no rows.
    Disabled,
}

/// A generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number; every generation of any plugin in this process has a higher one than the generation before.
    pub generation: u64,
    /// The version that the plugin's description states.
    pub version: String,
    /// SHA-256 of its file.
    pub hash: String,
    /// Row images that it processed.
    pub rows: u64,
    /// Row images that it failed.
    pub failed: u64,
    /// Traps and unreadable answers.
    pub faults: u64,
    /// Microseconds per row image, on average; `None` before the first.
    pub us_per_row: Option<f64>,
}

/// A generation that is not published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// SHA-256 of its file.
    pub hash: String,
    /// Its state.
    pub state: CandidateState,
    /// Why it is not published, and what to do other than `promote` and `discard`.
    pub reason: Option<String>,
    /// Whether `promote` and `discard` are possible. They are not during validation, nor for a file that is not a plugin.
    pub promotable: bool,
    /// Its trial, if it had one.
    pub trial: Option<TrialStatus>,
}

/// The state of a generation that is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateState {
    /// It is being validated, or waits for its trial.
    Validating,
    /// Its file failed validation.
    Refused,
    /// A shadow compares its documents with those of the running generation.
    Shadow,
    /// It produces a share of the documents.
    Canary,
    /// Its trial is over, and an operator decides: `promote` or `discard`.
    Held,
    /// It was published or in a canary, and was rolled back.
    RolledBack,
    /// An operator discarded it.
    Discarded,
}

/// The results of a trial so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrialStatus {
    /// Shadow or canary.
    pub mode: RolloutMode,
    /// Rows that took part.
    pub rows: u64,
    /// Rows after which the trial ends.
    pub of_rows: u64,
    /// The share that takes part, 0 to 1: of the batches in a shadow, of the document IDs in a canary.
    pub share: f64,
    /// Documents that are the same in both generations. A delete counts as a document.
    pub equal: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that only the new generation produces.
    pub added: u64,
    /// Documents that only the old generation produces.
    pub missing: u64,
    /// Rows that the old generation fails.
    pub failed_old: u64,
    /// Rows that the new generation fails.
    pub failed_new: u64,
    /// Microseconds per row image in the old generation.
    pub us_per_row_old: Option<f64>,
    /// Microseconds per row image in the new generation.
    pub us_per_row_new: Option<f64>,
    /// The number of documents in which each field differs, the most frequent first.
    pub fields: Vec<FieldCount>,
    /// The first documents that differ.
    pub examples: Vec<DocumentDifference>,
}

/// The number of documents in which a field differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldCount {
    /// The field's path: `total.cents`.
    pub field: String,
    /// The number of documents.
    pub documents: u64,
}

/// An event in the history of a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginEvent {
    /// The time: RFC 3339, UTC, to the second.
    pub at: String,
    /// The kind of event: `published`, `refused`, `rolled back`, `passed probation`, `disabled`, …
    pub what: String,
    /// The generation's number, if it has one.
    pub generation: Option<u64>,
    /// SHA-256 of the file.
    pub hash: String,
    /// The reason or other details; may be empty.
    pub detail: String,
}

/// A file that was refused and belongs to no running plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedFile {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// An operator's command to a plugin: `POST /plugins/NAME/…`, `rowmill plugins …`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperatorCommand {
    /// Restore the last good generation.
    Rollback,
    /// Let it process rows again.
    Enable,
    /// Stop sending rows to it.
    Disable,
    /// Publish the candidate, also one in a trial, held, refused by the probe, rolled back or discarded.
    Promote,
    /// Discard the candidate; the running generation stays.
    Discard,
    /// Set how the next generation is rolled out.
    Rollout(Rollout),
}

/// Why a command was not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No plugin has that name; the message lists the plugins.
    #[error("{0}")]
    Unknown(String),
    /// It is not possible now; the message says why and what to do.
    #[error("{0}")]
    Conflict(String),
}
