//! The writer: bulk requests out of what waits, and for every operation exactly one outcome.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rowmill_sandbox::literal;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::client::{Answer, Client};
use super::merge::SCRIPT_ID;
use super::outcome::{self, Outcome, RequestOutcome};
use super::pending::{Entry, OperationRef, Pending};
use crate::sink::refused::RefusedOperations;
use super::truncate::{self, Floors};
use crate::config::BulkConfig;
use crate::dead_letter::DeadLetters;
use crate::indices::Indices;
use crate::metrics::{Kind, Metrics};
use crate::operation::{Action, IndexNumber, OperationBatch};

/// Documents that may wait beside those in flight; beyond it the writer takes in no more and the workers wait.
const MAX_WAITING: usize = 50_000;
/// How often truncates that other instances met are looked up.
const FLOOR_INTERVAL: Duration = Duration::from_secs(5);

/// What a writer needs.
pub struct WriterSettings {
    /// The cluster.
    pub client: Client,
    /// Batches and retries, as they are now.
    pub bulk: watch::Receiver<BulkConfig>,
    /// The indices.
    pub indices: Arc<Indices>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Where refused operations go.
    pub dead_letters: DeadLetters,
    /// Whether any route applies truncates now.
    pub applies_truncates: Box<dyn Fn() -> bool + Send + Sync>,
    /// The index of a table's own, by the table's full name.
    pub own_index: Box<dyn Fn(&str) -> String + Send + Sync>,
}

/// Writes operations to a cluster until its channel is closed and all is settled.
pub struct Writer {
    settings: WriterSettings,
    /// What holds in this turn of the loop.
    bulk: BulkConfig,
    applies_truncates: bool,
    pending: Pending,
    /// Batches whose operations are not yet taken in: what stands behind a truncate waits for it.
    inbox: VecDeque<(Arc<OperationBatch>, usize)>,
    truncate: Option<OperationRef>,
    refused: RefusedOperations,
    floors: Floors,
    requests: JoinSet<(Vec<Entry>, anyhow::Result<Answer>, Duration)>,
    ready_indices: HashSet<IndexNumber>,
    script_stored: bool,
    /// The present limits of a request's bytes and of requests at a time: halved by a rejection, raised by success.
    bytes_now: usize,
    in_flight_now: f64,
    closed: bool,
    abort: watch::Receiver<bool>,
    /// Set while there is no answer at all, so that it is said once and not at every attempt.
    unreachable: bool,
}

#[derive(Deserialize)]
struct BulkAnswer {
    #[serde(default)]
    items: Vec<HashMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    error: Option<ItemError>,
    #[serde(default)]
    result: String,
}

#[derive(Deserialize, Default)]
struct ItemError {
    #[serde(default, rename = "type")]
    error_type: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<ItemError>>,
}

impl ItemError {
    fn told(&self) -> String {
        match &self.caused_by {
            Some(cause) if !cause.reason.is_empty() => format!("{}: {}", self.reason, cause.told()),
            _ => self.reason.clone(),
        }
    }
}

impl Writer {
    /// A writer that has nothing to write yet. `abort` ends it at once: what is not settled then stays so, and is read
    /// again by the next run.
    pub fn new(settings: WriterSettings, abort: watch::Receiver<bool>) -> Self {
        let bulk = *settings.bulk.borrow();
        Self {
            bulk,
            applies_truncates: false,
            pending: Pending::new(),
            inbox: VecDeque::new(),
            truncate: None,
            refused: RefusedOperations::default(),
            floors: Floors::default(),
            requests: JoinSet::new(),
            ready_indices: HashSet::new(),
            script_stored: false,
            bytes_now: bulk.bytes,
            in_flight_now: bulk.in_flight as f64,
            closed: false,
            unreachable: false,
            abort,
            settings,
        }
    }

