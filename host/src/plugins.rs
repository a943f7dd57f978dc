//! The plugins of a folder: watched, validated, published, tried in a rollout, and rolled back.
//!
//! ```text
//!  plugin-folder            plugins (decides)             workers
//!  watch ─▶ folder ─changes─▶ supervisor ──publishes──▶ chain, read once per batch
//!                              ▲  │ ▲  ▲ alarms: a new generation fails rows │
//!              HTTP, reload ───┘  │ │  └─────────────────────────────────────┘
//!                            jobs │ │ a generation, or why it was refused
//!                                 ▼ │
//!                     plugin-validator: trust ▶ compile ▶ configure ▶ cases ▶ probe
//! ```
//!
//! Invariants:
//! - A file is read once. Exactly those bytes are hashed, checked for trust, compiled and published, so a half-written file
//!   is never used.
//! - A refused file leaves the running generation unchanged. The refusal says what is wrong and what to do.
//! - The supervisor thread never waits for a file or a plugin, so it can roll back a generation at any time.
//! - Validation hardly slows the rows down: compiling runs in a separate process with limits, and both it and the
//!   validation thread have a low priority.

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

/// The nice value of the validation thread and of the compiling process. Beside workers that leave no core idle, a job of
/// half a second took a minute at 19; at 10 the workers lost a twentieth of their throughput.
pub(crate) const VALIDATION_NICENESS: i32 = 15;

/// The plugins of a folder, loaded but not yet watched.
pub struct Plugins {
    supervisor: Supervisor,
    folder: Option<(PathBuf, Folder)>,
    watch: WatchConfig,
    loaded: Vec<Loaded>,
    control: Control,
    requests: Receiver<Request>,
    alarms: Receiver<()>,
}

/// The result of loading one file at start.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The plugin that runs, or why the file was refused. If the file was refused and its last good version runs instead,
    /// this is that plugin.
    pub result: Result<Arc<ChainPlugin>, String>,
}

impl Plugins {
    /// Loads the files of the folder and publishes their plugins into `published`. Creates `workers` instances of each
    /// plugin ahead of time.
    ///
    /// # Errors
    /// The folder cannot be read, or a key or hash in the configuration is invalid. A refused file is not an error; see
    /// [`Plugins::loaded`].
    pub fn load(
        config: &PluginConfig,
        routes: Arc<[Route]>,
        sandbox: &Arc<Sandbox>,
        published: Arc<ArcSwap<Published>>,
        metrics: Arc<Metrics>,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let (state, good) = open_state(config);
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
            let mut scanned = Folder::new(dir.clone(), sandbox.limits().file_bytes);
            for change in scanned.initial_scan()? {
                let (path, result) = match change {
                    FileChange::Put(file) => (file.path.clone(), supervisor.start_with(file)),
                    FileChange::Refused { path, reason } => (path.clone(), supervisor.start_refused(&path, reason)),
                    FileChange::Gone(_) => continue,
                };
                loaded.push(Loaded { path, result });
            }
            folder = Some((dir.clone(), scanned));
        }
        supervisor.publish();
        supervisor.next_trial();
        let (control, requests) = Control::channel();
        Ok(Self { supervisor, folder, watch: config.watch, loaded, control, requests, alarms })
    }

    /// The result for each file.
    pub fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    /// The configuration's plugin names that no plugin has, as messages.
    pub fn unknown_names(&self) -> Vec<String> {
        self.supervisor.unknown_names(&self.supervisor.config)
    }

    /// Sends requests to the supervisor. Requests sent before [`Plugins::start`] are answered after it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Watches the folder and publishes changes until the returned guard is dropped. `retired` receives what
    /// `shared.retire` sends. A thread that panics aborts the run through `shutdown`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(self, shared: Shared, retired: Receiver<Retired>, shutdown: &Shutdown) -> anyhow::Result<Guard> {
        let Self { supervisor, folder, watch, requests, alarms, control, .. } = self;
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (changed, changes) = crossbeam_channel::unbounded();
        let (jobs, to_validate) = crossbeam_channel::unbounded();
        let (finished, validated) = crossbeam_channel::unbounded();
        // The supervisor thread also holds the sending ends, so that its channels never close before it ends.
        let keep = (changed.clone(), control);
        if let Some((dir, folder)) = folder {
            let stopped = stopped.clone();
            let work = move || {
                scan_folder(&Watch::start(&dir, watch), folder, &changed, &stopped);
                Ok(())
            };
            stages::spawn("plugin-folder", shutdown, work)
                .context("cannot start the thread that watches the plugin folder")?;
        }
        let validate = move || {
            validation::run(&to_validate, &retired, &finished, &shared);
            Ok(())
        };
        stages::spawn("plugin-validator", shutdown, validate)
            .context("cannot start the thread that validates plugins")?;
        let inbox = Inbox { changes, requests, validated, alarms, stopped };
        let supervise = move || {
            supervisor.run(&inbox, jobs);
            drop(keep);
            Ok(())
        };
        stages::spawn("plugins", shutdown, supervise).context("cannot start the thread that supervises plugins")?;
        Ok(Guard { _stop: stop })
    }
}

/// Opens the folders for compiled code and last good plugins. If one cannot be opened, it logs why and works without it.
fn open_state(config: &PluginConfig) -> (Option<PrivateFolder>, Option<LastGood>) {
    let state = config.state.as_deref().filter(|_| config.dir.is_some()).and_then(|path| {
        PrivateFolder::open(path)
            .inspect_err(|error| {
                tracing::warn!("cannot keep last good plugins and compiled code: {error:#}; set plugins.state to another folder, or to \"\" to keep nothing");
            })
            .ok()
    });
    let good = match (&state, &config.dir) {
        (Some(state), Some(dir)) => LastGood::open(state, dir)
            .inspect_err(|error| tracing::warn!("cannot keep last good plugins: {error:#}"))
            .ok(),
        _ => None,
    };
    (state, good)
}

/// Stops the plugin threads when it is dropped.
#[derive(Debug)]
pub struct Guard {
    _stop: Sender<()>,
}

/// Scans the folder when something may have changed, and again while a file has not settled.
fn scan_folder(watch: &Watch, mut folder: Folder, changed: &Sender<FileChange>, stopped: &Receiver<()>) {
    let mut again = None;
    loop {
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(watch.due()) -> due => if due.is_err() { return },
            default(again.unwrap_or(Duration::from_secs(3600))) => {}
        }
        let scan = folder.scan(Instant::now());
        if let Some(warning) = scan.warning {
            tracing::warn!("{warning}");
        }
        again = scan.again;
        for change in scan.changes {
            if changed.send(change).is_err() {
                return;
            }
        }
    }
}
