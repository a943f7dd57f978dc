//! The store as a program sees it: built, started, looked into, made to fail, shut down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::counters::{Counters, Counting};
use crate::fault::{FaultRule, Faults};
use crate::http;
use crate::index::Document;
use crate::script::{ScriptContext, Scripts};

/// The contents of an embedded store and what can be done with them directly. Clones share one store.
///
/// What it cannot do: run Painless (scripts are native functions under the id of a stored script), analyse text beyond
/// splitting words, score, aggregate, run ingest pipelines or component templates, move shards. Everything is in memory
/// and gone with the process.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Shared {
    cluster: Mutex<Cluster>,
    faults: Mutex<Faults>,
    pub(crate) counting: Counting,
    pub(crate) clock: Clock,
    pub(crate) largest_body: usize,
}

impl Shared {
    /// The cluster, locked. What a panic left behind is used on: every write is whole or not at all.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults, locked.
    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A document as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// The routing that it was written with.
    pub routing: Option<String>,
    /// Its source, byte for byte as it was written.
    pub source: String,
}

impl StoredDocument {
    fn of(document: &Document) -> StoredDocument {
        StoredDocument {
            id: document.id.clone(),
            version: document.version,
            routing: document.routing.clone(),
            source: document.source.get().to_owned(),
        }
    }
}

impl Store {
    /// What a store is made from.
    pub fn builder() -> StoreBuilder {
        StoreBuilder {
            port: 0,
            clock: Clock::system(),
            largest_body: 100 * 1024 * 1024,
            auto_create_index: true,
            scripts: Scripts::default(),
        }
    }

    /// The document as it is now, whether or not searches see it yet. `index` may be an alias.
    pub fn get(&self, index: &str, id: &str) -> Option<StoredDocument> {
        let cluster = self.shared.cluster();
        cluster.single(index).ok()?.get(id).map(|document| StoredDocument::of(document))
    }

    /// The number of documents of an index as it is now; 0 where there is none.
    pub fn count(&self, index: &str) -> usize {
        self.shared.cluster().single(index).map_or(0, |index| index.live())
    }

    /// Every document of an index as it is now, ordered by id (by its bytes).
    pub fn documents(&self, index: &str) -> Vec<StoredDocument> {
        let documents = self.shared.cluster().single(index).map(|index| index.documents()).unwrap_or_default();
        documents.iter().map(|document| StoredDocument::of(document)).collect()
    }

    /// The names of all indices, ordered.
    pub fn indices(&self) -> Vec<String> {
        self.shared.cluster().indices.keys().cloned().collect()
    }

    /// Registers the native twin of a stored script. The script has to be stored as well (`PUT /_scripts/{id}`), as in
    /// the real server; its text is kept and never run.
    pub fn register_script(&self, id: &str, function: impl Fn(&mut ScriptContext<'_>) + Send + Sync + 'static) {
        self.shared.cluster().scripts.register(id, Arc::new(function));
    }

    /// Adds a fault. Rules are asked in the order in which they came; the first that strikes is the one.
    pub fn inject(&self, rule: FaultRule) {
        self.shared.faults().add(rule);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// What the store has been asked for so far.
    pub fn counters(&self) -> Counters {
        let struck = self.shared.faults().struck();
        self.shared.counting.snapshot(struck)
    }

    /// Empties the store: indices, templates and stored scripts go, native functions and faults stay.
    pub fn clear(&self) {
        let mut cluster = self.shared.cluster();
        cluster.indices.clear();
        cluster.templates.clear();
        cluster.stored_scripts.clear();
        cluster.scrolls.clear();
        cluster.set_auto_create(None);
    }
}

/// How a store shall be.
#[derive(Debug)]
pub struct StoreBuilder {
    port: u16,
    clock: Clock,
    largest_body: usize,
    auto_create_index: bool,
    scripts: Scripts,
}

impl StoreBuilder {
    /// The port on 127.0.0.1; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> StoreBuilder {
        self.port = port;
        self
    }

    /// Where the store takes its time from; the system's clock by default.
    pub fn clock(mut self, clock: Clock) -> StoreBuilder {
        self.clock = clock;
        self
    }

    /// The largest request body in bytes (`http.max_content_length`), before and after gzip; 100 MiB by default.
    pub fn max_content_length(mut self, bytes: usize) -> StoreBuilder {
        self.largest_body = bytes;
        self
    }

    /// Whether writes make the index that they name (`action.auto_create_index`); true by default.
    pub fn auto_create_index(mut self, auto_create: bool) -> StoreBuilder {
        self.auto_create_index = auto_create;
        self
    }

    /// Registers the native twin of a stored script, as [`Store::register_script`] does.
    pub fn script(
        mut self,
        id: &str,
        function: impl Fn(&mut ScriptContext<'_>) + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.scripts.register(id, Arc::new(function));
        self
    }

    /// Binds the port and serves on threads of its own, so it may be called inside and outside of async code.
    ///
    /// # Errors
    /// When the port cannot be bound or the threads cannot be started.
    pub fn start(self) -> io::Result<StoreHandle> {
        let shared = Arc::new(Shared {
            cluster: Mutex::new(Cluster::new(self.auto_create_index, self.scripts)),
            faults: Mutex::default(),
            counting: Counting::default(),
            clock: self.clock,
            largest_body: self.largest_body,
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

/// A store that serves; it stops when this is dropped.
#[derive(Debug)]
pub struct StoreHandle {
    store: Store,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl StoreHandle {
    /// Where clients reach it: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it serves on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The store itself, which outlives the server.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Stops serving; open requests have a second to end.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        // Nobody listens any more if the server has failed, and then there is nothing to stop.
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
