//! From the bytes of a file to a plugin that is known to fit, or a refusal that says what to do.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, Linker};

use crate::bindings::{Transform, TransformPre, rowmill::plugin::log};
use crate::contract::{CONTRACT_VERSION, CallError, Description};
use crate::engine::Sandbox;
use crate::instance::{HostState, Instance};
use crate::names::is_index_name;
use crate::pattern::Pattern;
use crate::reason::readable;
use crate::wasi;

/// Why a file is not used as a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Refusal {
    /// The step that refused it: `read`, `format`, `imports`, `exports`, `compile`, `instantiate`, `describe`,
    /// `configure`.
    pub step: &'static str,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(step: &'static str, reason: impl Into<String>) -> Self {
        // Names of a file's imports or the words of a plugin may be in it.
        Self { step, reason: readable(&reason.into()) }
    }
}

/// A plugin: compiled, type-checked, and asked to describe itself. Cheap to share; [`Plugin::instantiate`] makes what runs.
pub struct Plugin {
    sandbox: Arc<Sandbox>,
    pre: TransformPre<HostState>,
    description: Description,
    tables: Vec<Pattern>,
    indices: Vec<Pattern>,
    hash: String,
    size: usize,
    kind: FileKind,
    imports_wasi: bool,
}

/// What sort of file a plugin came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A core module; the component was made of it in process.
    CoreModule,
    /// A component.
    Component,
}

const GUEST: &str = "rowmill:plugin/guest@";
const PACKAGE: &str = "rowmill:plugin/";

impl Plugin {
    /// Loads a plugin from a file's bytes: a component, or a core module for the contract's world.
    ///
    /// Takes as long as compiling does (hundreds of milliseconds, seconds for one that brings a language's engine
    /// along); never call it on the data path.
    ///
    /// # Errors
    /// The file is not for this contract, asks for more than the contract offers, or breaks a limit.
    pub fn load(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> Result<Self, Refusal> {
        Self::load_with_wasi(sandbox, bytes, |_| false)
    }

    /// As [`Plugin::load`], and takes a component that imports WASI where `allowed` says so of the plugin's name. It
    /// gets a WASI that does nothing: no files, arguments, environment and network, a clock that stands still, the same
    /// random numbers in every call, and an output that goes to the log.
    ///
    /// # Errors
    /// As [`Plugin::load`].
    pub fn load_with_wasi(
        sandbox: &Arc<Sandbox>,
        bytes: &[u8],
        allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Self, Refusal> {
        let limit = sandbox.limits.file_bytes;
        if bytes.len() > limit {
            return Err(Refusal::new(
                "read",
                format!("the file has {} bytes, more than the limit of {limit}", bytes.len()),
            ));
        }
        let kind = file_kind(bytes)?;
        let component = match kind {
            FileKind::Component => Component::new(&sandbox.engine, bytes),
            FileKind::CoreModule => {
                let component = if check_core_module(bytes)? {
                    make_component(bytes)
                } else {
                    embed_contract(bytes).and_then(|bytes| make_component(&bytes))
                }
                .map_err(|error| {
                    Refusal::new("format", format!("no component can be made of this module: {error:#}"))
                })?;
                Component::new(&sandbox.engine, component)
            }
        };
        let component = component.map_err(|error| Refusal::new("compile", format!("{error:#}")))?;
        let wasi_import = check_component(sandbox, &component)?;

        let mut linker = Linker::new(&sandbox.engine);
        log::add_to_linker::<HostState, wasmtime::component::HasSelf<HostState>>(&mut linker, |state| state)
            .and_then(|()| wasi::add_to_linker(&mut linker, &component))
            .map_err(|error| Refusal::new("imports", format!("{error:#}")))?;
        let pre = linker
            .instantiate_pre(&component)
            .and_then(TransformPre::new)
            .map_err(|error| Refusal::new("exports", format!("{error:#}")))?;

        let mut instance =
            Instance::start(sandbox, &pre, "").map_err(|error| Refusal::new("instantiate", error.to_string()))?;
        let description = instance.describe().map_err(|error| Refusal::new("describe", error.to_string()))?;
        check_description(&description)?;
        // Asked this late since only now the name is known; until here such a plugin could do no more than any other.
        if let Some(import) = &wasi_import
            && !allowed(&description.name)
        {
            return Err(refused_wasi(import, &description.name));
        }
        Ok(Self {
            sandbox: sandbox.clone(),
            pre,
            tables: description.tables.iter().map(|table| Pattern::new(table)).collect(),
            indices: description
                .indices
                .iter()
                .filter(|index| !index.name.is_empty())
                .map(|index| Pattern::new(&index.name))
                .collect(),
            description,
            hash: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            size: bytes.len(),
            kind,
            imports_wasi: wasi_import.is_some(),
        })
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// SHA-256 of the file's bytes, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What sort of file it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Whether it imports WASI, and so gets one that does nothing.
    pub fn imports_wasi(&self) -> bool {
        self.imports_wasi
    }

    /// Whether the plugin wants rows of this table. `database` may be empty.
    pub fn wants(&self, database: &str, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(database, table))
    }

    /// The patterns of the indices that the plugin may name.
    pub fn indices(&self) -> &[Pattern] {
        &self.indices
    }

    /// A new instance, configured with `settings` (a JSON object).
    ///
    /// # Errors
    /// The plugin traps, or refuses its settings.
    pub fn instantiate(&self, settings: &str) -> Result<Instance, Refusal> {
        let mut instance = Instance::start(&self.sandbox, &self.pre, &self.description.name)
            .map_err(|error| Refusal::new("instantiate", error.to_string()))?;
        match instance.configure(settings) {
            Ok(()) => Ok(instance),
            Err(CallError::Refused(reason)) => Err(Refusal::new("configure", reason)),
            Err(CallError::Trapped(reason)) => Err(Refusal::new("configure", reason)),
        }
    }
}

fn file_kind(bytes: &[u8]) -> Result<FileKind, Refusal> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(FileKind::CoreModule),
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(FileKind::Component),
        Some([0, b'a', b's', b'm', ..]) => {
            Err(Refusal::new("format", "a WebAssembly file of a version that this host does not know"))
        }
        _ if bytes.is_empty() => Err(Refusal::new("format", "the file is empty")),
        _ => Err(Refusal::new("format", "not a WebAssembly file: it does not begin with \\0asm")),
    }
}