    /// Writes what comes until the channel is closed and everything is settled.
    ///
    /// # Errors
    /// Elasticsearch gave an answer after which nothing can go on.
    pub async fn run(mut self, mut batches: mpsc::Receiver<OperationBatch>) -> anyhow::Result<()> {
        let mut floor_timer = tokio::time::interval(FLOOR_INTERVAL);
        floor_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changed = self.settings.bulk.clone();
        loop {
            self.take_over(*changed.borrow_and_update());
            let applies_truncates = (self.settings.applies_truncates)();
            if applies_truncates && !self.applies_truncates {
                let mut abort = self.abort.clone();
                tokio::select! {
                    _ = abort.changed() => return Ok(()),
                    () = self.load_floors() => {}
                }
            }
            self.applies_truncates = applies_truncates;
            self.take_in();
            self.pending.wake(Instant::now());
            while self.should_send() {
                self.send().await?;
            }
            if self.truncate.is_some() && self.pending.is_empty() {
                self.apply_truncate().await?;
                continue;
            }
            if self.closed && self.inbox.is_empty() && self.pending.is_empty() {
                return Ok(());
            }
            let takes =
                !self.closed && self.inbox.is_empty() && self.truncate.is_none() && self.pending.ready() < MAX_WAITING;
            let wait = self.wait();
            tokio::select! {
                biased;
                _ = self.abort.changed() => return Ok(()),
                Some(done) = self.requests.join_next() => match done {
                    Ok((entries, answer, time)) => self.settle(entries, answer, time)?,
                    Err(error) => anyhow::bail!("a bulk request ended unexpectedly: {error}"),
                },
                batch = batches.recv(), if takes => match batch {
                    Some(batch) => self.inbox.push_back((OperationRef::begin(batch), 0)),
                    None => self.closed = true,
                },
                // What waits by the settings of before waits no longer than by those of now.
                Ok(()) = changed.changed() => {}
                () = tokio::time::sleep(wait) => {}
                _ = floor_timer.tick(), if self.applies_truncates => self.refresh_floors().await,
            }
        }
    }

    /// Goes by other settings from now on. What Elasticsearch made us slow down to stays, up to the new limits.
    fn take_over(&mut self, bulk: BulkConfig) {
        if bulk == self.bulk {
            return;
        }
        let is_slowed = (self.bytes_now < self.bulk.bytes, self.in_flight_now < self.bulk.in_flight as f64);
        self.bytes_now = if is_slowed.0 { self.bytes_now.min(bulk.bytes) } else { bulk.bytes };
        let in_flight = bulk.in_flight as f64;
        self.in_flight_now = if is_slowed.1 { self.in_flight_now.min(in_flight) } else { in_flight };
        self.settings.client.set_timeout(bulk.timeout);
        self.bulk = bulk;
    }

    /// Takes operations in up to the next truncate.
    fn take_in(&mut self) {
        let now = Instant::now();
        while self.truncate.is_none() {
            let Some((batch, first)) = self.inbox.pop_front() else { break };
            for number in first..batch.operations.len() {
                let operation = OperationRef::new(&batch, number);
                if operation.operation().action == Action::Truncate {
                    self.floors.raise(operation.table(), operation.operation().version);
                    self.truncate = Some(operation);
                    self.inbox.push_front((batch.clone(), number + 1));
                    break;
                }
                if !operation.operation().outlives_truncates
                    && self.floors.is_below(operation.table(), operation.operation().version)
                {
                    // The row is older than a truncate of its table that came first.
                    self.settings.metrics.stale.inc();
                    self.settled(&operation);
                    continue;
                }
                self.pending.add(operation, now);
            }
        }
        let folded = std::mem::take(&mut self.pending.n_folded);
        self.settings.metrics.folded.inc_by(folded);
    }

    fn should_send(&self) -> bool {
        let ready = self.pending.ready();
        ready > 0
            && self.requests.len() < self.in_flight_now.max(1.0) as usize
            && (self.pending.ready_bytes() >= self.bytes_now
                || ready >= self.bulk.documents
                || self.closed
                || self.truncate.is_some()
                || self.pending.oldest().is_some_and(|since| since.elapsed() >= self.bulk.linger))
    }

