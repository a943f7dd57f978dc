//! The one thread that decides over plugins: it hears what changed in the folder, what was proven, what people ask and
//! what the workers meet, and publishes chains. It reads no file and runs no plugin, so it is always there to take a
//! generation back.

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

/// How often figures are looked at while something is on probation or on trial.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How often otherwise.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);

/// Makes the validator that a configuration wants.
pub(super) type MakeValidator = Box<dyn Fn(&PluginConfig) -> Result<Validator, String> + Send>;

/// What the thread hears.
pub(super) struct Inbox {
    pub changes: Receiver<FileChange>,
    pub requests: Receiver<Request>,
    pub proven: Receiver<Validated>,
    pub alarms: Receiver<()>,
    pub stopped: Receiver<()>,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct FileState {
    /// SHA-256 of what was seen last.
    hash: String,
    /// The plugin that it is.
    plugin: Option<String>,
    /// Why it is none.
    refused: Option<String>,
    /// What it would be if its name were not taken by another file: it takes over when that one goes.
    standby: Option<Generation>,
    /// Whether it is being proven, so that it is not known yet which plugin it is.
    is_validating: bool,
}

/// Everything that is known of the plugins.
pub(super) struct Supervisor {
    pub config: PluginConfig,
    pub routes: Arc<[Route]>,
    pub validator: Arc<Validator>,
    pub published: Arc<ArcSwap<Published>>,
    pub alarm: Alarm,
    pub metrics: Arc<Metrics>,
    pub good: Option<LastGood>,
    /// Makes the validator for another configuration.
    pub make_validator: MakeValidator,
    slots: BTreeMap<String, Slot>,
    files: BTreeMap<PathBuf, FileState>,
    /// Files that are gone while others are being proven: one of these may be the same plugin under another name.
    gone: BTreeSet<PathBuf>,
    trial: Option<ActiveTrial>,
    jobs: Option<Sender<ValidationJob>>,
    /// How the next generations of some plugins come in, as people asked.
    manual_rollouts: BTreeMap<String, Rollout>,
    /// Publications so far.
    number: u64,
    /// Generations that no chain has any more, whose figures are still told.
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

    /// Hears and decides until it is stopped.
    pub fn run(mut self, inbox: &Inbox, jobs: Sender<ValidationJob>) {
        self.jobs = Some(jobs);
        loop {
            let look = self.trial.is_some() || self.slots.values().any(|slot| slot.probation.is_some());
            crossbeam_channel::select! {
                recv(inbox.stopped) -> _ => return,
                recv(inbox.changes) -> change => if let Ok(change) = change {
                    self.heard(change);
                    self.remove_gone();
                },
                recv(inbox.proven) -> proven => if let Ok(proven) = proven { self.proven(proven) },
                recv(inbox.requests) -> request => if let Ok(request) = request { self.asked(request) },
                recv(inbox.alarms) -> _ => {}
                default(if look { CHECK_INTERVAL } else { IDLE_INTERVAL }) => {}
            }
            self.judge();
        }
    }

    fn send(&self, job: ValidationJob) {
        if let Some(jobs) = &self.jobs {
            // The prover ends with this thread.
            let _ = jobs.send(job);
        }
    }

    /// Looks at figures: takes back what fails, and makes good what has been watched long enough.
    fn judge(&mut self) {
        let limits = self.config.probation;
        let watched = self.slots.iter().filter(|(_, slot)| slot.probation.is_some());
        let names: Vec<String> = watched.map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            if let Some(reason) = slot.verdict(&limits) {
                self.roll_back(&name, &reason);
            } else if slot.figures().rows == 0 {
                // A table that is quiet proves nothing.
                slot.probation = Some(Instant::now());
            } else if slot.probation.is_some_and(|since| since.elapsed() >= limits.window) {
                slot.probation = None;
                let (hash, number) = (slot.running.hash().to_string(), slot.running.number());
                slot.note("became good", &hash, Some(number), "");
                self.keep_good(&name);
                self.publish();
            }
        }
        self.judge_trial();
    }

