//! Where the store takes its time from: the system, or a test that moves it by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The store's source of time. Tombstones, refreshes and scrolls expire by it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's own time.
    pub fn system() -> Clock {
        Clock(Source::System(Instant::now()))
    }

    /// A time that stands still until [`Clock::advance`] moves it. Clones share it.
    pub fn manual() -> Clock {
        Clock(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// Moves a manual clock on; the system's clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanoseconds) = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            nanoseconds.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// The time since the clock was made.
    pub(crate) fn now(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(nanoseconds) => Duration::from_nanos(nanoseconds.load(Ordering::SeqCst)),
        }
    }

    /// Milliseconds since 1970 by the system's time; only shown, never reckoned with.
    pub(crate) fn wall_milliseconds() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or_default()
    }
}
