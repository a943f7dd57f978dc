//! The whole flow: the one place that knows Kafka, plugins and Elasticsearch together.
//!
//! ```text
//! source thread ──▶ transform workers ──▶ writer ──▶ Elasticsearch
//!   (16 batches a worker)     (64 batches)   │ settled, stale, refused
//!        ▲                        │          ▼
//!        └──── watermarks ◀── tickets ◀── dead letters (1024)
//! ```
//!
//! Every arrow is a bounded channel; what is on its way in all of them is bounded by `pipeline.bytes_in_flight`, beyond
//! which the source pauses. The end goes the same way as the data: the source ends, so the workers' channels close, so
//! the writer's channel closes, and it writes what waits and ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use rowmill_sandbox::Sandbox;
use rowmill_store::StoreHandle;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::checkpoint::BytesInFlight;
use crate::config::{BulkConfig, Config, ConfigError, ElasticsearchConfig, SinkConfig, SourceConfig, TruncatePolicy};
use crate::dead_letter::DeadLetters;
use crate::http::address::AddressFile;
use crate::http::{self, Ready, Served};
use crate::indices::Indices;
use crate::metrics::Metrics;
use crate::operation::Action;
use crate::plugins::Plugins;
use crate::plugins::control::Control;
use crate::reload::Live;
use crate::sink::client::{Client, Refused};
use crate::sink::{Sink, Writer, WriterSettings, merge};
use crate::source::{self, Intake, Stop};
use crate::transform::chain::Chain;
use crate::transform::plan::own_index;
use crate::transform::running::Retire;
use crate::transform::{Shared, Transformer};

/// A pipeline that is set up and not yet running.
pub struct Pipeline {
    config: Arc<Config>,
    /// Runs the writer, the HTTP side and the embedded store.
    runtime: Runtime,
    metrics: Arc<Metrics>,
    chain: Arc<ArcSwap<Chain>>,
    /// How documents are written now.
    bulk: watch::Sender<BulkConfig>,
    plugins: Plugins,
    store: Option<StoreHandle>,
    client: Option<Client>,
    ready: Ready,
    handle: Handle,
}

/// Ends a running pipeline from outside.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: Stop,
    abort: watch::Sender<bool>,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Handle {
    /// Asks for an orderly end: intake stops, what is under way is written and committed.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Ends without waiting; what is not settled is read again by the next run.
    pub fn abort(&self) {
        self.stop.request_now();
        let _ = self.abort.send(true);
    }

    fn fail(&self, error: anyhow::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.abort();
    }
}

/// What a run did: the line that `--until-caught-up` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Records that were read.
    pub events: u64,
    /// Rows that were decoded of them.
    pub rows: u64,
    /// Documents by operation, as Elasticsearch confirmed them.
    pub documents: Documents,
    /// Operations that were overtaken by a newer one before they were sent.
    pub folded: u64,
    /// Operations refused because the index has a newer version.
    pub stale: u64,
    /// Rows that became no document and deleted none.
    pub filtered: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Duration of the run.
    pub seconds: f64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Documents by operation.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Documents {
    pub index: u64,
    pub delete: u64,
    pub merge: u64,
    pub merge_remove: u64,
    pub put_item: u64,
    pub remove_item: u64,
    pub truncate: u64,
}

impl Pipeline {
    /// Sets a pipeline up: loads the plugins and starts the embedded store if there is one. Connects to nothing else.
    ///
    /// # Errors
    /// A plugin of the folder or its settings are refused, or the sink's settings cannot be used: a [`ConfigError`]. At
    /// start a bad plugin is an error, since running without it could fill the index with what it would have filtered.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("rowmill-io")
            .enable_all()
            .build()?;
        let metrics = Metrics::new();
        let sandbox = Sandbox::new(config.limits.clone()).context("cannot start the sandbox")?;
        let sandbox = Arc::new(sandbox.with_name_rules(crate::sink::rules::elasticsearch()));
        let plugins = Plugins::load(
            &config.plugins,
            config.routes.clone().into(),
            &sandbox,
            metrics.clone(),
            config.pipeline.workers,
        )
        .map_err(|error| ConfigError(format!("{error:#}")))?;
        let refused: Vec<String> = plugins
            .loaded()
            .iter()
            .filter_map(|file| Some(format!("{}: {}", file.path.display(), file.result.as_ref().err()?)))
            .collect();
        anyhow::ensure!(refused.is_empty(), ConfigError(format!("refused as a plugin: {}", refused.join("; "))));
        let unknown = plugins.unknown_names();
        anyhow::ensure!(unknown.is_empty(), ConfigError(unknown.join("; ")));
        let chain = plugins.chain();

