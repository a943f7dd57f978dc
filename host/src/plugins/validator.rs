//! The validator from a file's bytes to a generation that may be published. Every step may refuse, with what is wrong and
//! what to do; the last step, a probe on real rows, is [`crate::transform::probe`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rowmill_sandbox::Sandbox;

use super::cases;
use super::compile::Compiler;
use super::generation::Generation;
use super::private::PrivateFolder;
use super::trust::Trust;
use crate::config::PluginConfig;
use rowmill_engine::ChainPlugin;

/// The validator, with what the configuration says of it.
pub(super) struct Validator {
    trust: Trust,
    compiler: Compiler,
    wasi: Vec<String>,
    settings: BTreeMap<String, String>,
    /// Instances that are made before a generation is published: one a worker.
    instances: usize,
    /// Generations so far.
    numbers: Arc<AtomicU64>,
}

impl Validator {
    /// The validator as the configuration wants it.
    ///
    /// # Errors
    /// A key or hash of the configuration cannot be used.
    pub fn new(
        config: &PluginConfig,
        sandbox: Arc<Sandbox>,
        state: Option<&PrivateFolder>,
        instances: usize,
        numbers: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let cache = state.and_then(|state| match state.folder("compiled") {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!("compiled code is not kept: {error:#}");
                None
            }
        });
        Ok(Self {
            trust: Trust::new(&config.trust)?,
            compiler: Compiler::new(config.compile.clone(), cache, sandbox),
            wasi: config.wasi.clone(),
            settings: config.settings.clone(),
            instances,
            numbers,
        })
    }

    /// The settings of a plugin, a JSON object.
    pub fn settings_of(&self, plugin: &str) -> &str {
        self.settings.get(plugin).map_or("{}", String::as_str)
    }

    /// Goes the whole validator but for the probe.
    ///
    /// # Errors
    /// A step refuses; the text begins with its name.
    pub fn validate(&self, bytes: Arc<[u8]>, hash: &str, signature: Option<Vec<u8>>) -> Result<Generation, String> {
        self.trust.check(hash, &bytes, signature.as_deref()).map_err(|refusal| refusal.to_string())?;
        let may_import_wasi = |name: &str| self.wasi.iter().any(|allowed| allowed == name);
        let code = self.compiler.load(&bytes, hash, may_import_wasi).map_err(|refusal| refusal.to_string())?;
        let settings = self.settings_of(&code.description().name).to_string();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let code = Arc::new(code);
        let plugin = ChainPlugin::sandboxed(code.clone(), settings.clone(), number);
        // An instance that takes its settings; kept for the first worker.
        plugin.prepare(1)?;
        cases::run(&code, &bytes).map_err(|refusal| refusal.to_string())?;
        plugin.prepare(self.instances)?;
        Ok(Generation { plugin: Arc::new(plugin), code, bytes, signature, settings })
    }

    /// Makes the instances that the workers will take.
    ///
    /// # Errors
    /// The plugin traps at its start, or refuses its settings.
    pub fn prepare_instances(&self, generation: &Generation) -> Result<(), String> {
        generation.plugin.prepare(self.instances)
    }

    /// The same file with the settings that hold now.
    ///
    /// # Errors
    /// The plugin refuses them.
    pub fn configure(&self, generation: &Generation) -> Result<Generation, String> {
        let settings = self.settings_of(&generation.plugin.name).to_string();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let plugin = ChainPlugin::sandboxed(generation.code.clone(), settings.clone(), number);
        plugin.prepare(self.instances)?;
        Ok(Generation { plugin: Arc::new(plugin), settings, ..generation.clone() })
    }
}
