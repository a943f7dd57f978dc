//! A new generation's way into the chain: fallback while it is on probation, canary and shadow while it is on trial.
//!
//! - *Probation*: if the new generation fails on rows that the last good one accepts, the whole batch goes through the
//!   chain of the last good generations instead.
//! - *Canary*: the candidate chain answers for a share of the document IDs; rows that it fails on fall back as well.
//! - *Shadow*: the candidate chain transforms a share of the batches once more, and the documents are only compared.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rowmill_engine::{Batch, Chain, ChainInstance, Indices, Operations, Pause, PluginInstance, RowToEmit};
use rowmill_rows::Operation as RowOperation;
use rowmill_sandbox::{Limits, NameRules};

use super::published::Published;
use super::trial::{RowOperations, TrialReport};
use super::worker::{count_health, run};
use crate::metrics::Metrics;

/// The part that a chain plays for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChainRole {
    /// The published chain.
    Active,
    /// The chain of the last good generations.
    Fallback,
    /// The chain with the generation on trial.
    Candidate,
}

/// The chains beside the published one, and which of them answers for which row.
pub(super) struct Rollout {
    is_idle: bool,
    /// The last good generations. In a canary without a generation on probation: the published chain.
    fallback: ChainInstance,
    candidate: ChainInstance,
    /// For each row the chain that answers for it; empty if the active chain answers for all.
    roles: Vec<ChainRole>,
    shadow: Shadow,
    indices: Arc<Indices>,
    limits: Limits,
    rules: NameRules,
    id: Vec<u8>,
}

/// What a shadow needs beside its chain.
#[derive(Default)]
struct Shadow {
    /// Batches that the shadow's share entitles it to and that it did not get yet.
    credit: f64,
    /// Whether the current batch is compared.
    is_on: bool,
    /// For each row of the batch: its operations in the chain that answers for it, or `None` if the row failed.
    emitted: Vec<Option<Range<usize>>>,
    /// The candidate's operations of one row.
    operations: Operations,
}

/// The number of each chain's first producer.
pub(super) struct FirstProducers {
    active: usize,
    fallback: usize,
    candidate: usize,
}

impl Rollout {
    pub fn new(indices: Arc<Indices>, limits: Limits, rules: NameRules) -> Self {
        Self {
            is_idle: true,
            fallback: ChainInstance::new(indices.clone(), limits.clone(), rules),
            candidate: ChainInstance::new(indices.clone(), limits.clone(), rules),
            roles: Vec::new(),
            shadow: Shadow::default(),
            indices,
            limits,
            rules,
            id: Vec::new(),
        }
    }

    /// Returns true if nothing is on probation or on trial, so that the active chain answers for all rows.
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Adds the plugin instances to `spare`.
    pub fn take_plugins(&mut self, spare: &mut Vec<PluginInstance>) {
        spare.append(&mut self.fallback.take_plugins());
        spare.append(&mut self.candidate.take_plugins());
    }

    /// Switches to the chains beside the published one; returns the previous ones.
    pub fn switch_to(&mut self, published: &Published, spare: &mut Vec<PluginInstance>) -> Vec<Arc<Chain>> {
        let candidate = published.candidate.as_ref();
        let is_canary = candidate.is_some_and(|candidate| candidate.trial.is_canary());
        self.is_idle = published.last_good.is_none() && candidate.is_none();
        self.roles.clear();
        // Rows that a canary fails on go where all other rows go.
        let fallback = published.last_good.clone().or_else(|| is_canary.then(|| published.chain.clone()));
        // What is only compared numbers its indices apart, so that it creates none.
        let indices = if is_canary { self.indices.clone() } else { Arc::default() };
        let mut previous = vec![self.candidate.chain().clone()];
        self.candidate = ChainInstance::new(indices, self.limits.clone(), self.rules);
        let chain = candidate.map(|candidate| candidate.chain.clone()).unwrap_or_default();
        let is_new = |place: usize| !chain.shares(place, &published.chain);
        previous.push(self.fallback.switch_to(fallback.unwrap_or_default(), spare, |_| false));
        self.candidate.switch_to(chain.clone(), spare, is_new);
        previous
    }

