//! The writer: sends bulk requests of pending operations and gives every operation its outcome.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_engine::{Action, TruncatePolicy, table_index};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::bulk;
use super::client::{Answer, Client};
use super::outcome::{self, ItemResult, RequestResult};
use super::pace::Pace;
use super::pending::{Entry, Pending};
use super::prepare::Preparation;
use super::retry::{Retry, backoff};
use super::truncate::{self, Floors};
use crate::config::BulkConfig;
use crate::metrics::Kind;
use crate::operation::OperationBatch;
use crate::shutdown::Shutdown;
use crate::sink::{OperationRef, Outcome, Settlement, SinkContext, rules};

/// The smallest request that is sent because nothing more can arrive, in bytes.
const MIN_SHARE: usize = 256 << 10;
/// How often the truncates that other instances have applied are read.
const FLOOR_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before the truncates are read again after an error.
const FLOOR_RETRY: Duration = Duration::from_secs(1);
/// The longest time without looking at timers.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// A request that was answered, or not: its entries, the answer, and how long it took.
struct Finished {
    entries: Vec<Entry>,
    /// The bytes of the entries.
    bytes: usize,
    answer: anyhow::Result<Answer>,
    duration: Duration,
}

/// Writes operations to a cluster until its channel is closed and everything is settled.
pub(super) struct Writer {
    client: Client,
    context: SinkContext,
    settlement: Settlement,
    shutdown: Shutdown,
    /// The settings in effect.
    bulk: BulkConfig,
    pace: Pace,
    pending: Pending,
    /// Batches with operations that are not in `pending` yet, and the number of the first of these: operations after a
    /// truncate wait for it.
    arrived: VecDeque<(Arc<OperationBatch>, usize)>,
    /// The truncate that waits until everything before it is written.
    truncate: Option<OperationRef>,
    floors: Floors,
    /// Whether any route applies truncates.
    applies_truncates: bool,
    requests: JoinSet<Finished>,
    /// The bytes of the documents in these.
    in_flight_bytes: usize,
    preparation: Preparation,
    /// Whether the channel is closed.
    is_closed: bool,
    /// Whether the last request had no answer. It is logged once, not for every attempt.
    is_unreachable: bool,
}

impl Writer {
    /// A writer that has nothing to write yet.
    pub fn new(client: Client, context: SinkContext, settlement: Settlement, shutdown: Shutdown) -> Self {
        let bulk = *context.bulk.borrow();
        Self {
            client,
            settlement,
            shutdown,
            pace: Pace::new(&bulk),
            bulk,
            pending: Pending::new(),
            arrived: VecDeque::new(),
            truncate: None,
            floors: Floors::default(),
            applies_truncates: false,
            requests: JoinSet::new(),
            in_flight_bytes: 0,
            preparation: Preparation::default(),
            is_closed: false,
            is_unreachable: false,
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
        let mut floor_timer = tokio::time::interval(FLOOR_INTERVAL);
        floor_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.configure(*settings.borrow_and_update());
            tokio::select! {
                () = &mut aborted => return Ok(()),
                () = self.follow_routes() => {}
            }
            self.take_arrived();
            self.pending.wake(Instant::now());
            while self.should_send() {
                self.send().await?;
            }
            if self.truncate.is_some() && self.pending.is_empty() {
                self.apply_truncate().await?;
                continue;
            }
            if self.is_closed && self.arrived.is_empty() && self.pending.is_empty() {
                return Ok(());
            }
            let (can_take, sleep, budget) = (self.can_take(), self.sleep(), self.context.budget.clone());
            tokio::select! {
                biased;
                () = &mut aborted => return Ok(()),
                Some(finished) = self.requests.join_next() => match finished {
                    Ok(finished) => self.settle(finished)?,
                    Err(error) => anyhow::bail!("a bulk request ended unexpectedly: {error}"),
                },
                batch = batches.recv(), if can_take => match batch {
                    Some(batch) => self.arrived.push_back((Settlement::begin(batch), 0)),
                    None => self.is_closed = true,
                },
                () = budget.standstill() => {}
                // Waits that the earlier settings allowed end here.
                Ok(()) = settings.changed() => {}
                () = tokio::time::sleep(sleep) => {}
                _ = floor_timer.tick(), if self.applies_truncates => self.refresh_floors().await,
            }
        }
    }

    fn configure(&mut self, bulk: BulkConfig) {
        if bulk != self.bulk {
            self.pace.reconfigure(&self.bulk, &bulk);
            self.client.set_timeout(bulk.timeout);
            self.bulk = bulk;
        }
    }

    /// Reads the earlier truncates once a route begins to apply truncates.
    async fn follow_routes(&mut self) {
        let applies_truncates = (self.context.routes)().iter().any(|route| route.truncate == TruncatePolicy::Apply);
        if applies_truncates && !self.applies_truncates {
            while let Err(error) = self.load_floors().await {
                tracing::warn!(%error, "cannot read which truncates were applied before; retrying");
                tokio::time::sleep(FLOOR_RETRY).await;
            }
        }
        self.applies_truncates = applies_truncates;
    }

