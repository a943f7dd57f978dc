//! Loads plugins: checks that compiled code fits the contract and asks it to describe itself.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};

use crate::bindings::{TransformPre, rowmill::plugin::log};
use crate::compile::hexadecimal;
use crate::contract::{CallError, Description};
use crate::engine::Sandbox;
use crate::file::{FileKind, file_kind};
use crate::host_state::HostState;
use crate::instance::Instance;
use crate::interface::{check_component, refused_wasi};
use crate::pattern::Pattern;
use crate::refusal::Refusal;
use crate::rules::NameRules;
use crate::wasi;

/// A plugin that is compiled, type-checked and has described itself. [`Plugin::instantiate`] starts instances of it.
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

impl Plugin {
    /// Loads a plugin from a file's bytes: a component, or a core module for the contract's world.
    ///
    /// This compiles the file, which takes hundreds of milliseconds, or seconds for a plugin that contains a language runtime.
    /// Never call it on the data path.
    ///
    /// # Errors
    /// The file is not for this contract, imports more than the contract offers, or exceeds a limit.
    pub fn load(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> Result<Self, Refusal> {
        Self::load_with_wasi(sandbox, bytes, |_| false)
    }

    /// As [`Plugin::load`], but also accepts components that import WASI if `allowed` returns true for the plugin's name. They
    /// get a stub of WASI: no files, arguments, environment and network, a stopped clock, the same random numbers in every
    /// call, and output that goes to the log.
    ///
    /// # Errors
    /// As [`Plugin::load`].
    pub fn load_with_wasi(
        sandbox: &Arc<Sandbox>,
        bytes: &[u8],
        allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Self, Refusal> {
        let compiled = sandbox.compile(bytes)?;
        Self::load_compiled(sandbox, bytes, &compiled, allowed)
    }

    /// As [`Plugin::load_with_wasi`], with a file that [`Sandbox::compile`] compiled earlier, in this program and with the
    /// same [`Sandbox::engine_id`], possibly in another process or run.
    ///
    /// **`compiled` is machine code that runs outside of any sandbox.** The engine detects code of another version or for
    /// another processor, but nothing else. The caller must guarantee that these exact bytes were written by
    /// [`Sandbox::compile`], by where they are stored and by their hash.
    ///
    /// # Errors
    /// As [`Plugin::load`], except for the errors of [`Sandbox::compile`]. The step is `compile` if the code is of another
    /// engine.
    pub fn load_compiled(
        sandbox: &Arc<Sandbox>,
        bytes: &[u8],
        compiled: &[u8],
        allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Self, Refusal> {
        sandbox.check_size(bytes)?;
        let kind = file_kind(bytes)?;
        let component = deserialize(sandbox, compiled)?;
        let component_type = component.component_type();
        let exports: Vec<&str> = component_type.exports(&sandbox.engine).map(|(name, _)| name).collect();
        let wasi_import =
            check_component(component_type.imports(&sandbox.engine).map(|(name, _)| name), exports.into_iter())?;

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
        check_description(&description, &sandbox.rules)?;
        // The name is known only now. Until here such a plugin could do no more than any other.
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
            hash: hexadecimal(&Sha256::digest(bytes)),
            size: bytes.len(),
            kind,
            imports_wasi: wasi_import.is_some(),
        })
    }

    /// The plugin's description of itself.
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

    /// The kind of its file.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Whether it imports WASI, and so gets the stub.
    pub fn imports_wasi(&self) -> bool {
        self.imports_wasi
    }

    /// Whether the plugin wants rows of this table. `database` may be empty.
    pub fn wants(&self, database: &str, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(database, table))
    }

    /// Patterns of the indices that the plugin may write to.
    pub fn indices(&self) -> &[Pattern] {
        &self.indices
    }

    /// Starts a new instance and configures it with `settings`, a JSON object.
    ///
    /// # Errors
    /// The plugin traps or rejects its settings.
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

#[allow(unsafe_code, reason = "the engine cannot tell compiled code from any other bytes; see `Plugin::load_compiled`")]
fn deserialize(sandbox: &Sandbox, compiled: &[u8]) -> Result<Component, Refusal> {
    // SAFETY: the caller of `Plugin::load_compiled` guarantees that the bytes come from `Sandbox::compile`, which calls
    // `Engine::precompile_component`.
    unsafe { Component::deserialize(&sandbox.engine, compiled) }
        .map_err(|error| Refusal::new("compile", format!("the compiled code is not of this engine: {error:#}")))
}

fn check_description(description: &Description, rules: &NameRules) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::new("describe", reason));
    let name = &description.name;
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return refuse(format!("the name {name:?} is not 1 to 64 letters, digits, `-`, `_` or `.`"));
    }
    for index in &description.indices {
        if !index.name.is_empty() && !rules.is_index_pattern(&index.name) {
            return refuse(format!("{:?} is not a valid index name or pattern", index.name));
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

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.description.name).field("hash", &self.hash).finish_non_exhaustive()
    }
}
