//! The last good generations and the operators' commands, on disk, so that a restart continues where the previous run
//! stopped, whatever the plugin folder contains.
//!
//! One file `state.json`, and the plugins' bytes by their hash. Broken or modified entries are skipped with a warning; they
//! never prevent a start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::private::PrivateFolder;
use crate::config::Rollout;

const STATE: &str = "state.json";
/// The number of good generations kept per plugin: the last one and three before it.
const MAX_GOOD: usize = 4;
/// The number of rejected files kept per plugin.
const MAX_REJECTED: usize = 64;

/// A generation of a plugin that passed its probation, or was the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The plugin's name.
    pub name: String,
    /// The name of its file in the folder.
    pub file: PathBuf,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub hash: String,
    /// The version that its description states.
    pub version: String,
    /// The signature from the file beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Vec<u8>>,
}

/// The saved state of a plugin.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedPlugin {
    /// The newest first.
    good: Vec<Good>,
    is_disabled: bool,
    /// The oldest first.
    rejected: Vec<Rejected>,
    rollout: Option<Rollout>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rejected {
    hash: String,
    reason: String,
}

/// The last good generations of a folder's plugins, and the operators' commands. Each change is written immediately. If
/// writing fails, the change still holds for this run, and the error says that a restart forgets it.
pub struct LastGood {
    folder: PrivateFolder,
    plugins: BTreeMap<String, SavedPlugin>,
}

impl LastGood {
    /// Opens the saved state for a plugin folder, in a subfolder of `state`. The plugin folder is identified by its name
    /// and the resolved path of its parent, so it may be a link that points elsewhere in the next run.
    ///
    /// # Errors
    /// The private folder cannot be opened.
    pub fn open(state: &PrivateFolder, plugins_dir: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(plugins_dir).with_context(|| plugins_dir.display().to_string())?;
        let path = match (path.parent().map(Path::canonicalize), path.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => path.canonicalize().unwrap_or(path),
        };
        let folder = state.folder(&hex(path.as_os_str().as_encoded_bytes())[..16])?;
        let plugins = read(&folder).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), folder = %folder.path().display(), "cannot read the saved state; starting without last good plugins and earlier commands");
            BTreeMap::new()
        });
        Ok(Self { folder, plugins })
    }

    /// Saves a generation as the last good one of its plugin. The three before it are kept too.
    ///
    /// # Errors
    /// It cannot be written, or the hash does not match the bytes.
    pub fn keep(&mut self, good: Good, bytes: &[u8]) -> anyhow::Result<()> {
        ensure!(hex(bytes) == good.hash, "the hash of {:?} does not match its bytes", good.name);
        ensure!(is_usable(&good.name, &good), "{} is not a file name", good.file.display());
        // Write the bytes first, so that they exist for every hash in the state file.
        let file = file_name(&good.hash);
        if self.bytes(&good.hash).ok().flatten().is_none() {
            self.folder.write(&file, bytes)?;
        }
        let kept = &mut self.plugins.entry(good.name.clone()).or_default().good;
        kept.retain(|other| other.hash != good.hash);
        kept.insert(0, good);
        kept.truncate(MAX_GOOD);
        self.write()?;
        self.remove_unnamed();
        Ok(())
    }

    /// The last good generations, by name.
    pub fn all(&self) -> Vec<Good> {
        self.plugins.values().filter_map(|plugin| plugin.good.first()).cloned().collect()
    }

    /// The good generations of a plugin before the last one, the newest first.
    pub fn before(&self, name: &str) -> Vec<Good> {
        self.plugins.get(name).into_iter().flat_map(|plugin| plugin.good.iter().skip(1)).cloned().collect()
    }

    /// The bytes with a hash; `None` if they are not kept or were modified.
    ///
    /// # Errors
    /// They cannot be read, or another user could have written them.
    pub fn bytes(&self, hash: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(bytes) = self.folder.read(&file_name(hash))? else { return Ok(None) };
        if hex(&bytes) == hash {
            return Ok(Some(bytes));
        }
        let path = self.folder.path().join(file_name(hash));
        tracing::warn!(file = %path.display(), "a saved plugin file is ignored: its bytes were modified");
        Ok(None)
    }

    /// Deletes the good generations of a plugin whose file was removed. Commands and rejections stay.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn forget(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(plugin) = self.plugins.get_mut(name) {
            plugin.good.clear();
        }
        self.write()?;
        self.remove_unnamed();
        Ok(())
    }

    /// Saves whether an operator disabled a plugin.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_disabled(&mut self, name: &str, is_disabled: bool) -> anyhow::Result<()> {
        self.plugins.entry(name.into()).or_default().is_disabled = is_disabled;
        self.write()
    }

    /// Returns true if an operator disabled the plugin.
    pub fn is_disabled(&self, name: &str) -> bool {
        self.plugins.get(name).is_some_and(|plugin| plugin.is_disabled)
    }

    /// Saves that a file must not be published automatically, and why.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn reject(&mut self, name: &str, hash: &str, reason: &str) -> anyhow::Result<()> {
        let rejected = &mut self.plugins.entry(name.into()).or_default().rejected;
        rejected.retain(|other| other.hash != hash);
        rejected.push(Rejected { hash: hash.into(), reason: reason.into() });
        let surplus = rejected.len().saturating_sub(MAX_REJECTED);
        rejected.drain(..surplus);
        self.write()
    }

    /// Why a file must not be published automatically; `None` if it may be.
    pub fn rejected(&self, name: &str, hash: &str) -> Option<String> {
        let rejected = &self.plugins.get(name)?.rejected;
        rejected.iter().find(|rejected| rejected.hash == hash).map(|rejected| rejected.reason.clone())
    }

    /// Removes a rejection, so that the file may be published again.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn accept(&mut self, name: &str, hash: &str) -> anyhow::Result<()> {
        if let Some(plugin) = self.plugins.get_mut(name) {
            plugin.rejected.retain(|rejected| rejected.hash != hash);
        }
        self.write()
    }

    /// Saves how the plugin's next generation is rolled out; `None` for the rollout of the configuration.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_rollout(&mut self, name: &str, rollout: Option<Rollout>) -> anyhow::Result<()> {
        self.plugins.entry(name.into()).or_default().rollout = rollout;
        self.write()
    }

    /// How the plugin's next generation is rolled out, if an operator set it.
    pub fn rollout(&self, name: &str) -> Option<Rollout> {
        self.plugins.get(name)?.rollout
    }

    fn write(&self) -> anyhow::Result<()> {
        let has_content = |plugin: &SavedPlugin| {
            !plugin.good.is_empty() || plugin.is_disabled || !plugin.rejected.is_empty() || plugin.rollout.is_some()
        };
        let plugins: BTreeMap<&String, &SavedPlugin> =
            self.plugins.iter().filter(|(_, plugin)| has_content(plugin)).collect();
        let text = serde_json::to_vec_pretty(&plugins)?;
        self.folder.write(STATE, &text).context("a restart forgets the last change")
    }

    /// Removes files that belong to no good generation.
    fn remove_unnamed(&self) {
        let named: BTreeSet<String> =
            self.plugins.values().flat_map(|plugin| &plugin.good).map(|good| file_name(&good.hash)).collect();
        for name in self.folder.names() {
            if name.ends_with(".wasm") && !named.contains(&name) {
                // A file that stays is removed the next time.
                let _ = self.folder.remove(&name);
            }
        }
    }
}

