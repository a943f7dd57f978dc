//! What is told of the plugins, and what may be asked: the same over HTTP and by command.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Rollout, RolloutMode};
pub use crate::transform::trial::{DocumentDifference, FieldDifference};

/// All plugins, as `GET /plugins` tells them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The number of the published chain.
    pub chain: u64,
    /// The folder that is watched; `None` without plugins.
    pub folder: Option<PathBuf>,
    /// The plugins in the order of the chain; those that are disabled last.
    pub plugins: Vec<PluginStatus>,
    /// Files that are no plugin, with the reason.
    pub refused: Vec<RefusedFile>,
}

/// A plugin with its generations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The file that it came from.
    pub file: PathBuf,
    /// What it does now.
    pub state: PluginState,
    /// The generation that rows go through, or would if it were enabled.
    pub running: GenerationStatus,
    /// The generation that a rollback brings back.
    pub last_good: Option<GenerationStatus>,
    /// The generation that is not published (yet).
    pub candidate: Option<CandidateStatus>,
    /// How the next generation comes in.
    pub rollout: Rollout,
    /// What happened, the oldest first; so many of the last events as are kept.
    pub history: Vec<PluginEvent>,
}

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// Rows go through it.
    Running,
    /// Rows go through it, and it is taken back if it fails.
    Probation,
    /// No row goes through it.
    Disabled,
}

/// A generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number; rises with every load of any plugin in this process.
    pub generation: u64,
    /// The version that the plugin gives itself.
    pub version: String,
    /// SHA-256 of its file.
    pub hash: String,
    /// Images of rows that it saw.
    pub rows: u64,
    /// Those that it failed.
    pub failed: u64,
    /// Traps, and answers that cannot be read.
    pub faults: u64,
    /// Microseconds a row image, on average; `None` before the first.
    pub us_per_row: Option<f64>,
}

/// A generation that is not published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// SHA-256 of its file.
    pub hash: String,
    /// How far it came.
    pub state: CandidateState,
    /// Why it is not published: what is wrong, and what to do besides `promote` and `discard`.
    pub reason: Option<String>,
    /// Whether `promote` and `discard` can be asked: not while it is proven, nor of a file that is no plugin.
    pub promotable: bool,
    /// Its trial, if there was one.
    pub trial: Option<TrialStatus>,
}

/// How far a generation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateState {
    /// It is being compiled and tried out.
    Validating,
    /// Its file is no plugin, or was not proven.
    Refused,
    /// Its documents are compared.
    Shadow,
    /// A share of the documents takes it.
    Canary,
    /// The trial is over, and a person decides: `promote` or `discard`.
    Held,
    /// It was published, or a share of the documents took it, and it was taken back.
    RolledBack,
    /// A person sent it away.
    Discarded,
}

/// What a trial found so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrialStatus {
    /// Shadow or canary.
    pub mode: RolloutMode,
    /// Rows that took part.
    pub rows: u64,
    /// Rows that the trial takes.
    pub of_rows: u64,
    /// Which share of the rows takes part.
    pub share: f64,
    /// Documents that both generations make alike. A delete counts as a document.
    pub equal: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that the new generation alone makes.
    pub added: u64,
    /// Documents that the old generation alone makes.
    pub missing: u64,
    /// Rows that the old generation fails.
    pub failed_old: u64,
    /// Rows that the new generation fails.
    pub failed_new: u64,
    /// Microseconds a row image in the old generation.
    pub us_per_row_old: Option<f64>,
    /// Microseconds a row image in the new generation.
    pub us_per_row_new: Option<f64>,
    /// In how many documents each field differs, the most frequent first.
    pub fields: Vec<FieldCount>,
    /// The first documents that differ.
    pub examples: Vec<DocumentDifference>,
}

/// How often a field differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldCount {
    /// The field's path: `total.cents`.
    pub field: String,
    /// Documents.
    pub documents: u64,
}

/// Something that happened to a plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginEvent {
    /// When: RFC 3339, UTC, to the second.
    pub at: String,
    /// What: `published`, `refused`, `rolled back`, `became good`, `disabled`, …
    pub what: String,
    /// The generation, where it has a number.
    pub generation: Option<u64>,
    /// SHA-256 of the file.
    pub hash: String,
    /// Why, for a person; may be empty.
    pub detail: String,
}

/// A file that is no plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedFile {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What a person may ask of a plugin: `POST /plugins/NAME/…`, `rowmill plugins …`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperatorCommand {
    /// Bring the last good generation back.
    Rollback,
    /// Let rows through it again.
    Enable,
    /// Let no row through it.
    Disable,
    /// Publish the candidate: one in a trial, held, or rolled back.
    Promote,
    /// Send the candidate away; the running generation stays.
    Discard,
    /// How the next generation comes in.
    Rollout(Rollout),
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no plugin of that name; the text says which there are.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be done now; the text says why and what to do.
    #[error("{0}")]
    Conflict(String),
}
