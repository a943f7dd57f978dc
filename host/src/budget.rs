//! The bytes that the pipeline holds, and who waits for whom: the source waits for room, and the sink learns that it need not
//! wait for more documents.
//!
//! Records count from the moment they are handed to a worker until the last document made of them is settled; operations
//! and the bodies of bulk requests count while they exist. Whatever counts owns a [`Reservation`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The share of the budget that may wait for the workers. More would only make the records old, and cold in the caches.
const TRANSFORM_SHARE: usize = 8;

/// A bound on the bytes that the pipeline holds.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    /// The bytes of batches with documents that cannot be written at present, as far as they fill more than a share.
    blocked: AtomicUsize,
    /// Whether the source reads nothing more of the partitions that these come from.
    is_extended: AtomicBool,
    held: AtomicUsize,
    /// Batches between the source and the sink: queued for a worker, in a worker, or queued for the sink.
    in_transform: AtomicUsize,
    /// The bytes of their records.
    bytes_in_transform: AtomicUsize,
    /// Whether the source waits for room.
    is_source_waiting: AtomicBool,
    lock: Mutex<()>,
    room: Condvar,
    standstill: Notify,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            blocked: AtomicUsize::new(0),
            is_extended: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            in_transform: AtomicUsize::new(0),
            bytes_in_transform: AtomicUsize::new(0),
            is_source_waiting: AtomicBool::new(false),
            lock: Mutex::default(),
            room: Condvar::new(),
            standstill: Notify::new(),
        })
    }

    /// The bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns true if no more bytes may be held. A batch that is already read is always taken, however large.
    pub fn is_full(&self) -> bool {
        self.held() >= self.current_limit()
    }

    /// Notes how many bytes are held by batches with documents that cannot be written at present.
    pub fn set_blocked(&self, bytes: usize) {
        self.blocked.store(bytes, Ordering::Relaxed);
    }

    /// Notes whether the source reads nothing more of the partitions that these come from. Others may then have half of the
    /// budget beside what these hold; the limit grows by half at most. Called by the source, between its calls of [`Budget::wait_for_room`].
    pub fn set_extended(&self, is_extended: bool) {
        self.is_extended.store(is_extended, Ordering::Relaxed);
    }

    fn current_limit(&self) -> usize {
        if !self.is_extended.load(Ordering::Relaxed) {
            return self.limit;
        }
        let others = self.limit / 2;
        (self.blocked.load(Ordering::Relaxed) + others).clamp(self.limit, self.limit + others)
    }

    /// Returns true if most of the budget is used.
    pub fn is_nearly_full(&self) -> bool {
        self.held() >= self.current_limit() / 4 * 3
    }

    fn must_source_wait(&self) -> bool {
        self.is_full() || self.bytes_in_transform.load(Ordering::SeqCst) > self.limit / TRANSFORM_SHARE
    }

    /// Counts `bytes` until the reservation is dropped.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Reservation { budget: self.clone(), bytes }
    }

    /// Notes that a batch with records of `bytes` is on its way to the sink until the passage is dropped.
    pub fn begin_passage(self: &Arc<Self>, bytes: usize) -> Passage {
        self.in_transform.fetch_add(1, Ordering::SeqCst);
        self.bytes_in_transform.fetch_add(bytes, Ordering::SeqCst);
        Passage { budget: self.clone(), bytes }
    }

    /// Waits until there is room, at most for `timeout`. Returns true if there is.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        if !self.must_source_wait() {
            self.is_source_waiting.store(false, Ordering::SeqCst);
            return true;
        }
        self.is_source_waiting.store(true, Ordering::SeqCst);
        self.notify_if_standing_still();
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.room.wait_timeout_while(guard, timeout, |()| self.must_source_wait());
        drop(waited);
        let must_wait = self.must_source_wait();
        self.is_source_waiting.store(must_wait, Ordering::SeqCst);
        !must_wait
    }

    /// Returns true if nothing more can reach the sink before it has settled something: the source waits because the budget
    /// is full, and no batch is on its way.
    pub fn is_standing_still(&self) -> bool {
        self.is_source_waiting.load(Ordering::SeqCst) && self.is_full() && self.in_transform.load(Ordering::SeqCst) == 0
    }

    /// Completes when [`Budget::is_standing_still`] may have become true. For one waiting task.
    pub async fn standstill(&self) {
        self.standstill.notified().await;
    }

    fn notify_if_standing_still(&self) {
        if self.is_standing_still() {
            self.standstill.notify_one();
        }
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::SeqCst);
        self.wake_source();
    }

    fn wake_source(&self) {
        if self.is_source_waiting.load(Ordering::SeqCst) && !self.must_source_wait() {
            // With the lock, so that the source is either before its check or already waiting.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.room.notify_one();
        }
    }
}

