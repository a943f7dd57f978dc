//! The one thread that decides over plugins: it hears what changed in the folder, what was proven, what people ask and
//! what the workers meet, and publishes chains. It reads no file and runs no plugin, so it is always there to take a
//! generation back.

mod orders;
mod outcome;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};

use super::control::Request;
use super::folder::{Change, Seen};
use super::generation::{Candidate, Generation, Slot};
use super::last_good::{Good, LastGood};
use super::prove::Road;
use super::prover::{Job, Proven};
use super::status::{CandidateState, RefusedFile, Status};
use crate::config::{PluginConfig, Rollout, RolloutMode, Route};
use crate::metrics::Metrics;
use crate::transform::chain::{Alarm, Beside, Chain, ChainPlugin};
use trials::ActiveTrial;

/// How often figures are looked at while something is on probation or on trial.
const LOOK: Duration = Duration::from_millis(100);
/// How often otherwise.
const REST: Duration = Duration::from_secs(3600);

/// Makes the road that a configuration wants.
pub(super) type MakeRoad = Box<dyn Fn(&PluginConfig) -> Result<Road, String> + Send>;

/// What the thread hears.
pub(super) struct Ears {
    pub changes: Receiver<Change>,
    pub requests: Receiver<Request>,
    pub proven: Receiver<Proven>,
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
    heir: Option<Generation>,
    /// Whether it is being proven, so that it is not known yet which plugin it is.
    is_proving: bool,
}

/// Everything that is known of the plugins.
pub(super) struct Supervisor {
    pub config: PluginConfig,
    pub routes: Arc<[Route]>,
    pub road: Arc<Road>,
    pub chain: Arc<ArcSwap<Chain>>,
    pub alarm: Alarm,
    pub metrics: Arc<Metrics>,
    pub good: Option<LastGood>,
    /// Makes the road for another configuration.
    pub make_road: MakeRoad,
    slots: BTreeMap<String, Slot>,
    files: BTreeMap<PathBuf, FileState>,
    /// Files that are gone while others are being proven: one of these may be the same plugin under another name.
    gone: BTreeSet<PathBuf>,
    trial: Option<ActiveTrial>,
    jobs: Option<Sender<Job>>,
    /// How the next generations of some plugins come in, as people asked.
    asked_rollouts: BTreeMap<String, Rollout>,
    /// Publications so far.
    number: u64,
    /// Generations that no chain has any more, whose figures are still told.
    retired: Vec<(Arc<str>, u64)>,
}

/// What is told of a generation that a start brought back.
const LAST_GOOD: &str = "the last good file, not the one in the folder";
/// Generations whose figures are told after they are gone.
const MOST_RETIRED: usize = 8;

impl Supervisor {
    pub fn new(
        config: PluginConfig,
        routes: Arc<[Route]>,
        make_road: MakeRoad,
        good: Option<LastGood>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Receiver<()>), String> {
        let (alarm, alarms) = Alarm::channel();
        let supervisor = Self {
            road: Arc::new(make_road(&config)?),
            chain: Arc::new(ArcSwap::from_pointee(Chain::default())),
            config,
            routes,
            alarm,
            metrics,
            good,
            make_road,
            slots: BTreeMap::new(),
            files: BTreeMap::new(),
            gone: BTreeSet::new(),
            trial: None,
            jobs: None,
            asked_rollouts: BTreeMap::new(),
            number: 0,
            retired: Vec::new(),
        };
        Ok((supervisor, alarms))
    }

