//! The outcomes of operations, in one place for all sinks: what is counted, which records become dead letters, and what
//! is settled.
//!
//! A record has at most one dead letter, however many of its documents are rejected. Their outcomes may arrive one by one,
//! from several requests, so rejected operations are held here, unsettled, until every operation of their batch has an
//! outcome.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rowmill_engine::{Action, Indices};

use super::OperationRef;
use crate::alarms::StaleShares;
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::metrics::Metrics;
use crate::operation::OperationBatch;

/// The most reasons that one dead letter lists; the others are only counted.
const MAX_REASONS: usize = 10;

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Written,
    /// The sink has a newer version, or a later truncate deleted the row.
    Stale,
    /// A newer operation on the same document replaced it before it was sent.
    Superseded,
    /// The sink will never accept it, for this reason.
    Rejected(String),
}

/// Receives the outcome of every operation.
#[derive(Debug)]
pub struct Settlement {
    metrics: Arc<Metrics>,
    indices: Arc<Indices>,
    dead_letters: DeadLetters,
    /// Rejected operations of batches in which other operations have no outcome yet.
    rejected: Vec<(OperationRef, String)>,
    stale_shares: StaleShares,
}

impl Settlement {
    /// A settlement that counts in `metrics` and sends dead letters with the names of `indices`.
    pub fn new(metrics: Arc<Metrics>, indices: Arc<Indices>, dead_letters: DeadLetters) -> Self {
        let stale_shares = StaleShares::new(metrics.alarms.clone());
        Self { metrics, indices, dead_letters, rejected: Vec::new(), stale_shares }
    }

    /// Prepares a batch for outcomes. To be called once, before the first of them.
    pub fn begin(mut batch: OperationBatch) -> Arc<OperationBatch> {
        batch.passage = None;
        batch.without_outcome.store(batch.operations.list.len() as u32, Ordering::Relaxed);
        Arc::new(batch)
    }

    /// The outcome of one operation. Every operation must have exactly one.
    pub fn outcome(&mut self, operation: &OperationRef, outcome: Outcome) {
        match outcome {
            Outcome::Written => {
                self.metrics.written(operation.operation().action, 1);
                self.stale_shares.add_written(operation.operation().index.0);
            }
            Outcome::Stale => {
                self.metrics.stale.inc();
                let index = operation.operation().index;
                let name = || self.indices.name(index);
                self.stale_shares.add_stale(index.0, name, operation.table(), Instant::now());
            }
            Outcome::Superseded => {
                self.metrics.folded.inc();
            }
            Outcome::Rejected(reason) => {
                self.rejected.push((operation.clone(), reason));
                return self.count_down(operation.batch());
            }
        }
        operation.batch().source.ticket.settle(1);
        self.count_down(operation.batch());
    }

    /// The outcome of a whole batch: everything is written. It takes the place of [`Settlement::begin`] and of the outcomes
    /// of the operations.
    pub fn batch_written(&self, batch: &OperationBatch) {
        let mut counts = [0; Action::COUNT];
        for operation in &batch.operations.list {
            counts[operation.action as usize] += 1;
        }
        for action in Action::ALL {
            self.metrics.written(action, counts[action as usize]);
        }
        batch.source.ticket.settle(batch.operations.list.len() as u64);
    }

    fn count_down(&mut self, batch: &Arc<OperationBatch>) {
        if batch.without_outcome.fetch_sub(1, Ordering::Relaxed) == 1 && !self.rejected.is_empty() {
            self.send_dead_letters(batch);
        }
    }

    /// Sends a dead letter for each record of the batch that had documents rejected.
    fn send_dead_letters(&mut self, batch: &Arc<OperationBatch>) {
        let mut rejected: Vec<_> = self.rejected.extract_if(.., |(one, _)| Arc::ptr_eq(one.batch(), batch)).collect();
        // Outcomes arrive in any order.
        rejected.sort_by_key(|(one, _)| (one.operation().record, one.number()));
        for of_record in rejected.chunk_by(|(a, _), (b, _)| a.operation().record == b.operation().record) {
            let (first, _) = &of_record[0];
            let operation = first.operation();
            let reason = combined_reason(of_record, &self.indices);
            let mut letter = DeadLetter::new(&batch.source, operation.record, Stage::Sink, reason);
            letter.table = Some(first.table().clone());
            letter.producer = batch.operations.producers.get(operation.producer as usize).cloned();
            letter.index = Some(self.indices.name(operation.index));
            letter.id = Some(first.id_text().to_string());
            letter.versions = batch.versions_of(operation.record);
            self.dead_letters.send(letter);
            // The letter holds a share of its own.
            batch.source.ticket.settle(of_record.len() as u64);
        }
    }
}

/// The sink's reason; if several documents were rejected, each reason with its document.
fn combined_reason(rejected: &[(OperationRef, String)], indices: &Indices) -> String {
    if let [(_, reason)] = rejected {
        return reason.clone();
    }
    let mut text = format!("{} documents of the record were rejected", rejected.len());
    for (place, (one, reason)) in rejected.iter().take(MAX_REASONS).enumerate() {
        let index = indices.name(one.operation().index);
        // Writing into a String cannot fail.
        let _ = write!(text, "{} {index}/{}: {reason}", if place == 0 { ":" } else { ";" }, one.id_text());
    }
    if rejected.len() > MAX_REASONS {
        let _ = write!(text, "; and {} more", rejected.len() - MAX_REASONS);
    }
    text
}
