//! A bulk server that only counts: it answers like an Elasticsearch that accepts every document but those
//! that are poisoned, and keeps none.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::bulk::{self, Log, Request};
use crate::events::POISON_QUANTITY;
use crate::http::{self, Handler, Message};

const HEADERS: &str = "content-type: application/json\r\nx-elastic-product: Elasticsearch\r\n";
const ITEM: &[u8] = b"{\"index\":{\"result\":\"created\",\"status\":201}},";
const REJECTED: &[u8] =
    b"{\"index\":{\"status\":400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"failed to \
parse field [quantity] of type [long]\"}}},";

/// The running server.
pub struct CountingServer {
    /// Where it listens.
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    documents: AtomicU64,
    /// Whether requests are added to `log`.
    is_logging: AtomicBool,
    log: Log,
    /// Where bulk requests are kept, if they are.
    captured: Mutex<Option<Captured>>,
    /// A wait before each answer, in microseconds.
    delay: AtomicU64,
    is_stalled: Mutex<bool>,
    stall_ended: Condvar,
}

/// Bulk requests of a run.
#[derive(Default)]
pub struct Captured {
    /// The path of the requests, with its query.
    pub path: String,
    /// Their bodies.
    pub bodies: Vec<Vec<u8>>,
}

impl CountingServer {
    /// Starts the server.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start() -> io::Result<Self> {
        let state = Arc::<State>::default();
        let shared = state.clone();
        let url = http::serve(move || Connection { state: shared.clone(), body: Vec::new(), arrived: None })?;
        Ok(Self { url, state })
    }

    /// The number of documents that were accepted since the last call.
    pub fn take_documents(&self) -> u64 {
        self.state.documents.swap(0, Ordering::Relaxed)
    }

    /// From now on, requests are added to the log.
    pub fn start_log(&self) {
        self.state.log.take();
        self.state.is_logging.store(true, Ordering::Relaxed);
    }

    /// The requests since the last call.
    pub fn take_log(&self) -> Vec<Request> {
        self.state.log.take()
    }

    /// Ends the log.
    pub fn stop_log(&self) {
        self.state.is_logging.store(false, Ordering::Relaxed);
    }

    /// From now on, bulk requests are kept.
    pub fn start_capture(&self) {
        *lock(&self.state.captured) = Some(Captured::default());
    }

    /// The requests that were kept; from now on, none are.
    pub fn take_captured(&self) -> Captured {
        lock(&self.state.captured).take().unwrap_or_default()
    }

    /// From now on, each bulk request waits this long for its answer.
    pub fn set_delay(&self, delay: Duration) {
        self.state.delay.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Answers no bulk request for this long. Returns when it answers again, with the time at which it began to.
    pub fn stall(&self, time: Duration) -> Instant {
        *lock(&self.state.is_stalled) = true;
        std::thread::sleep(time);
        let ended = Instant::now();
        *lock(&self.state.is_stalled) = false;
        self.state.stall_ended.notify_all();
        ended
    }
}

/// A connection of a client.
struct Connection {
    state: Arc<State>,
    /// The body of the answer that is being written.
    body: Vec<u8>,
    /// When the bulk request that is being answered had arrived, if it belongs in the log.
    arrived: Option<Instant>,
}

impl Handler for Connection {
    fn answer(&mut self, request: &Message, answer: &mut Vec<u8>) -> io::Result<()> {
        let line = request.first_line();
        let path = line.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/_bulk") {
            self.bulk(path, request.body());
            write(answer, "200 OK", &self.body);
        } else if line.starts_with("HEAD ") {
            // No index exists: the gateway creates it.
            write(answer, "404 Not Found", b"");
        } else if line.starts_with("GET / ") {
            write(answer, "200 OK", br#"{"version":{"number":"8.19.13"},"tagline":"You Know, for Search"}"#);
        } else {
            write(answer, "200 OK", br#"{"acknowledged":true}"#);
        }
        Ok(())
    }

    fn answered(&mut self, request: &Message) {
        if let Some(arrived) = self.arrived.take() {
            self.state.log.add(Request::new(arrived, request.body()));
        }
    }
}

impl Connection {
    fn bulk(&mut self, path: &str, body: &[u8]) {
        self.arrived = self.state.is_logging.load(Ordering::Relaxed).then(Instant::now);
        if let Some(captured) = &mut *lock(&self.state.captured) {
            captured.path = path.into();
            captured.bodies.push(body.to_vec());
        }
        self.body.clear();
        self.body.extend_from_slice(b"{\"items\":[");
        let (mut accepted, mut rejected) = (0, 0);
        let poison = memmem::Finder::new(POISON_QUANTITY);
        for operation in bulk::operations(body) {
            let is_poison = poison.find(operation).is_some();
            rejected += u64::from(is_poison);
            accepted += u64::from(!is_poison);
            self.body.extend_from_slice(if is_poison { REJECTED } else { ITEM });
        }
        if accepted + rejected > 0 {
            self.body.pop();
        }
        self.body.extend_from_slice(format!("],\"errors\":{}}}", rejected > 0).as_bytes());
        self.state.documents.fetch_add(accepted, Ordering::Relaxed);
        let delay = Duration::from_micros(self.state.delay.load(Ordering::Relaxed));
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut is_stalled = lock(&self.state.is_stalled);
        while *is_stalled {
            is_stalled = self.state.stall_ended.wait(is_stalled).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn write(answer: &mut Vec<u8>, status: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\n{HEADERS}content-length: {}\r\n\r\n", body.len());
    answer.extend_from_slice(head.as_bytes());
    answer.extend_from_slice(body);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
