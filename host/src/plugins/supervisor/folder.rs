//! Changes in the plugin folder.

use std::path::PathBuf;

use super::{CandidateState, FileChange, FileState, PluginCandidate, PluginFile, Supervisor, ValidationJob};

impl Supervisor {
    pub(super) fn apply_file_change(&mut self, change: FileChange) {
        match change {
            FileChange::Put(file) => self.apply_new_content(file),
            FileChange::Refused { path, reason } => {
                self.gone.remove(&path);
                let state = self.files.entry(path.clone()).or_default();
                state.hash.clear();
                (state.standby, state.is_validating) = (None, false);
                self.set_refused(&path, "", reason, None);
            }
            FileChange::Gone(path) => {
                if let Some(state) = self.files.get_mut(&path) {
                    state.is_validating = false;
                }
                self.gone.insert(path);
            }
        }
    }

    /// Has a file's new content validated, unless it is what runs already.
    fn apply_new_content(&mut self, file: PluginFile) {
        self.gone.remove(&file.path);
        let state = self.files.entry(file.path.clone()).or_default();
        state.hash.clone_from(&file.hash);
        (state.standby, state.is_validating) = (None, false);
        if let Some(slot) = state.plugin.as_ref().and_then(|name| self.slots.get_mut(name)) {
            if slot.running.hash() == file.hash {
                state.refused = None;
                self.end_trial_of(&file.path);
                self.drop_candidate(&file.path);
                return;
            }
            slot.candidate = Some(PluginCandidate {
                hash: file.hash.clone(),
                state: CandidateState::Validating,
                reason: None,
                generation: None,
                trial: None,
            });
        }
        self.end_trial_of(&file.path);
        if let Some(state) = self.files.get_mut(&file.path) {
            state.is_validating = true;
        }
        self.send(ValidationJob::File(self.validator.clone(), file));
    }

    /// Removes the plugins whose files disappeared. Waits until every other file is validated, since one of them may contain
    /// the same plugin.
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
                tracing::warn!(plugin = name, "cannot delete its last good files: {error:#}");
            }
            tracing::info!(plugin = name, file = %path.display(), "plugin removed");
            self.publish();
        }
    }

    /// Continues a plugin with another file that contains it, if there is one. The plugin runs without interruption.
    fn hand_over_to_standby(&mut self, name: &str) -> bool {
        let waiting = self.files.iter_mut().find_map(|(path, file)| {
            let standby = file.standby.take_if(|standby| *standby.plugin.name == *name)?;
            Some((path.clone(), standby))
        });
        let (Some((path, standby)), Some(slot)) = (waiting, self.slots.get_mut(name)) else { return false };
        tracing::info!(plugin = name, from = %slot.file.display(), file = %path.display(), "plugin continues from another file");
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
