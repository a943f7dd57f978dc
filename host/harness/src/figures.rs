//! Measures the cost of rows: time, memory of the instance, and bytes in and out.

use std::time::{Duration, Instant};

use rowmill_sandbox::{Batch, Guest};
use serde::{Deserialize, Serialize};

/// The minimum time for which calls are repeated, so that the time per row is meaningful.
const MIN_TIME: Duration = Duration::from_millis(30);
/// The maximum number of repetitions.
const MAX_ROUNDS: u32 = 10_000;

/// The cost of the rows of an input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The number of images (in the mode `change`: changes) that the plugin processed.
    pub shown: u64,
    /// Microseconds per image, for warm calls alone.
    pub microseconds: f64,
    /// Bytes passed to the plugin for all images: cells and their end positions.
    pub bytes_in: u64,
    /// Bytes returned by the plugin.
    pub bytes_out: u64,
    /// Memory of the instance in bytes; `None` for native code.
    pub memory: Option<u64>,
}

impl Figures {
    /// One line for users.
    pub fn line(&self) -> String {
        let each = |bytes: u64| bytes as f64 / self.shown.max(1) as f64;
        let memory =
            self.memory.map_or(String::new(), |bytes| format!(", {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
        format!(
            "{:.2} µs per row, {:.0} bytes in, {:.0} out{memory}",
            self.microseconds,
            each(self.bytes_in),
            each(self.bytes_out)
        )
    }
}

/// Measures calls with these batches; `None` if there are none, or a call fails.
pub(crate) fn measure(guest: &mut dyn Guest, batches: &[Batch]) -> Option<Figures> {
    let shown: u64 = batches.iter().map(|batch| u64::from(batch.count)).sum();
    if shown == 0 {
        return None;
    }
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for batch in batches {
        let answer = guest.transform(batch).ok()?;
        bytes_in += batch.bytes.len() + batch.operations.len() + 4 * batch.cells.len();
        bytes_out += answer.bytes.len() + 4 * (answer.verdicts.len() + answer.names.len());
    }
    let begin = Instant::now();
    let mut rounds = 0_u32;
    while rounds < MAX_ROUNDS && (rounds == 0 || begin.elapsed() < MIN_TIME) {
        for batch in batches {
            guest.transform(batch).ok()?;
        }
        rounds += 1;
    }
    Some(Figures {
        shown,
        microseconds: begin.elapsed().as_secs_f64() * 1e6 / f64::from(rounds) / shown as f64,
        bytes_in: bytes_in as u64,
        bytes_out: bytes_out as u64,
        memory: guest.memory_bytes().map(|bytes| bytes as u64),
    })
}