    /// Moves operations to `pending`, up to the next truncate.
    fn take_arrived(&mut self) {
        let now = Instant::now();
        while self.truncate.is_none() {
            let Some((batch, first)) = self.arrived.pop_front() else { break };
            for number in first..batch.operations.list.len() {
                let reference = OperationRef::new(&batch, number);
                let operation = reference.operation();
                if operation.action == Action::Truncate {
                    self.floors.raise(reference.table(), operation.version);
                    self.truncate = Some(reference);
                    self.arrived.push_front((batch.clone(), number + 1));
                    break;
                }
                if !operation.outlives_truncates && self.floors.is_below(reference.table(), operation.version) {
                    // The row is older than a truncate of its table that arrived first.
                    self.settlement.outcome(&reference, Outcome::Stale);
                    continue;
                }
                self.pending.add(reference, now);
            }
        }
    }

    fn should_send(&self) -> bool {
        let ready = self.pending.ready();
        ready > 0
            && self.requests.len() < self.pace.in_flight()
            && (self.pending.ready_bytes() >= self.pace.bytes()
                || ready >= self.bulk.documents
                || self.is_closed
                || self.truncate.is_some()
                || self.context.budget.is_standing_still()
                || self.pending.oldest().is_some_and(|since| since.elapsed() >= self.bulk.linger))
    }

    /// Returns true if another batch may be received.
    fn can_take(&self) -> bool {
        !self.is_closed && self.arrived.is_empty() && self.truncate.is_none()
    }

    /// How long nothing can happen without an event from outside.
    fn sleep(&self) -> Duration {
        let due = self.pending.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let linger = self.pending.oldest().map(|since| self.bulk.linger.saturating_sub(since.elapsed()));
        // At the limit of requests the next event is the end of a request.
        let linger = linger.filter(|_| self.requests.len() < self.pace.in_flight());
        due.into_iter().chain(linger).min().unwrap_or(MAX_SLEEP).max(Duration::from_millis(1))
    }

    /// The bytes of the next request. Where the budget limits what can arrive, what there is fills one request more than may
    /// be in flight, so that the next one is ready when the first is answered.
    fn request_bytes(&self) -> usize {
        if !self.context.budget.is_nearly_full() {
            return self.pace.bytes();
        }
        let share = (self.pending.ready_bytes() + self.in_flight_bytes) / (self.pace.in_flight() + 1);
        share.max(MIN_SHARE).min(self.pace.bytes())
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        let entries = self.pending.take(self.request_bytes(), self.bulk.documents);
        let retry = Retry { client: &self.client, bulk: &self.bulk, shutdown: &self.shutdown };
        self.preparation.prepare(&entries, &self.context.indices, retry).await?;
        self.request(entries);
        Ok(())
    }

    fn request(&mut self, entries: Vec<Entry>) {
        let body = bulk::body(&entries, &self.context.indices);
        let bytes = entries.iter().map(Entry::bytes).sum();
        let held = self.context.budget.reserve(body.len());
        tracing::debug!(
            documents = entries.len(),
            bytes = body.len(),
            waiting = self.pending.ready(),
            in_flight = self.requests.len() + 1,
            "bulk request"
        );
        let client = self.client.clone();
        self.context.metrics.bulk_requests.inc();
        self.in_flight_bytes += bytes;
        self.requests.spawn(async move {
            let begin = Instant::now();
            let answer = client.bulk(body).await;
            drop(held);
            Finished { entries, bytes, answer, duration: begin.elapsed() }
        });
        self.context.metrics.bulk_in_flight.set(self.requests.len() as i64);
    }

