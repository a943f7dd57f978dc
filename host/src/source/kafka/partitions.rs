//! The partitions that the group has assigned to this gateway, and how far each is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rowmill_rows::TopicPartition;

use crate::checkpoint::{Progress, Watermark};

/// What an assigned partition waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The offset where reading begins is not known yet.
    LookingUp,
    /// The first start is being committed; reading begins there afterwards.
    CommittingStart(Watermark),
    /// It is read.
    Reading,
    /// The next record, at this offset, does not exist in the partition.
    OutOfRange(i64),
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LookingUp => write!(out, "asking the brokers where reading begins"),
            Self::CommittingStart(start) => write!(out, "committing that reading begins at offset {}", start.position),
            Self::Reading => write!(out, "reading"),
            Self::OutOfRange(offset) => write!(out, "offset {offset} does not exist; asking the brokers which do"),
        }
    }
}

/// An assigned partition.
pub(super) struct Assigned {
    /// Tells assignments of the same partition apart.
    pub epoch: u64,
    pub phase: Phase,
    /// `None` until it is read.
    pub progress: Option<Arc<Progress>>,
    pub committed: Option<Watermark>,
    /// The first offset to read.
    pub start: i64,
    /// The partition's end when it was assigned, once that is known.
    pub end_at_start: Option<i64>,
}

impl Assigned {
    /// The next offset that is not settled.
    pub fn next_offset(&self) -> i64 {
        self.progress.as_ref().and_then(|progress| progress.watermark()).map_or(self.start, |mark| mark.position)
    }

    /// Returns true if the end at start is reached, given that everything that was read is settled and that the client has
    /// fetched all records before the offset `fetched`.
    pub fn is_caught_up(&self, fetched: Option<i64>) -> bool {
        self.phase == Phase::Reading
            && self.end_at_start.is_some_and(|end| self.next_offset() >= end || fetched >= Some(end))
    }

    /// The watermark, if it is not committed.
    pub fn moved(&self) -> Option<Watermark> {
        let watermark = self.progress.as_ref()?.watermark();
        watermark.filter(|_| watermark != self.committed)
    }
}

/// All assigned partitions.
#[derive(Default)]
pub(super) struct Partitions {
    pub all: HashMap<TopicPartition, Assigned>,
    /// The next offset of partitions that were read and taken away.
    pub given_up: HashMap<TopicPartition, i64>,
    last_epoch: u64,
}

impl Partitions {
    /// Adds a newly assigned partition; returns its epoch.
    pub fn add(&mut self, partition: TopicPartition) -> u64 {
        self.last_epoch += 1;
        let assigned = Assigned {
            epoch: self.last_epoch,
            phase: Phase::LookingUp,
            progress: None,
            committed: None,
            start: 0,
            end_at_start: None,
        };
        self.all.insert(partition, assigned);
        self.last_epoch
    }

    /// Removes a partition that is taken away.
    pub fn remove(&mut self, partition: &TopicPartition) -> Option<Assigned> {
        let assigned = self.all.remove(partition)?;
        if assigned.progress.is_some() {
            self.given_up.insert(partition.clone(), assigned.next_offset());
        }
        Some(assigned)
    }

    /// The partition, if this assignment of it is the current one.
    pub fn current(&mut self, partition: &TopicPartition, epoch: u64) -> Option<&mut Assigned> {
        self.all.get_mut(partition).filter(|assigned| assigned.epoch == epoch)
    }
}
