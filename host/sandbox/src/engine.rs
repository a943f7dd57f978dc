//! The engine that all plugins share, and the clock that ends those that run too long.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::limits::Limits;
use crate::rules::NameRules;

/// One tick of the epoch clock: how exactly time limits are kept.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The sandbox: an engine with few features, and the limits that hold for every plugin.
///
/// Dropping it stops its clock; plugins that still run lose their time limits, so it lives as long as they do (each
/// [`crate::Plugin`] keeps it alive).
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
    /// This machine cannot run the engine, or no thread can be made.
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .cranelift_nan_canonicalization(true)
            .max_wasm_stack(512 << 10)
            .wasm_relaxed_simd(false)
            // A component of several modules needs it: what copies from one's memory into the other's uses both. Without
            // it wasmtime panics on such a file. How many memories an instance may have is limited.
            .wasm_multi_memory(true)
            .wasm_memory64(false)
            .wasm_tail_call(false)
            .wasm_backtrace_max_frames(None);
        // The engine's own reservation of 4 GiB of address space (not memory) for each instance stays: with it no access
        // needs a bounds check, which the bench `boundary` shows.
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

/// The number of ticks after which a call of `time` is ended; at least two, since the present tick is under way.
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
        // Weak: the clock must not keep the engine alive after the last plugin.
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
