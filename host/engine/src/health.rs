//! Counters of one plugin generation.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of a generation: written by the workers, read by whoever decides whether the generation stays.
#[derive(Debug, Default)]
pub struct Health {
    rows: AtomicU64,
    failed: AtomicU64,
    regressed: AtomicU64,
    faults: AtomicU64,
    nanoseconds: AtomicU64,
    first_regressed: OnceLock<String>,
}

/// The counters of a generation at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Images that the generation was called with.
    pub rows: u64,
    /// Images that it failed on.
    pub failed: u64,
    /// Rows that it failed on although the last good generation accepts them.
    pub regressed: u64,
    /// Traps and answers that break the contract.
    pub faults: u64,
    /// Time spent in calls of the generation and on writing its documents.
    pub time: Duration,
}

impl Health {
    /// Adds a call with this many images.
    pub fn add(&self, rows: u64, time: Duration, faults: u32) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        if faults > 0 {
            self.faults.fetch_add(u64::from(faults), Ordering::Relaxed);
        }
    }

    /// Adds the time that was spent on writing the generation's documents.
    pub fn add_writing(&self, time: Duration) {
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Adds images that the generation failed on.
    pub fn add_failed(&self, images: u64) {
        self.failed.fetch_add(images, Ordering::Relaxed);
    }

    /// Adds a row that the generation failed on although the last good one accepts it; `why` is the row's table and the
    /// reason.
    pub fn add_regressed(&self, why: impl FnOnce() -> String) {
        self.first_regressed.get_or_init(why);
        self.regressed.fetch_add(1, Ordering::Relaxed);
    }

    /// The first row that the generation failed on although the last good one accepts it: its table and the reason.
    pub fn first_regressed(&self) -> Option<&str> {
        self.first_regressed.get().map(String::as_str)
    }

    /// The counters now.
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
    /// The difference to `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rows: self.rows - earlier.rows,
            failed: self.failed - earlier.failed,
            regressed: self.regressed - earlier.regressed,
            faults: self.faults - earlier.faults,
            time: self.time.saturating_sub(earlier.time),
        }
    }

    /// Microseconds per image on average; `None` before the first image.
    pub fn us_per_row(self) -> Option<f64> {
        (self.rows > 0).then(|| self.time.as_secs_f64() * 1e6 / self.rows as f64)
    }
}
