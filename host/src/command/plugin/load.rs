//! Loads a `.wasm` file into the sandbox for the `rowmill plugin` commands.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rowmill_harness::{Reading, Settings};
use rowmill_sandbox::{Limits, Plugin, Sandbox};

use crate::sink::rules;

pub(super) use crate::plugins::cases::subject;

/// Reads a file and loads it as the gateway would, with the default limits. Accepts a plugin that imports WASI, and prints
/// the setting that a gateway needs for it.
pub(super) fn load(file: &Path) -> anyhow::Result<Arc<Plugin>> {
    load_bytes(file, &read(file)?)
}

/// Loads a plugin from the bytes of its file.
pub(super) fn load_bytes(file: &Path, bytes: &[u8]) -> anyhow::Result<Arc<Plugin>> {
    let sandbox = Arc::new(Sandbox::new(Limits::default())?.with_name_rules(rules::elasticsearch()));
    let plugin =
        Plugin::load_with_wasi(&sandbox, bytes, |_| true).with_context(|| format!("{} is refused", file.display()))?;
    if plugin.imports_wasi() {
        let name = &plugin.description().name;
        eprintln!("the plugin imports WASI; a gateway accepts it only with `wasi = [{name:?}]` under [plugins]");
    }
    Ok(Arc::new(plugin))
}

pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

pub(super) fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    file.map_or(Ok(Settings::default()), Settings::read)
}

/// How to read a file of rows, from the command line options.
pub(super) fn reading(table: Option<&str>, types: Option<&Path>) -> anyhow::Result<Reading> {
    let mut reading = Reading { table: table.map(str::to_string), ..Reading::default() };
    types.map_or(Ok(()), |types| reading.declare(types))?;
    Ok(reading)
}
