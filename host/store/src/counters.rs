//! Counts of the requests that the store has received.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts at one moment, since the store started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests of any kind, including failed ones.
    pub requests: u64,
    /// Bulk requests.
    pub bulk_requests: u64,
    /// Items of bulk requests, including failed ones.
    pub items: u64,
    /// Bytes of request bodies, before decompression.
    pub bytes: u64,
    /// Injected faults that took effect.
    pub faults: u64,
}

/// The counts as the store updates them.
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
