//! Handling validation results: a generation is published, put on trial, or refused.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{CandidateState, Generation, PluginCandidate, PluginFile, Slot, Supervisor, Validated, ValidationJob};
use crate::config::{PluginConfig, RolloutMode};
use crate::plugins::validation::Reconfiguration;

impl Supervisor {
    pub(super) fn apply_validation(&mut self, result: Validated) {
        match result {
            Validated::File(path, hash, result) => {
                // Otherwise the file changed or disappeared meanwhile, and the result is obsolete.
                let Some(file) = self.files.get_mut(&path).filter(|file| file.hash == hash) else { return };
                file.is_validating = false;
                match result {
                    // The configuration changed during validation.
                    Ok(generation) if self.has_old_settings(&generation) => self.validate_again(&path, &generation),
                    Ok(generation) => self.accept(&path, generation),
                    Err((reason, generation)) => self.set_refused(&path, &hash, reason, generation),
                }
                self.remove_gone();
            }
            Validated::Earlier(path, result) => match result {
                Ok(generation) => {
                    let name = generation.plugin.name.to_string();
                    if let Some(slot) = self.slots.get_mut(&name) {
                        slot.last_good = Some(generation);
                        self.roll_back_by_operator(&name);
                    }
                }
                Err(reason) => {
                    if let Some(slot) = self.slots.values_mut().find(|slot| slot.file == path) {
                        slot.note("refused", "", None, &format!("cannot roll back to the earlier file: {reason}"));
                    }
                }
            },
            Validated::Configuration(change, result) => self.finish_reconfiguration(*change, result),
        }
    }

    fn has_old_settings(&self, generation: &Generation) -> bool {
        generation.settings != self.validator.settings_of(&generation.plugin.name)
    }

    /// Validates a file's bytes again, with the current settings.
    fn validate_again(&mut self, path: &Path, generation: &Generation) {
        if let Some(file) = self.files.get_mut(path) {
            file.is_validating = true;
        }
        let (bytes, signature) = (generation.bytes.clone(), generation.signature.clone());
        let file = PluginFile { path: path.into(), bytes, hash: generation.hash().to_string(), signature };
        self.send(ValidationJob::File(self.validator.clone(), file));
    }

    pub(super) fn accept(&mut self, path: &Path, generation: Generation) {
        let name = generation.plugin.name.to_string();
        if let Some(reason) = self.name_conflict(path, &generation) {
            self.set_refused(path, generation.hash(), reason, None);
            // A file that already runs as another plugin keeps running as that one.
            if let Some(file) = self.files.get_mut(path).filter(|file| file.plugin.is_none()) {
                file.standby = Some(generation);
            }
            return;
        }
        // A rejection also holds for a plugin that does not run: its file may have been removed for a while.
        if !self.slots.contains_key(&name)
            && let Some(reason) = self.rejection(&generation)
        {
            let hash = generation.hash().to_string();
            return self.set_refused(path, &hash, format!("{reason}; replace it with a fixed file"), None);
        }
        // The file contained another plugin before; remove that one.
        let previous = self.files.get(path).and_then(|file| file.plugin.clone()).filter(|previous| *previous != name);
        if let Some(previous) = previous {
            self.slots.remove(&previous);
        }
        if let Some(file) = self.files.get_mut(path) {
            (file.plugin, file.refused) = (Some(name.clone()), None);
        }
        if !self.slots.contains_key(&name) {
            self.add(path, generation, "");
            self.keep_good(&name);
            return self.publish();
        }
        if let Some(reason) = self.rejection(&generation) {
            return self.reject_generation(generation, reason);
        }
        self.start_rollout(&name, generation);
    }

    /// Publishes a validated generation of a running plugin, or starts its trial.
    pub(super) fn start_rollout(&mut self, name: &str, generation: Generation) {
        match self.rollout(name).mode {
            RolloutMode::Direct => self.publish_generation(name, generation, ""),
            RolloutMode::Shadow | RolloutMode::Canary => self.start_trial(name, generation),
        }
    }

    /// Publishes a generation. The previous one becomes the last good one, unless it was on probation.
    pub(super) fn publish_generation(&mut self, name: &str, generation: Generation, detail: &str) {
        let window = self.config.probation.window;
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.candidate = None;
        slot.replace_running(generation, window, detail);
        self.keep_good(name);
        self.publish();
    }

