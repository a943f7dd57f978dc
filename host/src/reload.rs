//! Applies configuration changes at run time: plugin settings, routes, batch sizes and retry limits, from the file and from
//! the topic's record that overrides it. A change is applied completely or refused completely. The latest file with the
//! latest record decides, as after a restart.

pub(crate) mod config;
pub mod topic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::topic::{PushedRecord, Topic};
use crate::config::{BulkConfig, Config, Overrides, WatchConfig, differing_keys, is_live, read_layers};
use crate::metrics::{Kind, Metrics};
use crate::pipeline::stages;
use crate::plugins::control::Control;
use crate::plugins::folder::{SETTLE, read_regular};
use crate::plugins::watch::Watch;
use crate::shutdown::Shutdown;

/// The maximum size of a configuration file, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// The file and command line that a configuration is read from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Values from the command line, which override the file.
    pub overrides: Overrides,
}

/// The parts that changes are applied to.
#[derive(Clone, Debug)]
pub struct Live {
    /// Sends changed plugin settings and routes to their owner.
    pub control: Control,
    /// Publishes how documents are written.
    pub bulk: watch::Sender<BulkConfig>,
    /// Counts the changes.
    pub metrics: Arc<Metrics>,
    /// Ends the run if a thread of the reload panics.
    pub shutdown: Shutdown,
}

/// Watches the configuration until it is dropped.
pub struct Reload {
    _stop: Sender<()>,
}

impl Reload {
    /// Watches the configuration file, and the topic, which has been read to its end. `running` is the configuration that the
    /// gateway was started with. If the file is not a regular file (a pipe), neither is watched.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(origin: Origin, running: Config, live: Live, topic: Option<Topic>) -> anyhow::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        if origin.file.metadata().is_ok_and(|found| !found.is_file()) {
            tracing::info!(file = %origin.file.display(), "the configuration is not a regular file, so its changes are not applied");
            return Ok(Self { _stop: stop });
        }
        let watch = Watch::start(&origin.file, WatchConfig::default());
        let shutdown = live.shutdown.clone();
        let mut follower = Follower::new(origin, running, live);
        let mut records = never();
        if let Some(topic) = topic {
            follower.topic = topic.name().into();
            follower.record = topic.record().cloned();
            let (sender, receiver) = unbounded();
            records = receiver;
            let stopped = stopped.clone();
            stages::spawn("config-topic", &shutdown, move || {
                topic.follow(&sender, &stopped);
                Ok(())
            })?;
        }
        stages::spawn("configuration", &shutdown, move || {
            follower.run(&watch, &records, &stopped);
            Ok(())
        })?;
        Ok(Self { _stop: stop })
    }
}

struct Follower {
    origin: Origin,
    running: Config,
    live: Live,
    settling: Settling,
    is_missing: bool,
    /// The text of the file, once it has settled.
    text: Option<String>,
    /// The name of the topic, and its last record.
    topic: String,
    record: Option<PushedRecord>,
}

impl Follower {
    fn new(origin: Origin, running: Config, live: Live) -> Self {
        let settling = Settling::default();
        Self { origin, running, live, settling, is_missing: false, text: None, topic: String::new(), record: None }
    }

    fn run(&mut self, watch: &Watch, records: &Receiver<PushedRecord>, stopped: &Receiver<()>) {
        let mut records = records.clone();
        let mut again = None;
        loop {
            let timer = again.map_or_else(never, crossbeam_channel::after);
            crossbeam_channel::select! {
                recv(stopped) -> _ => return,
                recv(watch.due()) -> _ => {}
                recv(timer) -> _ => {}
                recv(records) -> record => match record {
                    Ok(record) => {
                        self.receive(record);
                        continue;
                    }
                    Err(_) => records = never(),
                }
            }
            again = self.look(Instant::now());
        }
    }

    /// Handles a record of the topic. Until the file has settled, the record is only stored.
    fn receive(&mut self, record: PushedRecord) {
        self.record = Some(record);
        if self.text.is_some() {
            self.apply_latest();
        }
    }