fn make_component(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default().module(module)?.validate(false).encode()
}

/// Adds the contract's types to a module of a toolchain that writes none, by hand or in another language.
fn embed_contract(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("rowmill-plugin.wit", include_str!("../../../wit/rowmill-plugin.wit"))?;
    let world = resolve.select_world(&[package], Some("transform"))?;
    let mut module = module.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8)?;
    Ok(module)
}

/// Refuses a core module by its imports and exports, in words that name what is wrong. What this lets through is
/// checked again, by type, when the component is made and linked. Tells whether the module says of what types it is.
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

/// Refuses a component by its imports and exports; tells the first import of WASI.
fn check_component(sandbox: &Sandbox, component: &Component) -> Result<Option<String>, Refusal> {
    let component_type = component.component_type();
    let mut wasi_import = None;
    for (import, _) in component_type.imports(&sandbox.engine) {
        if import.starts_with(wasi::WASI) {
            check_wasi_version(import)?;
            wasi_import.get_or_insert(import.to_string());
        } else {
            check_import(import, None)?;
        }
    }
    let exports: Vec<String> = component_type.exports(&sandbox.engine).map(|(name, _)| name.to_string()).collect();
    check_exports(exports.iter().map(String::as_str))?;
    Ok(wasi_import)
}

fn check_wasi_version(import: &str) -> Result<(), Refusal> {
    match import.split_once('@') {
        Some((_, version)) if version.starts_with("0.2.") => Ok(()),
        _ => Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, but of WASI the sandbox knows 0.2 alone: build it with a toolchain for that"
            ),
        )),
    }
}

