//! Compiles a file's bytes into a plugin: in a separate process, under limits, and only once.
//!
//! A file can make compilation arbitrarily expensive: a megabyte of WebAssembly can take hours and all memory. So a separate
//! process compiles, which can be killed. Its result is cached under the hash of the file.

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
    /// A compiler for plugins of this sandbox. Without a folder, nothing is cached.
    pub fn new(config: CompileConfig, cache: Option<PrivateFolder>, sandbox: Arc<Sandbox>) -> Self {
        Self { config, cache: cache.map(Cache::new), engine_id: sandbox.engine_id(), sandbox }
    }

    /// Loads a plugin from a file's bytes, whose SHA-256 is `hash` in lower-case hexadecimal. Uses cached code if there is
    /// any, and otherwise compiles.
    ///
    /// May block up to the configured compile time; never call it on the data path.
    ///
    /// # Errors
    /// Those of [`Plugin::load`], and a refusal of the step `compile` if compiling exceeds its limits or its process cannot
    /// be started or crashes.
    pub fn load(&self, bytes: &[u8], hash: &str, may_import_wasi: impl Fn(&str) -> bool) -> Result<Plugin, Refusal> {
        let load = |compiled: &[u8]| Plugin::load_compiled(&self.sandbox, bytes, compiled, &may_import_wasi);
        if let Some(cache) = &self.cache
            && let Some(compiled) = cache.get(&self.engine_id, hash)
        {
            match load(&compiled) {
                Err(Refusal { step: "compile", reason }) => {
                    tracing::warn!(hash, %reason, "cannot load the cached code of a plugin; compiling it again");
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
