//! From a file's bytes to a plugin: compiled in a process of its own, under limits, and no more than once.
//!
//! Compiling is the one thing that a file can make cost anything: a megabyte of WebAssembly can ask for hours and all of
//! the memory. So another process does it, which may be killed. What it gives is kept under the hash of the file.

mod cache;
pub(crate) mod child;

use std::sync::Arc;

use rowmill_sandbox::{Plugin, Refusal, Sandbox};

use self::cache::Cache;
use super::private::PrivateFolder;
use crate::config::CompileConfig;

/// Compiles plugins and loads them.
pub struct Compiler {
    config: CompileConfig,
    cache: Option<Cache>,
    sandbox: Arc<Sandbox>,
    engine_id: String,
}

impl Compiler {
    /// A compiler for plugins of this sandbox. Without a folder nothing is kept.
    pub fn new(config: CompileConfig, cache: Option<PrivateFolder>, sandbox: Arc<Sandbox>) -> Self {
        Self { config, cache: cache.map(Cache::new), engine_id: sandbox.engine_id(), sandbox }
    }

    /// Loads a plugin from a file's bytes, whose SHA-256 is `hash` in lower-case hexadecimal: by code that was compiled
    /// before, or compiles it.
    ///
    /// Takes up to the configuration's time; never call it on the data path.
    ///
    /// # Errors
    /// As [`Plugin::load`]; and of the step `compile`, if compiling takes more time or memory than it may, or its process
    /// cannot be started or crashes.
    pub fn load(&self, bytes: &[u8], hash: &str, may_import_wasi: impl Fn(&str) -> bool) -> Result<Plugin, Refusal> {
        let load = |compiled: &[u8]| Plugin::load_compiled(&self.sandbox, bytes, compiled, &may_import_wasi);
        if let Some(cache) = &self.cache
            && let Some(compiled) = cache.get(&self.engine_id, hash)
        {
            match load(&compiled) {
                Err(Refusal { step: "compile", reason }) => {
                    tracing::warn!(hash, %reason, "the compiled code that was kept cannot be loaded; it is compiled anew");
                }
                result => return result,
            }
        }
        let compiled = match &self.config.program {
            Some(program) => child::compile(program, &self.config, self.sandbox.limits().file_bytes, bytes)?,
            None => self.sandbox.compile(bytes)?,
        };
        if let Some(cache) = &self.cache {
            cache.put(&self.engine_id, hash, &compiled);
        }
        load(&compiled)
    }
}
