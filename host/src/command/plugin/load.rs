//! A `.wasm` file in the sandbox, for the commands that show what it does.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rowmill_harness::{Reading, Settings};
use rowmill_sandbox::{Limits, Plugin, Sandbox};

use crate::sink::rules;

pub(super) use crate::plugins::cases::subject;

/// Reads a file and loads it as the gateway would, with the usual limits. A plugin that imports WASI is taken, with a word
/// of what the gateway wants for it.
pub(super) fn load(file: &Path) -> anyhow::Result<Arc<Plugin>> {
    load_bytes(file, &read(file)?)
}

/// The same with the bytes of the file.
pub(super) fn load_bytes(file: &Path, bytes: &[u8]) -> anyhow::Result<Arc<Plugin>> {
    let sandbox = Arc::new(Sandbox::new(Limits::default())?.with_name_rules(rules::elasticsearch()));
    let plugin =
        Plugin::load_with_wasi(&sandbox, bytes, |_| true).with_context(|| format!("{} is refused", file.display()))?;
    if plugin.imports_wasi() {
        let name = &plugin.description().name;
        eprintln!("it imports WASI: a gateway takes it only with `wasi = [{name:?}]` under [plugins]");
    }
    Ok(Arc::new(plugin))
}

pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

pub(super) fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    file.map_or(Ok(Settings::default()), Settings::read)
}

/// What a file of rows does not say itself, from the command line.
pub(super) fn reading(table: Option<&str>, types: Option<&Path>) -> anyhow::Result<Reading> {
    let mut reading = Reading { table: table.map(str::to_string), ..Reading::default() };
    types.map_or(Ok(()), |types| reading.declare(types))?;
    Ok(reading)
}
