//! Shadow and canary: a generation on trial, and what is decided when it is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{CandidateState, Generation, Slot, Supervisor};
use crate::config::{Rollout, RolloutMode};
use crate::plugins::generation::verdict;
use crate::plugins::status::{FieldCount, TrialStatus};
use crate::transform::trial::{Trial, TrialReport};
use rowmill_engine::ChainPlugin;
use rowmill_engine::Figures;

/// Fields that are told, the most frequent first.
const MAX_FIELDS: usize = 100;

/// A trial that is under way, or over and not decided.
pub(super) struct ActiveTrial {
    pub plugin: String,
    pub generation: Generation,
    pub trial: Arc<Trial>,
    rollout: Rollout,
    /// The generation that it is measured against, with its figures when the trial began.
    old: (Arc<ChainPlugin>, Figures),
    /// The new one's figures when the trial began.
    base: Figures,
    /// Whether a person was told that it is over.
    is_held: bool,
}

impl ActiveTrial {
    pub fn status(&self) -> TrialStatus {
        let TrialReport { equal, changed, added, missing, failed_old, failed_new, fields, examples } =
            self.trial.report();
        let mut fields: Vec<FieldCount> =
            fields.into_iter().map(|(field, documents)| FieldCount { field, documents }).collect();
        fields.sort_by_key(|field| std::cmp::Reverse(field.documents));
        fields.truncate(MAX_FIELDS);
        TrialStatus {
            mode: self.trial.mode,
            rows: self.trial.rows(),
            of_rows: self.trial.of_rows,
            share: self.trial.share,
            equal,
            changed,
            added,
            missing,
            failed_old,
            failed_new,
            us_per_row_old: self.old.0.health.figures().since(self.old.1).us_per_row(),
            us_per_row_new: self.figures().us_per_row(),
            fields,
            examples,
        }
    }

    fn figures(&self) -> Figures {
        self.generation.plugin.health.figures().since(self.base)
    }
}

impl Supervisor {
    /// Begins a trial, or lets it wait for the one that is under way.
    pub(super) fn start_trial(&mut self, name: &str, generation: Generation) {
        let hash = generation.hash().to_string();
        if let Some(trial) = &self.trial {
            let reason = format!("it waits for the trial of {}, one at a time", trial.plugin);
            return self.set_candidate(name, hash, CandidateState::Validating, Some(reason), Some(generation));
        }
        let rollout = self.rollout(name);
        let Some(slot) = self.slots.get(name) else { return };
        if self.is_disabled(slot) {
            let reason = "it is tried once the plugin is enabled: no row goes through it now".to_string();
            return self.set_candidate(name, hash, CandidateState::Validating, Some(reason), Some(generation));
        }
        let old = slot.running.plugin.clone();
        let trial = Trial::new(generation.number(), rollout.mode, rollout.share, rollout.rows, self.alarm.clone());
        let state = match rollout.mode {
            RolloutMode::Canary => CandidateState::Canary,
            _ => CandidateState::Shadow,
        };
        self.trial = Some(ActiveTrial {
            plugin: name.to_string(),
            trial: Arc::new(trial),
            rollout,
            base: generation.plugin.health.figures(),
            old: (old.clone(), old.health.figures()),
            generation: generation.clone(),
            is_held: false,
        });
        self.set_candidate(name, hash, state, None, Some(generation));
        self.publish();
    }

    /// Decides over a trial that is over, and over a canary that fails.
    pub(super) fn judge_trial(&mut self) {
        let Some(active) = &self.trial else { return };
        let (name, hash) = (active.plugin.clone(), active.generation.hash().to_string());
        let generation = active.generation.clone();
        if active.trial.is_canary()
            && let Some(reason) = verdict(&active.generation.plugin.health, active.base, &self.config.probation)
        {
            let reason = format!("in its canary {reason}");
            self.reject(&name, &hash, &reason);
            self.metrics.plugin_rollbacks.inc();
            self.end_trial(None);
            self.set_candidate(&name, hash, CandidateState::RolledBack, Some(reason), Some(generation));
            self.publish();
            return self.next_trial();
        }
        if !active.trial.is_over() || active.is_held {
            return;
        }
        let found = active.status();
        let what = match active.rollout.mode {
            RolloutMode::Canary => format!("after {} rows of its share", found.rows),
            _ => said(&active.trial.report(), found.rows),
        };
        let objection = match active.trial.is_canary() {
            true => None,
            false => objection(&active.trial.report(), active.rollout.max_changed),
        };
        if active.rollout.publish && objection.is_none() {
            self.end_trial(None);
            self.publish_generation(&name, generation, &what);
            return self.next_trial();
        }
        let why = objection.unwrap_or_else(|| match active.trial.is_canary() {
            true => "it is published by hand (publish = false), and keeps its share until then".into(),
            false => "it is published by hand (publish = false)".into(),
        });
        let reason = format!("{what}: {why}");
        if active.trial.is_canary() {
            // Its share stays with it until a person decides: documents do not go to and fro.
            if let Some(active) = &mut self.trial {
                active.is_held = true;
            }
            return self.set_candidate(&name, hash, CandidateState::Held, Some(reason), Some(generation));
        }
        self.end_trial(None);
        self.set_candidate(&name, hash, CandidateState::Held, Some(reason), Some(generation));
        self.publish();
        self.next_trial();
    }

