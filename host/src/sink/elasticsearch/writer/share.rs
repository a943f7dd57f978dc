//! The share of the budget that documents may take which wait for indices that accept no writes. Beyond it, the source reads
//! nothing more of the partitions that they come from, so that the rest of the budget is left to the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Writer;
use crate::checkpoint::Progress;

/// The documents may take this part of the budget. What they hold is more: their records, and the rest of their batches.
const SHARE: usize = 8;
/// How often it is looked up which partitions the documents come from.
const INTERVAL: Duration = Duration::from_millis(50);

/// The partitions that are held back.
#[derive(Default)]
pub(super) struct HeldBack {
    partitions: Vec<Arc<Progress>>,
    looked_up: Option<Instant>,
}

impl HeldBack {
    fn replace(&mut self, partitions: Vec<Arc<Progress>>) {
        for progress in self.partitions.drain(..) {
            if !partitions.iter().any(|held| Arc::ptr_eq(held, &progress)) {
                progress.hold_back(false);
            }
        }
        partitions.iter().for_each(|progress| progress.hold_back(true));
        self.partitions = partitions;
    }
}

impl Writer {
    /// Holds back the partitions whose documents fill the share, until half of it is free.
    pub(super) fn hold_back(&mut self) {
        let bytes = self.pending.bytes_apart();
        let share = self.context.budget.limit() / SHARE;
        if bytes <= share {
            if bytes <= share / 2 && !self.held_back.partitions.is_empty() {
                self.held_back.replace(Vec::new());
                self.context.budget.set_blocked(0);
            }
            return;
        }
        if self.held_back.looked_up.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.held_back.looked_up = Some(Instant::now());
            let (partitions, bytes) = self.pending.partitions_apart();
            self.held_back.replace(partitions);
            self.context.budget.set_blocked(bytes);
        }
    }
}