    fn settle(&mut self, finished: Finished) -> anyhow::Result<()> {
        let Finished { mut entries, bytes, answer, duration } = finished;
        self.in_flight_bytes -= bytes;
        let metrics = &self.context.metrics;
        metrics.bulk_in_flight.set(self.requests.len() as i64);
        metrics.bulk_seconds.observe(duration.as_secs_f64());
        tracing::debug!(documents = entries.len(), seconds = duration.as_secs_f64(), "bulk answer");
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.context.health.report_sink(Some(error.to_string()));
                if !self.is_unreachable {
                    tracing::warn!(%error, "no answer from Elasticsearch; retrying until there is one");
                    self.is_unreachable = true;
                }
                self.retry_all(entries, "no answer");
                return Ok(());
            }
        };
        if self.is_unreachable && answer.status == 200 {
            tracing::info!("Elasticsearch answers again");
            self.is_unreachable = false;
            self.context.health.report_sink(None);
        }
        match outcome::of_request(answer.status, &answer.body) {
            RequestResult::Items => self.settle_items(entries, &answer.body)?,
            RequestResult::Retry(reason) => self.retry_all(entries, reason),
            RequestResult::Split(reason) if entries.len() == 1 => {
                entries.into_iter().for_each(|entry| self.reject(entry, &reason));
            }
            RequestResult::Split(_) => {
                metrics.retries.get_or_create(&Kind { kind: "split".into() }).inc_by(entries.len() as u64);
                let rest = entries.split_off(entries.len() / 2);
                self.request(entries);
                self.request(rest);
            }
            RequestResult::Fatal(reason) => anyhow::bail!(reason),
        }
        Ok(())
    }

    fn settle_items(&mut self, entries: Vec<Entry>, body: &str) -> anyhow::Result<()> {
        let items = bulk::items(body, entries.len())?;
        let mut was_rejected = false;
        for (entry, item) in entries.into_iter().zip(items) {
            let operation = entry.first().operation();
            let (error_type, reason) = item.error();
            match outcome::of_item(operation.action, item.status, error_type, &reason) {
                ItemResult::Settled(Outcome::Written) if item.is_noop() => self.finish(&entry, &Outcome::Stale),
                ItemResult::Settled(Outcome::Rejected(reason)) => self.reject(entry, &reason),
                ItemResult::Settled(outcome) => self.finish(&entry, &outcome),
                ItemResult::Retry(reason) => {
                    was_rejected |= reason == "rejected";
                    self.retry_later(entry, reason);
                }
                ItemResult::Unknown(_) if entry.attempts + 1 < outcome::UNKNOWN_ATTEMPTS => {
                    self.retry_later(entry, "unknown");
                }
                ItemResult::Unknown(reason) => {
                    let index = self.context.indices.name(operation.index);
                    tracing::error!(
                        %index,
                        reason,
                        "Elasticsearch rejects a document for a reason that Rowmill does not know; its record becomes a dead \
                         letter"
                    );
                    self.reject(entry, &reason);
                }
                ItemResult::Fatal(reason) => {
                    let index = self.context.indices.name(operation.index);
                    anyhow::bail!("index {index}: {reason}");
                }
            }
        }
        if was_rejected {
            self.pace.slow_down(&self.bulk);
        } else {
            self.pace.speed_up(&self.bulk);
        }
        Ok(())
    }

    /// Gives the entry's operations this outcome; those that they replaced are superseded.
    fn finish(&mut self, entry: &Entry, outcome: &Outcome) {
        for part in &entry.parts {
            self.settlement.outcome(&part.operation, outcome.clone());
            for operation in &part.superseded {
                self.settlement.outcome(operation, Outcome::Superseded);
            }
        }
        self.pending.settled(entry);
    }

    /// The entry is rejected: of several parts each is sent alone, and an operation that the rejected one replaced is sent
    /// in its place.
    fn reject(&mut self, entry: Entry, reason: &str) {
        if entry.parts.len() > 1 {
            self.pending.send_sequentially(entry);
        } else if let Some(rejected) = self.pending.reject(entry) {
            self.settlement.outcome(&rejected, Outcome::Rejected(reason.into()));
        }
    }

    fn retry_all(&mut self, entries: Vec<Entry>, reason: &str) {
        self.pace.slow_down(&self.bulk);
        entries.into_iter().for_each(|entry| self.retry_later(entry, reason));
    }

    fn retry_later(&mut self, mut entry: Entry, reason: &str) {
        let retries = self.context.metrics.retries.get_or_create(&Kind { kind: reason.into() });
        retries.inc_by(entry.parts.len() as u64);
        drop(retries);
        let due = Instant::now() + backoff(&self.bulk, entry.attempts);
        entry.attempts += 1;
        self.pending.retry(entry, due);
    }

    async fn apply_truncate(&mut self) -> anyhow::Result<()> {
        let Some(truncate) = self.truncate.take() else { return Ok(()) };
        let table = truncate.table().clone();
        let version = truncate.operation().version;
        let index = self.context.indices.name(truncate.operation().index);
        let other_indices: Vec<String> = serde_json::from_slice(truncate.body()).unwrap_or_default();
        let retry = Retry { client: &self.client, bulk: &self.bulk, shutdown: &self.shutdown };
        retry
            .until_ok("store the truncate", async |client| truncate::store(client, &table, &index, version).await)
            .await?;
        let deleted = retry
            .until_ok("apply the truncate", async |client| {
                truncate::apply(client, &table, &index, &other_indices, version).await
            })
            .await?;
        tracing::info!(%table, %index, documents = deleted, "truncate applied");
        self.settlement.outcome(&truncate, Outcome::Written);
        Ok(())
    }

    /// Reads the versions of all truncates that were applied, by this and by other instances.
    async fn load_floors(&mut self) -> anyhow::Result<()> {
        let routes = (self.context.routes)();
        let own_index = |table: &str| {
            let (database, table) = table.split_once('.').unwrap_or(("", table));
            table_index(&routes, database, table, &rules::elasticsearch())
        };
        for (table, version) in truncate::load(&self.client, own_index).await? {
            self.floors.raise(&table, version);
        }
        Ok(())
    }

    /// Learns of truncates that other instances have applied. Rows that they left to this instance are dropped from now on.
    async fn refresh_floors(&mut self) {
        if let Err(error) = self.load_floors().await {
            tracing::debug!(%error, "cannot read which truncates other instances have applied; retrying");
        }
    }
}
