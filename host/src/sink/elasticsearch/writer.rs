//! The writer: sends bulk requests of pending operations and gives every operation its outcome.
//!
//! It never waits for one thing: bulk requests, the preparation of indices and truncates are tasks, whose results it takes
//! as they arrive.

mod answers;
mod apart;
mod share;
mod truncates;

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_engine::{Action, IndexNumber};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::answers::Finished;
use self::apart::Prepared;
use self::share::HeldBack;
use self::truncates::Truncates;
use super::bulk;
use super::client::Client;
use super::flow::Flow;
use super::index_states::IndexStates;
use super::pending::{Entry, Pending};
use super::truncate::Loaded;
use crate::config::BulkConfig;
use crate::operation::OperationBatch;
use crate::shutdown::Shutdown;
use crate::sink::{OperationRef, Settlement, SinkContext};

/// The smallest request that is sent because nothing more can arrive, in bytes.
const MIN_SHARE: usize = 256 << 10;
/// The longest time without looking at timers.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// The result of a task.
enum Event {
    /// A bulk request was answered, or not.
    Bulk(Finished),
    /// What an index needs exists, or not.
    Prepared(Prepared),
    /// A truncate was applied; the number of documents that it deleted.
    Truncated { truncate: OperationRef, result: anyhow::Result<u64> },
    /// The stored versions of truncates.
    Floors(anyhow::Result<Arc<Loaded>>),
}

/// Writes operations to a cluster until its channel is closed and everything is settled.
pub(super) struct Writer {
    client: Client,
    context: SinkContext,
    settlement: Settlement,
    shutdown: Shutdown,
    /// The settings in effect.
    bulk: BulkConfig,
    flow: Flow,
    pending: Pending,
    indices: IndexStates,
    /// Batches with operations that are not in `pending` yet.
    arrived: VecDeque<Arc<OperationBatch>>,
    truncates: Truncates,
    held_back: HeldBack,
    tasks: JoinSet<Event>,
    /// Numbers of the requests that are not answered.
    requests: BTreeSet<u64>,
    next_request: u64,
    /// How many of them are for several indices.
    n_shared: usize,
    /// Requests and preparations of indices that are set apart, without the first preparation of each.
    n_apart: usize,
    /// First preparations of indices.
    n_new: usize,
    /// The bytes of the documents in requests for several indices.
    in_flight_bytes: usize,
    has_script: bool,
    /// Whether the channel is closed.
    is_closed: bool,
    /// Why the last request had no answer. It is logged once, not for every attempt.
    unreachable: Option<String>,
}

impl Writer {
    /// A writer that has nothing to write yet.
    pub fn new(client: Client, context: SinkContext, settlement: Settlement, shutdown: Shutdown) -> Self {
        let bulk = *context.bulk.borrow();
        Self {
            client,
            settlement,
            shutdown,
            flow: Flow::new(&bulk),
            bulk,
            pending: Pending::new(),
            indices: IndexStates::default(),
            arrived: VecDeque::new(),
            truncates: Truncates::default(),
            held_back: HeldBack::default(),
            tasks: JoinSet::new(),
            requests: BTreeSet::new(),
            next_request: 0,
            n_shared: 0,
            n_apart: 0,
            n_new: 0,
            in_flight_bytes: 0,
            has_script: false,
            is_closed: false,
            unreachable: None,
            context,
        }
    }