        let (store, client) = match &config.sink {
            SinkConfig::Null => (None, None),
            SinkConfig::Elasticsearch(elasticsearch) => {
                (None, Some(Client::new(elasticsearch).map_err(|error| ConfigError(format!("{error:#}")))?))
            }
            SinkConfig::Embedded { listen, bulk } => {
                let builder =
                    rowmill_store::Store::builder().port(listen.port()).script(merge::SCRIPT_ID, merge::merge);
                let store = builder.start().with_context(|| format!("cannot start the embedded store on {listen}"))?;
                let url = url::Url::parse(&store.url()).context("the embedded store's address")?;
                let client = Client::new(&ElasticsearchConfig {
                    urls: vec![url],
                    credentials: None,
                    ca: None,
                    gzip: false,
                    bulk: *bulk,
                })?;
                (Some(store), Some(client))
            }
        };
        let bulk = watch::Sender::new(config.sink.bulk());
        let handle = Handle { stop: Stop::default(), abort: watch::Sender::new(false), failure: Arc::default() };
        Ok(Self {
            config: Arc::new(config),
            runtime,
            metrics,
            chain,
            bulk,
            plugins,
            store,
            client,
            ready: Ready::default(),
            handle,
        })
    }

    /// Ends the pipeline from outside.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The figures.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// The chain, to be read or replaced.
    pub fn chain(&self) -> Arc<ArcSwap<Chain>> {
        self.chain.clone()
    }

    /// The configuration that it was set up with.
    pub fn config(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// What a changed configuration goes to.
    pub fn live(&self) -> Live {
        Live { control: self.control(), bulk: self.bulk.clone(), metrics: self.metrics() }
    }

    /// The way to ask about the plugins, and to order.
    pub fn control(&self) -> Control {
        self.plugins.control()
    }

    /// The client of the sink; `None` with the null sink.
    pub fn client(&self) -> Option<Client> {
        self.client.clone()
    }

    /// Takes the embedded store, if it is the sink, so that it outlives the run.
    pub fn take_store(&mut self) -> Option<StoreHandle> {
        self.store.take()
    }

    /// What runs the pipeline's tasks.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Runs until the source ends or is asked to, and everything is settled.
    ///
    /// # Errors
    /// Nothing can go on without a person: no access, an answer that is not understood, dead letters that cannot be kept.
    /// What was not settled is not committed.
    pub fn run(self, until_caught_up: bool) -> anyhow::Result<(Summary, Ended)> {
        let begin = Instant::now();
        let Self { config, runtime, metrics, chain, bulk, plugins, store, client, ready, handle } = self;
        let indices = Arc::new(Indices::default());
        let dead_letters = {
            let handle = handle.clone();
            DeadLetters::start(&config.dead_letter, metrics.clone(), move |error| handle.fail(error))?
        };
        let written_address = if let Some(address) = config.http_listen() {
            let served = Served {
                metrics: metrics.clone(),
                ready: ready.clone(),
                control: plugins.control(),
                token: config.http.token.clone(),
            };
            let address = runtime.block_on(http::serve(address, served))?;
            tracing::info!(%address, "metrics on /metrics, health on /healthz and /readyz, plugins on /plugins");
            config.address_folder().map(|state| AddressFile::write(state, address)).transpose()?
        } else {
            None
        };
        let (retire, retired) = Retire::channel();
        let shared = Shared {
            config: config.clone(),
            chain,
            indices,
            metrics: metrics.clone(),
            dead_letters,
            recent: Arc::default(),
            retire,
        };
        // Before Elasticsearch answers: whoever looks at the plugins meanwhile is answered.
        let watching = plugins.start(shared.clone(), retired)?;
        if let Some(client) = &client {
            runtime.block_on(wait_for(client, &handle))?;
        }
        // Last to first, as the channels need it: writer, workers, source.
        let (sink, writer) = match client {
            None => (Sink::Null(metrics.clone()), None),
            Some(client) => {
                let (sink, batches) = Sink::channel();
                let routes = shared.chain.clone();
                let settings = WriterSettings {
                    client,
                    bulk: bulk.subscribe(),
                    indices: shared.indices.clone(),
                    metrics: metrics.clone(),
                    dead_letters: shared.dead_letters.clone(),
                    applies_truncates: {
                        let chain = shared.chain.clone();
                        Box::new(move || {
                            chain.load().routes.iter().any(|route| route.truncate == TruncatePolicy::Apply)
                        })
                    },
                    own_index: Box::new(move |table| {
                        let (database, table) = table.split_once('.').unwrap_or(("", table));
                        own_index(&routes.load().routes, database, table)
                    }),
                };
                let writer = Writer::new(settings, handle.abort.subscribe());
                let handle = handle.clone();
                let runtime = runtime.handle().clone();
                let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
                    if let Err(error) = runtime.block_on(writer.run(batches)) {
                        handle.fail(error);
                    }
                })?;
                (sink, Some(thread))
            }
        };
        let (mut senders, mut workers) = (Vec::new(), Vec::new());
        for number in 0..config.pipeline.workers {
            let (sender, batches) = crossbeam_channel::bounded::<Arc<_>>(source::WAITING);
            let (shared, sink) = (shared.clone(), sink.clone());
            let worker = std::thread::Builder::new().name(format!("transform-{number}")).stack_size(4 << 20).spawn(
                move || {
                    let mut transformer = Transformer::new(shared);
                    for batch in batches {
                        let operations = transformer.process(batch);
                        let source = operations.source.clone();
                        sink.send(operations);
                        // The worker's own piece: all others were added before.
                        source.ticket.settle(1);
                    }
                },
            )?;
            senders.push(sender);
            workers.push(worker);
        }
        drop((shared, sink));
        ready.set(true);
        let intake = Intake {
            format: config.format,
            workers: senders,
            config: config.pipeline,
            metrics: metrics.clone(),
            bytes: Arc::<BytesInFlight>::default(),
            stop: handle.stop.clone(),
            until_caught_up,
        };
        let read = match &config.source {
            SourceConfig::Kafka(kafka) => source::kafka::run(kafka, intake),
            SourceConfig::File { path } => source::file::run(path, intake),
            SourceConfig::Demo => source::demo::run(intake),
        };
        if read.is_err() {
            handle.abort();
        }
        let stopped = handle.stop.is_requested();
        ready.set(false);
        if stopped {
            // The end has a deadline: what is not settled by then is read again by the next run.
            let handle = handle.clone();
            let deadline = config.pipeline.shutdown_timeout;
            runtime.spawn(async move {
                tokio::time::sleep(deadline).await;
                handle.abort();
            });
        }
        for thread in workers.into_iter().chain(writer) {
            if thread.join().is_err() {
                handle.fail(anyhow::anyhow!("a thread ended by a bug in Rowmill; its last message is above. What was not settled will be read again"));
            }
        }
        drop((watching, store, written_address));
        runtime.shutdown_background();
        if let Some(error) = handle.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        read?;
        anyhow::ensure!(
            !handle.stop.is_now(),
            "the end took longer than pipeline.shutdown_timeout ({} s); what was not settled is not committed and will be read again",
            config.pipeline.shutdown_timeout.as_secs()
        );
        Ok((summary(&metrics, begin), if stopped { Ended::Stopped } else { Ended::CaughtUp }))
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was there is settled.
    CaughtUp,
    /// It was asked to end.
    Stopped,
}

