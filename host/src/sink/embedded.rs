//! The embedded store as a stand-in for Elasticsearch: a server in this process, and the Elasticsearch sink pointed at it.

mod merge;

use std::net::SocketAddr;

use anyhow::Context;
use rowmill_store::{Store, StoreHandle};
use tokio::sync::mpsc;

use super::elasticsearch::ElasticsearchSink;
use super::elasticsearch::merge::SCRIPT_ID;
use super::{Settlement, Sink, SinkContext, Supports};
use crate::config::ElasticsearchConfig;
use crate::operation::OperationBatch;
use crate::report::Report;
use crate::shutdown::Shutdown;

/// Starts an embedded store that knows the script which merges documents. It listens on this port of 127.0.0.1, on a free
/// one if it is 0, until the handle is dropped.
///
/// # Errors
/// The port cannot be listened on.
pub fn start(port: u16) -> anyhow::Result<StoreHandle> {
    let store = Store::builder().port(port).script(SCRIPT_ID, merge::merge);
    store.start().with_context(|| format!("cannot start the embedded store on 127.0.0.1:{port}"))
}

/// Writes to a store in this process, which is started with the sink and ends with it.
pub(super) struct EmbeddedSink {
    listen: SocketAddr,
    context: SinkContext,
    connected: Option<(StoreHandle, ElasticsearchSink)>,
}

impl EmbeddedSink {
    pub fn new(listen: SocketAddr, context: SinkContext) -> Self {
        Self { listen, context, connected: None }
    }
}

impl Sink for EmbeddedSink {
    fn supports(&self) -> Supports {
        Supports::ELASTICSEARCH
    }

    fn check(&self, report: &mut Report) {
        report.note("sink", "the embedded store: documents are in memory and are lost when Rowmill ends");
    }

    fn connect(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let store = start(self.listen.port())?;
        let url = url::Url::parse(&store.url()).context("the embedded store's address")?;
        let bulk = *self.context.bulk.borrow();
        let config = ElasticsearchConfig { urls: vec![url], credentials: None, ca: None, gzip: false, bulk };
        let mut sink = ElasticsearchSink::new(&config, self.context.clone())?;
        sink.connect(shutdown)?;
        self.connected = Some((store, sink));
        Ok(())
    }

    fn run(
        self: Box<Self>,
        batches: mpsc::Receiver<OperationBatch>,
        settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let (_store, sink) = self.connected.context("the embedded store is not started")?;
        Box::new(sink).run(batches, settlement, shutdown)
    }
}
