//! The configuration changed while rows flow: plugins' settings, routes, batch sizes and retry limits are taken over from
//! the file without a restart. A change is taken over as a whole or refused as a whole, and what runs then stays.

mod difference;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::difference::Difference;
use crate::config::{BulkConfig, Config, Overrides, WatchConfig, read_text};
use crate::metrics::{Kind, Metrics};
use crate::plugins::control::Control;
use crate::plugins::folder::{SETTLE, read_plain};
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
    /// Follows the configuration file; `running` is what the gateway was started with. What is no plain file (a pipe) is
    /// read once only, and not followed.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(origin: Origin, running: Config, live: Live) -> anyhow::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        if origin.file.metadata().is_ok_and(|found| !found.is_file()) {
            tracing::info!(file = %origin.file.display(), "the configuration is no plain file: its changes are not followed");
            return Ok(Self { _stop: stop });
        }
        let watch = Watch::start(&origin.file, WatchConfig::default());
        let mut follower = Follower { origin, running, live, settling: Settling::default(), is_away: false };
        std::thread::Builder::new().name("configuration".into()).spawn(move || follower.run(&watch, &stopped))?;
        Ok(Self { _stop: stop })
    }
}

struct Follower {
    origin: Origin,
    running: Config,
    live: Live,
    settling: Settling,
    is_away: bool,
}

impl Follower {
    fn run(&mut self, watch: &Watch, stopped: &Receiver<()>) {
        let mut again = None;
        loop {
            let timer = again.map_or_else(crossbeam_channel::never, crossbeam_channel::after);
            crossbeam_channel::select! {
                recv(stopped) -> _ => return,
                recv(watch.due()) -> _ => {}
                recv(timer) -> _ => {}
            }
            again = self.look(Instant::now());
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
                self.take_over(&text);
                None
            }
        }
    }

    fn take_over(&mut self, text: &str) {
        let file = self.origin.file.display().to_string();
        let applied = read_text(text, &file, &self.origin.overrides)
            .map_err(|error| error.to_string())
            .and_then(|new| apply(&mut self.running, new, &self.live));
        let kind = match applied {
            Ok(keys) if keys.is_empty() => {
                tracing::debug!(file, "the configuration says what runs already");
                return;
            }
            Ok(keys) => {
                tracing::info!(file, changed = keys.join(", "), "configuration changed");
                "applied"
            }
            Err(reason) => {
                tracing::error!(file, reason, "changed configuration refused; what runs stays");
                "refused"
            }
        };
        self.live.metrics.config_changes.get_or_create(&Kind { kind: kind.into() }).inc();
    }
}

/// Takes over what differs, all of it or nothing. Returns the keys.
fn apply(running: &mut Config, mut new: Config, live: &Live) -> Result<Vec<String>, String> {
    new.plugins.compile.program.clone_from(&running.plugins.compile.program);
    let difference = Difference::between(running, &new);
    if !difference.restart.is_empty() {
        return Err(format!(
            "a change of {} needs a restart, so nothing of this change is taken over{}; restart the gateway, or take that back",
            difference.restart.join(", "),
            match &difference.live[..] {
                [] => String::new(),
                keys => format!(" ({} could be without it)", keys.join(", ")),
            }
        ));
    }
    // What can be refused comes first.
    if running.plugins != new.plugins || running.routes != new.routes {
        for change in live.control.configure(new.plugins.clone(), new.routes.clone())? {
            tracing::info!("{change}");
        }
    }
    live.bulk.send_if_modified(|bulk| std::mem::replace(bulk, new.sink.bulk()) != new.sink.bulk());
    *running = new;
    Ok(difference.live)
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let name = || path.display().to_string();
    let bytes = read_plain(path, MAX_BYTES).with_context(name)?;
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
