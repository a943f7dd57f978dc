//! Trials (shadow and canary): starting them, and the decision when they end.

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

/// The number of differing fields in a status, the most frequent first.
const MAX_FIELDS: usize = 100;

/// The current trial: running, or over but not decided.
pub(super) struct ActiveTrial {
    pub plugin: String,
    pub generation: Generation,
    pub trial: Arc<Trial>,
    rollout: Rollout,
    /// The generation that it is compared with, and the figures of that one at the start of the trial.
    old: (Arc<ChainPlugin>, Figures),
    /// The figures of the new generation at the start of the trial.
    base: Figures,
    /// Whether the trial is over and waits for an operator.
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
    /// Starts a trial, or queues the generation while another trial runs.
    pub(super) fn start_trial(&mut self, name: &str, generation: Generation) {
        let hash = generation.hash().to_string();
        if let Some(trial) = &self.trial {
            let reason = format!("it waits for the trial of {} to end; trials run one at a time", trial.plugin);
            return self.set_candidate(name, hash, CandidateState::Validating, Some(reason), Some(generation));
        }
        let rollout = self.rollout(name);
        let Some(slot) = self.slots.get(name) else { return };
        if self.is_disabled(slot) {
            let reason = "its trial starts once the plugin is enabled".to_string();
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

    /// Decides about a trial that is over, and rolls back a failing canary.
    pub(super) fn judge_trial(&mut self) {
        let Some(active) = &self.trial else { return };
        let (name, hash) = (active.plugin.clone(), active.generation.hash().to_string());
        let generation = active.generation.clone();
        if active.trial.is_canary()
            && let Some(reason) = verdict(&active.generation.plugin.health, active.base, &self.config.probation)
        {
            let reason = format!("as a canary, {reason}");
            self.record_rejection(&name, &hash, &reason);
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
        let result = match active.rollout.mode {
            RolloutMode::Canary => format!("canary of {} rows", found.rows),
            _ => summary(&active.trial.report(), found.rows),
        };
        let objection = match active.trial.is_canary() {
            true => None,
            false => objection(&active.trial.report(), active.rollout.max_changed),
        };
        if active.rollout.publish && objection.is_none() {
            self.end_trial(None);
            self.publish_generation(&name, generation, &result);
            return self.next_trial();
        }
        let why = objection.unwrap_or_else(|| match active.trial.is_canary() {
            true => "publish = false, so an operator must publish it; it keeps its share until then".into(),
            false => "publish = false, so an operator must publish it".into(),
        });
        let reason = format!("{result}; {why}");
        if active.trial.is_canary() {
            // It keeps its share until an operator decides, so that documents do not switch between generations.
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

    /// Ends the trial if it is of this file's plugin, because the file changed.
    pub(super) fn end_trial_of(&mut self, path: &Path) {
        let is_of_file = |name: &str| self.slots.get(name).is_some_and(|slot| slot.file == path);
        if self.trial.as_ref().is_some_and(|trial| is_of_file(&trial.plugin)) {
            self.end_trial(Some("its file changed"));
            self.publish();
            self.next_trial();
        }
    }

    /// Ends the trial of a plugin that was disabled, which would get no rows, and queues it until the plugin is enabled. The
    /// caller must publish the chain afterwards.
    pub(super) fn requeue_disabled_trial(&mut self) {
        let is_disabled = |name: &String| self.slots.get(name).is_some_and(|slot| self.is_disabled(slot));
        let on_trial = self.trial.as_ref().filter(|trial| is_disabled(&trial.plugin));
        if let Some((name, generation)) = on_trial.map(|trial| (trial.plugin.clone(), trial.generation.clone())) {
            self.end_trial(Some("the plugin was disabled"));
            self.start_trial(&name, generation);
        }
        self.next_trial();
    }

    /// Ends the trial; its results stay with the candidate. The caller must publish the chain afterwards.
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

    /// Rolls out the generations that wait for a trial to end, until one of them starts a trial itself.
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

/// Why a shadow is not published automatically: it fails more rows than the running generation, or more than `max_changed`
/// of its documents differ.
fn objection(report: &TrialReport, max_changed: f64) -> Option<String> {
    if report.failed_new > report.failed_old {
        return Some("it fails more rows than the running generation".into());
    }
    let share = report.different() as f64 / report.documents().max(1) as f64;
    (share > max_changed).then(|| format!("more than max_changed = {max_changed} allows"))
}

/// The results of a shadow in one line.
fn summary(report: &TrialReport, rows: u64) -> String {
    let mut text = format!(
        "shadow of {rows} rows: {} of {} documents differ ({} changed, {} added, {} missing)",
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
        text += &format!("; {} rows fail ({} in the running generation)", report.failed_new, report.failed_old);
    }
    text
}
