//! The supervisor: the one thread that decides about plugins and publishes chains. It receives changes in the folder,
//! validation results, requests, and alarms from the workers. It reads no files and runs no plugins, so it can roll back a
//! generation at any time.

mod commands;
mod folder;
mod outcomes;
mod publication;
mod start;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};

use super::control::Request;
use super::folder::{FileChange, PluginFile};
use super::generation::{Generation, PluginCandidate, Slot};
use super::last_good::{Good, LastGood};
use super::status::{CandidateState, RefusedFile, Status};
use super::validation::{Validated, ValidationJob};
use super::validator::Validator;
use crate::config::{PluginConfig, Rollout, RolloutMode};
use crate::metrics::Metrics;
use crate::transform::{Alarm, Published};
use rowmill_engine::ChainPlugin;
use rowmill_engine::Route;
use trials::ActiveTrial;

/// How often figures are checked while a generation is on probation or on trial.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How often they are checked otherwise.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);

/// Creates the validator for a configuration.
pub(super) type MakeValidator = Box<dyn Fn(&PluginConfig) -> Result<Validator, String> + Send>;

/// The channels that the supervisor receives from.
pub(super) struct Inbox {
    pub changes: Receiver<FileChange>,
    pub requests: Receiver<Request>,
    pub validated: Receiver<Validated>,
    pub alarms: Receiver<()>,
    pub stopped: Receiver<()>,
}

/// The state of a file in the plugin folder.
#[derive(Debug, Default)]
struct FileState {
    /// SHA-256 of the bytes seen last.
    hash: String,
    /// The plugin that it contains.
    plugin: Option<String>,
    /// Why it was refused.
    refused: Option<String>,
    /// Its generation, if another file has a plugin of the same name. It takes over when that file is removed.
    standby: Option<Generation>,
    /// Whether it is being validated. Until then it is unknown which plugin it contains.
    is_validating: bool,
}

/// The state of all plugins.
pub(super) struct Supervisor {
    pub config: PluginConfig,
    pub routes: Arc<[Route]>,
    pub validator: Arc<Validator>,
    pub published: Arc<ArcSwap<Published>>,
    pub alarm: Alarm,
    pub metrics: Arc<Metrics>,
    pub good: Option<LastGood>,
    /// Creates the validator for a new configuration.
    pub make_validator: MakeValidator,
    slots: BTreeMap<String, Slot>,
    files: BTreeMap<PathBuf, FileState>,
    /// Files that disappeared while others are being validated: one of those may contain the same plugin.
    gone: BTreeSet<PathBuf>,
    trial: Option<ActiveTrial>,
    jobs: Option<Sender<ValidationJob>>,
    /// Rollouts that operators set, by plugin.
    manual_rollouts: BTreeMap<String, Rollout>,
    /// The number of publications so far.
    number: u64,
    /// Generations that no chain uses any more but whose metrics are still exposed.
    retired: Vec<(Arc<str>, u64)>,
}

impl Supervisor {
    pub fn new(
        config: PluginConfig,
        routes: Arc<[Route]>,
        make_validator: MakeValidator,
        good: Option<LastGood>,
        published: Arc<ArcSwap<Published>>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Receiver<()>), String> {
        let (alarm, alarms) = Alarm::channel();
        let supervisor = Self {
            validator: Arc::new(make_validator(&config)?),
            published,
            config,
            routes,
            alarm,
            metrics,
            good,
            make_validator,
            slots: BTreeMap::new(),
            files: BTreeMap::new(),
            gone: BTreeSet::new(),
            trial: None,
            jobs: None,
            manual_rollouts: BTreeMap::new(),
            number: 0,
            retired: Vec::new(),
        };
        Ok((supervisor, alarms))
    }

    /// Receives and decides until it is stopped.
    pub fn run(mut self, inbox: &Inbox, jobs: Sender<ValidationJob>) {
        self.jobs = Some(jobs);
        loop {
            let is_watching = self.trial.is_some() || self.slots.values().any(|slot| slot.probation.is_some());
            crossbeam_channel::select! {
                recv(inbox.stopped) -> _ => return,
                recv(inbox.changes) -> change => if let Ok(change) = change {
                    self.apply_file_change(change);
                    self.remove_gone();
                },
                recv(inbox.validated) -> result => if let Ok(result) = result { self.apply_validation(result) },
                recv(inbox.requests) -> request => if let Ok(request) = request { self.answer_request(request) },
                recv(inbox.alarms) -> _ => {}
                default(if is_watching { CHECK_INTERVAL } else { IDLE_INTERVAL }) => {}
            }
            self.judge();
        }
    }

    fn send(&self, job: ValidationJob) {
        if let Some(jobs) = &self.jobs {
            // The validation thread ends only after this one.
            let _ = jobs.send(job);
        }
    }

