//! Runs the sandbox half of a plugin's tests with the program `rowmill`.
//!
//! The test program of a plugin does not contain wasmtime: compiling it would take minutes before the first test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::checkout;
use crate::input::Input;
use crate::outcome::{Outcome, from_ndjson};
use crate::report::CaseReport;

/// The environment variable with the path of the program.
pub const VARIABLE: &str = "ROWMILL_BIN";

/// Finds the program: the one in `ROWMILL_BIN`, or beside the running test, or the newest in the checkout of this crate, or in
/// `PATH`.
///
/// # Errors
/// There is none; the message says how to install it.
pub fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            bail!("{VARIABLE} is set to {}, which does not exist", named.display())
        };
    }
    let file = format!("rowmill{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join(&file)));
    if let Some(beside) = beside.filter(|path| path.is_file()) {
        return Ok(beside);
    }
    let built = checkout::find()
        .into_iter()
        .flat_map(|root| ["release", "debug"].map(|profile| root.join("target").join(profile).join(&file)));
    let age = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if let Some(newest) = built.filter(|path| path.is_file()).max_by_key(age) {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(installed) = std::env::split_paths(&path).map(|folder| folder.join(&file)).find(|path| path.is_file()) {
        return Ok(installed);
    }
    match checkout::find() {
        Some(root) => bail!(
            "the program `rowmill`, which runs the .wasm file in the sandbox, is not built; run `cargo build` in {}, or set {VARIABLE} to its path",
            root.display()
        ),
        None => bail!(
            "the program `rowmill`, which runs the .wasm file in the sandbox, is not in PATH; install it, or set {VARIABLE} to its path"
        ),
    }
}

/// Runs all cases of a folder on a `.wasm` file in the sandbox.
///
/// # Errors
/// The program is missing or refuses the file or a case.
pub fn run_cases(wasm: &Path, cases: &Path) -> anyhow::Result<Vec<CaseReport>> {
    let text = run(&["plugin", "test", "--json"], wasm, &[("--cases", cases)])?;
    text.lines().map(|line| serde_json::from_str(line).context("the output of `rowmill plugin test --json`")).collect()
}

/// Runs rows through a `.wasm` file in the sandbox; temporary files with rows and settings are written into `folder`.
///
/// # Errors
/// The program is missing, or refuses the file.
pub fn run_rows(wasm: &Path, settings: &str, input: &Input, folder: &Path) -> anyhow::Result<Vec<Outcome>> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let place = |name: &str| folder.join(format!("{}-{:?}-{name}", std::process::id(), std::thread::current().id()));
    let (rows, set) = (place("input.ndjson"), place("settings.json"));
    std::fs::write(&rows, input.to_ndjson()).with_context(|| rows.display().to_string())?;
    std::fs::write(&set, settings).with_context(|| set.display().to_string())?;
    let text = run(&["plugin", "run"], wasm, &[("--input", &rows), ("--settings", &set)]);
    let _ = std::fs::remove_file(rows);
    let _ = std::fs::remove_file(set);
    from_ndjson(&text?)
}

fn run(command: &[&str], wasm: &Path, files: &[(&str, &Path)]) -> anyhow::Result<String> {
    let program = find()?;
    let mut rowmill = Command::new(&program);
    rowmill.args(command).arg(wasm).stdin(Stdio::null());
    for (flag, path) in files {
        rowmill.arg(flag).arg(path);
    }
    let output = rowmill.output().with_context(|| format!("{} cannot be run", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        // 3: a case failed, which the caller detects itself.
        Some(0 | 3) => String::from_utf8(output.stdout).context("the output of rowmill"),
        Some(2) => bail!("{}: {}\ncheck that rowmill is as new as the SDK", program.display(), said.trim_end()),
        _ => bail!("{}: {}", program.display(), said.trim_end()),
    }
}
