//! The checkout that this program or crate was built from, if it still exists.

use std::path::{Path, PathBuf};

/// The folder of Rowmill's source: the one in which this crate was built, or the nearest one above the running program. `None`
/// if neither exists, as for a crate or program from a package registry.
pub fn find() -> Option<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_checkout = |folder: &Path| folder.join("plugin-sdk/Cargo.toml").is_file() && folder.join("wit").is_dir();
    if is_checkout(&built_in) {
        return built_in.canonicalize().ok();
    }
    let program = std::env::current_exe().ok()?;
    program.ancestors().find(|folder| is_checkout(folder)).map(Path::to_path_buf)
}
