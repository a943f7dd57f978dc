//! What the integration tests share: plugins built from source, scratch folders, fixtures, and waiting without sleeping.

pub mod guests;
pub mod wait;

use std::path::{Path, PathBuf};

pub use tempfile::TempDir;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the repository")
}

/// A file of `tests/fixtures`, which has to be there.
///
/// # Panics
/// It is not.
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
