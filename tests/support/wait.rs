//! Waiting for what another thread or process does: a condition and a deadline, never a pause of a guessed length.

use std::thread;
use std::time::{Duration, Instant};

/// How long to pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until the condition holds.
///
/// # Panics
/// It does not within `deadline`; the message says `what` was waited for.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    value(what, deadline, || condition().then_some(()));
}

/// Waits until there is a value, and returns it.
///
/// # Panics
/// There is none within `deadline`; the message says `what` was waited for.
#[track_caller]
pub fn value<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        thread::park_timeout(PAUSE);
    }
}
