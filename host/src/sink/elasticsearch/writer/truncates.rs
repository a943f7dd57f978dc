//! Truncates: when they begin, and the versions below which rows are dropped.
//!
//! A truncate holds nothing up. Rows that are older than it and wait are dropped; those that are in flight are awaited, so
//! that it finds their documents; newer rows are written meanwhile, since it leaves documents with newer versions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rowmill_engine::{TruncatePolicy, table_index};

use super::{Event, Writer};
use crate::sink::elasticsearch::client::{Forbidden, Refused};
use crate::sink::elasticsearch::retry::Retry;
use crate::sink::elasticsearch::truncate::{self, Floors, Stored};
use crate::sink::{OperationRef, Outcome, rules};

/// How often the truncates that other instances have applied are read.
const LOAD_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before the truncates are read again after an error.
const LOAD_RETRY: Duration = Duration::from_secs(1);

/// Truncates that are not applied yet, and those that are.
#[derive(Default)]
pub(super) struct Truncates {
    floors: Floors,
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

impl Truncates {
    /// Returns true if rows can be compared with the truncates that were applied before.
    pub fn are_known(&self) -> bool {
        !self.are_applied || self.are_loaded
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.n_running == 0
    }

    /// Returns true if a truncate waits for requests.
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
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
        self.truncates.n_running += 1;
        self.tasks.spawn(async move {
            let retry = Retry { bulk: &bulk, shutdown: &shutdown };
            let store = || truncate::store(&client, &table, &index, version);
            let apply = || truncate::apply(&client, &table, &index, &other_indices, version);
            let result = match retry.until_ok("store the truncate", store).await {
                Ok(()) => retry.until_ok("apply the truncate", apply).await,
                Err(error) => Err(error),
            };
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
        let documents = result?;
        tracing::info!(%table, %index, documents, "truncate applied");
        self.settlement.outcome(truncate, Outcome::Written);
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
            Err(error) if error.is::<Refused>() || error.is::<Forbidden>() => return Err(error),
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
