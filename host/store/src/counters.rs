//! Counts of the requests that the store has received.

/// The counts since the store started.
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