/// Reads the state file without unusable entries.
fn read(folder: &PrivateFolder) -> anyhow::Result<BTreeMap<String, SavedPlugin>> {
    let Some(text) = folder.read(STATE)? else { return Ok(BTreeMap::new()) };
    let entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&text).with_context(|| format!("{STATE} is not valid JSON"))?;
    let files = folder.names();
    let mut plugins = BTreeMap::new();
    for (name, entry) in entries {
        let mut plugin: SavedPlugin = match serde_json::from_value(entry) {
            Ok(plugin) => plugin,
            Err(error) => {
                tracing::warn!(plugin = name, %error, "a plugin's entry in the saved state is broken and is skipped");
                continue;
            }
        };
        plugin.good.retain(|good| {
            let is_complete = is_usable(&name, good) && files.contains(&file_name(&good.hash));
            if !is_complete {
                tracing::warn!(
                    plugin = name,
                    hash = good.hash,
                    "a saved good generation is broken or its bytes are missing; it is skipped"
                );
            }
            is_complete
        });
        plugin.good.truncate(MAX_GOOD);
        plugins.insert(name, plugin);
    }
    Ok(plugins)
}

/// Returns true if the entry is well formed and its names cannot point outside the folder.
fn is_usable(name: &str, good: &Good) -> bool {
    let is_hash = good.hash.len() == 64 && good.hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = good.file.components();
    let is_file_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    good.name == name && is_hash && is_file_name
}