    /// Takes a file in before rows flow. What it does wrong, and the last good file in its place, if there is one.
    pub fn start_with(&mut self, seen: Seen) -> Result<Arc<ChainPlugin>, String> {
        let path = seen.path.clone();
        self.files.insert(path.clone(), FileState { hash: seen.hash.clone(), ..FileState::default() });
        let proven = self.road.walk(seen.bytes, &seen.hash, seen.signature).map_err(|reason| (reason, None));
        let accepted = proven.and_then(|generation| match self.taken_by_another(&path, &generation) {
            Some(reason) => Err((reason, None)),
            None => match self.rejected(&generation) {
                Some(reason) => Err((reason, Some(generation))),
                None => Ok(generation),
            },
        });
        match accepted {
            Ok(generation) => {
                let name = generation.plugin.name.clone();
                let earlier = self
                    .earlier_good(&path)
                    .filter(|earlier| !earlier.is_like(&generation) && earlier.plugin.name == name);
                let is_tried = self.rollout(&name).mode != RolloutMode::Direct;
                // The file was changed while nothing ran, or was not good yet: it comes in as one that changes now.
                let (running, last_good, waiting) = match earlier {
                    Some(earlier) if is_tried => (earlier, None, Some(generation)),
                    earlier => (generation, earlier, None),
                };
                let plugin = running.plugin.clone();
                self.add(&path, running, if waiting.is_some() { LAST_GOOD } else { "" });
                if let Some(slot) = self.slots.get_mut(&*name) {
                    let is_watched = last_good.is_some() && !self.config.probation.window.is_zero();
                    slot.probation = is_watched.then(Instant::now);
                    slot.last_good = last_good;
                    slot.candidate = waiting.map(Candidate::waiting);
                }
                self.keep_good(&name);
                Ok(plugin)
            }
            Err((reason, generation)) => {
                let Some(earlier) = self.earlier_good(&path) else {
                    return Err(match generation {
                        Some(_) => format!("{reason}; put a mended file in its place, or an earlier one"),
                        None => reason,
                    });
                };
                let plugin = earlier.plugin.clone();
                self.add(&path, earlier, LAST_GOOD);
                match generation {
                    Some(generation) => self.keep_away(generation, reason),
                    None => self.set_refused(&path, &seen.hash, reason, None),
                }
                Ok(plugin)
            }
        }
    }

    /// A file that cannot even be read, before rows flow.
    pub fn start_refused(&mut self, path: &Path, reason: String) -> Result<Arc<ChainPlugin>, String> {
        self.files.insert(path.into(), FileState::default());
        let Some(earlier) = self.earlier_good(path) else { return Err(reason) };
        let plugin = earlier.plugin.clone();
        self.add(path, earlier, LAST_GOOD);
        self.set_refused(path, "", reason, None);
        Ok(plugin)
    }

    /// The last good file of a path, out of the private folder.
    fn earlier_good(&self, path: &Path) -> Option<Generation> {
        let good = self.good.as_ref()?;
        let kept = good.all().into_iter().find(|kept| Some(kept.file.as_os_str()) == path.file_name())?;
        let bytes = good.bytes(&kept.hash).ok()??;
        self.road
            .walk(bytes.into(), &kept.hash, kept.signature)
            .inspect_err(|reason| tracing::warn!(plugin = kept.name, reason, "the last good file is not used"))
            .ok()
    }

    fn add(&mut self, path: &Path, generation: Generation, detail: &str) {
        let name = generation.plugin.name.to_string();
        if let Some(file) = self.files.get_mut(path) {
            (file.plugin, file.refused) = (Some(name.clone()), None);
        }
        let mut slot = Slot::new(path.into(), generation);
        slot.is_disabled = self.good.as_ref().is_some_and(|good| good.is_disabled(&name));
        let (hash, number) = (slot.running.hash().to_string(), slot.running.number());
        slot.note("published", &hash, Some(number), detail);
        self.slots.insert(name, slot);
    }

    /// Hears and decides until it is stopped.
    pub fn run(mut self, ears: &Ears, jobs: Sender<Job>) {
        self.jobs = Some(jobs);
        loop {
            let look = self.trial.is_some() || self.slots.values().any(|slot| slot.probation.is_some());
            crossbeam_channel::select! {
                recv(ears.stopped) -> _ => return,
                recv(ears.changes) -> change => if let Ok(change) = change {
                    self.heard(change);
                    self.remove_gone();
                },
                recv(ears.proven) -> proven => if let Ok(proven) = proven { self.proven(proven) },
                recv(ears.requests) -> request => if let Ok(request) = request { self.asked(request) },
                recv(ears.alarms) -> _ => {}
                default(if look { LOOK } else { REST }) => {}
            }
            self.judge();
        }
    }

