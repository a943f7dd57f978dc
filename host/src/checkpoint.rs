//! How far each partition is settled: tickets by which the pipeline reports its work, and watermarks made of them.
//!
//! A source takes a [`Ticket`] for every batch that it sends down the pipeline, in the order of the offsets. Each share of
//! the batch's work is settled by whoever finishes it; once all shares are, the batch is settled, and the watermark moves
//! over all settled batches up to the first that is not. Only watermarks are committed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rowmill_rows::TopicPartition;

/// A partition while it is assigned. A partition that is assigned again gets a new `Progress`, so work that is left over
/// from the earlier assignment moves no watermark.
#[derive(Debug)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    first_clock: u64,
    /// Whether the sink wants nothing more of the partition for now.
    is_held_back: AtomicBool,
    open: Mutex<OpenBatches>,
}

#[derive(Debug, Default)]
struct OpenBatches {
    /// Batches in the order of their offsets. The first is not settled; settled batches before it are removed.
    batches: VecDeque<OpenBatch>,
    /// Number of the first batch.
    first: u64,
    watermark: Option<Watermark>,
}

#[derive(Debug)]
struct OpenBatch {
    end: Watermark,
    since: Instant,
    is_settled: bool,
}

/// How far a partition is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The next position to read; in Kafka the offset after the last settled record.
    pub position: i64,
    /// The partition's clock at that position (see [`rowmill_engine::version::PartitionClock::time`]).
    pub clock: u64,
}

impl Progress {
    /// The progress of a newly assigned partition. Its clock is `first_clock` where reading begins.
    pub fn new(partition: TopicPartition, first_clock: u64) -> Arc<Self> {
        Arc::new(Self { partition, first_clock, is_held_back: AtomicBool::new(false), open: Mutex::default() })
    }

    /// The partition's clock where the assignment began (see [`rowmill_engine::version::PartitionClock::time`]).
    pub fn first_clock(&self) -> u64 {
        self.first_clock
    }

    /// A ticket for the next batch, whose records end before `position`.
    pub fn ticket(self: &Arc<Self>, position: i64) -> Arc<Ticket> {
        let mut open = self.lock();
        let number = open.first + open.batches.len() as u64;
        let end = Watermark { position, clock: 0 };
        open.batches.push_back(OpenBatch { end, since: Instant::now(), is_settled: false });
        drop(open);
        Arc::new(Ticket { progress: self.clone(), number, open_shares: AtomicU64::new(1) })
    }

    /// How far everything is settled; `None` while no batch is.
    pub fn watermark(&self) -> Option<Watermark> {
        self.lock().watermark
    }

    /// Notes whether the sink wants nothing more of the partition for now: much of what was read of it waits for an index that
    /// accepts no writes.
    pub fn hold_back(&self, is_held_back: bool) {
        self.is_held_back.store(is_held_back, Ordering::Relaxed);
    }

    /// Returns true if the sink wants nothing more of the partition for now.
    pub fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Relaxed)
    }

    /// The number of batches that are not settled, or wait for an earlier one.
    pub fn open_batches(&self) -> usize {
        self.lock().batches.len()
    }

    /// For how long the oldest batch that is not settled has been open; zero without one.
    pub fn oldest_age(&self) -> Duration {
        self.lock().batches.front().map_or(Duration::ZERO, |batch| batch.since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OpenBatches> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch's claim on the watermark: open until every share of its work is settled.
#[derive(Debug)]
pub struct Ticket {
    progress: Arc<Progress>,
    number: u64,
    open_shares: AtomicU64,
}

impl Ticket {
    /// The progress of the partition that the batch came from.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Adds `shares` of work. Only the holder of an open share may add more.
    pub fn add(&self, shares: u64) {
        self.open_shares.fetch_add(shares, Ordering::Relaxed);
    }

    /// Sets the partition's clock at the end of this batch. To be called before the last share is settled.
    pub fn set_clock(&self, time: u64) {
        let mut open = self.progress.lock();
        let place = self.number.checked_sub(open.first).map(|place| place as usize);
        if let Some(batch) = place.and_then(|place| open.batches.get_mut(place)) {
            batch.end.clock = time;
        }
    }

    /// Settles `shares` of the work.
    pub fn settle(&self, shares: u64) {
        let before = self.open_shares.fetch_sub(shares, Ordering::AcqRel);
        debug_assert!(before >= shares, "more shares settled than there were");
        if before != shares {
            return;
        }
        let mut open = self.progress.lock();
        let place = (self.number - open.first) as usize;
        open.batches[place].is_settled = true;
        while open.batches.front().is_some_and(|batch| batch.is_settled) {
            open.watermark = open.batches.pop_front().map(|batch| batch.end);
            open.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress() -> Arc<Progress> {
        Progress::new(TopicPartition { topic: "t".into(), partition: 0 }, 0)
    }

    #[test]
    fn the_watermark_waits_for_the_slowest_share() {
        let progress = progress();
        let first = progress.ticket(10);
        let second = progress.ticket(20);
        first.add(2);
        second.set_clock(7);
        second.settle(1);
        assert_eq!(progress.watermark(), None);
        first.settle(2);
        assert_eq!(progress.watermark(), None);
        first.settle(1);
        assert_eq!(progress.watermark(), Some(Watermark { position: 20, clock: 7 }));
        assert_eq!(progress.open_batches(), 0);
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_end_of_the_longest_settled_prefix(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let progress = progress();
            let tickets: Vec<_> = (0..20).map(|n| progress.ticket((n + 1) * 10)).collect();
            let mut settled = [false; 20];
            for place in order {
                tickets[place].settle(1);
                settled[place] = true;
                let prefix = settled.iter().take_while(|settled| **settled).count() as i64;
                let expected = (prefix > 0).then_some(prefix * 10);
                prop_assert_eq!(progress.watermark().map(|mark| mark.position), expected);
            }
        }
    }
}
