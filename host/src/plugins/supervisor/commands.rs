//! Requests to the supervisor: status, operator commands, new configurations.

use std::sync::Arc;

use super::{CandidateState, PluginCandidate, Supervisor, ValidationJob};
use crate::config::{PluginConfig, Rollout, RolloutMode};
use crate::plugins::control::Request;
use crate::plugins::folder::PluginFile;
use crate::plugins::status::{CommandError, OperatorCommand};
use crate::plugins::validation;
use rowmill_engine::Route;

impl Supervisor {
    pub(super) fn answer_request(&mut self, request: Request) {
        // The sender may have stopped waiting; then the reply is dropped.
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
            return Err(CommandError::Unknown(format!("no plugin is named {name:?}; plugins: {known}")));
        }
        match command {
            OperatorCommand::Rollback => self.roll_back_on_command(name),
            OperatorCommand::Disable => self.set_disabled(name, true),
            OperatorCommand::Enable => self.set_disabled(name, false),
            OperatorCommand::Promote => self.promote(name),
            OperatorCommand::Discard => self.discard(name),
            OperatorCommand::Rollout(rollout) => Ok(self.set_rollout(name, rollout)),
        }
    }

    fn set_rollout(&mut self, name: &str, rollout: Rollout) -> String {
        self.manual_rollouts.insert(name.to_string(), rollout);
        if let Some(good) = &mut self.good
            && let Err(error) = good.set_rollout(name, Some(rollout))
        {
            tracing::warn!(plugin = name, "cannot save this setting, so a restart forgets it: {error:#}");
        }
        let Rollout { mode, rows, share, publish, max_changed } = rollout;
        let then = if publish { "then is published automatically" } else { "then is held for an operator" };
        let how = match mode {
            RolloutMode::Direct => "is published once it is validated".into(),
            RolloutMode::Shadow => {
                format!("runs in shadow first: rows {rows}, share {share}, max_changed {max_changed}; {then}")
            }
            RolloutMode::Canary => format!("runs as a canary first: rows {rows}, share {share}; {then}"),
        };
        self.note(name, "rollout", &format!("the next generation {how}"));
        format!("the next generation of {name} {how}")
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
                "{name} is back at {back}; the file it ran before is not published again unless you promote it"
            ));
        }
        let nothing = || {
            CommandError::Conflict(format!(
                "no earlier good generation of {name} is kept; put an earlier file into the folder, or disable the plugin"
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
        let file = PluginFile { path, bytes: bytes.into(), hash, signature: earlier.signature };
        self.send(ValidationJob::Earlier(self.validator.clone(), slot.file.clone(), file));
        Ok(format!(
            "{name} will be rolled back to {} once that file is validated; see `rowmill plugins`",
            &earlier.hash[..12]
        ))
    }

    fn set_disabled(&mut self, name: &str, is_disabled: bool) -> Result<String, CommandError> {
        if self.config.disabled.iter().any(|disabled| disabled == name) {
            return Err(CommandError::Conflict(format!(
                "the configuration disables {name}; remove it from plugins.disabled"
            )));
        }
        if let Some(good) = &mut self.good
            && let Err(error) = good.set_disabled(name, is_disabled)
        {
            tracing::warn!(plugin = name, "cannot save this setting, so a restart forgets it: {error:#}");
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
        let nothing = |why: &str| CommandError::Conflict(format!("{name} has no generation to publish: {why}"));
        if self.trial.as_ref().is_some_and(|trial| trial.plugin == name) {
            self.end_trial(None);
        }
        let Some(slot) = self.slots.get_mut(name) else { return Ok(String::new()) };
        let Some(candidate) = &mut slot.candidate else {
            return Err(nothing("the newest one is running; put a new file into the folder"));
        };
        let Some(generation) = candidate.generation.take() else {
            let reason = candidate.reason.as_deref().unwrap_or("the file is being validated; try again in a moment");
            return Err(nothing(reason));
        };
        let hash = generation.hash().to_string();
        if let Some(good) = &mut self.good
            && let Err(error) = good.accept(name, &hash)
        {
            tracing::warn!(
                plugin = name,
                "cannot save this command, so a restart may reject this file again: {error:#}"
            );
        }
        self.publish_generation(name, generation, "promoted by an operator");
        self.next_trial();
        Ok(format!("{name} is now at {}", &hash[..12]))
    }

    fn discard(&mut self, name: &str) -> Result<String, CommandError> {
        let is_on_trial = self.trial.as_ref().is_some_and(|trial| trial.plugin == name);
        if is_on_trial {
            self.end_trial(None);
        }
        let candidate = self.slots.get_mut(name).and_then(|slot| slot.candidate.as_mut());
        let can_be_discarded = |candidate: &&mut PluginCandidate| {
            candidate.generation.is_some() && candidate.state != CandidateState::Discarded
        };
        let Some(candidate) = candidate.filter(can_be_discarded) else {
            return Err(CommandError::Conflict(format!("{name} has no candidate to discard; see `rowmill plugins`")));
        };
        let (hash, generation) = (candidate.hash.clone(), candidate.generation.take());
        let reason = "discarded by an operator".to_string();
        self.record_rejection(name, &hash, &reason);
        self.set_candidate(name, hash.clone(), CandidateState::Discarded, Some(reason), generation);
        if is_on_trial {
            self.publish();
            self.next_trial();
        }
        Ok(format!("discarded {} of {name}; the running generation stays", &hash[..12]))
    }

    /// Has a new configuration validated. The reply follows when it is applied or refused.
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
