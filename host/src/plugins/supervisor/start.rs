//! Loading the plugin folder at start, before rows flow.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{ChainPlugin, FileState, Generation, PluginCandidate, PluginFile, RolloutMode, Slot, Supervisor};

/// The event detail of a last good generation that a start loaded.
const LAST_GOOD: &str = "the last good file, instead of the one in the folder";

impl Supervisor {
    /// Loads a file. If it is refused, loads the last good file in its place.
    ///
    /// # Errors
    /// The file is refused, and there is no last good file for it; the message says why.
    pub fn start_with(&mut self, file: PluginFile) -> Result<Arc<ChainPlugin>, String> {
        let path = file.path.clone();
        self.files.insert(path.clone(), FileState { hash: file.hash.clone(), ..FileState::default() });
        let validated =
            self.validator.validate(file.bytes, &file.hash, file.signature).map_err(|reason| (reason, None));
        let accepted = validated.and_then(|generation| match self.name_conflict(&path, &generation) {
            Some(reason) => Err((reason, None)),
            None => match self.rejection(&generation) {
                Some(reason) => Err((reason, Some(generation))),
                None => Ok(generation),
            },
        });
        match accepted {
            Ok(generation) => {
                let name = generation.plugin.name.clone();
                let earlier = self
                    .earlier_good(&path)
                    .filter(|earlier| !earlier.is_same_as(&generation) && earlier.plugin.name == name);
                let has_trial = self.rollout(&name).mode != RolloutMode::Direct;
                // The file changed while the gateway was stopped, or had not passed probation: it is rolled out like a change.
                let (running, last_good, waiting) = match earlier {
                    Some(earlier) if has_trial => (earlier, None, Some(generation)),
                    earlier => (generation, earlier, None),
                };
                let plugin = running.plugin.clone();
                self.add(&path, running, if waiting.is_some() { LAST_GOOD } else { "" });
                if let Some(slot) = self.slots.get_mut(&*name) {
                    let is_on_probation = last_good.is_some() && !self.config.probation.window.is_zero();
                    slot.probation = is_on_probation.then(Instant::now);
                    slot.last_good = last_good;
                    slot.candidate = waiting.map(PluginCandidate::waiting);
                }
                self.keep_good(&name);
                Ok(plugin)
            }
            Err((reason, generation)) => {
                let Some(earlier) = self.earlier_good(&path) else {
                    return Err(match generation {
                        Some(_) => format!("{reason}; replace it with a fixed or an earlier file"),
                        None => reason,
                    });
                };
                let plugin = earlier.plugin.clone();
                self.add(&path, earlier, LAST_GOOD);
                match generation {
                    Some(generation) => self.reject_generation(generation, reason),
                    None => self.set_refused(&path, &file.hash, reason, None),
                }
                Ok(plugin)
            }
        }
    }

    /// Loads the last good file in place of one that cannot be read.
    ///
    /// # Errors
    /// There is no last good file for it; returns `reason`.
    pub fn start_refused(&mut self, path: &Path, reason: String) -> Result<Arc<ChainPlugin>, String> {
        self.files.insert(path.into(), FileState::default());
        let Some(earlier) = self.earlier_good(path) else { return Err(reason) };
        let plugin = earlier.plugin.clone();
        self.add(path, earlier, LAST_GOOD);
        self.set_refused(path, "", reason, None);
        Ok(plugin)
    }

    /// Validates the last good file of a path from the private folder.
    fn earlier_good(&self, path: &Path) -> Option<Generation> {
        let good = self.good.as_ref()?;
        let kept = good.all().into_iter().find(|kept| Some(kept.file.as_os_str()) == path.file_name())?;
        let bytes = good.bytes(&kept.hash).ok()??;
        self.validator
            .validate(bytes.into(), &kept.hash, kept.signature)
            .inspect_err(|reason| tracing::warn!(plugin = kept.name, reason, "cannot use the last good file"))
            .ok()
    }

    pub(super) fn add(&mut self, path: &Path, generation: Generation, detail: &str) {
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
}