    /// How long nothing can happen but what comes from outside.
    fn wait(&self) -> Duration {
        let due = self.pending.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let linger = self.pending.oldest().map(|since| self.bulk.linger.saturating_sub(since.elapsed()));
        // A request limit that is reached ends with a request, not with time.
        let linger = linger.filter(|_| self.requests.len() < self.in_flight_now.max(1.0) as usize);
        due.into_iter().chain(linger).min().unwrap_or(Duration::from_secs(3600)).max(Duration::from_millis(1))
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        let entries = self.pending.take(self.bytes_now, self.bulk.documents);
        for entry in &entries {
            let operation = entry.operations[0].operation();
            if !self.ready_indices.contains(&operation.index) {
                self.prepare_index(operation.index).await?;
            }
            if operation.action.is_merge() && !self.script_stored {
                self.patiently("store the merge script", async |client| client.store_script().await).await?;
                self.script_stored = true;
            }
        }
        self.request(entries);
        Ok(())
    }

    fn request(&mut self, entries: Vec<Entry>) {
        let mut body = Vec::with_capacity(entries.iter().map(Entry::bytes).sum());
        for entry in &entries {
            write_item(&mut body, entry, &self.settings.indices);
        }
        let client = self.settings.client.clone();
        self.settings.metrics.bulk_requests.inc();
        self.requests.spawn(async move {
            let begin = Instant::now();
            let answer = client.bulk(Bytes::from(body)).await;
            (entries, answer, begin.elapsed())
        });
        self.settings.metrics.bulk_in_flight.set(self.requests.len() as i64);
    }

