//! The whole flow: the one place that knows source, plugins, sink and dead letters together.
//!
//! ```text
//! source ──▶ transform workers ──▶ sink ──▶ Elasticsearch
//!   ▲                          │         │ written, stale, rejected
//!   │                          │         ▼
//!   └──── watermarks ◀── tickets ◀── dead letters (1024)
//! ```
//!
//! Every arrow is a channel. What waits in all of them together, and in the sink, is bounded in bytes by
//! `pipeline.bytes_in_flight`; beyond it the source stops reading until there is room. A run ends in the direction of the data: the source ends, which
//! closes the workers' channels; the workers end, which closes the sink's channel; the sink writes what is pending and ends.

pub(crate) mod config;
pub(crate) mod stages;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use rowmill_engine::{Indices, Route, TruncatePolicy};
use rowmill_sandbox::{NameRules, Sandbox};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::budget::Budget;
use crate::config::{BulkConfig, Config, ConfigError, SinkConfig, SourceConfig};
use crate::dead_letter::{self, DeadLetterWriter, DeadLetters};
use crate::health::Health;
use crate::http::address::AddressFile;
use crate::http::{self, Served};
use crate::metrics::Metrics;
use crate::operation::{Handed, OperationBatch};
use crate::plugins::Plugins;
use crate::plugins::control::Control;
use crate::reload::Live;
use crate::shutdown::Shutdown;
use crate::sink::resurrection::ResurrectionGuard;
use crate::sink::{self, Settlement, Sink, SinkContext, Supports};
use crate::source::{Intake, Source};
use crate::transform::retire::Retire;
use crate::transform::{Published, Shared, Worker};
use stages::Stages;

pub use summary::{Documents, Summary};

/// A pipeline that is set up but not running.
pub struct Pipeline {
    config: Arc<Config>,
    /// Runs asynchronous sinks and the HTTP server.
    runtime: Runtime,
    metrics: Arc<Metrics>,
    published: Arc<ArcSwap<Published>>,
    indices: Arc<Indices>,
    /// The current settings of bulk requests.
    bulk: watch::Sender<BulkConfig>,
    plugins: Plugins,
    source: Box<dyn Source>,
    budget: Arc<Budget>,
    /// What the sink was built with.
    context: SinkContext,
    sink: Box<dyn Sink>,
    dead_letters: Box<dyn DeadLetterWriter>,
    health: Health,
    shutdown: Shutdown,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that existed at the start is settled.
    CaughtUp,
    /// It was asked to end.
    Stopped,
}

