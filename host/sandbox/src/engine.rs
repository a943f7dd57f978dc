//! The engine shared by all plugins, and the clock that enforces their time limits.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::limits::Limits;
use crate::rules::NameRules;

/// One tick of the epoch clock, which is the resolution of time limits.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The sandbox: an engine with a minimal set of features, and the limits of every plugin.
///
/// Dropping it stops the clock that enforces time limits, so each [`crate::Plugin`] keeps it alive.
pub struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) rules: NameRules,
    _clock: Clock,
}

impl Sandbox {
    /// A sandbox with these limits, and with [`NameRules::default`] for the index names that plugins declare.
    ///
    /// # Errors
    /// The machine cannot run the engine, or a thread cannot be started.
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .cranelift_nan_canonicalization(true)
            .max_wasm_stack(512 << 10)
            .wasm_relaxed_simd(false)
            // Components of several modules need it to copy between the modules' memories; without it wasmtime panics on
            // them. The number of memories per instance is limited.
            .wasm_multi_memory(true)
            .wasm_memory64(false)
            .wasm_tail_call(false)
            .wasm_backtrace_max_frames(None);
        // The engine's default of reserving 4 GiB of address space (not memory) per instance makes bounds checks
        // unnecessary; the benchmark `boundary` shows the difference.
        let engine = Engine::new(&config)?;
        let clock = Clock::start(&engine)?;
        Ok(Self { engine, limits, rules: NameRules::default(), _clock: clock })
    }

    /// The same sandbox with the sink's rules for the index names that plugins declare.
    pub fn with_name_rules(self, rules: NameRules) -> Self {
        Self { rules, ..self }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// The number of ticks after which a call with the limit `time` is interrupted; at least two, since the current tick has
/// already begun.
pub(crate) fn ticks(time: Duration) -> u64 {
    (time.as_micros() / TICK.as_micros()) as u64 + 2
}

/// Advances the engine's epoch until it is dropped.
struct Clock {
    _stop: mpsc::Sender<()>,
}

impl Clock {
    fn start(engine: &Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        // Weak, so that the clock does not keep the engine alive after the last plugin.
        let engine = engine.weak();
        thread::Builder::new().name("epoch-clock".into()).spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
