//! What changes in the folder.

use std::path::PathBuf;

use super::{CandidateState, FileChange, FileState, PluginCandidate, Supervisor, ValidationJob};

impl Supervisor {
    pub(super) fn heard(&mut self, change: FileChange) {
        match change {
            FileChange::Put(seen) => {
                self.gone.remove(&seen.path);
                let file = self.files.entry(seen.path.clone()).or_default();
                file.hash = seen.hash.clone();
                (file.standby, file.is_validating) = (None, false);
                if let Some(slot) = file.plugin.as_ref().and_then(|name| self.slots.get_mut(name)) {
                    if slot.running.hash() == seen.hash {
                        // The file is again what runs.
                        self.files.entry(seen.path.clone()).or_default().refused = None;
                        self.end_trial_of(&seen.path);
                        self.drop_candidate(&seen.path);
                        return;
                    }
                    slot.candidate = Some(PluginCandidate {
                        hash: seen.hash.clone(),
                        state: CandidateState::Validating,
                        reason: None,
                        generation: None,
                        trial: None,
                    });
                }
                self.end_trial_of(&seen.path);
                if let Some(file) = self.files.get_mut(&seen.path) {
                    file.is_validating = true;
                }
                self.send(ValidationJob::File(self.validator.clone(), seen));
            }
            FileChange::Refused { path, reason } => {
                self.gone.remove(&path);
                let file = self.files.entry(path.clone()).or_default();
                file.hash.clear();
                (file.standby, file.is_validating) = (None, false);
                self.set_refused(&path, "", reason, None);
            }
            FileChange::Gone(path) => {
                if let Some(file) = self.files.get_mut(&path) {
                    file.is_validating = false;
                }
                self.gone.insert(path);
            }
        }
    }

    /// Removes the plugins whose files are gone, once it is known of every other file which plugin it is.
    pub(super) fn remove_gone(&mut self) {
        let is_known = |(path, file): (&PathBuf, &FileState)| !file.is_validating || self.gone.contains(path);
        if !self.files.iter().all(is_known) {
            return;
        }
        for path in std::mem::take(&mut self.gone) {
            let Some(file) = self.files.remove(&path) else { continue };
            self.end_trial_of(&path);
            let gone = file.plugin.filter(|name| self.slots.get(name).is_some_and(|slot| slot.file == path));
            let Some(name) = gone else { continue };
            if self.hand_over_to_standby(&name) {
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
    fn hand_over_to_standby(&mut self, name: &str) -> bool {
        let waiting = self.files.iter_mut().find_map(|(path, file)| {
            let standby = file.standby.take_if(|standby| *standby.plugin.name == *name)?;
            Some((path.clone(), standby))
        });
        let (Some((path, standby)), Some(slot)) = (waiting, self.slots.get_mut(name)) else { return false };
        tracing::info!(plugin = name, from = %slot.file.display(), file = %path.display(), "plugin goes on in another file");
        slot.file.clone_from(&path);
        if slot.running.hash() == standby.hash() {
            if let Some(file) = self.files.get_mut(&path) {
                (file.plugin, file.refused) = (Some(name.to_string()), None);
            }
            self.keep_good(name);
            self.publish();
        } else {
            self.accept(&path, standby);
        }
        true
    }
}
