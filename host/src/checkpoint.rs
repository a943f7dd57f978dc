//! What is settled: each partition's watermark, and the tickets by which work reports to it.
//!
//! A source takes a [`Ticket`] for every batch that it sends down the pipeline, in the order of the offsets. Whoever
//! finishes a piece of the batch's work settles that piece; when all are settled the batch is, and the watermark moves
//! over every batch that is settled without a gap. Only the watermark is committed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rowmill_rows::TopicPartition;

/// Bytes of records that are on their way: what back-pressure goes by.
#[derive(Debug, Default)]
pub struct BytesInFlight(AtomicUsize);

impl BytesInFlight {
    /// The bytes now.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A partition as long as it is assigned. A partition that comes back is a new `Progress`, so what the old assignment
/// still settles moves nothing.
#[derive(Debug)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    first_clock_seconds: i64,
    bytes: Arc<BytesInFlight>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Batches in the order of their offsets. The front is not settled, else it would be gone.
    open: VecDeque<Open>,
    /// Number of the batch at the front.
    first: u64,
    settled: Option<Watermark>,
}

#[derive(Debug)]
struct Open {
    watermark: Watermark,
    settled: bool,
}

/// Up to where a partition is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The next offset to read: one past the last settled record.
    pub next_offset: i64,
    /// The partition's clock there, in seconds since 1970 (see [`rowmill_engine::version::PartitionClock`]).
    pub clock_seconds: i64,
}

impl Progress {
    /// A newly assigned partition, whose clock stood at `first_clock_seconds` where it begins.
    pub fn new(partition: TopicPartition, first_clock_seconds: i64, bytes: Arc<BytesInFlight>) -> Arc<Self> {
        Arc::new(Self { partition, first_clock_seconds, bytes, state: Mutex::default() })
    }

    /// The partition's clock where the assignment began, in seconds since 1970.
    pub fn first_clock_seconds(&self) -> i64 {
        self.first_clock_seconds
    }

    /// A ticket for the next batch, whose records end before `next_offset`.
    pub fn ticket(self: &Arc<Self>, next_offset: i64, bytes: usize) -> Arc<Ticket> {
        let mut state = self.lock();
        let number = state.first + state.open.len() as u64;
        state.open.push_back(Open { watermark: Watermark { next_offset, clock_seconds: 0 }, settled: false });
        self.bytes.0.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Ticket { progress: self.clone(), number, bytes, open: AtomicU64::new(1) })
    }

    /// Up to where everything is settled; `None` while nothing is.
    pub fn watermark(&self) -> Option<Watermark> {
        self.lock().settled
    }

    /// How many batches are not settled.
    pub fn open_batches(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch's claim on the watermark: open until every piece of its work is settled.
#[derive(Debug)]
pub struct Ticket {
    progress: Arc<Progress>,
    number: u64,
    bytes: usize,
    open: AtomicU64,
}

impl Ticket {
    /// The partition that the batch came from.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Adds `pieces` of work. Only whoever still holds an unsettled piece may add more.
    pub fn add(&self, pieces: u64) {
        self.open.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Remembers the partition's clock after this batch; to be called before the last piece is settled.
    pub fn set_clock(&self, seconds: i64) {
        let mut state = self.progress.lock();
        let place = self.number.checked_sub(state.first).map(|place| place as usize);
        if let Some(open) = place.and_then(|place| state.open.get_mut(place)) {
            open.watermark.clock_seconds = seconds;
        }
    }

    /// Settles `pieces` of the work.
    pub fn settle(&self, pieces: u64) {
        let before = self.open.fetch_sub(pieces, Ordering::AcqRel);
        debug_assert!(before >= pieces, "more settled than there was");
        if before != pieces {
            return;
        }
        self.progress.bytes.0.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut state = self.progress.lock();
        let place = (self.number - state.first) as usize;
        state.open[place].settled = true;
        while state.open.front().is_some_and(|open| open.settled) {
            state.settled = state.open.pop_front().map(|open| open.watermark);
            state.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress() -> Arc<Progress> {
        Progress::new(TopicPartition { topic: "t".into(), partition: 0 }, 0, Arc::default())
    }

    #[test]
    fn the_watermark_waits_for_the_slowest_piece() {
        let progress = progress();
        let first = progress.ticket(10, 100);
        let second = progress.ticket(20, 100);
        first.add(2);
        second.set_clock(7);
        second.settle(1);
        assert_eq!(progress.watermark(), None);
        first.settle(2);
        assert_eq!(progress.watermark(), None);
        assert_eq!(progress.bytes.now(), 100);
        first.settle(1);
        assert_eq!(progress.watermark(), Some(Watermark { next_offset: 20, clock_seconds: 7 }));
        assert_eq!(progress.bytes.now(), 0);
        assert_eq!(progress.open_batches(), 0);
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_end_of_the_longest_settled_prefix(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let progress = progress();
            let tickets: Vec<_> = (0..20).map(|n| progress.ticket((n + 1) * 10, 1)).collect();
            let mut settled = [false; 20];
            for place in order {
                tickets[place].settle(1);
                settled[place] = true;
                let prefix = settled.iter().take_while(|settled| **settled).count() as i64;
                let expected = (prefix > 0).then_some(prefix * 10);
                prop_assert_eq!(progress.watermark().map(|mark| mark.next_offset), expected);
            }
        }
    }
}