/// Bytes that count against the budget until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Changes the number of bytes.
    pub fn resize(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.budget.held.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// The number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A further reservation of the same budget.
    pub fn another(&self, bytes: usize) -> Self {
        self.budget.reserve(bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// A batch on its way from the source to the sink.
#[derive(Debug)]
pub struct Passage {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.budget.bytes_in_transform.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.budget.in_transform.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.budget.notify_if_standing_still();
        }
        self.budget.wake_source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LATER: Duration = Duration::from_secs(30);

    #[test]
    fn a_full_budget_has_room_once_something_is_released() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60);
        assert!(budget.wait_for_room(SOON));
        let second = budget.reserve(60);
        assert!(!budget.wait_for_room(SOON), "120 of 100 bytes");
        first.resize(30);
        assert_eq!(budget.held(), 90);
        assert!(budget.wait_for_room(SOON));
        let third = second.another(50);
        let releases = std::thread::spawn(move || drop((second, third)));
        assert!(budget.wait_for_room(LATER));
        releases.join().expect("the thread ends");
        assert_eq!(budget.held(), 30);
    }

    #[test]
    fn an_extended_budget_has_room_for_others() {
        let budget = Budget::new(100);
        let blocked = budget.reserve(110);
        assert!(!budget.wait_for_room(SOON));
        budget.set_blocked(110);
        assert!(!budget.wait_for_room(SOON), "the source still reads more of it");
        budget.set_extended(true);
        assert!(budget.wait_for_room(SOON));
        let others = budget.reserve(50);
        assert!(!budget.wait_for_room(SOON), "others have half of the budget");
        budget.set_blocked(1000);
        assert!(!budget.wait_for_room(SOON), "memory has a bound");
        drop(blocked);
        budget.set_extended(false);
        assert!(budget.wait_for_room(SOON));
        drop(others);
    }

    #[test]
    fn the_source_waits_while_much_waits_for_the_workers() {
        let budget = Budget::new(800);
        let passage = budget.begin_passage(101);
        assert!(!budget.wait_for_room(SOON));
        assert!(!budget.is_standing_still());
        let ends = std::thread::spawn(move || drop(passage));
        // The source only waited for the workers, so more is about to arrive.
        assert!(!budget.is_standing_still());
        assert!(budget.wait_for_room(LATER));
        ends.join().expect("the thread ends");
    }

    #[test]
    fn it_stands_still_when_the_source_waits_and_nothing_is_on_its_way() {
        let budget = Budget::new(10);
        let passage = budget.begin_passage(10);
        let records = budget.reserve(10);
        assert!(!budget.wait_for_room(SOON));
        assert!(!budget.is_standing_still(), "a batch is on its way");
        drop(passage);
        assert!(budget.is_standing_still());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            tokio::time::timeout(LATER, budget.standstill()).await.expect("the sink is notified");
        });
        drop(records);
        assert!(budget.wait_for_room(SOON));
        assert!(!budget.is_standing_still());
    }
}