    /// Reads the file. Returns the time after which to read it again even if no event arrives.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        let text = match read_file(&self.origin.file) {
            Ok(text) => text,
            Err(error) => {
                if !std::mem::replace(&mut self.is_missing, true) {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the configuration cannot be read; the running configuration stays in effect"
                    );
                }
                self.settling.forget();
                return None;
            }
        };
        self.is_missing = false;
        match self.settling.look(&text, now) {
            Settled::Known => None,
            Settled::Pending(again) => Some(again),
            Settled::New => {
                self.text = Some(text);
                self.apply_latest();
                None
            }
        }
    }

    fn read(&self) -> Result<Config, String> {
        let layer = self
            .record
            .as_ref()
            .map_or(Ok(None), |record| record.layer(&self.topic))
            .map_err(|error| error.to_string())?;
        let file = self.origin.file.display().to_string();
        read_layers(self.text.as_deref().unwrap_or_default(), &file, layer.as_ref(), &self.origin.overrides)
            .map_err(|error| error.to_string())
    }

    fn apply_latest(&mut self) {
        let file = self.origin.file.display().to_string();
        let offset = self.record.as_ref().map(|record| record.offset);
        let applied = self.read().and_then(|new| apply(&mut self.running, new, &self.live));
        let kind = match applied {
            Ok(keys) if keys.is_empty() => {
                tracing::debug!(file, offset, "the configuration is the running one");
                return;
            }
            Ok(keys) => {
                tracing::info!(file, offset, changed = keys.join(", "), "configuration changed");
                "applied"
            }
            Err(reason) => {
                tracing::error!(
                    file,
                    offset,
                    reason,
                    "changed configuration refused; the running configuration stays in effect"
                );
                "refused"
            }
        };
        self.live.metrics.config_changes.get_or_create(&Kind { kind: kind.into() }).inc();
    }
}

/// Applies all differences or none. Returns the keys that changed.
fn apply(running: &mut Config, mut new: Config, live: &Live) -> Result<Vec<String>, String> {
    new.plugins.compile.program.clone_from(&running.plugins.compile.program);
    let (changed, need_restart): (Vec<String>, Vec<String>) =
        differing_keys(running, &new).into_iter().partition(|key| is_live(key));
    if !need_restart.is_empty() {
        return Err(format!(
            "a change of {} needs a restart, so no change is applied{}; restart the gateway, or revert that key",
            need_restart.join(", "),
            match &changed[..] {
                [] => String::new(),
                keys => format!(" ({} could be applied without it)", keys.join(", ")),
            }
        ));
    }
    // First the part that can be rejected.
    if running.plugins != new.plugins || running.routes != new.routes {
        let changes = live.control.configure(new.plugins.clone(), new.routes.clone())?;
        tracing::debug!(changes = changes.join(", "), "plugins and routes have the changed configuration");
    }
    live.bulk.send_if_modified(|bulk| std::mem::replace(bulk, new.sink.bulk()) != new.sink.bulk());
    *running = new;
    Ok(changed)
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let name = || path.display().to_string();
    let bytes = read_regular(path, MAX_BYTES).with_context(name)?;
    ensure!(bytes.is_some(), "{} has more than {MAX_BYTES} bytes", name());
    String::from_utf8(bytes.unwrap_or_default()).with_context(name)
}

/// Detects that the file is written completely: two readings at least [`SETTLE`] apart returned the same text.
#[derive(Default)]
struct Settling {
    known: Option<[u8; 32]>,
    pending: Option<([u8; 32], Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It was applied before.
    Known,
    /// It is complete and new.
    New,
    /// It may be incomplete: read it again after this.
    Pending(Duration),
}

impl Settling {
    fn look(&mut self, text: &str, now: Instant) -> Settled {
        let hash: [u8; 32] = Sha256::digest(text).into();
        if self.known == Some(hash) {
            self.pending = None;
            return Settled::Known;
        }
        let since = match self.pending {
            Some((pending, since)) if pending == hash => since,
            _ => now,
        };
        let quiet = now.saturating_duration_since(since);
        if quiet < SETTLE {
            self.pending = Some((hash, since));
            return Settled::Pending(SETTLE - quiet);
        }
        (self.known, self.pending) = (Some(hash), None);
        Settled::New
    }

    fn forget(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests;