    fn heard(&mut self, change: Change) {
        match change {
            Change::Put(seen) => {
                self.gone.remove(&seen.path);
                let file = self.files.entry(seen.path.clone()).or_default();
                file.hash = seen.hash.clone();
                (file.heir, file.is_proving) = (None, false);
                if let Some(slot) = file.plugin.as_ref().and_then(|name| self.slots.get_mut(name)) {
                    if slot.running.hash() == seen.hash {
                        // The file is again what runs.
                        self.files.entry(seen.path.clone()).or_default().refused = None;
                        self.end_trial_of(&seen.path);
                        self.drop_candidate(&seen.path);
                        return;
                    }
                    slot.candidate = Some(Candidate {
                        hash: seen.hash.clone(),
                        state: CandidateState::Proving,
                        reason: None,
                        generation: None,
                        trial: None,
                    });
                }
                self.end_trial_of(&seen.path);
                if let Some(file) = self.files.get_mut(&seen.path) {
                    file.is_proving = true;
                }
                self.send(Job::File(self.road.clone(), seen));
            }
            Change::Refused { path, reason } => {
                self.gone.remove(&path);
                let file = self.files.entry(path.clone()).or_default();
                file.hash.clear();
                (file.heir, file.is_proving) = (None, false);
                self.set_refused(&path, "", reason, None);
            }
            Change::Gone(path) => {
                if let Some(file) = self.files.get_mut(&path) {
                    file.is_proving = false;
                }
                self.gone.insert(path);
            }
        }
    }

    /// Removes the plugins whose files are gone, once it is known of every other file which plugin it is.
    fn remove_gone(&mut self) {
        let is_known = |(path, file): (&PathBuf, &FileState)| !file.is_proving || self.gone.contains(path);
        if !self.files.iter().all(is_known) {
            return;
        }
        for path in std::mem::take(&mut self.gone) {
            let Some(file) = self.files.remove(&path) else { continue };
            self.end_trial_of(&path);
            let gone = file.plugin.filter(|name| self.slots.get(name).is_some_and(|slot| slot.file == path));
            let Some(name) = gone else { continue };
            if self.hand_over(&name) {
                continue;
            }
            self.slots.remove(&name);
            if let Some(good) = &mut self.good
                && let Err(error) = good.forget(&name)
            {
                tracing::warn!(plugin = name, "it is still kept as good: {error:#}");
            }
            tracing::info!(plugin = name, file = %path.display(), "plugin removed");
            self.publish();
        }
    }

    /// Another file has waited for the name of one that is gone: the plugin goes on in it, without a moment in between.
    fn hand_over(&mut self, name: &str) -> bool {
        let waiting = self.files.iter_mut().find_map(|(path, file)| {
            let heir = file.heir.take_if(|heir| *heir.plugin.name == *name)?;
            Some((path.clone(), heir))
        });
        let (Some((path, heir)), Some(slot)) = (waiting, self.slots.get_mut(name)) else { return false };
        tracing::info!(plugin = name, from = %slot.file.display(), file = %path.display(), "plugin goes on in another file");
        slot.file.clone_from(&path);
        if slot.running.hash() == heir.hash() {
            if let Some(file) = self.files.get_mut(&path) {
                (file.plugin, file.refused) = (Some(name.to_string()), None);
            }
            self.keep_good(name);
            self.publish();
        } else {
            self.accept(&path, heir);
        }
        true
    }

