//! Truncates: when they begin, and how rows that are older are kept away.
//!
//! A truncate holds nothing up. A row that is older than a known truncate of its table is not dropped but sent as a delete
//! with the truncate's version: an earlier attempt, of this gateway or of one that was killed, may have written it. Another
//! gateway may have stored a truncate that this one does not know yet, so a written row is settled only after the stored
//! truncates have been read once more:
//!
//! - If the truncate is among them, the row is deleted with the truncate's version.
//! - If not, it was stored after the row was written, and its search, which begins later still, finds the row's document.
//! - If the gateway is killed before that, the record is read again, and the same holds.
//!
//! So no clock and no time limit decides whether an older row outlives a truncate.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_engine::version::VersionStrategy;
use rowmill_engine::{Action, Route, TruncatePolicy, route_for, table_index};
use tokio::sync::Semaphore;

use super::{Event, Writer};
use crate::config::IndexErrorPolicy;
use crate::sink::elasticsearch::client::{Forbidden, Refused};
use crate::sink::elasticsearch::pending::{Entry, Part};
use crate::sink::elasticsearch::retry::{Retry, is_refusal};
use crate::sink::elasticsearch::truncate::{self, Floors, Loaded, Scope};
use crate::sink::{OperationRef, Outcome, rules};

/// How often the truncates that other instances have applied are read while no row waits for it.
const LOAD_INTERVAL: Duration = Duration::from_secs(5);
/// How often they are read while rows wait to be settled.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait before the truncates are read again after an error.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// The most truncates that are applied at a time, without those that wait for the next attempt.
const MAX_AT_A_TIME: usize = 4;

/// Truncates that are not applied yet, and those that are.
pub(super) struct Truncates {
    floors: Floors,
    /// Permits to apply truncates.
    turns: Arc<Semaphore>,
    /// How many are being applied.
    n_running: usize,
    /// The routes that `tables` was made from.
    routes: Arc<[Route]>,
    /// Whether any route applies truncates.
    are_applied: bool,
    /// For each table whether its truncates are applied.
    tables: HashMap<Arc<str>, bool>,
    /// What was read last.
    loaded: Option<Arc<Loaded>>,
    /// Stored truncates that cannot be compared with the rows of their table. Each is logged once.
    ignored: HashSet<(Arc<str>, u64)>,
    /// Rows that were written and are not settled.
    written: Vec<(Part, Outcome)>,
    /// Those that the running look-up settles.
    confirmed_next: Vec<(Part, Outcome)>,
    /// Whether the truncates of earlier runs and of other instances were asked for, with or without success.
    are_asked_for: bool,
    is_loading: bool,
    /// Not before this time are they read again.
    next_load: Instant,
    next_periodic_load: Instant,
    /// Whether the last look-up failed. It is logged once.
    is_failing: bool,
}

impl Default for Truncates {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            floors: Floors::default(),
            turns: Arc::new(Semaphore::new(MAX_AT_A_TIME)),
            n_running: 0,
            routes: Arc::from([]),
            are_applied: false,
            tables: HashMap::new(),
            loaded: None,
            ignored: HashSet::new(),
            written: Vec::new(),
            confirmed_next: Vec::new(),
            are_asked_for: false,
            is_loading: false,
            next_load: now,
            next_periodic_load: now,
            is_failing: false,
        }
    }
}

impl Truncates {
    /// Returns false while the first look-up of the truncates that were applied before is under way.
    pub fn are_asked_for(&self) -> bool {
        !self.are_applied || self.are_asked_for
    }

    pub fn is_empty(&self) -> bool {
        self.n_running == 0 && self.written.is_empty() && self.confirmed_next.is_empty()
    }

    /// Returns true if a truncate of the table deletes what the operation writes.
    pub fn may_delete(&mut self, reference: &OperationRef) -> bool {
        let operation = reference.operation();
        let is_write = matches!(operation.action, Action::Index | Action::Merge | Action::PutItem);
        if !self.are_applied || !is_write || operation.outlives_truncates {
            return false;
        }
        let table = reference.table();
        if let Some(applies) = self.tables.get(table) {
            return *applies;
        }
        let (database, name) = table.split_once('.').unwrap_or(("", table));
        let applies = route_for(&self.routes, database, name).truncate == TruncatePolicy::Apply;
        self.tables.insert(table.clone(), applies);
        applies
    }

    /// Marks what rows wrote that a truncate has deleted: it is sent as a removal.
    pub fn mark_deleted(&mut self, entries: &mut [Entry]) {
        if !self.are_applied || self.floors.is_empty() {
            return;
        }
        for part in entries.iter_mut().flat_map(|entry| &mut entry.parts) {
            part.truncated = self.floor_above(&part.operation);
        }
    }

    /// The version of a truncate that has deleted the row.
    fn floor_above(&mut self, reference: &OperationRef) -> Option<u64> {
        let floor = self.floors.above(reference.table(), reference.operation().version)?;
        self.may_delete(reference).then_some(floor)
    }

    /// A row was written, with this outcome unless a truncate that is not known yet has deleted it.
    pub fn confirm_later(&mut self, part: Part, outcome: Outcome) {
        self.written.push((part, outcome));
    }

