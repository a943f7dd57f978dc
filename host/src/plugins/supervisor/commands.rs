//! What people ask.

use std::sync::Arc;

use super::{CandidateState, PluginCandidate, Supervisor, ValidationJob};
use crate::config::{PluginConfig, Rollout, RolloutMode};
use crate::plugins::control::Request;
use crate::plugins::folder::PluginFile;
use crate::plugins::status::{CommandError, OperatorCommand};
use crate::plugins::validation;
use rowmill_engine::Route;

impl Supervisor {
    pub(super) fn asked(&mut self, request: Request) {
        // Whoever asked may have gone away: the answer is then nobody's.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Command(plugin, command, reply) => drop(reply.send(self.command(&plugin, command))),
            Request::Configure(wanted, reply) => {
                let (config, routes) = *wanted;
                self.configure(config, routes.into(), reply);
            }
        }
    }

    fn command(&mut self, name: &str, command: OperatorCommand) -> Result<String, CommandError> {
        if !self.slots.contains_key(name) {
            let known: Vec<&str> = self.slots.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            return Err(CommandError::Unknown(format!("there is no plugin {name:?}; there are: {known}")));
        }
        match command {
            OperatorCommand::Rollback => self.roll_back_on_command(name),
            OperatorCommand::Disable => self.set_disabled(name, true),
            OperatorCommand::Enable => self.set_disabled(name, false),
            OperatorCommand::Promote => self.promote(name),
            OperatorCommand::Discard => self.discard(name),
            OperatorCommand::Rollout(rollout) => {
                self.manual_rollouts.insert(name.to_string(), rollout);
                if let Some(good) = &mut self.good
                    && let Err(error) = good.set_rollout(name, Some(rollout))
                {
                    tracing::warn!(plugin = name, "this is not known after a restart: {error:#}");
                }
                let Rollout { mode, rows, share, publish, max_changed } = rollout;
                let then = if publish { "then published on its own" } else { "then held for a person" };
                let how = match mode {
                    RolloutMode::Direct => "comes in once it is proven".into(),
                    RolloutMode::Shadow => {
                        format!("runs in shadow first: rows {rows}, share {share}, max_changed {max_changed}, {then}")
                    }
                    RolloutMode::Canary => format!("is a canary first: rows {rows}, share {share}, {then}"),
                };
                self.note(name, "rollout", &format!("the next generation {how}"));
                Ok(format!("the next generation of {name} {how}"))
            }
        }
    }

    fn note(&mut self, name: &str, what: &str, detail: &str) {
        if let Some(slot) = self.slots.get_mut(name) {
            let (hash, number) = (slot.running.hash().to_string(), slot.running.number());
            slot.note(what, &hash, Some(number), detail);
        }
    }

    fn roll_back_on_command(&mut self, name: &str) -> Result<String, CommandError> {
        let Some(slot) = self.slots.get(name) else { return Ok(String::new()) };
        if slot.has_last_good() {
            self.roll_back_by_operator(name);
            let back = self.slots.get(name).map(|slot| slot.running.hash()[..12].to_string()).unwrap_or_default();
            return Ok(format!(
                "{name} is back at {back}; the file that ran is not published again unless it is promoted"
            ));
        }
        let nothing = || {
            CommandError::Conflict(format!(
                "there is no earlier good generation of {name}: put an earlier file into the folder, or disable the plugin"
            ))
        };
        let good = self.good.as_ref().ok_or_else(nothing)?;
        let running = slot.running.hash();
        let earlier = good.before(name).into_iter().find(|earlier| earlier.hash != running).ok_or_else(nothing)?;
        let bytes = good
            .bytes(&earlier.hash)
            .map_err(|error| CommandError::Conflict(format!("{error:#}")))?
            .ok_or_else(nothing)?;
        let (path, hash) = (slot.file.clone(), earlier.hash.clone());
        let seen = PluginFile { path, bytes: bytes.into(), hash, signature: earlier.signature };
        self.send(ValidationJob::Earlier(self.validator.clone(), slot.file.clone(), seen));
        Ok(format!("{name} goes back to {}, once that is proven; see `rowmill plugins`", &earlier.hash[..12]))
    }

    fn set_disabled(&mut self, name: &str, is_disabled: bool) -> Result<String, CommandError> {
        if self.config.disabled.iter().any(|disabled| disabled == name) {
            return Err(CommandError::Conflict(format!(
                "the configuration disables {name}: take it out of plugins.disabled"
            )));
        }
        if let Some(good) = &mut self.good
            && let Err(error) = good.set_disabled(name, is_disabled)
        {
            tracing::warn!(plugin = name, "this is not known after a restart: {error:#}");
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.is_disabled = is_disabled;
        }
        let word = if is_disabled { "disabled" } else { "enabled" };
        self.note(name, word, "");
        self.requeue_disabled_trial();
        self.publish();
        Ok(format!("{name} is {word}"))
    }

    fn promote(&mut self, name: &str) -> Result<String, CommandError> {
        let nothing = |why: &str| CommandError::Conflict(format!("nothing of {name} can be published: {why}"));
        if self.trial.as_ref().is_some_and(|trial| trial.plugin == name) {
            self.end_trial(None);
        }
        let Some(slot) = self.slots.get_mut(name) else { return Ok(String::new()) };
        let Some(candidate) = &mut slot.candidate else {
            return Err(nothing("the running generation is the newest; put a new file into the folder"));
        };
        let Some(generation) = candidate.generation.take() else {
            let reason = candidate.reason.as_deref().unwrap_or("it is being proven; ask again in a moment");
            return Err(nothing(reason));
        };
        let hash = generation.hash().to_string();
        if let Some(good) = &mut self.good
            && let Err(error) = good.accept(name, &hash)
        {
            tracing::warn!(plugin = name, "a restart may keep this file away: {error:#}");
        }
        self.publish_generation(name, generation, "promoted by a person");
        self.next_trial();
        Ok(format!("{name} is now at {}", &hash[..12]))
    }

    fn discard(&mut self, name: &str) -> Result<String, CommandError> {
        let is_on_trial = self.trial.as_ref().is_some_and(|trial| trial.plugin == name);
        if is_on_trial {
            self.end_trial(None);
        }
        let candidate = self.slots.get_mut(name).and_then(|slot| slot.candidate.as_mut());
        let waits = |candidate: &&mut PluginCandidate| {
            candidate.generation.is_some() && candidate.state != CandidateState::Discarded
        };
        let Some(candidate) = candidate.filter(waits) else {
            return Err(CommandError::Conflict(format!("no generation of {name} waits; see `rowmill plugins`")));
        };
        let (hash, generation) = (candidate.hash.clone(), candidate.generation.take());
        let reason = "a person sent it away".to_string();
        self.reject(name, &hash, &reason);
        self.set_candidate(name, hash.clone(), CandidateState::Discarded, Some(reason), generation);
        if is_on_trial {
            self.publish();
            self.next_trial();
        }
        Ok(format!("{} of {name} is sent away; what runs stays", &hash[..12]))
    }

    /// Has another configuration proven; the answer comes when it is published, or refused.
    fn configure(
        &mut self,
        config: PluginConfig,
        routes: Arc<[Route]>,
        reply: crossbeam_channel::Sender<Result<Vec<String>, String>>,
    ) {
        let unknown = self.unknown_names(&config);
        let validator = match (self.make_validator)(&config) {
            Ok(validator) if unknown.is_empty() => Arc::new(validator),
            Ok(_) => return drop(reply.send(Err(unknown.join("; ")))),
            Err(reason) => return drop(reply.send(Err(reason))),
        };
        let changed = self.slots.values().filter(|slot| validator.settings_of(slot.name()) != slot.running.settings);
        let generations = changed.map(|slot| slot.running.clone()).collect();
        let change = validation::Reconfiguration { validator, config, routes, generations, reply };
        self.send(ValidationJob::Configuration(Box::new(change)));
    }
}
