//! What is done with what was proven: published, tried, or refused.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{CandidateState, Generation, PluginCandidate, PluginFile, Slot, Supervisor, Validated, ValidationJob};
use crate::config::RolloutMode;
use crate::plugins::validation::Reconfiguration;

impl Supervisor {
    pub(super) fn proven(&mut self, proven: Validated) {
        match proven {
            Validated::File(path, hash, result) => {
                // The file changed meanwhile, or is gone: what was proven is not what is there.
                let Some(file) = self.files.get_mut(&path).filter(|file| file.hash == hash) else { return };
                file.is_validating = false;
                match result {
                    // The configuration changed while it was proven: with these settings it would run from now on.
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
                        slot.note("refused", "", None, &format!("the earlier file cannot be brought back: {reason}"));
                    }
                }
            },
            Validated::Configuration(change, result) => self.configured(*change, result),
        }
    }

    fn has_old_settings(&self, generation: &Generation) -> bool {
        generation.settings != self.validator.settings_of(&generation.plugin.name)
    }

    /// Proves a file's bytes with the settings that hold now.
    fn validate_again(&mut self, path: &Path, generation: &Generation) {
        if let Some(file) = self.files.get_mut(path) {
            file.is_validating = true;
        }
        let (bytes, signature) = (generation.bytes.clone(), generation.signature.clone());
        let seen = PluginFile { path: path.into(), bytes, hash: generation.hash().to_string(), signature };
        self.send(ValidationJob::File(self.validator.clone(), seen));
    }

    pub(super) fn accept(&mut self, path: &Path, generation: Generation) {
        let name = generation.plugin.name.to_string();
        if let Some(reason) = self.name_conflict(path, &generation) {
            self.set_refused(path, generation.hash(), reason, None);
            // Of a file that is another plugin so far nothing is kept: it goes on as that.
            if let Some(file) = self.files.get_mut(path).filter(|file| file.plugin.is_none()) {
                file.standby = Some(generation);
            }
            return;
        }
        // Kept away from a plugin that does not run, too: its file may have been away for a while.
        if !self.slots.contains_key(&name)
            && let Some(reason) = self.rejected(&generation)
        {
            let hash = generation.hash().to_string();
            return self.set_refused(path, &hash, format!("{reason}; put a mended file in its place"), None);
        }
        // A file that turned into another plugin takes the one that it was along.
        let was = self.files.get(path).and_then(|file| file.plugin.clone()).filter(|was| *was != name);
        if let Some(was) = was {
            self.slots.remove(&was);
        }
        if let Some(file) = self.files.get_mut(path) {
            (file.plugin, file.refused) = (Some(name.clone()), None);
        }
        if !self.slots.contains_key(&name) {
            self.add(path, generation, "");
            self.keep_good(&name);
            return self.publish();
        }
        if let Some(reason) = self.rejected(&generation) {
            return self.reject_generation(generation, reason);
        }
        self.start_rollout(&name, generation);
    }

    /// Publishes a proven generation of a plugin that runs, or tries it first.
    pub(super) fn start_rollout(&mut self, name: &str, generation: Generation) {
        match self.rollout(name).mode {
            RolloutMode::Direct => self.publish_generation(name, generation, ""),
            RolloutMode::Shadow | RolloutMode::Canary => self.start_trial(name, generation),
        }
    }

    /// Rows go through this generation from now on; the one before is the last good one, if it was good.
    pub(super) fn publish_generation(&mut self, name: &str, generation: Generation, detail: &str) {
        let window = self.config.probation.window;
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.candidate = None;
        slot.succeed(generation, window, detail);
        self.keep_good(name);
        self.publish();
    }

    /// A file is refused: the running generation stays.
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
            CandidateState::RolledBack => "kept away",
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

    /// Takes a proven configuration over, at one batch boundary; or nothing of it.
    fn configured(&mut self, change: Reconfiguration, result: Result<Vec<Generation>, String>) {
        let Reconfiguration { validator, config, routes, reply, .. } = change;
        let answer = result.map(|generations| {
            let (mut told, mut replaced) = (Vec::new(), Vec::new());
            for generation in generations {
                let name = generation.plugin.name.to_string();
                // A file that came in meanwhile was proven with the old settings: see below.
                let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.running.hash() == generation.hash())
                else {
                    replaced.push(name);
                    continue;
                };
                told.push(format!("plugins.settings.{name}"));
                slot.succeed(generation, config.probation.window, "its settings changed");
            }
            for (is_changed, key) in [
                (self.config.order != config.order, "plugins.order"),
                (self.config.disabled != config.disabled, "plugins.disabled"),
                (self.config.wasi != config.wasi, "plugins.wasi"),
                (self.config.stamp != config.stamp, "plugins.stamp"),
                (self.config.trust != config.trust, "plugins.hashes, plugins.trusted_keys"),
                (self.config.rollout != config.rollout || self.config.rollouts != config.rollouts, "plugins.rollout"),
                (self.config.probation != config.probation, "plugins.probation"),
                (self.config.compile != config.compile, "plugins.compile_memory, plugins.compile_time"),
                (self.routes != routes, "routes"),
            ] {
                if is_changed {
                    told.push(key.to_string());
                }
            }
            (self.validator, self.config, self.routes) = (validator, config, routes);
            for name in replaced {
                told.push(format!("plugins.settings.{name}"));
                if let Some((file, running)) =
                    self.slots.get(&name).map(|slot| (slot.file.clone(), slot.running.clone()))
                {
                    self.validate_again(&file, &running);
                }
            }
            self.requeue_disabled_trial();
            self.publish();
            told
        });
        // Whoever asked may have gone away.
        let _ = reply.send(answer);
    }

    /// The running generation is sent away by a person, and the last good one is back.
    pub(super) fn roll_back_by_operator(&mut self, name: &str) {
        self.roll_back(name, "a person rolled it back");
    }
}

impl Slot {
    /// Puts a generation in the place of the running one, which is the last good one now if it was good, and begins to
    /// watch it.
    fn succeed(&mut self, generation: Generation, window: Duration, detail: &str) {
        self.base = generation.plugin.health.figures();
        let (hash, number) = (generation.hash().to_string(), generation.number());
        let before = std::mem::replace(&mut self.running, generation);
        if self.probation.is_none() || self.last_good.is_none() {
            self.last_good = Some(before);
        }
        self.probation = (!window.is_zero()).then(Instant::now);
        self.note("published", &hash, Some(number), detail);
    }

    /// Whether a rollback has something to bring back at once.
    pub(super) fn has_last_good(&self) -> bool {
        self.last_good.is_some()
    }
}
