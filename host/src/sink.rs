//! Where document operations go: to Elasticsearch, to the store in this process, or nowhere.
//!
//! A sink reads batches of operations from a channel and gives every operation exactly one outcome through its
//! [`Settlement`], which counts it, makes the dead letters, and settles the operation's share of its batch.

pub(crate) mod config;
pub mod elasticsearch;
pub mod embedded;
mod ndjson;
mod null;
mod operation_ref;
pub mod resurrection;
pub mod rules;
mod settlement;

use std::sync::Arc;

use rowmill_engine::{Indices, Route};
use rowmill_sandbox::NameRules;
use tokio::sync::{mpsc, watch};

use crate::budget::Budget;
use crate::config::{BulkConfig, SinkConfig};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::operation::OperationBatch;
use crate::report::Report;
use crate::shutdown::Shutdown;

pub use operation_ref::OperationRef;
pub use settlement::{Outcome, Settlement};

/// Capacity of the channel to the sink, in batches. Each batch holds some hundred rows; the bytes in flight are bounded by
/// `pipeline.bytes_in_flight`.
pub const BATCHES: usize = 64;

/// Writes operations. [`SinkConfig::build`] makes one.
pub trait Sink: Send {
    /// What the sink can do.
    fn supports(&self) -> Supports;

    /// Returns true if the sink writes to standard output, which then belongs to it alone.
    fn owns_stdout(&self) -> bool {
        false
    }

    /// Reports whether operations could be written now. Writes nothing.
    fn check(&self, report: &mut Report);

    /// Waits until the sink is ready for its first batch, or the run is to end. Called once, before anything is read.
    ///
    /// # Errors
    /// The sink cannot become ready until somebody changes something.
    fn connect(&mut self, shutdown: &Shutdown) -> anyhow::Result<()>;

    /// Writes batches until the channel is closed and every operation has its outcome, or until the run is aborted.
    ///
    /// # Errors
    /// Writing is impossible until somebody changes something. Operations without an outcome are not settled, so the next
    /// run reads their records again.
    fn run(
        self: Box<Self>,
        batches: mpsc::Receiver<OperationBatch>,
        settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()>;
}

/// What a sink can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supports {
    /// Whether it merges parts of a document that several tables write.
    pub merges: bool,
    /// Whether it can delete the documents of a truncated table.
    pub truncates: bool,
    /// Whether it compares versions, so that an older write that arrives late changes nothing.
    pub versions: bool,
    /// Its rules for document IDs and index names.
    pub names: NameRules,
}

impl Supports {
    /// What Elasticsearch can do, and so the embedded store.
    pub const ELASTICSEARCH: Self =
        Self { merges: true, truncates: true, versions: true, names: rules::elasticsearch() };
}

/// What sinks get from the rest of the program.
#[derive(Clone)]
pub struct SinkContext {
    /// Runs asynchronous work.
    pub runtime: tokio::runtime::Handle,
    /// Names and mappings of the indices.
    pub indices: Arc<Indices>,
    /// Returns the current routes; a new configuration may replace them.
    pub routes: Arc<dyn Fn() -> Arc<[Route]> + Send + Sync>,
    /// The current settings of bulk requests; a new configuration may replace them.
    pub bulk: watch::Receiver<BulkConfig>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The bytes that the pipeline holds.
    pub budget: Arc<Budget>,
    /// Takes what keeps the sink from writing.
    pub health: Health,
}

impl SinkConfig {
    /// The sink that the configuration names. Starts and connects to nothing yet.
    ///
    /// # Errors
    /// A file that the configuration names cannot be used.
    pub fn build(&self, context: SinkContext) -> anyhow::Result<Box<dyn Sink>> {
        Ok(match self {
            Self::Elasticsearch(config) => Box::new(elasticsearch::ElasticsearchSink::new(config, context)?),
            Self::Embedded { listen, .. } => Box::new(embedded::EmbeddedSink::new(*listen, context)),
            Self::Ndjson { path } => Box::new(ndjson::NdjsonSink::new(path, context)),
            Self::Null => Box::new(null::NullSink),
        })
    }
}