/// Waits until Elasticsearch answers: it may well start later than we.
async fn wait_for(client: &Client, handle: &Handle) -> anyhow::Result<()> {
    let mut abort = handle.abort.subscribe();
    let mut said = false;
    loop {
        match client.version().await {
            Ok(version) => {
                tracing::info!(%version, "connected to Elasticsearch");
                return Ok(());
            }
            Err(error) if error.is::<Refused>() => {
                return Err(error.context("Elasticsearch"));
            }
            Err(error) => {
                if !said {
                    tracing::warn!(%error, "Elasticsearch does not answer yet; trying every second until it does");
                    said = true;
                }
            }
        }
        tokio::select! {
            _ = abort.changed() => return Ok(()),
            () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
        }
        if handle.stop.is_requested() {
            return Ok(());
        }
    }
}

fn summary(metrics: &Metrics, begin: Instant) -> Summary {
    Summary {
        events: metrics.events.get(),
        rows: metrics.rows.get(),
        documents: Documents {
            index: metrics.written_of(Action::Index),
            delete: metrics.written_of(Action::Delete),
            merge: metrics.written_of(Action::Merge),
            merge_remove: metrics.written_of(Action::MergeRemove),
            put_item: metrics.written_of(Action::PutItem),
            remove_item: metrics.written_of(Action::RemoveItem),
            truncate: metrics.written_of(Action::Truncate),
        },
        folded: metrics.folded.get(),
        stale: metrics.stale.get(),
        filtered: metrics.filtered.get(),
        dead_letters: metrics.dead_letters_total(),
        seconds: begin.elapsed().as_secs_f64(),
        bytes: metrics.bytes.get(),
    }
}
