//! Shows progress while rows flow: a live line on a terminal, otherwise a log line every ten seconds.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::metrics::Metrics;

/// The interval of log lines without a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of updates on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The live line, if there is one. Log lines are printed above it.
fn bar() -> &'static Mutex<Option<ProgressBar>> {
    static BAR: OnceLock<Mutex<Option<ProgressBar>>> = OnceLock::new();
    BAR.get_or_init(Mutex::default)
}

/// Shows progress until it is dropped.
pub(super) struct Progress {
    stop: Option<crossbeam_channel::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub fn start(metrics: Arc<Metrics>) -> Self {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let terminal = std::io::stderr().is_terminal();
        let thread =
            std::thread::Builder::new().name("progress".into()).spawn(move || show(&metrics, terminal, &stopped)).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(metrics: &Metrics, terminal: bool, stopped: &crossbeam_channel::Receiver<()>) {
    if terminal {
        let line = ProgressBar::new_spinner().with_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        *bar().lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
    let (mut before, mut then) = (metrics.events.get(), Instant::now());
    let interval = if terminal { DRAW_INTERVAL } else { LOG_INTERVAL };
    while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
        let events = metrics.events.get();
        let rate = (events - before) as f64 / then.elapsed().as_secs_f64();
        (before, then) = (events, Instant::now());
        let text = format!(
            "{events} events · {rate:.0}/s · {} rows · {} written · {} stale · {} filtered · {} dead letters · {:.1} MiB in flight{}",
            metrics.rows.get(),
            metrics.written_total(),
            metrics.stale.get(),
            metrics.filtered.get(),
            metrics.dead_letters_total(),
            metrics.bytes_in_flight.get() as f64 / f64::from(1 << 20),
            if metrics.paused.get() == 1 { " · paused: waiting for the sink" } else { "" },
        );
        // Clone it and release the lock: logging a line takes the lock too.
        let line = bar().lock().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) => {
                line.set_message(text);
                line.tick();
            }
            None => tracing::info!("{text}"),
        }
    }
    let line = bar().lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(line) = line {
        line.finish_and_clear();
    }
}

/// Writes log lines to standard error, above the live line.
pub(super) struct LogWriter(Vec<u8>);

impl LogWriter {
    pub fn new() -> Self {
        Self(Vec::new())
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let write = |bytes: &[u8]| {
            let _ = std::io::stderr().write_all(bytes);
        };
        let line = bar().lock().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) => line.suspend(|| write(&self.0)),
            None => write(&self.0),
        }
    }
}
