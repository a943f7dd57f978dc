//! The state that the store's program interface and its connections share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::counters::Counters;
use crate::fault::Faults;

/// The contents of a store and everything that requests need besides. One lock guards the contents.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) counters: Mutex<Counters>,
    /// Wakes the requests that wait until the faults are cleared.
    pub(crate) faults_cleared: Notify,
    pub(crate) clock: Clock,
    /// The largest request body in bytes.
    pub(crate) max_body_bytes: usize,
}

impl Shared {
    /// Locks the contents. A panic does not poison them: every write is applied whole or not at all.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the faults.
    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the counters.
    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