    /// Records that a file was refused. The running generation stays.
    pub(super) fn set_refused(&mut self, path: &Path, hash: &str, reason: String, generation: Option<Generation>) {
        self.metrics.plugins_refused.inc();
        let file = self.files.entry(path.into()).or_default();
        let slot = file.plugin.clone().filter(|name| self.slots.get(name).is_some_and(|slot| slot.file == path));
        match slot {
            Some(name) => {
                self.set_candidate(&name, hash.to_string(), CandidateState::Refused, Some(reason), generation)
            }
            None => {
                tracing::warn!(file = %path.display(), reason, "plugin refused");
                file.refused = Some(reason);
            }
        }
    }

    pub(super) fn set_candidate(
        &mut self,
        name: &str,
        hash: String,
        state: CandidateState,
        reason: Option<String>,
        generation: Option<Generation>,
    ) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let what = match state {
            CandidateState::Validating => "waiting",
            CandidateState::Refused => "refused",
            CandidateState::Shadow => "in shadow",
            CandidateState::Canary => "in canary",
            CandidateState::Held => "held",
            CandidateState::RolledBack => "rejected",
            CandidateState::Discarded => "discarded",
        };
        let number = generation.as_ref().map(Generation::number);
        slot.note(what, &hash, number, reason.as_deref().unwrap_or_default());
        let trial = slot.candidate.take().and_then(|candidate| candidate.trial);
        slot.candidate = Some(PluginCandidate { hash, state, reason, generation, trial });
    }

    pub(super) fn drop_candidate(&mut self, path: &Path) {
        if let Some(slot) = self.slots.values_mut().find(|slot| slot.file == path) {
            slot.candidate = None;
        }
    }

    /// Applies a validated configuration at one batch boundary, or none of it.
    fn finish_reconfiguration(&mut self, change: Reconfiguration, result: Result<Vec<Generation>, String>) {
        let Reconfiguration { validator, config, routes, reply, .. } = change;
        let answer = result.map(|generations| {
            let (mut changed, mut replaced) = (Vec::new(), Vec::new());
            for generation in generations {
                let name = generation.plugin.name.to_string();
                // A file that was published meanwhile was validated with the old settings: see below.
                let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.running.hash() == generation.hash())
                else {
                    replaced.push(name);
                    continue;
                };
                changed.push(format!("plugins.settings.{name}"));
                slot.replace_running(generation, config.probation.window, "its settings changed");
            }
            changed.extend(changed_keys(&self.config, &config));
            if self.routes != routes {
                changed.push("routes".to_string());
            }
            (self.validator, self.config, self.routes) = (validator, config, routes);
            for name in replaced {
                changed.push(format!("plugins.settings.{name}"));
                if let Some((file, running)) =
                    self.slots.get(&name).map(|slot| (slot.file.clone(), slot.running.clone()))
                {
                    self.validate_again(&file, &running);
                }
            }
            self.requeue_disabled_trial();
            self.publish();
            changed
        });
        // The sender may have stopped waiting.
        let _ = reply.send(answer);
    }

    pub(super) fn roll_back_by_operator(&mut self, name: &str) {
        self.roll_back(name, "rolled back by an operator");
    }
}

/// The keys that differ between two configurations, besides the plugins' settings.
fn changed_keys(old: &PluginConfig, new: &PluginConfig) -> impl Iterator<Item = String> {
    [
        (old.order != new.order, "plugins.order"),
        (old.disabled != new.disabled, "plugins.disabled"),
        (old.wasi != new.wasi, "plugins.wasi"),
        (old.stamp != new.stamp, "plugins.stamp"),
        (old.trust != new.trust, "plugins.hashes, plugins.trusted_keys"),
        (old.rollout != new.rollout || old.rollouts != new.rollouts, "plugins.rollout"),
        (old.probation != new.probation, "plugins.probation"),
        (old.compile != new.compile, "plugins.compile_memory, plugins.compile_time"),
    ]
    .into_iter()
    .filter(|(is_changed, _)| *is_changed)
    .map(|(_, key)| key.to_string())
}

impl Slot {
    /// Replaces the running generation, which becomes the last good one unless it was on probation, and starts the
    /// probation of the new one.
    fn replace_running(&mut self, generation: Generation, window: Duration, detail: &str) {
        self.base = generation.plugin.health.figures();
        let (hash, number) = (generation.hash().to_string(), generation.number());
        let before = std::mem::replace(&mut self.running, generation);
        if self.probation.is_none() || self.last_good.is_none() {
            self.last_good = Some(before);
        }
        self.probation = (!window.is_zero()).then(Instant::now);
        self.note("published", &hash, Some(number), detail);
    }

    /// Returns true if a rollback is possible without validating a file first.
    pub(super) fn has_last_good(&self) -> bool {
        self.last_good.is_some()
    }
}
