//! What lies in the folder before rows flow.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{ChainPlugin, FileState, Generation, PluginCandidate, PluginFile, RolloutMode, Slot, Supervisor};

/// What is told of a generation that a start brought back.
const LAST_GOOD: &str = "the last good file, not the one in the folder";

impl Supervisor {
    /// Takes a file in before rows flow. What it does wrong, and the last good file in its place, if there is one.
    pub fn start_with(&mut self, seen: PluginFile) -> Result<Arc<ChainPlugin>, String> {
        let path = seen.path.clone();
        self.files.insert(path.clone(), FileState { hash: seen.hash.clone(), ..FileState::default() });
        let proven = self.validator.validate(seen.bytes, &seen.hash, seen.signature).map_err(|reason| (reason, None));
        let accepted = proven.and_then(|generation| match self.name_conflict(&path, &generation) {
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
                    slot.candidate = waiting.map(PluginCandidate::waiting);
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
                    Some(generation) => self.reject_generation(generation, reason),
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
        self.validator
            .validate(bytes.into(), &kept.hash, kept.signature)
            .inspect_err(|reason| tracing::warn!(plugin = kept.name, reason, "the last good file is not used"))
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
