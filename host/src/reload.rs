//! The configuration changed while rows flow: plugins' settings, routes, batch sizes and retry limits are taken over from
//! the file, and from a topic's record laid over it, without a restart. A change is taken over as a whole or refused as a
//! whole, and what runs then stays: what holds is the latest file with the latest record, as it would after a restart.

pub(crate) mod config;
pub mod topic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::topic::{Said, Topic};
use crate::config::{BulkConfig, Config, Overrides, WatchConfig, differing_keys, is_live, read_layers};
use crate::metrics::{Kind, Metrics};
use crate::plugins::control::Control;
use crate::plugins::folder::{SETTLE, read_regular};
use crate::plugins::watch::Watch;

/// Bytes of a configuration file.
const MAX_BYTES: usize = 16 << 20;

/// Where a configuration is read from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// What the command line says on top of it.
    pub overrides: Overrides,
}

/// What a change goes to.
#[derive(Clone, Debug)]
pub struct Live {
    /// The thread that owns plugins and routes.
    pub control: Control,
    /// How documents are written.
    pub bulk: watch::Sender<BulkConfig>,
    /// The figures.
    pub metrics: Arc<Metrics>,
}

/// Follows the configuration until it is dropped.
pub struct Reload {
    _stop: Sender<()>,
}

impl Reload {
    /// Follows the configuration file, and the topic that was read to its end; `running` is what the gateway was started
    /// with. What is no plain file (a pipe) was read once for all, and then neither is followed.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(origin: Origin, running: Config, live: Live, topic: Option<Topic>) -> anyhow::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        if origin.file.metadata().is_ok_and(|found| !found.is_file()) {
            tracing::info!(file = %origin.file.display(), "the configuration is no plain file: its changes are not followed");
            return Ok(Self { _stop: stop });
        }
        let watch = Watch::start(&origin.file, WatchConfig::default());
        let mut follower = Follower::new(origin, running, live);
        let mut records = never();
        if let Some(topic) = topic {
            follower.topic = topic.name().into();
            follower.said = topic.said().cloned();
            let (sender, receiver) = unbounded();
            records = receiver;
            let stopped = stopped.clone();
            std::thread::Builder::new().name("config-topic".into()).spawn(move || topic.follow(&sender, &stopped))?;
        }
        std::thread::Builder::new()
            .name("configuration".into())
            .spawn(move || follower.run(&watch, &records, &stopped))?;
        Ok(Self { _stop: stop })
    }
}

struct Follower {
    origin: Origin,
    running: Config,
    live: Live,
    settling: Settling,
    is_away: bool,
    /// The file's text, once it was settled.
    text: Option<String>,
    /// The topic's name, and its last record.
    topic: String,
    said: Option<Said>,
}

impl Follower {
    fn new(origin: Origin, running: Config, live: Live) -> Self {
        let settling = Settling::default();
        Self { origin, running, live, settling, is_away: false, text: None, topic: String::new(), said: None }
    }

    fn run(&mut self, watch: &Watch, records: &Receiver<Said>, stopped: &Receiver<()>) {
        let mut records = records.clone();
        let mut again = None;
        loop {
            let timer = again.map_or_else(never, crossbeam_channel::after);
            crossbeam_channel::select! {
                recv(stopped) -> _ => return,
                recv(watch.due()) -> _ => {}
                recv(timer) -> _ => {}
                recv(records) -> said => match said {
                    Ok(said) => {
                        self.hear(said);
                        continue;
                    }
                    Err(_) => records = never(),
                }
            }
            again = self.look(Instant::now());
        }
    }

    /// A record of the topic. Before the file is settled there is nothing to lay it over; then it is.
    fn hear(&mut self, said: Said) {
        self.said = Some(said);
        if self.text.is_some() {
            self.take_over();
        }
    }

    /// Looks at the file; returns after which time to look again though nothing happens.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        let text = match read_file(&self.origin.file) {
            Ok(text) => text,
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(error = format!("{error:#}"), "the configuration cannot be read; what runs stays");
                }
                self.settling.forget();
                return None;
            }
        };
        self.is_away = false;
        match self.settling.look(&text, now) {
            Settled::Known => None,
            Settled::Not(again) => Some(again),
            Settled::New => {
                self.text = Some(text);
                self.take_over();
                None
            }
        }
    }

    fn read(&self) -> Result<Config, String> {
        let layer =
            self.said.as_ref().map_or(Ok(None), |said| said.layer(&self.topic)).map_err(|error| error.to_string())?;
        let file = self.origin.file.display().to_string();
        read_layers(self.text.as_deref().unwrap_or_default(), &file, layer.as_ref(), &self.origin.overrides)
            .map_err(|error| error.to_string())
    }

    fn take_over(&mut self) {
        let file = self.origin.file.display().to_string();
        let offset = self.said.as_ref().map(|said| said.offset);
        let applied = self.read().and_then(|new| apply(&mut self.running, new, &self.live));
        let kind = match applied {
            Ok(keys) if keys.is_empty() => {
                tracing::debug!(file, offset, "the configuration says what runs already");
                return;
            }
            Ok(keys) => {
                tracing::info!(file, offset, changed = keys.join(", "), "configuration changed");
                "applied"
            }
            Err(reason) => {
                tracing::error!(file, offset, reason, "changed configuration refused; what runs stays");
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
            "a change of {} needs a restart, so nothing of this change is applied{}; restart the gateway, or undo that change",
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
        tracing::debug!(changes = changes.join(", "), "the plugins have the changed configuration");
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

/// Whether a text is whole: it is taken when two readings [`SETTLE`] apart found the same.
#[derive(Default)]
struct Settling {
    known: Option<[u8; 32]>,
    pending: Option<([u8; 32], Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It was taken before.
    Known,
    /// It is whole and not known.
    New,
    /// Look again after this.
    Not(Duration),
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
            return Settled::Not(SETTLE - quiet);
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