    /// The time spent in `define-table` since the last call of this method.
    pub fn take_definition_time(&mut self) -> Pause {
        self.fallback.take_definition_time() + self.candidate.take_definition_time()
    }

    /// Runs a batch through the published chain and, where needed, through those beside it.
    pub fn run(&mut self, published: &Published, active: &mut ChainInstance, batch: &mut Batch<'_>, metrics: &Metrics) {
        self.roles.clear();
        let canary = published.candidate.as_ref().filter(|candidate| candidate.trial.is_canary());
        if let Some(canary) = canary {
            for place in 0..batch.rows.rows.len() {
                let row = batch.row(place);
                self.id.clear();
                let is_taken = active.default_id(batch, row, &mut self.id).is_some()
                    && canary.trial.has_id(&active.plan(row.table, batch.table_of(place)).full_name, &self.id);
                self.roles.push(if is_taken { ChainRole::Candidate } else { ChainRole::Active });
            }
        }
        let roles = &self.roles;
        run(active, batch, metrics, |row| role_of(roles, row) == ChainRole::Active);
        if let Some(last_good) = &published.last_good {
            let is_new = |place: usize| !published.chain.shares(place, last_good);
            if active.has_failures(is_new) {
                self.fall_back(ChainRole::Active, active, batch, published, metrics);
            }
        }
        if let Some(canary) = canary {
            let roles = &self.roles;
            run(&mut self.candidate, batch, metrics, |row| role_of(roles, row) == ChainRole::Candidate);
            let n_taken = roles.iter().filter(|role| **role == ChainRole::Candidate).count() as u64;
            let mut report = TrialReport::default();
            let candidate = &self.candidate;
            if candidate.has_failures(|place| candidate.plugin(place).generation == canary.trial.generation) {
                report.failed_new =
                    (0..batch.rows.rows.len()).filter(|row| candidate.failure_of(*row).is_some()).count() as u64;
                self.fall_back(ChainRole::Candidate, active, batch, published, metrics);
            }
            canary.trial.add(n_taken, report);
        }
    }

    /// Rows of the chain `from` failed in a new generation. Runs them through the last good generations as well; if fewer
    /// fail there, those answer for all rows of `from`, so that they have one generation of each plugin.
    fn fall_back(
        &mut self,
        from: ChainRole,
        active: &ChainInstance,
        batch: &mut Batch<'_>,
        published: &Published,
        metrics: &Metrics,
    ) {
        let Self { fallback, candidate, roles, .. } = self;
        let failing = if from == ChainRole::Candidate { candidate } else { active };
        // In a canary both chains may need the fallback; it then runs the rows of both.
        run(fallback, batch, metrics, |row| [from, ChainRole::Fallback].contains(&role_of(roles, row)));
        let mut is_better = false;
        for row in 0..batch.rows.rows.len() {
            if role_of(roles, row) != from {
                continue;
            }
            let Some((place, reason)) = failing.failure_of(row) else { continue };
            if !failing.chain().shares(place, fallback.chain()) && fallback.failure_of(row).is_none() {
                is_better = true;
                let health = &failing.plugin(place).health;
                health.add_regressed(|| format!("{}: {reason}", batch.table_of(row).full_name()));
            }
        }
        if !is_better {
            return;
        }
        roles.resize(batch.rows.rows.len(), ChainRole::Active);
        for role in roles.iter_mut().filter(|role| **role == from) {
            *role = ChainRole::Fallback;
        }
        if let Some(alarm) = &published.alarm {
            alarm.ring();
        }
    }

    /// Adds the generations of the chains that answer for rows of the batch to the producers of `out`.
    pub fn add_producers(&self, active: &ChainInstance, out: &mut Operations) -> FirstProducers {
        let active = active.add_producers(out);
        let mut add = |role: ChainRole, chain: &ChainInstance| match self.roles.contains(&role) {
            true => chain.add_producers(out),
            false => active,
        };
        FirstProducers {
            active,
            fallback: add(ChainRole::Fallback, &self.fallback),
            candidate: add(ChainRole::Candidate, &self.candidate),
        }
    }

