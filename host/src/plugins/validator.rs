//! Validation: turns a file's bytes into a generation that may be published. Every step may refuse the file and says what
//! is wrong and what to do. The last step, a probe on real rows, is [`crate::transform::probe`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rowmill_engine::ChainPlugin;
use rowmill_sandbox::Sandbox;

use super::cases;
use super::compile::Compiler;
use super::generation::Generation;
use super::private::PrivateFolder;
use super::trust::Trust;
use crate::config::PluginConfig;

/// Validates files under one configuration.
pub(super) struct Validator {
    trust: Trust,
    compiler: Compiler,
    wasi: Vec<String>,
    settings: BTreeMap<String, String>,
    /// Instances created before a generation is published: one per worker.
    instances: usize,
    /// The number of generations so far.
    numbers: Arc<AtomicU64>,
}

impl Validator {
    /// Creates a validator for a configuration.
    ///
    /// # Errors
    /// A key or hash in the configuration is invalid.
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
                tracing::warn!("compiled code is not cached: {error:#}");
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

    /// Runs every step except the probe.
    ///
    /// # Errors
    /// A step refuses the file; the message begins with the name of the step.
    pub fn validate(&self, bytes: Arc<[u8]>, hash: &str, signature: Option<Vec<u8>>) -> Result<Generation, String> {
        self.trust.check(hash, &bytes, signature.as_deref()).map_err(|refusal| refusal.to_string())?;
        let may_import_wasi = |name: &str| self.wasi.iter().any(|allowed| allowed == name);
        let code = self.compiler.load(&bytes, hash, may_import_wasi).map_err(|refusal| refusal.to_string())?;
        let settings = self.settings_of(&code.description().name).to_string();
        let number = self.next_number();
        let code = Arc::new(code);
        let plugin = ChainPlugin::sandboxed(code.clone(), settings.clone(), number);
        // One instance, to see whether the plugin accepts its settings. The first worker uses it later.
        plugin.prepare(1)?;
        cases::run(&code, &bytes).map_err(|refusal| refusal.to_string())?;
        plugin.prepare(self.instances)?;
        Ok(Generation { plugin: Arc::new(plugin), code, bytes, signature, settings })
    }

    /// Creates the instances that the workers will use.
    ///
    /// # Errors
    /// The plugin traps at its start or refuses its settings.
    pub fn prepare_instances(&self, generation: &Generation) -> Result<(), String> {
        generation.plugin.prepare(self.instances)
    }

    /// Returns a new generation of the same file with the settings of this configuration.
    ///
    /// # Errors
    /// The plugin refuses the settings.
    pub fn configure(&self, generation: &Generation) -> Result<Generation, String> {
        let settings = self.settings_of(&generation.plugin.name).to_string();
        let plugin = ChainPlugin::sandboxed(generation.code.clone(), settings.clone(), self.next_number());
        plugin.prepare(self.instances)?;
        Ok(Generation { plugin: Arc::new(plugin), settings, ..generation.clone() })
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }
}
