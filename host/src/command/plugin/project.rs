//! A plugin's project folder: detects its language and builds its `.wasm` file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rowmill_harness::build::{Crate, Words};

/// The result of a build.
pub(super) struct Built {
    /// The `.wasm` file that the compiler wrote.
    pub file: PathBuf,
    /// A short path for the result, to show to the user.
    pub place: PathBuf,
}

/// Checks that a folder contains a plugin project.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    if is_javascript(folder) { Ok(()) } else { Crate::find(folder).map(drop) }
}

fn is_javascript(folder: &Path) -> bool {
    folder.join("package.json").is_file() && !folder.join("Cargo.toml").is_file()
}

/// Builds a JavaScript plugin with its npm script `build`.
fn build_javascript(folder: &Path) -> anyhow::Result<Built> {
    let npm = |arguments: &[&str]| {
        // npm's messages go to standard error; standard output is for this command's result.
        let status = Command::new("npm")
            .args(arguments)
            .current_dir(folder)
            .stdout(std::io::stderr())
            .status()
            .context("cannot run npm; a plugin in JavaScript needs Node.js 20 or newer with npm")?;
        anyhow::ensure!(status.success(), "`npm {}` failed; see its output above", arguments.join(" "));
        Ok(())
    };
    if !folder.join("node_modules").is_dir() {
        npm(&["install", "--no-audit", "--no-fund"])?;
    }
    npm(&["run", "--silent", "build"])?;
    let text = std::fs::read_to_string(folder.join("package.json")).context("cannot read package.json")?;
    let package: serde_json::Value = serde_json::from_str(&text).context("package.json")?;
    let name = package["name"].as_str().context("package.json has no name")?;
    let file = folder.join(format!("{name}.wasm"));
    anyhow::ensure!(file.is_file(), "the script `build` in package.json did not create {}", file.display());
    Ok(Built { place: file.clone(), file })
}

/// Builds the plugin in a folder. The compiler's messages go to standard error.
pub(super) fn build(folder: &Path) -> anyhow::Result<Built> {
    if is_javascript(folder) {
        return build_javascript(folder);
    }
    let package = Crate::find(folder)?;
    let file = package.build(Words::Shown)?;
    let place = package.target_folder.join(format!("{}.wasm", package.name));
    Ok(Built { file, place })
}

/// The paths to watch for changes of a plugin's source, besides its cases.
pub(super) fn sources(folder: &Path) -> Vec<PathBuf> {
    let names = ["src", "Cargo.toml", "build.rs", "plugin.js", "plugin.ts", "package.json"];
    names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}
