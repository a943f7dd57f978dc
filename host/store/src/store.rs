//! The store's interface for programs: build, start, inspect, inject faults, shut down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::counters::Counters;
use crate::fault::FaultRule;
use crate::http;
use crate::index::Document;
use crate::script::{ScriptContext, Scripts};
use crate::shared::Shared;

/// The contents of an embedded store, for direct access. Clones share one store.
///
/// It keeps everything in memory, on one node. Its limits:
/// - Updates run stored scripts only, as native functions that are registered under the script's ID; it does not run
///   Painless, and accepts no partial documents.
/// - Searches know `match_all`, `ids`, `term` and `terms`; they sort, page and scroll, but do not score or aggregate.
/// - Mappings decide which documents are refused, as in Elasticsearch. Date formats other than ISO 8601 and epochs, and
///   rare field types, accept any value. A mapping grows with new documents and cannot be changed by a request.
/// - There are no templates, ingest pipelines, data streams or cluster settings, and of index settings only those that
///   Rowmill uses.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// A document in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// Its ID.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// The routing value that it was written with.
    pub routing: Option<String>,
    /// Its source, byte for byte as it was written.
    pub source: String,
}

impl StoredDocument {
    fn new(document: &Document) -> StoredDocument {
        StoredDocument {
            id: document.id.clone(),
            version: document.version,
            routing: document.routing.clone(),
            source: document.source.get().to_owned(),
        }
    }
}

impl Store {
    /// Begins to build a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder {
            port: 0,
            clock: Clock::system(),
            max_body_bytes: 100 * 1024 * 1024,
            auto_create_index: true,
            scripts: Scripts::default(),
        }
    }

    /// The current version of a document, which searches may not see yet. `index` may be an alias.
    pub fn get(&self, index: &str, id: &str) -> Option<StoredDocument> {
        let cluster = self.shared.cluster();
        cluster.single(index).ok()?.get(id).map(|document| StoredDocument::new(document))
    }

    /// The current number of documents of an index; 0 if there is no such index.
    pub fn count(&self, index: &str) -> usize {
        self.shared.cluster().single(index).map_or(0, |index| index.n_documents())
    }

    /// The current version of every document of an index, ordered by the bytes of the IDs.
    pub fn documents(&self, index: &str) -> Vec<StoredDocument> {
        let documents = self.shared.cluster().single(index).map(|index| index.documents()).unwrap_or_default();
        documents.iter().map(|document| StoredDocument::new(document)).collect()
    }

    /// The names of all indices, in order.
    pub fn indices(&self) -> Vec<String> {
        self.shared.cluster().indices.keys().cloned().collect()
    }

    /// Adds a fault. The first rule that affects a request or item decides, in the order in which rules were added.
    pub fn inject(&self, rule: FaultRule) {
        self.shared.faults().rules.push(rule);
    }

    /// Removes all faults, and answers the requests that a fault holds.
    pub fn clear_faults(&self) {
        self.shared.faults().rules.clear();
        self.shared.faults_cleared.notify_waiters();
    }

    /// Counts of the requests that the store has received.
    pub fn counters(&self) -> Counters {
        Counters { faults: self.shared.faults().n_effects, ..*self.shared.counters() }
    }
}

/// Settings of a store that is about to start.
#[derive(Debug)]
pub struct StoreBuilder {
    port: u16,
    clock: Clock,
    max_body_bytes: usize,
    auto_create_index: bool,
    scripts: Scripts,
}

impl StoreBuilder {
    /// The port on 127.0.0.1; 0, the default, picks a free one.
    pub fn port(mut self, port: u16) -> StoreBuilder {
        self.port = port;
        self
    }

    /// The clock; by default the system's.
    pub fn clock(mut self, clock: Clock) -> StoreBuilder {
        self.clock = clock;
        self
    }

    /// The largest request body in bytes (`http.max_content_length`), before and after decompression; 100 MiB by
    /// default.
    pub fn max_content_length(mut self, bytes: usize) -> StoreBuilder {
        self.max_body_bytes = bytes;
        self
    }

    /// Whether a write creates the index that it names (`action.auto_create_index`); true by default.
    pub fn auto_create_index(mut self, auto_create: bool) -> StoreBuilder {
        self.auto_create_index = auto_create;
        self
    }

    /// Registers the native function that runs in place of a stored script. A client has to store the script as well
    /// (`PUT /_scripts/{id}`), as on the real server; the store keeps its text and does not run it.
    pub fn script(
        mut self,
        id: &str,
        function: impl Fn(&mut ScriptContext<'_>) + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.scripts.functions.insert(id.into(), Arc::new(function));
        self
    }

    /// Binds the port and serves on threads of its own, so it can be called inside and outside of async code.
    ///
    /// # Errors
    /// Returns an error if the port cannot be bound or the threads cannot be started.
    pub fn start(self) -> io::Result<StoreHandle> {
        let shared = Arc::new(Shared {
            cluster: Mutex::new(Cluster::new(self.auto_create_index, self.scripts)),
            faults: Mutex::default(),
            counters: Mutex::default(),
            faults_cleared: Notify::new(),
            clock: self.clock,
            max_body_bytes: self.max_body_bytes,
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("rowmill-store")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("rowmill-store".into()).spawn(move || {
            if let Err(error) = runtime.block_on(http::serve(listener, served, stopped)) {
                tracing::error!(%error, "the embedded store has stopped serving");
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(StoreHandle { store: Store { shared }, address, stop, thread: Some(thread) })
    }
}

/// A running store. Dropping it stops the server.
#[derive(Debug)]
pub struct StoreHandle {
    store: Store,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl StoreHandle {
    /// The URL for clients: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The contents, which stay accessible after the server has stopped.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Stops the server; open requests have a second to finish.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        // A failed server has dropped its receiver, and there is nothing to stop.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded store's thread has panicked");
        }
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Deref for StoreHandle {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
