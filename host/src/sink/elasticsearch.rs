//! Documents to Elasticsearch.
//!
//! [`pending`](self) holds one entry per document and replaces operations that newer ones overtake; `writer` sends bulk
//! requests of these entries, never two at a time with the same document; `outcome` decides what each answer means;
//! `index_states` sets indices apart that accept no writes; `flow` decides how much is sent, and whether anything is;
//! `client` speaks HTTP.

pub mod client;
pub mod lookup;
pub mod merge;

mod bulk;
mod flow;
mod index_states;
mod outcome;
mod pending;
mod prepare;
mod retry;
mod truncate;
mod writer;

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Settlement, Sink, SinkContext, Supports};
use crate::config::{ConfigError, ElasticsearchConfig};
use crate::operation::OperationBatch;
use crate::report::{self, Report};
use crate::shutdown::Shutdown;
use client::{Client, Refused};
use writer::Writer;

/// How long to wait between attempts to reach a cluster that does not answer yet.
const CONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// Writes to an Elasticsearch cluster.
pub(super) struct ElasticsearchSink {
    client: Client,
    /// The cluster's addresses, as they are reported.
    urls: String,
    context: SinkContext,
}

impl ElasticsearchSink {
    /// A sink for the configured cluster; connects to nothing yet.
    ///
    /// # Errors
    /// The certificate authority cannot be read, or the client cannot be built: a [`ConfigError`].
    pub fn new(config: &ElasticsearchConfig, context: SinkContext) -> anyhow::Result<Self> {
        let client = Client::new(config).map_err(|error| ConfigError(format!("{error:#}")))?;
        let urls = config.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Ok(Self { client, urls, context })
    }

    /// Reports the cluster's version. Returns false if the cluster cannot be used.
    async fn check_cluster(&self, report: &mut Report) -> bool {
        let urls = &self.urls;
        let problem = match tokio::time::timeout(report::TIMEOUT, self.client.version()).await {
            Ok(Ok(version)) => {
                report.ok("Elasticsearch", &format!("{urls} answers, version {version}"));
                return true;
            }
            // The message says what to do.
            Ok(Err(error)) if error.is::<Refused>() => format!("{error:#}"),
            Ok(Err(error)) => format!("{error:#}; is it running, and is sink.urls right (http or https, port)?"),
            Err(_) => {
                format!("no answer within {} s; is it running, and is sink.urls right?", report::TIMEOUT.as_secs())
            }
        };
        report.fail("Elasticsearch", &format!("{urls}: {problem}"));
        false
    }

    /// Reports whether an index exists or will be created.
    async fn check_index(&self, index: &str, report: &mut Report) {
        match self.client.has_index(index).await {
            Ok(true) => report.ok("index", &format!("{index} exists")),
            Ok(false) if self.context.bulk.borrow().create_indices => {
                report.note("index", &format!("{index} does not exist yet; it is created with the first document"));
            }
            Ok(false) => {
                report.fail("index", &format!("{index} does not exist and sink.create_indices is false; create it"));
            }
            Err(error) => report.fail("index", &format!("{index}: {error:#}")),
        }
    }
}

impl Sink for ElasticsearchSink {
    fn supports(&self) -> Supports {
        Supports::ELASTICSEARCH
    }

    fn check(&self, report: &mut Report) {
        self.context.runtime.block_on(async {
            if self.check_cluster(report).await {
                for index in (self.context.routes)().iter().filter_map(|route| route.index.as_ref()) {
                    self.check_index(index, report).await;
                }
            }
        });
    }

    /// Waits until the cluster answers: it may well start later than Rowmill.
    fn connect(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        self.context.runtime.block_on(async {
            let mut is_logged = false;
            while !shutdown.is_requested() {
                match self.client.version().await {
                    Ok(version) => {
                        tracing::info!(%version, "connected to Elasticsearch");
                        break;
                    }
                    Err(error) if error.is::<Refused>() => return Err(error.context("Elasticsearch")),
                    Err(error) if !is_logged => {
                        tracing::warn!(%error, "Elasticsearch does not answer yet; trying every second until it does");
                        is_logged = true;
                    }
                    Err(_) => {}
                }
                tokio::select! {
                    () = shutdown.aborted() => {}
                    () = tokio::time::sleep(CONNECT_INTERVAL) => {}
                }
            }
            Ok(())
        })
    }

    fn run(
        self: Box<Self>,
        batches: mpsc::Receiver<OperationBatch>,
        settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let Self { client, context, .. } = *self;
        let runtime = context.runtime.clone();
        runtime.block_on(Writer::new(client, context, settlement, shutdown).run(batches))
    }
}

/// Reads the answer to a bulk request of `count` operations and returns the number of its items; for fuzzing.
///
/// # Errors
/// The text is not an answer to such a request.
#[doc(hidden)]
pub fn check_bulk_answer(body: &str, count: usize) -> anyhow::Result<usize> {
    let items = bulk::items(body, count)?;
    items.iter().for_each(|item| drop(item.error()));
    Ok(items.len())
}