    fn send(&self, job: Job) {
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
                self.take_back(&name, &reason);
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
    fn take_back(&mut self, name: &str, reason: &str) {
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
        if bad.hash() != slot.running.hash()
            && let Some(kept) = &mut self.good
            && let Err(error) = kept.reject(name, &hash, reason)
        {
            tracing::warn!(plugin = name, "a restart may publish this file again: {error:#}");
        }
        if !slot.candidate.as_ref().is_some_and(Candidate::is_newer) {
            let (state, reason) = (CandidateState::RolledBack, Some(reason.to_string()));
            slot.candidate = Some(Candidate { hash, state, reason, generation: Some(bad), trial: None });
        }
        self.metrics.plugin_rollbacks.inc();
        self.keep_good(name);
        let tried = self.trial.as_ref().filter(|trial| trial.plugin == name).map(|trial| trial.generation.clone());
        match tried {
            // It is measured anew, against what runs now.
            Some(generation) => {
                self.end_trial(Some("what it was compared with was rolled back"));
                self.bring_in(name, generation);
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

    fn rejected(&self, generation: &Generation) -> Option<String> {
        let name = &generation.plugin.name;
        let reason = self.good.as_ref()?.rejected(name, generation.hash())?;
        Some(format!("it was rolled back before: {reason}"))
    }

    /// A file that was rolled back before is not published.
    fn keep_away(&mut self, generation: Generation, reason: String) {
        let (name, hash) = (generation.plugin.name.clone(), generation.hash().to_string());
        self.set_candidate(&name, hash, CandidateState::RolledBack, Some(reason), Some(generation));
    }

    fn taken_by_another(&self, path: &Path, generation: &Generation) -> Option<String> {
        let name = &*generation.plugin.name;
        let slot = self.slots.get(name).filter(|slot| slot.file != path)?;
        Some(format!("the name {name:?} is taken by {}; remove one of the two", slot.file.display()))
    }

    /// How the next generation of a plugin comes in.
    fn rollout(&self, name: &str) -> Rollout {
        let asked = self.asked_rollouts.get(name).copied();
        let asked = asked.or_else(|| self.good.as_ref().and_then(|good| good.rollout(name)));
        asked.or_else(|| self.config.rollouts.get(name).copied()).unwrap_or(self.config.rollout)
    }

    fn is_disabled(&self, slot: &Slot) -> bool {
        slot.is_disabled || self.config.disabled.iter().any(|name| name == slot.name())
    }

    /// The plugins in the order in which rows go through them: those that the configuration names first, then the others
    /// by their files.
    fn ordered(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = self.slots.values().filter(|slot| !self.is_disabled(slot)).collect();
        slots.sort_by(|one, other| one.file.cmp(&other.file));
        let named = |slot: &&Slot| self.config.order.iter().position(|name| name == slot.name()).unwrap_or(usize::MAX);
        slots.sort_by_key(named);
        slots
    }

    /// Publishes the chain of what there is now. Workers take it up with their next batch.
    pub fn publish(&mut self) {
        self.number += 1;
        let of = |choose: &dyn Fn(&Slot) -> Arc<ChainPlugin>, number: u64| Chain {
            number,
            plugins: self.ordered().into_iter().map(choose).collect(),
            routes: self.routes.clone(),
            stamp: self.config.stamp,
            ..Chain::default()
        };
        let mut chain = of(&|slot| slot.running.plugin.clone(), self.number);
        if self.ordered().iter().any(|slot| slot.probation.is_some()) {
            let last_good = of(
                &|slot| match (&slot.probation, &slot.last_good) {
                    (Some(_), Some(good)) => good.plugin.clone(),
                    _ => slot.running.plugin.clone(),
                },
                self.number,
            );
            chain.last_good = Some(Arc::new(last_good));
        }
        if let Some(trial) = &self.trial {
            let candidate = of(
                &|slot| match slot.name() == trial.plugin {
                    true => trial.generation.plugin.clone(),
                    false => slot.running.plugin.clone(),
                },
                self.number,
            );
            chain.trial = Some(Beside { chain: Arc::new(candidate), trial: trial.trial.clone() });
        }
        chain.alarm = Some(self.alarm.clone());
        let before = self.chain.load_full();
        let generations = |chain: &Chain| chain.plugins.iter().map(|plugin| plugin.generation).collect::<Vec<_>>();
        if self.number > 1 && generations(&before) != generations(&chain) {
            self.metrics.plugin_swaps.inc();
            if chain.plugins.is_empty() {
                tracing::warn!(
                    chain = chain.number,
                    "no plugin is left: rows now pass unshaped, each a document of its own columns; put a plugin into the folder, or enable one, to change that"
                );
            } else {
                let names: Vec<String> =
                    chain.plugins.iter().map(|plugin| format!("{}#{}", plugin.name, plugin.generation)).collect();
                // Why it was published is told where it was decided.
                tracing::debug!(chain = chain.number, plugins = names.join(" → "), "chain published");
            }
        }
        self.chain.store(Arc::new(chain));
        self.retire(&before);
    }

    /// Forgets the figures of generations that were long gone: each swap would leave some behind.
    fn retire(&mut self, before: &Chain) {
        for plugin in &before.plugins {
            let is_used = self.slots.values().any(|slot| {
                slot.running.number() == plugin.generation
                    || slot.last_good.as_ref().is_some_and(|good| good.number() == plugin.generation)
            });
            let gone = (plugin.name.clone(), plugin.generation);
            if !is_used && !self.retired.contains(&gone) {
                self.retired.push(gone);
            }
        }
        while self.retired.len() > MOST_RETIRED {
            let (name, generation) = self.retired.remove(0);
            self.metrics.forget_plugin(&name, generation);
        }
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
