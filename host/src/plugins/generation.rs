//! A plugin with its generations: the running one, the last good one, and the candidate.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rowmill_sandbox::Plugin;

use super::status::{
    CandidateState, CandidateStatus, GenerationStatus, PluginEvent, PluginState, PluginStatus, TrialStatus,
};
use crate::config::{ProbationConfig, Rollout};
use rowmill_engine::ChainPlugin;
use rowmill_engine::{Figures, Health};

/// The number of events kept per plugin.
const MAX_EVENTS: usize = 50;
/// Row images after which a generation's average time per row is judged.
const MIN_TIMED_ROWS: u64 = 2_000;

/// A generation, and the file, code and settings it was created from.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub plugin: Arc<ChainPlugin>,
    /// Its compiled code, reused when the settings change.
    pub code: Arc<Plugin>,
    /// The bytes of its file, and the signature from the file beside it.
    pub bytes: Arc<[u8]>,
    pub signature: Option<Vec<u8>>,
    /// A JSON object.
    pub settings: String,
}

impl Generation {
    pub fn number(&self) -> u64 {
        self.plugin.generation
    }

    pub fn hash(&self) -> &str {
        &self.plugin.hash
    }

    /// Returns true if both have the same file and the same settings.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.hash() == other.hash() && self.settings == other.settings
    }

    pub fn status(&self, base: Figures) -> GenerationStatus {
        let figures = self.plugin.health.figures().since(base);
        GenerationStatus {
            generation: self.number(),
            version: self.plugin.description.version.clone(),
            hash: self.hash().to_string(),
            rows: figures.rows,
            failed: figures.failed,
            faults: figures.faults,
            us_per_row: figures.us_per_row(),
        }
    }
}

/// A generation that is not published.
#[derive(Debug)]
pub(super) struct PluginCandidate {
    pub hash: String,
    pub state: CandidateState,
    pub reason: Option<String>,
    /// `None` during validation, and if the file is not a plugin.
    pub generation: Option<Generation>,
    /// The results of its trial, once that ended.
    pub trial: Option<TrialStatus>,
}

impl PluginCandidate {
    /// A validated generation that waits for its trial.
    pub fn waiting(generation: Generation) -> Self {
        let hash = generation.hash().to_string();
        Self { hash, state: CandidateState::Validating, reason: None, generation: Some(generation), trial: None }
    }

    /// Returns true if it is newer than the running generation and may still be published.
    pub fn is_newer(&self) -> bool {
        use CandidateState::{Canary, Held, Shadow, Validating};
        matches!(self.state, Validating | Shadow | Canary | Held)
    }
}

/// A plugin and its generations.
#[derive(Debug)]
pub(super) struct Slot {
    pub file: PathBuf,
    /// The generation that processes rows, or would if the plugin were enabled.
    pub running: Generation,
    /// Its figures when it was published.
    pub base: Figures,
    /// The start of its probation; `None` once it has passed.
    pub probation: Option<Instant>,
    /// The generation that a rollback restores.
    pub last_good: Option<Generation>,
    pub candidate: Option<PluginCandidate>,
    /// Whether an operator disabled it.
    pub is_disabled: bool,
    history: VecDeque<PluginEvent>,
}

impl Slot {
    pub fn new(file: PathBuf, running: Generation) -> Self {
        let base = running.plugin.health.figures();
        let (probation, last_good, candidate) = (None, None, None);
        Self { file, running, base, probation, last_good, candidate, is_disabled: false, history: VecDeque::new() }
    }

    pub fn name(&self) -> &str {
        &self.running.plugin.name
    }

    /// Adds an event to the history and to the log.
    pub fn note(&mut self, what: &str, hash: &str, generation: Option<u64>, detail: &str) {
        let (plugin, file, hash12) = (self.name(), self.file.display(), &hash[..hash.len().min(12)]);
        let reason = Some(detail).filter(|detail| !detail.is_empty());
        if matches!(what, "rolled back" | "refused" | "held" | "rejected") {
            // Without a generation the file is not a plugin, and only a fixed file helps.
            let to_do = generation.map(|_| {
                format!(
                    "see `rowmill plugins show {plugin}`; `rowmill plugins promote {plugin}` publishes it, `discard` discards it"
                )
            });
            let runs = (generation != Some(self.running.number())).then(|| self.running.number());
            tracing::warn!(plugin, generation, hash = hash12, %file, still_running = runs, reason, to_do, "plugin {what}");
        } else {
            tracing::info!(plugin, generation, hash = hash12, reason, "plugin {what}");
        }
        if self.history.len() == MAX_EVENTS {
            self.history.pop_front();
        }
        let now = jiff::Timestamp::now();
        let at = now.round(jiff::Unit::Second).unwrap_or(now).to_string();
        self.history.push_back(PluginEvent {
            at,
            what: what.into(),
            generation,
            hash: hash.into(),
            detail: detail.into(),
        });
    }

    /// Figures of the running generation since it was published.
    pub fn figures(&self) -> Figures {
        self.running.plugin.health.figures().since(self.base)
    }

    /// Why the running generation must be rolled back, if it must.
    pub fn verdict(&self, limits: &ProbationConfig) -> Option<String> {
        verdict(&self.running.plugin.health, self.base, limits)
    }

    pub fn status(&self, is_disabled: bool, rollout: Rollout, trial: Option<TrialStatus>) -> PluginStatus {
        let state = match (is_disabled, self.probation) {
            (true, _) => PluginState::Disabled,
            (false, Some(_)) => PluginState::Probation,
            (false, None) => PluginState::Running,
        };
        let candidate = self.candidate.as_ref().map(|candidate| CandidateStatus {
            hash: candidate.hash.clone(),
            state: candidate.state,
            reason: candidate.reason.clone(),
            promotable: candidate.generation.is_some(),
            trial: trial.or_else(|| candidate.trial.clone()),
        });
        PluginStatus {
            name: self.name().to_string(),
            file: self.file.clone(),
            state,
            running: self.running.status(self.base),
            last_good: self.last_good.as_ref().map(|generation| generation.status(Figures::default())),
            candidate,
            rollout,
            history: self.history.iter().cloned().collect(),
        }
    }
}

/// Judges a generation by its figures since `base`. Returns why it must be rolled back, if it must.
pub(super) fn verdict(health: &Health, base: Figures, limits: &ProbationConfig) -> Option<String> {
    let figures = health.figures().since(base);
    let share = figures.regressed as f64 / figures.rows.max(1) as f64;
    if figures.regressed >= limits.failed_rows.max(1) && share >= limits.failed_share {
        let first = health.first_regressed().map_or(String::new(), |why| format!("; the first is of {why}"));
        return Some(format!(
            "it failed {} of {} rows that the last good generation accepts ({:.2}%; the limit is {} rows and {:.2}%){first}",
            figures.regressed,
            figures.rows,
            share * 100.0,
            limits.failed_rows,
            limits.failed_share * 100.0,
        ));
    }
    let per_row = figures.us_per_row().filter(|_| figures.rows >= MIN_TIMED_ROWS)?;
    let limit = limits.row_time.as_secs_f64() * 1e6;
    (per_row > limit).then(|| format!("it takes {per_row:.0} µs per row on average; the limit is {limit:.0} µs"))
}
