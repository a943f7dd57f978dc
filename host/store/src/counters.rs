//! What the store has been asked for so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests of any kind, failed ones too.
    pub requests: u64,
    /// Bulk requests.
    pub bulk_requests: u64,
    /// Bulk items that were looked at, whatever became of them.
    pub items: u64,
    /// Bytes of request bodies as they came over the wire.
    pub bytes: u64,
    /// Faults that have struck.
    pub faults: u64,
}

/// The numbers while they grow.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    requests: AtomicU64,
    bulk_requests: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    pub(crate) fn request(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn bulk(&self, items: usize) {
        self.bulk_requests.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(items as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, faults: u64) -> Counters {
        Counters {
            requests: self.requests.load(Ordering::Relaxed),
            bulk_requests: self.bulk_requests.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            faults,
        }
    }
}
