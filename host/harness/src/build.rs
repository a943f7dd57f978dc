//! Builds the `.wasm` file of a plugin's crate, for `rowmill plugin build` and for the tests of a plugin.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::checkout;

/// The target of plugins.
const TARGET: &str = "wasm32-unknown-unknown";

/// The profile of plugins: like `release`, but smaller. The crate's `Cargo.toml` need not contain it, and may set `opt-level` in
/// `[profile.plugin]`.
const PROFILE: &[&str] = &[
    "profile.plugin.inherits=\"release\"",
    "profile.plugin.lto=\"fat\"",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic=\"abort\"",
    "profile.plugin.strip=true",
    "profile.plugin.debug=false",
];

/// The error if no compiler has the target.
const NO_TARGET: &str = "the compiler cannot build for wasm32-unknown-unknown; add the target with\n\n    \
                         rustup target add wasm32-unknown-unknown\n";

/// A plugin's crate, as cargo describes it.
#[derive(Clone, Debug)]
pub struct Crate {
    /// The folder of the crate.
    pub folder: PathBuf,
    /// The name of the package.
    pub name: String,
    /// The name of the library, which is the file name without its extension.
    pub library: String,
    /// The target folder for builds for this machine.
    pub target_folder: PathBuf,
}

/// Where the output of the compiler goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// To standard error immediately, for a user who waits.
    Shown,
    /// Into the error, if the build fails.
    Kept,
}

impl Crate {
    /// Asks cargo about the crate in a folder.
    ///
    /// # Errors
    /// The folder contains no crate, or a crate that produces no `.wasm` file.
    pub fn find(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        ensure!(
            manifest.is_file(),
            "there is no Cargo.toml in {}; pass the folder of the plugin's crate",
            folder.display()
        );
        let folder = folder.canonicalize()?;
        let output = cargo()
            .current_dir(&folder)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stdin(Stdio::null())
            .output()
            .context("cargo cannot be run; is Rust installed?")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo's metadata")?;
        let manifest = folder.join("Cargo.toml");
        let is_this =
            |package: &&Value| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
        let Some(package) = metadata["packages"].as_array().into_iter().flatten().find(is_this) else {
            bail!("{} is a workspace; pass the folder of the plugin's crate in it", folder.display());
        };
        let makes_wasm =
            |target: &&Value| target["crate_types"].as_array().is_some_and(|types| types.contains(&"cdylib".into()));
        let Some(library) = package["targets"].as_array().into_iter().flatten().find(makes_wasm) else {
            bail!(
                "the crate produces no .wasm file; its Cargo.toml needs\n\n    [lib]\n    crate-type = [\"cdylib\", \"rlib\"]\n"
            );
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Ok(Self {
            folder,
            name: text(&package["name"]),
            library: text(&library["name"]).replace('-', "_"),
            target_folder: text(&metadata["target_directory"]).into(),
        })
    }

    /// Builds the `.wasm` file, unless it is up to date, and returns its path.
    ///
    /// The build uses a separate target folder, so that it does not wait for another cargo, such as the one that runs the tests.
    ///
    /// # Errors
    /// It does not compile, or no compiler has the target; the message says how to install it.
    pub fn build(&self, words: Words) -> anyhow::Result<PathBuf> {
        let compiler = Compiler::find(&self.folder)?;
        let target_folder = self.target_folder.join("guests");
        let mut cargo = cargo();
        cargo
            .current_dir(&self.folder)
            .args(["build", "--lib", "--package", &self.name, "--profile", "plugin", "--target", TARGET])
            .arg("--target-dir")
            .arg(&target_folder)
            .stdin(Stdio::null())
            // Flags for this machine (such as coverage) must not apply to a plugin.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET");
        for setting in PROFILE {
            cargo.args(["--config", setting]);
        }
        compiler.apply(&mut cargo);
        match words {
            Words::Shown => {
                let status = cargo.status().context("cargo cannot be run; is Rust installed?")?;
                ensure!(status.success(), "{} does not compile; see the compiler's messages above", self.name);
            }
            Words::Kept => {
                let output = cargo.arg("--quiet").output().context("cargo cannot be run; is Rust installed?")?;
                ensure!(
                    output.status.success(),
                    "{} does not compile to WebAssembly:\n{}",
                    self.name,
                    String::from_utf8_lossy(&output.stderr).trim_end()
                );
            }
        }
        let built = target_folder.join(TARGET).join("plugin").join(format!("{}.wasm", self.library));
        ensure!(built.is_file(), "cargo did not build {}", built.display());
        Ok(built)
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A compiler that has the target, and its linker.
struct Compiler {
    /// `None` for cargo's own choice.
    other: Option<(PathBuf, OsString)>,
}

impl Compiler {
    fn find(folder: &Path) -> anyhow::Result<Self> {
        let usual = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        if has_target(Path::new(&usual), folder) {
            return Ok(Self { other: None });
        }
        // If rustup cannot fetch the target, scripts/setup-wasm.sh writes the paths of another compiler and its linker here.
        let note = checkout::find().and_then(|root| fs::read_to_string(root.join("target/wasm-rustc")).ok());
        if let Some((rustc, linker)) = note.as_deref().and_then(|note| note.trim_end().split_once('\n'))
            && has_target(Path::new(rustc), folder)
        {
            return Ok(Self { other: Some((rustc.into(), linker.into())) });
        }
        bail!("{NO_TARGET}")
    }

    fn apply(&self, cargo: &mut Command) {
        if let Some((rustc, linker)) = &self.other {
            cargo.env("RUSTC", rustc).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

/// Returns true if a compiler has a standard library for the target. It runs in the folder of the crate, since rustup selects
/// the toolchain by folder.
fn has_target(rustc: &Path, folder: &Path) -> bool {
    let output = Command::new(rustc)
        .current_dir(folder)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let libraries = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let mut files = fs::read_dir(libraries).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}