impl Pipeline {
    /// Sets a pipeline up: builds its ends and loads the plugins. Connects to nothing.
    ///
    /// # Errors
    /// A plugin of the folder or its settings are rejected, or the sink cannot be used as configured: a [`ConfigError`]. A
    /// bad plugin is an error at start, since running without it could write what it should have filtered.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("rowmill-io")
            .enable_all()
            .build()?;
        let metrics = Metrics::new();
        let published = Arc::<ArcSwap<Published>>::default();
        let indices = Arc::<Indices>::default();
        let bulk = watch::Sender::new(config.sink.bulk());
        let health = Health::new(config.http.stalled_after);
        let budget = Budget::new(config.pipeline.bytes_in_flight);
        let context = SinkContext {
            runtime: runtime.handle().clone(),
            indices: indices.clone(),
            routes: {
                let published = published.clone();
                Arc::new(move || published.load().chain.routes.clone())
            },
            bulk: bulk.subscribe(),
            metrics: metrics.clone(),
            budget: budget.clone(),
            health: health.clone(),
        };
        let sink = config.sink.build(context.clone())?;
        let supports = sink.supports();
        check_routes(&config.routes, &supports)?;
        let plugins = load_plugins(&config, supports.names, published.clone(), metrics.clone())?;
        Ok(Self {
            source: config.source.build(),
            dead_letters: config.dead_letter.build(),
            config: Arc::new(config),
            runtime,
            metrics,
            published,
            indices,
            bulk,
            plugins,
            budget,
            context,
            sink,
            health,
            shutdown: Shutdown::default(),
        })
    }

    /// The same pipeline with another sink and another writer of dead letters. `make` gets what sinks get, and what the
    /// configured sink can do.
    pub(crate) fn with_ends(
        mut self,
        make: impl FnOnce(SinkContext, Supports) -> (Box<dyn Sink>, Box<dyn DeadLetterWriter>),
    ) -> Self {
        (self.sink, self.dead_letters) = make(self.context.clone(), self.sink.supports());
        self
    }

    /// Ends the run from outside.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The metrics.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// The published chain, to be read or replaced.
    pub fn published(&self) -> Arc<ArcSwap<Published>> {
        self.published.clone()
    }

    /// The configuration that the pipeline was set up with.
    pub fn config(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// What a changed configuration is applied to.
    pub fn live(&self) -> Live {
        Live { control: self.control(), bulk: self.bulk.clone(), metrics: self.metrics(), shutdown: self.shutdown() }
    }

    /// Asks about plugins and gives orders about them.
    pub fn control(&self) -> Control {
        self.plugins.control()
    }

    /// Returns true if the sink writes to standard output, so that nothing else may.
    pub fn owns_stdout(&self) -> bool {
        self.sink.owns_stdout()
    }

    /// Runs the pipeline's asynchronous tasks.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Runs until the source ends or the run is asked to end, and everything is settled.
    ///
    /// # Errors
    /// The run cannot continue until somebody changes something: access is refused, an answer is not understood, dead
    /// letters cannot be stored, or a thread panicked. What was not settled is not committed.
    pub fn run(self, until_caught_up: bool) -> anyhow::Result<(Summary, Ended)> {
        let begin = Instant::now();
        let Self { config, runtime, metrics, published, indices, budget, plugins, source, health, shutdown, .. } = self;
        let (mut sink, mut letter_writer, context) = (self.sink, self.dead_letters, self.context);
        letter_writer.open(&shutdown)?;
        let served = Served {
            metrics: metrics.clone(),
            health: health.clone(),
            control: plugins.control(),
            token: config.http.token.clone(),
            shutdown: shutdown.clone(),
        };
        let address = serve(&config, &runtime, served)?;

        let (dead_letters, letters) = DeadLetters::channel(metrics.clone());
        let (retire, retired) = Retire::channel();
        let shared = Shared {
            config: config.clone(),
            published,
            indices: indices.clone(),
            rules: sink.supports().names,
            metrics: metrics.clone(),
            dead_letters: dead_letters.clone(),
            recent: Arc::default(),
            retire,
        };
        // Before the sink is connected, so that requests about plugins are answered in the meantime.
        let watching = plugins.start(shared.clone(), retired, &shutdown)?;
        sink.connect(&shutdown)?;

        let channels = (0..config.pipeline.workers).map(|_| crossbeam_channel::unbounded());
        let (to_workers, from_source): (Vec<_>, Vec<_>) = channels.unzip();
        let (to_sink, from_workers) = mpsc::channel(sink::BATCHES);
        let intake = Intake::new(
            &config,
            to_workers,
            budget,
            metrics.clone(),
            health.clone(),
            shutdown.clone(),
            until_caught_up,
        );
        let guard = resurrection_guard(&config, context, &dead_letters, &shutdown)?;
        let settlement = Settlement::new(metrics.clone(), indices, dead_letters);

        let mut stages = Stages::new(shutdown.clone());
        stages.add("source", {
            let deadline = Deadline::new(&runtime, &shutdown, config.pipeline.shutdown_timeout);
            let health = health.clone();
            move || {
                let result = source.run(intake);
                health.set_running(false);
                deadline.start_if_requested();
                result
            }
        });
        for (number, batches) in from_source.into_iter().enumerate() {
            let (shared, to_sink) = (shared.clone(), to_sink.clone());
            stages.add(format!("transform-{number}"), move || {
                transform(shared, &batches, &to_sink);
                Ok(())
            });
        }
        let from_workers = match guard {
            None => from_workers,
            Some(guard) => {
                let (to_sink, from_guard) = mpsc::channel(sink::BATCHES);
                stages.add("guard", move || guard.run(from_workers, &to_sink));
                from_guard
            }
        };
        stages.add("sink", {
            let shutdown = shutdown.clone();
            move || {
                sink.run(from_workers, settlement, shutdown)?;
                // Its threads hold the queue of dead letters too, which closes with this.
                drop(watching);
                Ok(())
            }
        });
        let max_per_minute = config.dead_letter.max_per_minute();
        stages.add("dead-letters", move || dead_letter::write_all(letter_writer, &letters, max_per_minute));
        drop((shared, to_sink));

        health.set_running(true);
        stages.run();
        health.set_running(false);
        drop(address);
        runtime.shutdown_background();
        if let Some(failure) = shutdown.take_failure() {
            return Err(failure);
        }
        anyhow::ensure!(
            !shutdown.is_aborted(),
            "the run did not end within pipeline.shutdown_timeout ({} s); what was not settled is not committed and will be \
             read again",
            config.pipeline.shutdown_timeout.as_secs()
        );
        let ended = if shutdown.is_requested() { Ended::Stopped } else { Ended::CaughtUp };
        Ok((Summary::new(&metrics, begin.elapsed()), ended))
    }
}

