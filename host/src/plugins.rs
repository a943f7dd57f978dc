//! The plugins of a folder: watched, proven, published, tried, and taken back.
//!
//! ```text
//!  plugin-folder            plugins (decides)             workers
//!  watch ─▶ folder ─changes─▶ supervisor ──publishes──▶ chain, read once a batch
//!                              ▲  │ ▲  ▲ alarms: a new generation fails rows │
//!              HTTP, reload ───┘  │ │  └─────────────────────────────────────┘
//!                        requests │ │ proven, or why not
//!                                 ▼ │
//!                     plugin-prover: trust ▶ compile ▶ configure ▶ cases ▶ probe
//! ```
//!
//! Invariants:
//! - A file is read once, and those bytes are hashed, trusted, compiled and published; half a file never is.
//! - What is refused leaves the running generation as it is, and says what is wrong and what to do.
//! - The deciding thread never waits for a file or a plugin, so a generation can be taken back at any time.
//! - Nothing that is proven costs the rows more than its share of an idle processor: compiling has a process of its own
//!   with limits, and both it and the prover have the lowest priority.

pub mod cases;
pub mod compile;
pub(crate) mod config;
pub mod control;
pub mod folder;
mod generation;
pub mod last_good;
pub mod private;
pub mod status;
mod supervisor;
pub mod trust;
mod validation;
mod validator;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
use rowmill_engine::Route;
use rowmill_sandbox::Sandbox;

use crate::config::{PluginConfig, WatchConfig};
use crate::metrics::Metrics;
use crate::pipeline::stages;
use crate::shutdown::Shutdown;
use crate::transform::retire::Retired;
use crate::transform::{Published, Shared};
use control::{Control, Request};
use folder::{FileChange, Folder};
use last_good::LastGood;
use private::PrivateFolder;
use rowmill_engine::ChainPlugin;
use supervisor::{Inbox, Supervisor};
use validator::Validator;
use watch::Watch;

/// How far behind the rows proving stands, as `nice` counts it: in the prover's thread and in the process that compiles. At
/// 19 half a second's work took a minute beside workers that leave no core idle; at 10 they lose a twentieth meanwhile.
pub(crate) const VALIDATION_NICENESS: i32 = 15;

/// The plugins of a folder, loaded and not yet watched.
pub struct Plugins {
    supervisor: Supervisor,
    folder: Option<(PathBuf, Folder)>,
    watch: WatchConfig,
    loaded: Vec<Loaded>,
    control: Control,
    requests: Receiver<Request>,
    alarms: Receiver<()>,
}

/// What became of one file.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The plugin, or why it was refused. Where the file is refused and a last good one takes its place, that.
    pub result: Result<Arc<ChainPlugin>, String>,
}

impl Plugins {
    /// Loads what lies in the folder and publishes it into `published`. `workers` instances of each plugin are made ahead.
    ///
    /// # Errors
    /// The folder cannot be read, or a key or hash of the configuration cannot be used. A file that is refused is no
    /// error here; see [`Plugins::loaded`].
    pub fn load(
        config: &PluginConfig,
        routes: Arc<[Route]>,
        sandbox: &Arc<Sandbox>,
        published: Arc<ArcSwap<Published>>,
        metrics: Arc<Metrics>,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let state = config.state.as_deref().filter(|_| config.dir.is_some()).and_then(|path| {
            PrivateFolder::open(path)
                .inspect_err(|error| {
                    tracing::warn!("no last good plugins and no compiled code are kept: {error:#}; plugins.state names another folder, or \"\" for none");
                })
                .ok()
        });
        let good = match (&state, &config.dir) {
            (Some(state), Some(dir)) => LastGood::open(state, dir)
                .inspect_err(|error| tracing::warn!("no last good plugins are kept: {error:#}"))
                .ok(),
            _ => None,
        };
        let numbers = Arc::<AtomicU64>::default();
        let make_validator = {
            let sandbox = sandbox.clone();
            move |config: &PluginConfig| {
                Validator::new(config, sandbox.clone(), state.as_ref(), workers, numbers.clone())
            }
        };
        let (mut supervisor, alarms) =
            Supervisor::new(config.clone(), routes, Box::new(make_validator), good, published, metrics)
                .map_err(anyhow::Error::msg)?;
        let mut loaded = Vec::new();
        let mut folder = None;
        if let Some(dir) = &config.dir {
            let mut looked_at = Folder::new(dir.clone(), sandbox.limits().file_bytes);
            for change in looked_at.first_look()? {
                let (path, result) = match change {
                    FileChange::Put(seen) => (seen.path.clone(), supervisor.start_with(seen)),
                    FileChange::Refused { path, reason } => (path.clone(), supervisor.start_refused(&path, reason)),
                    FileChange::Gone(_) => continue,
                };
                loaded.push(Loaded { path, result });
            }
            folder = Some((dir.clone(), looked_at));
        }
        supervisor.publish();
        supervisor.next_trial();
        let (control, requests) = Control::channel();
        Ok(Self { supervisor, folder, watch: config.watch, loaded, control, requests, alarms })
    }

    /// What became of each file.
    pub fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    /// Names in the configuration that no plugin has.
    pub fn unknown_names(&self) -> Vec<String> {
        self.supervisor.unknown_names(&self.supervisor.config)
    }

    /// The way to ask. What is asked before [`Plugins::start`] is answered after it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Watches the folder and publishes what changes, until the returned guard is dropped. `retired` is where
    /// `shared.retire` ends. A thread that panics aborts the run through `shutdown`.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(self, shared: Shared, retired: Receiver<Retired>, shutdown: &Shutdown) -> anyhow::Result<Guard> {
        let Self { supervisor, folder, watch, requests, alarms, control, .. } = self;
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (changed, changes) = crossbeam_channel::unbounded();
        let (jobs, to_prove) = crossbeam_channel::unbounded();
        let (proved, proven) = crossbeam_channel::unbounded();
        // The deciding thread holds the other ends too, so that its channels never end before it does.
        let keep = (changed.clone(), control);
        if let Some((dir, folder)) = folder {
            let stopped = stopped.clone();
            let work = move || {
                look(&Watch::start(&dir, watch), folder, &changed, &stopped);
                Ok(())
            };
            stages::spawn("plugin-folder", shutdown, work).context("cannot watch the plugin folder")?;
        }
        let prove = move || {
            validation::run(&to_prove, &retired, &proved, &shared);
            Ok(())
        };
        stages::spawn("plugin-prover", shutdown, prove).context("cannot prove plugins")?;
        let inbox = Inbox { changes, requests, proven, alarms, stopped };
        let supervise = move || {
            supervisor.run(&inbox, jobs);
            drop(keep);
            Ok(())
        };
        stages::spawn("plugins", shutdown, supervise).context("cannot watch over plugins")?;
        Ok(Guard { _stop: stop })
    }
}

/// Ends the watching when it is dropped.
#[derive(Debug)]
pub struct Guard {
    _stop: Sender<()>,
}

/// Looks at the folder when something may have changed, and when something has yet to become quiet.
fn look(watch: &Watch, mut folder: Folder, changed: &Sender<FileChange>, stopped: &Receiver<()>) {
    let mut again = None;
    loop {
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(watch.due()) -> due => if due.is_err() { return },
            default(again.unwrap_or(Duration::from_secs(3600))) => {}
        }
        let look = folder.look(Instant::now());
        if let Some(trouble) = look.trouble {
            tracing::warn!("{trouble}");
        }
        again = look.again;
        for change in look.changes {
            if changed.send(change).is_err() {
                return;
            }
        }
    }
}
