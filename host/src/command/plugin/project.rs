//! A plugin's source folder: what it is written in, and how it becomes a `.wasm` file.

use std::path::{Path, PathBuf};

use rowmill_harness::build::{Crate, Words};

/// A plugin that was built.
pub(super) struct Built {
    /// The `.wasm` file where the compiler left it.
    pub file: PathBuf,
    /// Where a person finds it: a short path.
    pub place: PathBuf,
}

/// Whether a plugin's source is in a folder.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    Crate::find(folder).map(drop)
}

/// Builds the plugin whose source is in a folder; the compiler's messages appear as they are.
pub(super) fn build(folder: &Path) -> anyhow::Result<Built> {
    let package = Crate::find(folder)?;
    let file = package.build(Words::Shown)?;
    let place = package.target_folder.join(format!("{}.wasm", package.name));
    Ok(Built { file, place })
}

/// What to watch for changes of a plugin's source, besides its cases.
pub(super) fn sources(folder: &Path) -> Vec<PathBuf> {
    ["src", "Cargo.toml", "build.rs"].iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}