/// What holds writes of a replay back that could restore deleted documents; `None` if nothing does.
fn resurrection_guard(
    config: &Config,
    context: SinkContext,
    dead_letters: &DeadLetters,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<ResurrectionGuard>> {
    match (&config.source, &config.sink) {
        (SourceConfig::Replay(replay), SinkConfig::Elasticsearch(sink)) if !replay.recreates && !replay.is_dry => {
            ResurrectionGuard::new(sink, context, dead_letters.clone(), shutdown.clone()).map(Some)
        }
        _ => Ok(None),
    }
}

/// Loads the plugins of the folder; a plugin that is rejected is an error.
fn load_plugins(
    config: &Config,
    rules: NameRules,
    published: Arc<ArcSwap<Published>>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Plugins> {
    let sandbox = Sandbox::new(config.limits.clone()).context("cannot start the sandbox")?;
    let sandbox = Arc::new(sandbox.with_name_rules(rules));
    let routes = config.routes.clone().into();
    let plugins = Plugins::load(&config.plugins, routes, &sandbox, published, metrics, config.pipeline.workers)
        .map_err(|error| ConfigError(format!("{error:#}")))?;
    let rejected: Vec<String> = plugins
        .loaded()
        .iter()
        .filter_map(|file| Some(format!("{}: {}", file.path.display(), file.result.as_ref().err()?)))
        .collect();
    anyhow::ensure!(rejected.is_empty(), ConfigError(format!("rejected as a plugin: {}", rejected.join("; "))));
    let unknown = plugins.unknown_names();
    anyhow::ensure!(unknown.is_empty(), ConfigError(unknown.join("; ")));
    Ok(plugins)
}

/// Fails if a route needs something that the sink cannot do.
pub(crate) fn check_routes(routes: &[Route], supports: &Supports) -> Result<(), ConfigError> {
    let has_truncates = routes.iter().any(|route| route.truncate == TruncatePolicy::Apply);
    if has_truncates && !supports.truncates {
        return Err(ConfigError(
            "a route has truncate = \"apply\", but the sink cannot delete the documents of a table; remove it, or use \
             sink.kind = \"elasticsearch\""
                .into(),
        ));
    }
    Ok(())
}

/// Serves metrics, health and plugins, if the configuration says so. Returns the file that names the address.
fn serve(config: &Config, runtime: &Runtime, served: Served) -> anyhow::Result<Option<AddressFile>> {
    let Some(address) = config.http_listen() else { return Ok(None) };
    let address = runtime.block_on(http::serve(address, served))?;
    tracing::info!(%address, "metrics on /metrics, health on /healthz and /readyz, plugins on /plugins");
    config.address_folder().map(|folder| AddressFile::write(folder, address)).transpose()
}

/// Aborts a run that was asked to end and takes too long.
struct Deadline {
    runtime: tokio::runtime::Handle,
    shutdown: Shutdown,
    timeout: Duration,
}

impl Deadline {
    fn new(runtime: &Runtime, shutdown: &Shutdown, timeout: Duration) -> Self {
        Self { runtime: runtime.handle().clone(), shutdown: shutdown.clone(), timeout }
    }

    /// Starts the time if the run was asked to end; otherwise the run takes as long as it needs.
    fn start_if_requested(self) {
        if self.shutdown.is_requested() {
            self.runtime.spawn(async move {
                tokio::time::sleep(self.timeout).await;
                self.shutdown.abort();
            });
        }
    }
}

/// A worker: turns batches of records into batches of operations.
fn transform(shared: Shared, batches: &Receiver<Handed>, to_sink: &mpsc::Sender<OperationBatch>) {
    let mut transformer = Worker::new(shared);
    for Handed { source, passage } in batches {
        let mut operations = transformer.process(source);
        let ticket = operations.source.ticket.clone();
        if !operations.operations.list.is_empty() {
            operations.passage = Some(passage);
            // A sink that is gone has failed, or the run was aborted. What is not written is not settled.
            let _ = to_sink.blocking_send(operations);
        }
        // The worker's own share; those of operations and dead letters were added before.
        ticket.settle(1);
    }
}

#[cfg(test)]
mod tests;
