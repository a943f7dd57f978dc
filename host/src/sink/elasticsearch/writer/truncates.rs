//! Truncates: when they begin, and the versions below which rows are dropped.
//!
//! A truncate holds nothing up. Rows that are older than it and wait are dropped; those that are in flight are awaited, so
//! that it finds their documents; newer rows are written meanwhile, since it leaves documents with newer versions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_engine::{TruncatePolicy, table_index};
use tokio::sync::Semaphore;

use super::{Event, Writer};
use crate::config::IndexErrorPolicy;
use crate::sink::elasticsearch::client::{Forbidden, Refused};
use crate::sink::elasticsearch::retry::{Retry, is_refusal};
use crate::sink::elasticsearch::truncate::{self, Floors, Stored};
use crate::sink::{OperationRef, Outcome, rules};

/// How often the truncates that other instances have applied are read.
const LOAD_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before the truncates are read again after an error.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// The most truncates that are applied at a time, without those that wait for the next attempt.
const MAX_AT_A_TIME: usize = 4;

/// Truncates that are not applied yet, and those that are.
pub(super) struct Truncates {
    floors: Floors,
    /// Permits to apply truncates.
    turns: Arc<Semaphore>,
    /// Truncates that wait until the requests before this number are answered.
    waiting: VecDeque<(OperationRef, u64)>,
    /// How many are being applied.
    n_running: usize,
    /// Whether any route applies truncates.
    are_applied: bool,
    /// Whether the truncates of earlier runs and of other instances were read.
    are_loaded: bool,
    is_loading: bool,
    next_load: Option<Instant>,
}

impl Default for Truncates {
    fn default() -> Self {
        Self {
            floors: Floors::default(),
            turns: Arc::new(Semaphore::new(MAX_AT_A_TIME)),
            waiting: VecDeque::new(),
            n_running: 0,
            are_applied: false,
            are_loaded: false,
            is_loading: false,
            next_load: None,
        }
    }
}

impl Truncates {
    /// Returns true if rows can be compared with the truncates that were applied before.
    pub fn are_known(&self) -> bool {
        !self.are_applied || self.are_loaded
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.n_running == 0
    }

    /// Returns true if there is any version below which rows are dropped.
    pub fn have_floors(&self) -> bool {
        !self.floors.is_empty()
    }

    /// Returns true if the operation is on a row that a truncate has deleted.
    pub fn is_obsolete(&self, reference: &OperationRef) -> bool {
        let operation = reference.operation();
        !operation.outlives_truncates && self.floors.is_below(reference.table(), operation.version)
    }

    /// Adds a truncate that begins once the requests before this number are answered.
    pub fn add(&mut self, truncate: OperationRef, before: u64) {
        self.floors.raise(truncate.table(), truncate.operation().version);
        self.waiting.push_back((truncate, before));
    }

    /// When the truncates of other instances are read next.
    pub fn next_load(&self) -> Option<Instant> {
        self.next_load.filter(|_| self.are_applied && !self.is_loading)
    }
}

impl Writer {
    /// Begins truncates whose time has come, and reads those of others.
    pub(super) fn follow_truncates(&mut self) {
        let first_open = self.requests.first().copied().unwrap_or(self.next_request);
        while self.truncates.waiting.front().is_some_and(|(_, before)| *before <= first_open) {
            if let Some((truncate, _)) = self.truncates.waiting.pop_front() {
                self.begin_truncate(truncate);
            }
        }
        let are_applied = (self.context.routes)().iter().any(|route| route.truncate == TruncatePolicy::Apply);
        if are_applied && !self.truncates.are_applied {
            (self.truncates.are_loaded, self.truncates.next_load) = (false, Some(Instant::now()));
        }
        self.truncates.are_applied = are_applied;
        if self.truncates.next_load().is_some_and(|due| due <= Instant::now()) {
            self.load_floors();
        }
    }

    fn begin_truncate(&mut self, truncate: OperationRef) {
        let table = truncate.table().clone();
        let version = truncate.operation().version;
        let index = self.context.indices.name(truncate.operation().index);
        let other_indices: Vec<String> = serde_json::from_slice(truncate.body()).unwrap_or_default();
        let (client, bulk, shutdown) = (self.client.clone(), self.bulk, self.shutdown.clone());
        let turns = self.truncates.turns.clone();
        self.truncates.n_running += 1;
        let is_final: fn(&anyhow::Error) -> bool = match bulk.on_index_error {
            IndexErrorPolicy::Pause => |error| error.is::<Refused>(),
            IndexErrorPolicy::DeadLetter | IndexErrorPolicy::Stop => is_refusal,
        };
        self.tasks.spawn(async move {
            let retry = Retry { bulk: &bulk, shutdown: &shutdown, is_final };
            let attempt = async || {
                let _turn = turns.acquire().await?;
                truncate::store(&client, &table, &index, version).await?;
                truncate::apply(&client, &table, &index, &other_indices, version).await
            };
            let result = retry.until_ok("apply the truncate", attempt).await;
            Event::Truncated { truncate, result }
        });
    }

    pub(super) fn note_truncated(
        &mut self,
        truncate: &OperationRef,
        result: anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        self.truncates.n_running -= 1;
        let (table, index) = (truncate.table(), self.context.indices.name(truncate.operation().index));
        match result {
            Ok(documents) => {
                tracing::info!(%table, %index, documents, "truncate applied");
                self.settlement.outcome(truncate, Outcome::Written);
            }
            Err(error) if error.is::<Forbidden>() && self.bulk.on_index_error == IndexErrorPolicy::DeadLetter => {
                tracing::error!(
                    %table,
                    %index,
                    %error,
                    "a truncate is refused and becomes a dead letter; fix what the reason says, then replay it"
                );
                self.settlement.outcome(truncate, Outcome::Rejected(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads the versions of all truncates that were applied, by this and by other instances.
    fn load_floors(&mut self) {
        self.truncates.is_loading = true;
        let client = self.client.clone();
        self.tasks.spawn(async move { Event::Floors(truncate::load(&client).await) });
    }

    /// Rows that are older than the truncates of other instances are dropped from now on.
    pub(super) fn note_floors(&mut self, result: anyhow::Result<Vec<Stored>>) -> anyhow::Result<()> {
        let routes = (self.context.routes)();
        let own_index = |table: &str| {
            let (database, table) = table.split_once('.').unwrap_or(("", table));
            table_index(&routes, database, table, &rules::elasticsearch())
        };
        let truncates = &mut self.truncates;
        truncates.is_loading = false;
        match result {
            Ok(stored) => {
                for Stored { table, index, version } in &stored {
                    if own_index(table) == *index {
                        truncates.floors.raise(table, *version);
                    }
                }
                (truncates.are_loaded, truncates.next_load) = (true, Some(Instant::now() + LOAD_INTERVAL));
            }
            Err(error) if is_refusal(&error) => return Err(error),
            Err(error) => {
                if !truncates.are_loaded {
                    tracing::warn!(%error, "cannot read which truncates were applied before; retrying");
                }
                truncates.next_load = Some(Instant::now() + LOAD_RETRY);
            }
        }
        Ok(())
    }
}