    /// Writes what arrives until the channel is closed and everything is settled, or the run is aborted.
    ///
    /// # Errors
    /// Elasticsearch gave an answer after which nothing can be written.
    pub async fn run(mut self, mut batches: mpsc::Receiver<OperationBatch>) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let mut aborted = pin!(shutdown.aborted());
        let mut settings = self.context.bulk.clone();
        loop {
            self.configure(*settings.borrow_and_update());
            self.follow_truncates();
            self.take_arrived();
            self.pending.wake(Instant::now());
            self.hold_back();
            self.send_apart()?;
            while self.should_send() {
                self.send();
            }
            if self.is_done() {
                return Ok(());
            }
            let (can_take, sleep, budget) = (self.can_take(), self.sleep(), self.context.budget.clone());
            tokio::select! {
                biased;
                () = &mut aborted => return Ok(()),
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.handle(event)?,
                    Err(error) => anyhow::bail!("a request to Elasticsearch ended unexpectedly: {error}"),
                },
                batch = batches.recv(), if can_take => match batch {
                    Some(batch) => self.arrived.push_back(Settlement::begin(batch)),
                    None => self.is_closed = true,
                },
                () = budget.standstill() => {}
                // Waits that the earlier settings allowed end here.
                Ok(()) = settings.changed() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Bulk(finished) => self.settle(finished),
            Event::Prepared(prepared) => self.note_prepared(prepared),
            Event::Truncated { truncate, result } => self.note_truncated(&truncate, result),
            Event::Floors(result) => self.note_floors(result),
        }
    }

    fn configure(&mut self, bulk: BulkConfig) {
        if bulk != self.bulk {
            self.flow.reconfigure(&self.bulk, &bulk);
            self.client.set_timeout(bulk.timeout);
            self.bulk = bulk;
        }
    }

    /// Moves operations to `pending`, and begins truncates.
    fn take_arrived(&mut self) {
        if !self.truncates.are_asked_for() {
            return;
        }
        let now = Instant::now();
        while let Some(batch) = self.arrived.pop_front() {
            for number in 0..batch.operations.list.len() {
                let reference = OperationRef::new(&batch, number);
                let operation = reference.operation();
                if operation.action == Action::Truncate {
                    self.begin_truncate(reference);
                    continue;
                }
                if !self.indices.is_known(operation.index) {
                    self.indices.add(operation.index, now);
                    self.pending.set_apart(operation.index);
                }
                self.pending.add(reference, now);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.is_closed && self.arrived.is_empty() && self.pending.is_empty() && self.truncates.is_empty()
    }

    fn should_send(&self) -> bool {
        let ready = self.pending.ready();
        if ready == 0 || !self.flow.may_send(Instant::now()) {
            return false;
        }
        if !self.flow.is_open() {
            return true;
        }
        self.n_shared < self.flow.in_flight()
            && (self.pending.ready_bytes() >= self.flow.bytes()
                || ready >= self.bulk.documents
                || self.is_closed
                || self.context.budget.is_standing_still()
                || self.pending.oldest().is_some_and(|since| since.elapsed() >= self.bulk.linger))
    }

    /// Returns true if another batch may be received.
    fn can_take(&self) -> bool {
        !self.is_closed && self.arrived.is_empty()
    }

    /// How long nothing can happen without an event from outside.
    fn sleep(&self) -> Duration {
        let now = Instant::now();
        let until = |due: Instant| due.saturating_duration_since(now);
        let delayed = self.pending.next_due().map(until);
        let can_step = |index| self.pending.ready_apart(index) > 0 && self.is_turn_free(index);
        let apart = self.indices.next_due(now, can_step);
        let floors = self.truncates.next_load().map(until);
        let linger = self.pending.oldest().map(|since| self.bulk.linger.saturating_sub(since.elapsed()));
        // While the cluster does not answer, the first document that can be sent asks whether it is back.
        let first = if self.pending.ready() > 0 { Some(now) } else { apart };
        // At the limit of requests the next event is the end of a request.
        let linger = linger.filter(|_| self.flow.is_open() && self.n_shared < self.flow.in_flight());
        let apart = apart.filter(|_| self.flow.is_open()).map(until);
        let probe = first.zip(self.flow.next_probe()).map(|(first, probe)| until(first.max(probe)));
        let forgotten = self.indices.next_forgotten(self.idle_limit()).map(until);
        let timers = [delayed, probe, apart, floors, linger, forgotten];
        timers.into_iter().flatten().min().unwrap_or(MAX_SLEEP).max(Duration::from_millis(1))
    }

    /// The bytes of the next request. Where the budget limits what can arrive, what there is fills one request more than may
    /// be in flight, so that the next one is ready when the first is answered.
    fn request_bytes(&self) -> usize {
        if !self.context.budget.is_nearly_full() {
            return self.flow.bytes();
        }
        let share = (self.pending.ready_bytes() + self.in_flight_bytes) / (self.flow.in_flight() + 1);
        share.max(MIN_SHARE).min(self.flow.bytes())
    }

    fn send(&mut self) {
        let entries = self.pending.take(None, self.request_bytes(), self.flow.documents(&self.bulk));
        if !entries.is_empty() {
            self.request(entries, None);
        }
    }

    /// Sends a request of these entries: of several indices, or of one that is set apart.
    fn request(&mut self, mut entries: Vec<Entry>, index: Option<IndexNumber>) {
        self.truncates.mark_deleted(&mut entries);
        let body = bulk::body(&entries, &self.context.indices);
        let bytes = entries.iter().map(Entry::bytes).sum();
        let held = self.context.budget.reserve(body.len());
        match index {
            None => {
                self.n_shared += 1;
                self.in_flight_bytes += bytes;
            }
            Some(_) => self.n_apart += 1,
        }
        tracing::debug!(
            documents = entries.len(),
            bytes = body.len(),
            waiting = self.pending.ready(),
            in_flight = self.requests.len() + 1,
            "bulk request"
        );
        let client = self.client.clone();
        self.context.metrics.bulk_requests.inc();
        let is_probe = self.flow.begin();
        let number = self.next_request;
        self.next_request += 1;
        self.requests.insert(number);
        self.tasks.spawn(async move {
            let begin = Instant::now();
            let answer = client.bulk(body).await;
            drop(held);
            Event::Bulk(Finished { number, entries, bytes, index, is_probe, answer, begin, duration: begin.elapsed() })
        });
        self.context.metrics.bulk_in_flight.set(self.requests.len() as i64);
    }
}
