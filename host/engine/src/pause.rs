//! How long work took, on the clock and of the thread's own processor time.

use std::time::{Duration, Instant};

/// Time that a batch spends waiting for a newly published chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Wall-clock time, including whatever else the machine did meanwhile.
    pub wall: Duration,
    /// Processor time of the worker thread.
    pub processor: Duration,
}

impl std::ops::Add for Pause {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, processor: self.processor + other.processor }
    }
}

/// Measures a pause.
pub struct Stopwatch(Instant, cpu_time::ThreadTime);

impl Stopwatch {
    /// Starts to measure on this thread.
    pub fn start() -> Self {
        Self(Instant::now(), cpu_time::ThreadTime::now())
    }

    /// The time since the start; must be called on the thread that started.
    pub fn stop(self) -> Pause {
        Pause { wall: self.0.elapsed(), processor: self.1.elapsed() }
    }
}
