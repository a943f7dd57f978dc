//! Compiles a file to machine code, after checking its imports and exports.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use crate::contract::CONTRACT_VERSION;
use crate::engine::Sandbox;
use crate::file::{FileKind, file_kind};
use crate::interface::{check_component, check_exports, check_import};
use crate::refusal::Refusal;
use crate::summary::FileSummary;

impl Sandbox {
    /// Compiles a file's bytes, a component or a core module for the contract's world, for [`crate::Plugin::load_compiled`].
    ///
    /// This takes hundreds of milliseconds, or seconds for a plugin that contains a language runtime. A malicious file can make
    /// it run without end, and only ending the process stops it.
    ///
    /// # Errors
    /// The file is too large, is not WebAssembly or not for this contract, or does not compile. The steps are `read`,
    /// `format`, `imports`, `exports` and `compile`.
    pub fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.check_size(bytes)?;
        let compiled = match file_kind(bytes)? {
            FileKind::Component => {
                let summary = FileSummary::read(bytes).map_err(|error| Refusal::new("format", error))?;
                check_component(
                    summary.imports.iter().map(String::as_str),
                    summary.exports.iter().map(String::as_str),
                )?;
                self.engine.precompile_component(bytes)
            }
            FileKind::CoreModule => {
                let component = if check_core_module(bytes)? {
                    make_component(bytes)
                } else {
                    embed_contract(bytes).and_then(|bytes| make_component(&bytes))
                }
                .map_err(|error| {
                    Refusal::new("format", format!("cannot build a component from this module: {error:#}"))
                })?;
                self.engine.precompile_component(&component)
            }
        };
        compiled.map_err(|error| Refusal::new("compile", format!("{error:#}")))
    }

    pub(crate) fn check_size(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let limit = self.limits.file_bytes;
        if bytes.len() > limit {
            return Err(Refusal::new(
                "read",
                format!("the file has {} bytes, more than the limit of {limit}", bytes.len()),
            ));
        }
        Ok(())
    }

    /// Identifies the engines that can run the compiled code, as 64 hexadecimal digits: a hash of the engine's version and
    /// settings, the features of this processor, and the contract's version.
    pub fn engine_id(&self) -> String {
        let mut hasher = StableHasher(Sha256::new());
        // It includes the engine's version.
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(CONTRACT_VERSION.as_bytes());
        hexadecimal(&hasher.0.finalize())
    }
}

/// SHA-256 as a `Hasher`. The standard library's hashers may change between releases.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn make_component(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default().module(module)?.validate(false).encode()
}

/// Adds the contract's types to a module whose toolchain does not embed them.
fn embed_contract(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("rowmill-plugin.wit", include_str!("../../../wit/rowmill-plugin.wit"))?;
    let world = resolve.select_world(&[package], Some("transform"))?;
    let mut module = module.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8)?;
    Ok(module)
}

/// Checks a core module's imports and exports by name, for clear error messages; their types are checked when the component
/// is built and linked. Returns whether the module embeds the contract's types.
fn check_core_module(bytes: &[u8]) -> Result<bool, Refusal> {
    let broken = |error: wasmparser::BinaryReaderError| Refusal::new("format", format!("broken WebAssembly: {error}"));
    let mut exports = Vec::new();
    let mut has_types = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(broken)?;
                    check_import(import.module, Some(import.name))?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(broken)?.name);
                }
            }
            Payload::CustomSection(section) => has_types |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    check_exports(exports.iter().map(|name| name.split('#').next().unwrap_or(name)))?;
    Ok(has_types)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::Limits;
    use crate::load::Plugin;

    fn keep() -> Vec<u8> {
        wat::parse_file(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/wat/keep.wat")).unwrap()
    }

    #[test]
    fn compiled_code_can_be_loaded_by_another_sandbox() {
        let bytes = keep();
        let compiled = Sandbox::new(Limits::default()).unwrap().compile(&bytes).unwrap();
        // The limits are not part of the code.
        let sandbox = Arc::new(Sandbox::new(Limits { memory_bytes: 2 << 20, ..Limits::default() }).unwrap());
        let plugin = Plugin::load_compiled(&sandbox, &bytes, &compiled, |_| false).unwrap();
        assert_eq!((plugin.description().name.as_str(), plugin.size()), ("wat-", bytes.len()));
        plugin.instantiate("{}").unwrap();
        assert_eq!(sandbox.engine_id(), Sandbox::new(Limits::default()).unwrap().engine_id());
        assert_eq!(sandbox.engine_id().len(), 64);
    }

    #[test]
    fn code_of_another_engine_is_rejected() {
        let bytes = keep();
        let sandbox = Arc::new(Sandbox::new(Limits::default()).unwrap());
        let other = wasmtime::Engine::new(&wasmtime::Config::new()).unwrap();
        let component = make_component(&embed_contract(&bytes).unwrap()).unwrap();
        for code in
            [other.precompile_component(&component).unwrap(), other.precompile_module(&bytes).unwrap(), bytes.clone()]
        {
            let refusal = Plugin::load_compiled(&sandbox, &bytes, &code, |_| false).unwrap_err();
            assert_eq!(refusal.step, "compile", "{refusal}");
            assert!(refusal.reason.contains("not of this engine"), "{refusal}");
        }
    }
}