    /// Waits until `request` succeeds. There is nothing else to do meanwhile: documents cannot be written before it.
    async fn patiently<T>(
        &mut self,
        what: &str,
        request: impl AsyncFn(&Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        for attempt in 0.. {
            match request(&self.settings.client).await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    let wait = self.backoff(attempt);
                    tracing::warn!(%error, again_in_ms = wait.as_millis() as u64, "cannot {what}");
                    tokio::select! {
                        _ = self.abort.changed() => anyhow::bail!("ended while trying to {what}: {error}"),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        anyhow::bail!("cannot {what}")
    }

    /// Makes sure that an index is there before the first document is written to it.
    async fn prepare_index(&mut self, index: IndexNumber) -> anyhow::Result<()> {
        let name = self.settings.indices.name(index);
        let mapping = self.settings.indices.mapping(index);
        if self.patiently("look for the index", async |client| client.has_index(&name).await).await? {
            if !self.patiently("read the index' settings", async |client| client.raise_gc_deletes(&name).await).await? {
                tracing::warn!(index = %name, "index.gc_deletes is shorter than an hour and cannot be raised: a write that is later than that can bring back what was deleted");
            }
        } else if self.bulk.create_indices {
            let answer = self
                .patiently("create the index", async |client| client.create_index(&name, mapping.as_deref()).await)
                .await?;
            match answer.status {
                200 => tracing::info!(index = %name, "index created"),
                400 if answer.body.contains("resource_already_exists_exception") => {}
                status => anyhow::bail!("cannot create the index {name}: status {status}: {}", answer.body),
            }
        } else {
            anyhow::bail!(
                "the index {name} does not exist and sink.create_indices is false; create it, or let Rowmill create it"
            );
        }
        self.ready_indices.insert(index);
        Ok(())
    }

    /// Gives every operation of a request its outcome.
    fn settle(&mut self, entries: Vec<Entry>, answer: anyhow::Result<Answer>, time: Duration) -> anyhow::Result<()> {
        let metrics = self.settings.metrics.clone();
        metrics.bulk_in_flight.set(self.requests.len() as i64);
        metrics.bulk_seconds.observe(time.as_secs_f64());
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if !self.unreachable {
                    tracing::warn!(%error, "no answer from Elasticsearch; trying again until there is one");
                    self.unreachable = true;
                }
                self.slow_down();
                entries.into_iter().for_each(|entry| self.again(entry, "no answer"));
                return Ok(());
            }
        };
        if self.unreachable && answer.status == 200 {
            tracing::info!("Elasticsearch answers again");
            self.unreachable = false;
        }
        match outcome::of_request(answer.status, &answer.body) {
            RequestOutcome::Items => self.settle_items(entries, &answer),
            RequestOutcome::Again(reason) => {
                self.slow_down();
                entries.into_iter().for_each(|entry| self.again(entry, reason));
                Ok(())
            }
            RequestOutcome::Split(reason) => {
                let mut entries = entries;
                match entries.len() {
                    0 => {}
                    1 => entries.into_iter().for_each(|entry| self.refuse(&entry, &reason)),
                    n => {
                        metrics.retries.get_or_create(&Kind { kind: "split".into() }).inc_by(n as u64);
                        let rest = entries.split_off(n / 2);
                        self.request(entries);
                        self.request(rest);
                    }
                }
                Ok(())
            }
            RequestOutcome::Stop(reason) => anyhow::bail!(reason),
        }
    }

    fn settle_items(&mut self, entries: Vec<Entry>, answer: &Answer) -> anyhow::Result<()> {
        let items: BulkAnswer = serde_json::from_str(&answer.body)
            .map_err(|error| anyhow::anyhow!("the answer to a bulk request cannot be read: {error}"))?;
        anyhow::ensure!(
            items.items.len() == entries.len(),
            "the answer to a bulk request of {} operations has {} items",
            entries.len(),
            items.items.len()
        );
        let metrics = self.settings.metrics.clone();
        let mut written = [0_u64; Action::COUNT];
        let mut rejected = false;
        for (entry, item) in entries.into_iter().zip(items.items) {
            let item = item.into_values().next().unwrap_or(Item { status: 0, error: None, result: String::new() });
            let operation = entry.operations[0].operation();
            let error = item.error.unwrap_or_default();
            match outcome::of_item(operation.action, item.status, &error.error_type, &error.told()) {
                Outcome::Written if item.result == "noop" => {
                    metrics.stale.inc_by(entry.operations.len() as u64);
                    self.done(&entry);
                }
                Outcome::Written => {
                    for operation in &entry.operations {
                        written[operation.operation().action as usize] += 1;
                    }
                    self.done(&entry);
                }
                Outcome::Stale => {
                    metrics.stale.inc();
                    self.done(&entry);
                }
                Outcome::Again(reason) => {
                    rejected |= reason == "rejected";
                    self.again(entry, reason);
                }
                Outcome::DeadLetter(_) if entry.operations.len() > 1 => self.pending.apart(entry),
                Outcome::DeadLetter(reason) => self.refuse(&entry, &reason),
                Outcome::Stop(reason) => {
                    let index = self.settings.indices.name(operation.index);
                    anyhow::bail!("index {index}: {reason}");
                }
            }
        }
        for action in Action::OF_DOCUMENTS {
            if written[action as usize] > 0 {
                metrics.written(action, written[action as usize]);
            }
        }
        if rejected {
            self.slow_down();
        } else {
            self.speed_up();
        }
        Ok(())
    }

    /// The entry and what was folded into it are settled.
    fn done(&mut self, entry: &Entry) {
        for operation in entry.operations.iter().chain(&entry.folded) {
            self.settled(operation);
        }
        self.pending.settled(entry);
    }

    fn settled(&mut self, operation: &OperationRef) {
        operation.batch.source.ticket.settle(1);
        self.has_outcome(operation);
    }

    fn has_outcome(&mut self, operation: &OperationRef) {
        if operation.has_outcome() {
            self.refused.send(&operation.batch, &self.settings.indices, &self.settings.dead_letters);
        }
    }

    fn again(&mut self, mut entry: Entry, reason: &str) {
        self.settings
            .metrics
            .retries
            .get_or_create(&Kind { kind: reason.into() })
            .inc_by(entry.operations.len() as u64);
        let wait = self.backoff(entry.attempts);
        entry.attempts += 1;
        self.pending.again(entry, Instant::now() + wait);
    }

    /// A random wait below a bound that doubles with every attempt ("full jitter"), and at least a millisecond.
    fn backoff(&self, attempts: u32) -> Duration {
        let bound = self.bulk.retry_wait.saturating_mul(1 << attempts.min(16)).min(self.bulk.retry_wait_max);
        Duration::from_micros(fastrand::u64(1_000..=(bound.as_micros() as u64).max(1_000)))
    }

    /// Elasticsearch will never take it: its operations are settled with the dead letters of their records.
    fn refuse(&mut self, entry: &Entry, reason: &str) {
        for operation in &entry.operations {
            self.refused.hold(operation.clone(), reason);
            self.has_outcome(operation);
        }
        for operation in &entry.folded {
            self.settled(operation);
        }
        self.pending.settled(entry);
    }

    fn slow_down(&mut self) {
        self.bytes_now = (self.bytes_now / 2).max(64 << 10).min(self.bulk.bytes);
        self.in_flight_now = (self.in_flight_now / 2.0).max(1.0);
    }

    fn speed_up(&mut self) {
        self.bytes_now = (self.bytes_now + self.bulk.bytes / 20).min(self.bulk.bytes);
        self.in_flight_now = (self.in_flight_now + 0.1).min(self.bulk.in_flight as f64);
    }

    async fn apply_truncate(&mut self) -> anyhow::Result<()> {
        let Some(truncate) = self.truncate.take() else { return Ok(()) };
        let table = truncate.table().clone();
        let version = truncate.operation().version;
        let index = self.settings.indices.name(truncate.operation().index);
        let others: Vec<String> = serde_json::from_slice(truncate.body()).unwrap_or_default();
        self.patiently("keep the truncate", async |client| truncate::keep(client, &table, &index, version).await)
            .await?;
        let gone = self
            .patiently("apply the truncate", async |client| {
                truncate::apply(client, &table, &index, &others, version).await
            })
            .await?;
        tracing::info!(%table, %index, documents = gone, "truncate applied");
        self.settings.metrics.written(Action::Truncate, 1);
        self.settled(&truncate);
        Ok(())
    }

    async fn load_floors(&mut self) {
        loop {
            match truncate::load(&self.settings.client, &*self.settings.own_index).await {
                Ok(floors) => {
                    floors.into_iter().for_each(|(table, version)| self.floors.raise(&table, version));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read which truncates were applied before");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Learns of truncates that other instances met. What they left to us is dropped from now on.
    async fn refresh_floors(&mut self) {
        if let Ok(floors) = truncate::load(&self.settings.client, &*self.settings.own_index).await {
            floors.into_iter().for_each(|(table, version)| self.floors.raise(&table, version));
        }
    }
}

/// Appends an entry's lines of a bulk request.
fn write_item(out: &mut Vec<u8>, entry: &Entry, indices: &Indices) {
    let first = &entry.operations[0];
    let operation = first.operation();
    let verb: &[u8] = match operation.action {
        Action::Index => b"{\"index\":{\"_index\":",
        Action::Delete => b"{\"delete\":{\"_index\":",
        _ => b"{\"update\":{\"_index\":",
    };
    out.extend_from_slice(verb);
    literal::write_string(out, &indices.name(operation.index));
    out.extend_from_slice(b",\"_id\":");
    literal::write_string(out, first.batch.text(operation.id));
    if let Some(routing) = operation.routing {
        out.extend_from_slice(b",\"routing\":");
        literal::write_string(out, first.batch.text(routing));
    }
    if operation.action.is_merge() {
        out.extend_from_slice(
            b",\"retry_on_conflict\":5}}\n{\"scripted_upsert\":true,\"upsert\":{},\"script\":{\"id\":\"",
        );
        out.extend_from_slice(SCRIPT_ID.as_bytes());
        out.extend_from_slice(b"\",\"params\":{\"parts\":[");
        for (place, part) in entry.operations.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"source\":");
            literal::write_string(out, part.table());
            out.extend_from_slice(format!(",\"version\":{}", part.operation().version).as_bytes());
            if !part.item().is_empty() {
                out.push(b',');
                out.extend_from_slice(part.item());
            }
            let body: &[u8] = match part.operation().action {
                Action::Merge => b",\"fields\":",
                Action::PutItem => b",\"item\":",
                Action::MergeRemove => b",\"fields\":{}",
                _ => b"",
            };
            out.extend_from_slice(body);
            out.extend_from_slice(part.body());
            out.push(b'}');
        }
        out.extend_from_slice(b"]}}}\n");
        return;
    }
    out.extend_from_slice(b",\"version\":");
    out.extend_from_slice(operation.version.to_string().as_bytes());
    out.extend_from_slice(b",\"version_type\":\"external\"}}\n");
    if operation.action == Action::Index {
        out.extend_from_slice(first.body());
        out.push(b'\n');
    }
}