    /// Adds the time that writing the operations of a batch took to the generations that made them, by their numbers.
    pub fn add_writing_time(
        &self,
        active: &ChainInstance,
        first: &FirstProducers,
        out: &Operations,
        time: Duration,
        metrics: &Metrics,
    ) {
        let total = out.list.len() as u32;
        let mut counts = vec![0_u32; out.producers.len()];
        for operation in &out.list {
            // Operations without a plugin have a producer beyond the list.
            if let Some(count) = counts.get_mut(operation.producer as usize) {
                *count += 1;
            }
        }
        let others = [(&self.fallback, first.fallback), (&self.candidate, first.candidate)];
        let others = others.into_iter().filter(|(_, number)| *number != first.active);
        for (chain, number) in std::iter::once((active, first.active)).chain(others) {
            for (plugin, count) in chain.plugins().zip(counts.iter().skip(number)).filter(|(_, count)| **count > 0) {
                let share = time * *count / total;
                plugin.health.add_writing(share);
                metrics.plugin(&plugin.name, plugin.generation, 0, share, 0);
            }
        }
    }

    /// The chain that answers for a row, and the number of its first producer.
    pub fn chain_for<'a>(
        &'a mut self,
        row: usize,
        active: &'a mut ChainInstance,
        first: &FirstProducers,
    ) -> (&'a mut ChainInstance, usize) {
        match role_of(&self.roles, row) {
            ChainRole::Active => (active, first.active),
            ChainRole::Fallback => (&mut self.fallback, first.fallback),
            ChainRole::Candidate => (&mut self.candidate, first.candidate),
        }
    }

    /// Decides whether a shadow takes part in the next batch.
    pub fn start_shadow(&mut self, published: &Published) {
        self.shadow.is_on = false;
        let Some(candidate) = &published.candidate else { return };
        if candidate.trial.is_canary() || candidate.trial.is_over() {
            return;
        }
        self.shadow.credit += candidate.trial.share;
        if self.shadow.credit >= 1.0 {
            self.shadow.credit -= 1.0;
            self.shadow.is_on = true;
            self.shadow.emitted.clear();
        }
    }

    /// Notes the operations of the next row, or that it failed.
    #[inline]
    pub fn note_emitted(&mut self, operations: Option<Range<usize>>) {
        if self.shadow.is_on {
            self.shadow.emitted.push(operations);
        }
    }

    /// Transforms the batch once more by the candidate chain and compares its documents with those in `out`, if a shadow
    /// takes part in the batch.
    pub fn compare_shadow(&mut self, published: &Published, batch: &mut Batch<'_>, out: &Operations) {
        let Some(candidate) = published.candidate.as_ref().filter(|_| self.shadow.is_on) else { return };
        // The metrics count only what is written.
        self.candidate.run(batch, |_| true);
        count_health(&self.candidate);
        let mut report = TrialReport::default();
        let mut n_rows = 0;
        for (place, emitted) in self.shadow.emitted.iter().enumerate() {
            let row = batch.row(place);
            if row.operation == RowOperation::Truncate {
                continue;
            }
            n_rows += 1;
            report.failed_old += u64::from(emitted.is_none());
            let new = &mut self.shadow.operations;
            new.clear();
            let to_emit = RowToEmit { row: place, version: 0, first_producer: 0 };
            report.failed_new += u64::from(self.candidate.emit_row(batch, to_emit, new).is_err());
            let table = self.candidate.plan(row.table, batch.table_of(place)).full_name.clone();
            let old = &out.list[emitted.clone().unwrap_or(0..0)];
            let old = RowOperations { operations: old, batch: out, indices: &self.indices };
            let new = RowOperations { operations: &new.list, batch: new, indices: self.candidate.indices() };
            report.compare(&table, old, new);
        }
        candidate.trial.add(n_rows, report);
    }
}

fn role_of(roles: &[ChainRole], row: usize) -> ChainRole {
    roles.get(row).copied().unwrap_or(ChainRole::Active)
}
