//! Waits for other threads and processes: with a condition and a deadline, never with a fixed sleep.

use std::thread;
use std::time::{Duration, Instant};

/// The pause between two checks of a condition.
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
pub fn value<T>(what: &str, deadline: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(deadline, look).unwrap_or_else(|| panic!("waited {deadline:?} in vain: {what}"))
}

/// Waits until there is a value, and returns it; `None` when there is none within `deadline`.
pub fn within<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return Some(value);
        }
        if start.elapsed() >= deadline {
            return None;
        }
        thread::park_timeout(PAUSE);
    }
}
