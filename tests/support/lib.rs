//! Shared code of the integration tests: plugins built from source, scratch folders, fixtures, and waiting for conditions.

pub mod bombs;
pub mod captures;
pub mod elasticsearch;
pub mod gateway;
pub mod guests;
pub mod history;
pub mod javascript;
pub mod kafka;
pub mod secured;
pub mod tables;
pub mod wait;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use tempfile::TempDir;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository")
}

/// A file of `tests/fixtures`.
///
/// # Panics
/// It does not exist.
#[track_caller]
pub fn fixture(name: &str) -> PathBuf {
    let path = root().join("tests/fixtures").join(name);
    assert!(path.exists(), "there is no fixture {}", path.display());
    path
}

/// A folder that is removed when it is dropped, under `target/tmp`.
///
/// # Panics
/// It cannot be made.
#[track_caller]
pub fn scratch(name: &str) -> TempDir {
    let parent = root().join("target/tmp");
    std::fs::create_dir_all(&parent).expect("target/tmp can be made");
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent).expect("a scratch folder can be made")
}

/// A unique name, since parallel tests and later runs share the servers.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_micros();
    format!("{name}-{:x}-{:x}-{:x}", now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The value of an environment variable that names a server.
///
/// # Panics
/// It is not set.
pub fn given(variable: &str) -> String {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| panic!("{variable} names no server; `make test` starts one, or set it to one of yours"))
}

/// Reports on the terminal that tests do not run because a tool is missing. The test runner hides what a passing test prints with
/// `eprintln!`, so this writes past it.
pub fn report_skipped(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "NOT RUN: {reason}");
}

/// The seed of a test's random choices, printed so that a failure can be reproduced with `ROWMILL_TEST_SEED`.
pub fn seed() -> u64 {
    let given = std::env::var("ROWMILL_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: run again with ROWMILL_TEST_SEED={seed}");
    seed
}