    /// When the truncates of other instances are read next.
    pub fn next_load(&self) -> Option<Instant> {
        let due = if self.written.is_empty() { self.next_periodic_load } else { self.next_load };
        (self.are_applied && !self.is_loading).then_some(due)
    }

    /// What versions of the table's rows can be compared with now.
    fn scope(&self, table: &str) -> Scope {
        let (database, name) = table.split_once('.').unwrap_or(("", table));
        let route = route_for(&self.routes, database, name);
        let strategy = match route.version {
            VersionStrategy::Auto => "auto".into(),
            VersionStrategy::Binlog => "binlog".into(),
            VersionStrategy::Time => "time".into(),
            VersionStrategy::Offset => "offset".into(),
            VersionStrategy::Column(name) => format!("column:{name}"),
        };
        Scope {
            index: table_index(&self.routes, database, name, &rules::elasticsearch()),
            strategy,
            epoch: route.epoch,
        }
    }

    /// Takes the stored truncates that can be compared with the rows of their table.
    fn use_floors(&mut self, loaded: Arc<Loaded>) {
        if self.loaded.as_ref().is_some_and(|last| Arc::ptr_eq(last, &loaded)) {
            return;
        }
        for stored in &loaded.stored {
            let (table, version) = (&stored.table, stored.version);
            let scope = self.scope(table);
            if scope.index != stored.scope.index {
                continue;
            }
            match loaded.difference(stored, &scope) {
                None => self.floors.raise(table, version),
                Some(difference) => {
                    if self.n_running == 0 {
                        self.floors.forget(table, version);
                    }
                    if self.ignored.insert((table.clone(), version)) {
                        tracing::warn!(
                            %table,
                            index = stored.scope.index,
                            "an earlier truncate of the table is ignored, since its version cannot be compared with those of \
                             the table's rows: {difference}"
                        );
                    }
                }
            }
        }
        self.loaded = Some(loaded);
    }

    fn use_routes(&mut self, routes: &Arc<[Route]>) {
        if Arc::ptr_eq(routes, &self.routes) {
            return;
        }
        self.routes = routes.clone();
        self.tables.clear();
        self.loaded = None;
        let are_applied = routes.iter().any(|route| route.truncate == TruncatePolicy::Apply);
        if are_applied && !self.are_applied {
            self.are_asked_for = false;
            self.next_periodic_load = Instant::now();
        }
        self.are_applied = are_applied;
    }
}

impl Writer {
    /// Reads the truncates of other instances when it is time.
    pub(super) fn follow_truncates(&mut self) {
        self.truncates.use_routes(&(self.context.routes)());
        if !self.truncates.are_applied && !self.truncates.written.is_empty() {
            for (part, outcome) in std::mem::take(&mut self.truncates.written) {
                self.settle_part(&part, outcome);
            }
        }
        if self.truncates.next_load().is_some_and(|due| due <= Instant::now()) {
            self.load_floors();
        }
    }

    pub(super) fn begin_truncate(&mut self, truncate: OperationRef) {
        let table = truncate.table().clone();
        let version = truncate.operation().version;
        self.truncates.floors.raise(&table, version);
        let scope = Scope {
            index: self.context.indices.name(truncate.operation().index).to_string(),
            ..self.truncates.scope(&table)
        };
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
                truncate::store(&client, &table, &scope, version).await?;
                truncate::apply(&client, &table, &scope.index, &other_indices, version).await
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
        let truncates = &mut self.truncates;
        truncates.is_loading = true;
        truncates.next_load = Instant::now() + CONFIRM_INTERVAL;
        truncates.confirmed_next = std::mem::take(&mut truncates.written);
        let (client, last) = (self.client.clone(), truncates.loaded.clone());
        self.tasks.spawn(async move { Event::Floors(truncate::load(&client, last).await) });
    }

    /// Rows that are older than the truncates of other instances are deleted, the others are settled.
    pub(super) fn note_floors(&mut self, result: anyhow::Result<Arc<Loaded>>) -> anyhow::Result<()> {
        let truncates = &mut self.truncates;
        truncates.is_loading = false;
        truncates.are_asked_for = true;
        let confirmed = std::mem::take(&mut truncates.confirmed_next);
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) if is_refusal(&error) => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut truncates.is_failing, true) {
                    tracing::warn!(
                        %error,
                        "cannot read which truncates were applied; records of tables with truncates are not settled until it is possible"
                    );
                }
                truncates.written.splice(..0, confirmed);
                truncates.next_load = Instant::now() + LOAD_RETRY.min(self.bulk.retry_wait_max);
                truncates.next_periodic_load = truncates.next_load;
                return Ok(());
            }
        };
        truncates.is_failing = false;
        truncates.next_periodic_load = Instant::now() + LOAD_INTERVAL;
        truncates.use_floors(loaded);
        let now = Instant::now();
        for (part, outcome) in confirmed {
            match self.truncates.floor_above(&part.operation) {
                Some(_) => self.pending.add_part(part, now),
                None => self.settle_part(&part, outcome),
            }
        }
        Ok(())
    }
}