    /// Brings the last good generation back.
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
        // With other settings the same file may do.
        let is_other_file = bad.hash() != slot.running.hash();
        if !slot.candidate.as_ref().is_some_and(PluginCandidate::is_newer) {
            let (state, reason) = (CandidateState::RolledBack, Some(reason.to_string()));
            let hash = hash.clone();
            slot.candidate = Some(PluginCandidate { hash, state, reason, generation: Some(bad), trial: None });
        }
        if is_other_file {
            self.reject(name, &hash, reason);
        }
        self.metrics.plugin_rollbacks.inc();
        self.keep_good(name);
        let tried = self.trial.as_ref().filter(|trial| trial.plugin == name).map(|trial| trial.generation.clone());
        match tried {
            // It is measured anew, against what runs now.
            Some(generation) => {
                self.end_trial(Some("what it was compared with was rolled back"));
                self.start_rollout(name, generation);
            }
            None => self.publish(),
        }
    }

    /// Keeps the running generation on disk, if it is good: or if it is the first, with which a restart can do no worse.
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
            tracing::warn!(plugin = name, "a restart cannot come back to this file: {error:#}");
        }
    }

    /// Keeps a file from being published again on its own, also by a restart.
    fn reject(&mut self, name: &str, hash: &str, reason: &str) {
        if let Some(good) = &mut self.good
            && let Err(error) = good.reject(name, hash, reason)
        {
            tracing::warn!(plugin = name, "a restart may publish this file again: {error:#}");
        }
    }

    fn rejected(&self, generation: &Generation) -> Option<String> {
        let name = &generation.plugin.name;
        let reason = self.good.as_ref()?.rejected(name, generation.hash())?;
        Some(format!("it was rolled back before: {reason}"))
    }

    /// A file that was rolled back before is not published.
    fn reject_generation(&mut self, generation: Generation, reason: String) {
        let (name, hash) = (generation.plugin.name.clone(), generation.hash().to_string());
        self.set_candidate(&name, hash, CandidateState::RolledBack, Some(reason), Some(generation));
    }

    fn name_conflict(&self, path: &Path, generation: &Generation) -> Option<String> {
        let name = &*generation.plugin.name;
        let slot = self.slots.get(name).filter(|slot| slot.file != path)?;
        Some(format!("the name {name:?} is taken by {}; remove one of the two", slot.file.display()))
    }

    /// How the next generation of a plugin comes in.
    fn rollout(&self, name: &str) -> Rollout {
        let asked = self.manual_rollouts.get(name).copied();
        let asked = asked.or_else(|| self.good.as_ref().and_then(|good| good.rollout(name)));
        asked.or_else(|| self.config.rollouts.get(name).copied()).unwrap_or(self.config.rollout)
    }

    fn is_disabled(&self, slot: &Slot) -> bool {
        slot.is_disabled || self.config.disabled.iter().any(|name| name == slot.name())
    }

    /// Names in a configuration that no plugin has, with those that there are.
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
                    "{key} names {name:?}, but no plugin in the folder has that name (there are: {})",
                    if known.is_empty() { "none".to_string() } else { known.join(", ") }
                )
            })
            .collect()
    }

    fn status(&self) -> Status {
        let shown = |slot: &Slot| {
            let trial = self.trial.as_ref().filter(|trial| trial.plugin == slot.name());
            slot.status(self.is_disabled(slot), self.rollout(slot.name()), trial.map(ActiveTrial::status))
        };
        let mut plugins: Vec<_> = self.ordered().into_iter().map(shown).collect();
        plugins.extend(self.slots.values().filter(|slot| self.is_disabled(slot)).map(shown));
        let refused = self
            .files
            .iter()
            .filter_map(|(file, state)| Some(RefusedFile { file: file.clone(), reason: state.refused.clone()? }));
        Status { chain: self.number, folder: self.config.dir.clone(), plugins, refused: refused.collect() }
    }
}
