//! The folder of plugins: what lies there is loaded, proven and published; what changes is published again.
//!
//! A file is read once and those bytes are hashed, compiled, type-checked, instantiated, described and configured before
//! anything is published. A file that fails any of it leaves the running chain as it is, and the refusal says why.

pub mod cases;
pub mod compile;
pub mod control;
pub mod private;
pub mod status;
pub mod trust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use notify::Watcher;
use rowmill_runtime::{Plugin, Sandbox};
use sha2::{Digest, Sha256};

use crate::config::PluginConfig;
use crate::metrics::Metrics;
use crate::transform::chain::{Chain, ChainPlugin};

/// How long files must be quiet before they are read: an editor or a copy writes in pieces.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// How often the folder is looked at without an event, since not every file system sends them.
const POLL: Duration = Duration::from_secs(2);

/// The plugins of a folder.
pub struct PluginFolder {
    config: PluginConfig,
    sandbox: Arc<Sandbox>,
    metrics: Arc<Metrics>,
    /// What was seen of each file: the hash of its bytes, and the plugin if it was accepted. A refused file keeps the
    /// plugin that it had before.
    files: BTreeMap<PathBuf, (String, Option<Arc<ChainPlugin>>)>,
    generation: u64,
    published: u64,
}

/// What became of one file.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The plugin, or why it was refused.
    pub result: Result<Arc<ChainPlugin>, String>,
}

impl PluginFolder {
    /// A folder of which nothing is loaded yet.
    pub fn new(config: PluginConfig, sandbox: Arc<Sandbox>, metrics: Arc<Metrics>) -> Self {
        Self { config, sandbox, metrics, files: BTreeMap::new(), generation: 0, published: 0 }
    }