    /// Checks the figures: rolls back generations that fail, and ends the probation of those that passed it.
    fn judge(&mut self) {
        let limits = self.config.probation;
        let watched = self.slots.iter().filter(|(_, slot)| slot.probation.is_some());
        let names: Vec<String> = watched.map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            if let Some(reason) = slot.verdict(&limits) {
                self.roll_back(&name, &reason);
            } else if slot.figures().rows == 0 {
                // Probation starts with the first row.
                slot.probation = Some(Instant::now());
            } else if slot.probation.is_some_and(|since| since.elapsed() >= limits.window) {
                slot.probation = None;
                let (hash, number) = (slot.running.hash().to_string(), slot.running.number());
                slot.note("passed probation", &hash, Some(number), "");
                self.keep_good(&name);
                self.publish();
            }
        }
        self.judge_trial();
    }

    /// Replaces the running generation with the last good one.
    fn roll_back(&mut self, name: &str, reason: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Some(good) = slot.last_good.take() else {
            slot.probation = None;
            return;
        };
        let (hash, number) = (slot.running.hash().to_string(), slot.running.number());
        slot.base = good.plugin.health.figures();
        let bad = std::mem::replace(&mut slot.running, good);
        slot.probation = None;
        slot.note("rolled back", &hash, Some(number), reason);
        // If only the settings differ, the file itself is not at fault.
        let is_other_file = bad.hash() != slot.running.hash();
        if !slot.candidate.as_ref().is_some_and(PluginCandidate::is_newer) {
            let (state, reason) = (CandidateState::RolledBack, Some(reason.to_string()));
            let hash = hash.clone();
            slot.candidate = Some(PluginCandidate { hash, state, reason, generation: Some(bad), trial: None });
        }
        if is_other_file {
            self.record_rejection(name, &hash, reason);
        }
        self.metrics.plugin_rollbacks.inc();
        self.keep_good(name);
        let on_trial = self.trial.as_ref().filter(|trial| trial.plugin == name).map(|trial| trial.generation.clone());
        match on_trial {
            // The trial starts again, against the generation that runs now.
            Some(generation) => {
                self.end_trial(Some("the generation it was compared with was rolled back"));
                self.start_rollout(name, generation);
            }
            None => self.publish(),
        }
    }

    /// Saves the running generation as the last good one, unless it is on probation.
    fn keep_good(&mut self, name: &str) {
        let (Some(kept), Some(slot)) = (&mut self.good, self.slots.get(name)) else { return };
        if slot.probation.is_some() {
            return;
        }
        let good = Good {
            name: name.to_string(),
            file: slot.file.file_name().unwrap_or_default().into(),
            hash: slot.running.hash().to_string(),
            version: slot.running.plugin.description.version.clone(),
            signature: slot.running.signature.clone(),
        };
        if let Err(error) = kept.keep(good, &slot.running.bytes) {
            tracing::warn!(
                plugin = name,
                "cannot save the last good file, so a restart cannot return to it: {error:#}"
            );
        }
    }

    /// Records that a file must not be published automatically again, not even after a restart.
    fn record_rejection(&mut self, name: &str, hash: &str, reason: &str) {
        if let Some(good) = &mut self.good
            && let Err(error) = good.reject(name, hash, reason)
        {
            tracing::warn!(
                plugin = name,
                "cannot save the rejection, so a restart may publish this file again: {error:#}"
            );
        }
    }

    /// Why the file of a generation must not be published automatically, if it must not.
    fn rejection(&self, generation: &Generation) -> Option<String> {
        let name = &generation.plugin.name;
        let reason = self.good.as_ref()?.rejected(name, generation.hash())?;
        Some(format!("it was rolled back before: {reason}"))
    }

    /// Rejects a generation whose file was rolled back before.
    fn reject_generation(&mut self, generation: Generation, reason: String) {
        let (name, hash) = (generation.plugin.name.clone(), generation.hash().to_string());
        self.set_candidate(&name, hash, CandidateState::RolledBack, Some(reason), Some(generation));
    }

    /// The message for a generation whose name belongs to another file.
    fn name_conflict(&self, path: &Path, generation: &Generation) -> Option<String> {
        let name = &*generation.plugin.name;
        let slot = self.slots.get(name).filter(|slot| slot.file != path)?;
        Some(format!("{} already has a plugin named {name:?}; remove one of the two files", slot.file.display()))
    }

    /// How the next generation of a plugin is rolled out.
    fn rollout(&self, name: &str) -> Rollout {
        let manual = self.manual_rollouts.get(name).copied();
        let manual = manual.or_else(|| self.good.as_ref().and_then(|good| good.rollout(name)));
        manual.or_else(|| self.config.rollouts.get(name).copied()).unwrap_or(self.config.rollout)
    }

    fn is_disabled(&self, slot: &Slot) -> bool {
        slot.is_disabled || self.config.disabled.iter().any(|name| name == slot.name())
    }

    /// A message for each name in a configuration that no plugin has.
    pub fn unknown_names(&self, config: &PluginConfig) -> Vec<String> {
        let known: Vec<&str> = self.slots.keys().map(String::as_str).collect();
        let settings = config.settings.keys().map(|name| ("plugins.settings", name));
        let order = config.order.iter().map(|name| ("plugins.order", name));
        let disabled = config.disabled.iter().map(|name| ("plugins.disabled", name));
        let wasi = config.wasi.iter().map(|name| ("plugins.wasi", name));
        let rollouts = config.rollouts.keys().map(|name| ("plugins.rollouts", name));
        settings
            .chain(order)
            .chain(disabled)
            .chain(wasi)
            .chain(rollouts)
            .filter(|(_, name)| !known.contains(&name.as_str()))
            .map(|(key, name)| {
                format!(
                    "{key} names {name:?}, but no plugin in the folder has that name (plugins: {})",
                    if known.is_empty() { "none".to_string() } else { known.join(", ") }
                )
            })
            .collect()
    }

    fn status(&self) -> Status {
        let to_status = |slot: &Slot| {
            let trial = self.trial.as_ref().filter(|trial| trial.plugin == slot.name());
            slot.status(self.is_disabled(slot), self.rollout(slot.name()), trial.map(ActiveTrial::status))
        };
        let mut plugins: Vec<_> = self.ordered().into_iter().map(to_status).collect();
        plugins.extend(self.slots.values().filter(|slot| self.is_disabled(slot)).map(to_status));
        let refused = self
            .files
            .iter()
            .filter_map(|(file, state)| Some(RefusedFile { file: file.clone(), reason: state.refused.clone()? }));
        Status { chain: self.number, folder: self.config.dir.clone(), plugins, refused: refused.collect() }
    }
}
