//! The seeds of a test, run on all cores; a failure says how to run its seed again.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Sets the range of seeds, for every test of this program that runs.
const VARIABLE: &str = "ROWMILL_CHAOS_SEEDS";

/// The most memory that any gateway used, in bytes.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Remembers the peak memory of a gateway, in bytes.
pub fn note_memory(bytes: u64) {
    MEMORY.fetch_max(bytes, Ordering::Relaxed);
}

/// Runs `case` with each seed of the range that the environment gives, otherwise with `default`, on `threads` threads.
///
/// # Panics
/// A seed fails; the message has its number and its failure.
#[track_caller]
pub fn run(test: &str, default: Range<u64>, threads: usize, case: impl Fn(u64) -> Result<(), String> + Sync) {
    let seeds = given().unwrap_or(default);
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || !lock(&failures).is_empty() {
                        return;
                    }
                    let result = panic::catch_unwind(AssertUnwindSafe(|| case(seed)));
                    let result = result.unwrap_or_else(|_| Err("it panicked; the message is above".into()));
                    if let Err(failure) = result {
                        lock(&failures).push(format!(
                            "seed {seed} failed; run it again with {VARIABLE}={seed}..{} and the test {test}\n{failure}",
                            seed + 1
                        ));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let memory = MEMORY.load(Ordering::Relaxed) / 1024 / 1024;
    if memory > 0 {
        eprintln!("{test}: no gateway used more than {memory} MiB");
    }
    eprintln!("{test}: seeds {seeds:?} without a difference in {:.0?}", start.elapsed());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The range that the environment gives.
///
/// # Panics
/// It is no range.
#[track_caller]
fn given() -> Option<Range<u64>> {
    let text = std::env::var(VARIABLE).ok()?;
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    Some(range.unwrap_or_else(|| panic!("{VARIABLE}={text:?} is no range; write 0..400")))
}