    /// Reads the folder and loads what is new or changed. Returns what became of each such file; `None` if nothing
    /// changed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn scan(&mut self) -> anyhow::Result<Option<Vec<Loaded>>> {
        let Some(dir) = self.config.dir.clone() else { return Ok(None) };
        let mut present = Vec::new();
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("cannot read the plugin folder {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") && !is_hidden(&path) {
                present.push(path);
            }
        }
        present.sort();
        let mut changed = Vec::new();
        let gone: Vec<PathBuf> = self.files.keys().filter(|path| !present.contains(path)).cloned().collect();
        for path in &gone {
            if let Some((_, Some(plugin))) = self.files.remove(path) {
                tracing::info!(plugin = %plugin.name, file = %path.display(), "plugin removed");
            }
        }
        for path in present {
            // A file that vanished meanwhile, or is still being written, is looked at again.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            if self.files.get(&path).is_some_and(|(known, _)| *known == hash) {
                continue;
            }
            let result = self.load(&path, &bytes);
            let before = self.files.get(&path).and_then(|(_, plugin)| plugin.clone());
            match &result {
                Ok(plugin) => {
                    tracing::info!(plugin = %plugin.name, version = %plugin.description.version, generation = plugin.generation, hash = &hash[..12], file = %path.display(), "plugin loaded");
                    self.files.insert(path.clone(), (hash, Some(plugin.clone())));
                }
                Err(reason) => {
                    self.metrics.plugins_refused.inc();
                    let kept = before.as_ref().map(|plugin| plugin.generation);
                    tracing::error!(file = %path.display(), %reason, still_running = kept, "plugin refused");
                    self.files.insert(path.clone(), (hash, before));
                }
            }
            changed.push(Loaded { path, result });
        }
        Ok((!changed.is_empty() || !gone.is_empty()).then_some(changed))
    }

    fn load(&mut self, path: &Path, bytes: &[u8]) -> Result<Arc<ChainPlugin>, String> {
        let may_import_wasi = |name: &str| self.config.wasi.iter().any(|allowed| allowed == name);
        let plugin =
            Plugin::load_with_wasi(&self.sandbox, bytes, may_import_wasi).map_err(|refusal| refusal.to_string())?;
        let name = plugin.description().name.clone();
        let taken = self
            .files
            .iter()
            .find(|(other, (_, loaded))| *other != path && loaded.as_ref().is_some_and(|loaded| *loaded.name == *name));
        if let Some((other, _)) = taken {
            return Err(format!("the name {name:?} is taken by {}; remove one of the two", other.display()));
        }
        let settings = self.config.settings.get(&name).cloned().unwrap_or_else(|| "{}".into());
        self.generation += 1;
        let plugin = ChainPlugin::sandboxed(plugin, settings, self.generation);
        // Proven before it is published: an instance that takes its settings.
        plugin.instantiate()?;
        Ok(Arc::new(plugin))
    }

    /// The chain of what is loaded: plugins named by the configuration's order first, then the others by file name.
    pub fn chain(&mut self) -> Chain {
        self.published += 1;
        let mut plugins: Vec<Arc<ChainPlugin>> = self
            .files
            .values()
            .filter_map(|(_, plugin)| plugin.clone())
            .filter(|plugin| !self.config.disabled.iter().any(|name| **name == *plugin.name))
            .collect();
        let order = |plugin: &Arc<ChainPlugin>| {
            self.config.order.iter().position(|name| **name == *plugin.name).unwrap_or(usize::MAX)
        };
        plugins.sort_by_key(order);
        Chain { number: self.published, plugins }
    }

    /// Names in the configuration that no plugin has, with the nearest one that there is.
    pub fn unknown_names(&self) -> Vec<String> {
        let known: Vec<&str> =
            self.files.values().filter_map(|(_, plugin)| plugin.as_deref()).map(|plugin| &*plugin.name).collect();
        let settings = self.config.settings.keys().map(|name| ("plugins.settings", name));
        let order = self.config.order.iter().map(|name| ("plugins.order", name));
        let disabled = self.config.disabled.iter().map(|name| ("plugins.disabled", name));
        let wasi = self.config.wasi.iter().map(|name| ("plugins.wasi", name));
        settings
            .chain(order)
            .chain(disabled)
            .chain(wasi)
            .filter(|(_, name)| !known.contains(&name.as_str()))
            .map(|(key, name)| {
                format!(
                    "{key} names {name:?}, but no plugin in the folder has that name (there are: {})",
                    if known.is_empty() { "none".to_string() } else { known.join(", ") }
                )
            })
            .collect()
    }

    /// Watches the folder and publishes every change, until the returned guard is dropped.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn watch(mut self, published: Arc<ArcSwap<Chain>>) -> anyhow::Result<WatchGuard> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let Some(dir) = self.config.dir.clone() else { return Ok(WatchGuard { _stop: stop }) };
        let (events, changes) = crossbeam_channel::unbounded();
        std::thread::Builder::new().name("plugin-folder".into()).spawn(move || {
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| !event.kind.is_access()) {
                    let _ = events.send(());
                }
            })
            .ok();
            if let Some(watcher) = &mut watcher
                && let Err(error) = watcher.watch(&dir, notify::RecursiveMode::NonRecursive) {
                    tracing::warn!(%error, folder = %dir.display(), "no file events; the folder is looked at every {} s", POLL.as_secs());
                }
            loop {
                crossbeam_channel::select! {
                    recv(stopped) -> _ => return,
                    recv(changes) -> _ => while changes.recv_timeout(DEBOUNCE).is_ok() {},
                    default(POLL) => {}
                }
                match self.scan() {
                    Ok(None) => {}
                    Ok(Some(_)) => {
                        let chain = self.chain();
                        let generations = |chain: &Chain| chain.plugins.iter().map(|plugin| plugin.generation).collect::<Vec<_>>();
                        if generations(&chain) == generations(&published.load()) {
                            continue;
                        }
                        if chain.plugins.is_empty() {
                            tracing::warn!(chain = chain.number, folder = %dir.display(), "the last plugin was removed: rows now pass unshaped, each a document of its own columns; put a plugin into the folder to change that");
                        } else {
                            let names: Vec<String> = chain.plugins.iter().map(|plugin| format!("{}#{}", plugin.name, plugin.generation)).collect();
                            tracing::info!(chain = chain.number, plugins = names.join(" → "), "chain published");
                        }
                        self.metrics.plugin_swaps.inc();
                        published.store(Arc::new(chain));
                    }
                    Err(error) => tracing::warn!(%error, "the running chain stays"),
                }
            }
        })?;
        Ok(WatchGuard { _stop: stop })
    }
}

/// Ends the watching when it is dropped.
pub struct WatchGuard {
    _stop: crossbeam_channel::Sender<()>,
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
