//! How a generation does, and who is called when it does badly.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a generation does: counted by the workers, read by whoever decides whether it stays.
#[derive(Debug, Default)]
pub struct Health {
    rows: AtomicU64,
    failed: AtomicU64,
    regressed: AtomicU64,
    faults: AtomicU64,
    nanoseconds: AtomicU64,
    first_regressed: OnceLock<String>,
}

/// The figures of a generation at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Images of rows that it saw.
    pub rows: u64,
    /// Those that it failed.
    pub failed: u64,
    /// Rows that it failed and the last good generation did not.
    pub regressed: u64,
    /// Traps and answers that cannot be read.
    pub faults: u64,
    /// Time spent in it.
    pub time: Duration,
}

impl Health {
    /// Adds a call.
    pub(super) fn add(&self, rows: u64, time: Duration, faults: u32) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        if faults > 0 {
            self.faults.fetch_add(u64::from(faults), Ordering::Relaxed);
        }
    }

    /// Adds images that it failed.
    pub(super) fn add_failed(&self, images: u64) {
        self.failed.fetch_add(images, Ordering::Relaxed);
    }

    /// Adds a row that it failed and the last good generation did not; `why` is its table and the reason.
    pub(super) fn add_regressed(&self, why: impl FnOnce() -> String) {
        self.first_regressed.get_or_init(why);
        self.regressed.fetch_add(1, Ordering::Relaxed);
    }

    /// The first row that it failed and the last good generation did not: its table, and why it failed.
    pub fn first_regressed(&self) -> Option<&str> {
        self.first_regressed.get().map(String::as_str)
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            rows: of(&self.rows),
            failed: of(&self.failed),
            regressed: of(&self.regressed),
            faults: of(&self.faults),
            time: Duration::from_nanos(of(&self.nanoseconds)),
        }
    }
}

impl Figures {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rows: self.rows - earlier.rows,
            failed: self.failed - earlier.failed,
            regressed: self.regressed - earlier.regressed,
            faults: self.faults - earlier.faults,
            time: self.time.saturating_sub(earlier.time),
        }
    }

    /// Microseconds an image, on average; `None` before the first.
    pub fn us_per_row(self) -> Option<f64> {
        (self.rows > 0).then(|| self.time.as_secs_f64() * 1e6 / self.rows as f64)
    }
}

/// Calls the thread that decides over generations, so that it looks at their figures now.
#[derive(Clone, Debug)]
pub struct Alarm(crossbeam_channel::Sender<()>);

impl Alarm {
    /// An alarm, and where it is heard. Any number of rings that were not heard yet are one.
    pub fn channel() -> (Self, crossbeam_channel::Receiver<()>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        (Self(sender), receiver)
    }

    /// Rings.
    pub fn ring(&self) {
        // Full: it is about to be heard. Closed: nobody decides any more.
        let _ = self.0.try_send(());
    }
}