    /// Ends the trial, if it is of this file's plugin, since the file changed.
    pub(super) fn end_trial_of(&mut self, path: &Path) {
        let is_of_file = |name: &str| self.slots.get(name).is_some_and(|slot| slot.file == path);
        if self.trial.as_ref().is_some_and(|trial| is_of_file(&trial.plugin)) {
            self.end_trial(Some("its file changed"));
            self.publish();
            self.next_trial();
        }
    }

    /// A trial of a plugin that is disabled now would get no row and never end: it begins anew when the plugin is
    /// enabled, and others go first. The chain is to be published after it.
    pub(super) fn requeue_disabled_trial(&mut self) {
        let is_disabled = |name: &String| self.slots.get(name).is_some_and(|slot| self.is_disabled(slot));
        let tried = self.trial.as_ref().filter(|trial| is_disabled(&trial.plugin));
        if let Some((name, generation)) = tried.map(|trial| (trial.plugin.clone(), trial.generation.clone())) {
            self.end_trial(Some("the plugin was disabled"));
            self.start_trial(&name, generation);
        }
        self.next_trial();
    }

    /// Ends the trial; what it found stays with the candidate. The chain is to be published after it.
    pub(super) fn end_trial(&mut self, why: Option<&str>) {
        let Some(active) = self.trial.take() else { return };
        let found = active.status();
        let Some(slot) = self.slots.get_mut(&active.plugin) else { return };
        if let Some(why) = why {
            slot.note("trial ended", active.generation.hash(), Some(active.generation.number()), why);
        }
        if let Some(candidate) = slot.candidate.as_mut().filter(|candidate| candidate.hash == active.generation.hash())
        {
            candidate.trial = Some(found);
        }
    }

    /// Brings in what waited for a trial to end, up to the next one that is a trial itself.
    pub(in crate::plugins) fn next_trial(&mut self) {
        let waiting: Vec<String> =
            self.slots.iter().filter(|(_, slot)| !self.is_disabled(slot)).map(|(name, _)| name.clone()).collect();
        let next = |slots: &mut BTreeMap<String, Slot>| {
            waiting.iter().find_map(|name| {
                let candidate = slots.get_mut(name)?.candidate.as_mut()?;
                let generation = candidate.generation.take_if(|_| candidate.state == CandidateState::Validating)?;
                Some((name.clone(), generation))
            })
        };
        while self.trial.is_none()
            && let Some((name, generation)) = next(&mut self.slots)
        {
            self.start_rollout(&name, generation);
        }
    }
}

/// Why a shadow is not published on its own: it fails more rows, or more than this share of its documents differ.
fn objection(report: &TrialReport, max_changed: f64) -> Option<String> {
    if report.failed_new > report.failed_old {
        return Some("it fails more rows than the running generation".into());
    }
    let share = report.different() as f64 / report.documents().max(1) as f64;
    (share > max_changed).then(|| format!("more than max_changed = {max_changed} allows"))
}

/// What a shadow found, in a line.
fn said(report: &TrialReport, rows: u64) -> String {
    let mut text = format!(
        "in shadow of {rows} rows {} of {} documents differ ({} changed, {} added, {} missing)",
        report.different(),
        report.documents(),
        report.changed,
        report.added,
        report.missing
    );
    let mut fields: Vec<(&String, &u64)> = report.fields.iter().collect();
    fields.sort_by_key(|(_, documents)| std::cmp::Reverse(**documents));
    if !fields.is_empty() {
        let named: Vec<&str> = fields.iter().take(5).map(|(field, _)| field.as_str()).collect();
        text += &format!(", in {}", named.join(", "));
    }
    if report.failed_new > 0 {
        text += &format!("; {} rows fail (in the running generation {})", report.failed_new, report.failed_old);
    }
    text
}