fn refused_wasi(import: &str, name: &str) -> Refusal {
    Refusal::new(
        "imports",
        format!(
            "it imports `{import}`, but there is no WASI in the sandbox: no files, clock, network or environment. A plugin in Rust is built for wasm32-unknown-unknown. If its toolchain imports WASI whether it needs it or not, allow it with plugins.wasi = [\"{name}\"]: it then gets a WASI that does nothing"
        ),
    )
}

fn check_import(module: &str, name: Option<&str>) -> Result<(), Refusal> {
    let import = name.map_or(module.to_string(), |name| format!("{module}.{name}"));
    if module.starts_with("wasi") {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, but there is no WASI in the sandbox: no files, clock, network or environment. Build for wasm32-unknown-unknown and avoid std::time, std::fs, std::env and println!; or build a component, for wasm32-wasip2 say, which plugins.wasi can allow"
            ),
        ));
    }
    let Some(rest) = module.strip_prefix(PACKAGE) else {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, which is not part of the contract; a plugin may import only what wit/rowmill-plugin.wit offers"
            ),
        ));
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    if !matches!(interface, "log" | "types") {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, which contract {CONTRACT_VERSION} does not have; it was built for a newer one"
            ),
        ));
    }
    check_version(version, &import)
}

fn check_exports<'a>(exports: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut guest = None;
    let mut seen = Vec::new();
    for export in exports {
        match export.strip_prefix(GUEST) {
            Some(version) => guest = Some(version),
            None if seen.len() < 5 && !seen.contains(&export) => seen.push(export),
            None => {}
        }
    }
    match guest {
        Some(version) => check_version(version, &format!("{GUEST}{version}")),
        None => Err(Refusal::new(
            "exports",
            format!(
                "it does not export `{GUEST}{CONTRACT_VERSION}` (it exports {}); a Rust plugin does so by `rowmill_sdk::export!(MyPlugin)` in a crate with crate-type = [\"cdylib\"]",
                if seen.is_empty() { "nothing".to_string() } else { seen.join(", ") }
            ),
        )),
    }
}

fn check_version(version: &str, what: &str) -> Result<(), Refusal> {
    let number = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let ours = number(CONTRACT_VERSION).unwrap_or_default();
    match number(version) {
        Some((major, minor)) if major == ours.0 && minor <= ours.1 => Ok(()),
        Some((major, minor)) => Err(Refusal::new(
            "exports",
            format!(
                "built for contract {major}.{minor} (`{what}`), but this host speaks {CONTRACT_VERSION}: {}",
                if (major, minor) > ours {
                    "use a newer Rowmill, or an older SDK"
                } else {
                    "build it with the current SDK"
                }
            ),
        )),
        None => Err(Refusal::new("exports", format!("`{what}` names no version of the contract"))),
    }
}

fn check_description(description: &Description) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::new("describe", reason));
    let name = &description.name;
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return refuse(format!("the name {name:?} is not 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    for index in &description.indices {
        if !index.name.is_empty() && !is_index_pattern(&index.name) {
            return refuse(format!("{:?} is no index name or pattern that Elasticsearch could take", index.name));
        }
        if let Some(mapping) = &index.mapping
            && !matches!(serde_json::from_str(mapping), Ok(serde_json::Value::Object(_)))
        {
            return refuse(format!("the mapping of the index {:?} is not a JSON object", index.name));
        }
    }
    if let Some(schema) = &description.settings_schema
        && let Err(error) = serde_json::from_str::<serde_json::Value>(schema)
    {
        return refuse(format!("the settings schema is not JSON: {error}"));
    }
    Ok(())
}

/// Whether `name`, with `*` standing for any text, can be the name of an index.
fn is_index_pattern(name: &str) -> bool {
    is_index_name(&name.replace('*', "x"))
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.description.name).field("hash", &self.hash).finish_non_exhaustive()
    }
}

// Kept here so that the generated type is named once outside `instance`.
pub(crate) type Bindings = Transform;
