//! What rows cost: time, the instance's memory, and the bytes that went in and came out.

use std::time::{Duration, Instant};

use rowmill_sandbox::{Batch, Guest};
use serde::{Deserialize, Serialize};

/// How long the calls are repeated at least, so that the time a row means something.
const LONG_ENOUGH: Duration = Duration::from_millis(30);
/// How often they are repeated at most.
const MOST_ROUNDS: u32 = 10_000;

/// What the rows of an input cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// How many images (in the mode `change`: changes) the plugin was shown.
    pub shown: u64,
    /// Microseconds an image, of the call alone, warm.
    pub microseconds: f64,
    /// Bytes that went into the plugin, cells and their ends, of all images together.
    pub bytes_in: u64,
    /// Bytes that came out of it.
    pub bytes_out: u64,
    /// Memory of the instance in bytes; `None` for native code, which has none of its own.
    pub memory: Option<u64>,
}

impl Figures {
    /// One line for people.
    pub fn line(&self) -> String {
        let each = |bytes: u64| bytes as f64 / self.shown.max(1) as f64;
        let memory =
            self.memory.map_or(String::new(), |bytes| format!(", {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
        format!(
            "{:.2} µs a row, {:.0} bytes in, {:.0} out{memory}",
            self.microseconds,
            each(self.bytes_in),
            each(self.bytes_out)
        )
    }
}

/// Measures calls with these batches; `None` where there is none, or one fails.
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
    while rounds < MOST_ROUNDS && (rounds == 0 || begin.elapsed() < LONG_ENOUGH) {
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