fn file_name(hash: &str) -> String {
    format!("{hash}.wasm")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::RolloutMode;

    fn good(name: &str, bytes: &str) -> Good {
        Good {
            name: name.into(),
            file: format!("{name}.wasm").into(),
            hash: hex(bytes.as_bytes()),
            version: "1".into(),
            signature: None,
        }
    }

    fn keep(kept: &mut LastGood, name: &str, bytes: &str) {
        kept.keep(good(name, bytes), bytes.as_bytes()).unwrap();
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir(place.path().join("plugins")).unwrap();
            Self(place)
        }

        fn open(&self) -> LastGood {
            self.open_for("plugins")
        }

        fn open_for(&self, dir: &str) -> LastGood {
            let state = PrivateFolder::open(&self.0.path().join("state")).unwrap();
            LastGood::open(&state, &self.0.path().join(dir)).unwrap()
        }
    }

    #[test]
    fn a_restart_finds_the_last_four() {
        let place = Place::new();
        let mut kept = place.open();
        for bytes in ["1", "2", "3", "4", "5", "6", "4"] {
            keep(&mut kept, "a", bytes);
        }
        keep(&mut kept, "b", "6");
        drop(kept);
        let mut kept = place.open();
        assert_eq!(kept.all(), [good("a", "4"), good("b", "6")]);
        assert_eq!(kept.before("a"), [good("a", "6"), good("a", "5"), good("a", "3")]);
        assert_eq!(kept.before("b"), []);
        assert_eq!(kept.bytes(&hex(b"3")).unwrap().unwrap(), b"3");
        assert_eq!(kept.bytes(&hex(b"2")).unwrap(), None, "it is the fifth");
        // Bytes shared with another plugin stay.
        kept.forget("a").unwrap();
        let kept = place.open();
        assert_eq!(kept.all(), [good("b", "6")]);
        assert_eq!(kept.folder.names().len(), 2, "{:?}", kept.folder.names());
    }

    #[test]
    fn commands_survive_a_restart_and_the_removal_of_the_file() {
        let place = Place::new();
        let mut kept = place.open();
        let shadow = Rollout { mode: RolloutMode::Shadow, rows: 7, ..Rollout::default() };
        keep(&mut kept, "a", "1");
        kept.set_disabled("a", true).unwrap();
        kept.reject("a", "h1", "it failed 5 rows").unwrap();
        kept.reject("a", "h2", "it is slow").unwrap();
        kept.set_rollout("a", Some(shadow)).unwrap();
        kept.set_disabled("b", true).unwrap();
        kept.set_disabled("b", false).unwrap();
        kept.forget("a").unwrap();
        let mut kept = place.open();
        assert!(kept.is_disabled("a") && !kept.is_disabled("b"));
        assert_eq!(kept.rejected("a", "h1").as_deref(), Some("it failed 5 rows"));
        assert_eq!(kept.rollout("a"), Some(shadow));
        kept.accept("a", "h1").unwrap();
        kept.set_rollout("a", None).unwrap();
        for number in 0..MAX_REJECTED {
            kept.reject("a", &format!("more{number}"), "").unwrap();
        }
        let kept = place.open();
        assert_eq!(kept.rejected("a", "h1"), None);
        assert_eq!(kept.rejected("a", "h2"), None, "the oldest goes first");
        assert_eq!(kept.rejected("a", "more0").as_deref(), Some(""));
        assert_eq!((kept.rollout("a"), kept.rollout("b")), (None, None));
    }

    #[test]
    fn modified_entries_are_skipped() {
        let place = Place::new();
        let mut kept = place.open();
        for (name, bytes) in [("a", "1"), ("a", "2"), ("b", "3")] {
            keep(&mut kept, name, bytes);
        }
        let folder = kept.folder.clone();
        folder.write(&file_name(&hex(b"2")), b"other").unwrap();
        assert_eq!(kept.bytes(&hex(b"2")).unwrap(), None);
        // Saving it again repairs it.
        keep(&mut kept, "a", "2");
        assert_eq!(kept.bytes(&hex(b"2")).unwrap().unwrap(), b"2");
        // A missing file, a broken entry, a path that points elsewhere.
        folder.remove(&file_name(&hex(b"2"))).unwrap();
        let text = String::from_utf8(folder.read(STATE).unwrap().unwrap()).unwrap();
        folder.write(STATE, text.replacen("b.wasm", "../b.wasm", 1).replacen('{', "{\"c\": 7,", 1).as_bytes()).unwrap();
        assert_eq!(place.open().all(), [good("a", "1")]);
        for broken in [&b"{"[..], b"", b"[]", b"\xff"] {
            folder.write(STATE, broken).unwrap();
            let mut kept = place.open();
            assert_eq!(kept.all(), []);
            keep(&mut kept, "a", "9");
            assert_eq!(place.open().all(), [good("a", "9")]);
        }
        let wrong = Good { hash: hex(b"x"), ..good("a", "9") };
        assert!(place.open().keep(wrong, b"9").is_err());
    }

    #[test]
    fn each_folder_has_its_own_state() {
        let place = Place::new();
        fs::create_dir(place.0.path().join("others")).unwrap();
        keep(&mut place.open(), "a", "1");
        assert_eq!(place.open_for("others").all(), []);
        assert_eq!(place.open_for("others/../plugins").all(), [good("a", "1")]);
        // A link with that name may point elsewhere later.
        fs::remove_dir(place.0.path().join("plugins")).unwrap();
        std::os::unix::fs::symlink("others", place.0.path().join("plugins")).unwrap();
        assert_eq!(place.open().all(), [good("a", "1")]);
    }
}
