//! How a run ends: in order, at once, or because something failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Ends a run. Every stage of the pipeline has a clone, and so has whoever may end the run from outside.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<RunState>);

#[derive(Debug, Default)]
struct RunState {
    is_requested: AtomicBool,
    is_aborted: watch::Sender<bool>,
    /// The first failure.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Shutdown {
    /// Requests an orderly end: the source stops reading, and everything in flight is written and committed.
    pub fn request(&self) {
        self.0.is_requested.store(true, Ordering::Relaxed);
    }

    /// Ends the run without waiting for anything. What is not settled is not committed; the next run reads it again.
    pub fn abort(&self) {
        self.request();
        self.0.is_aborted.send_replace(true);
    }

    /// Aborts the run, which then returns `error` unless another failure came first.
    pub fn fail(&self, error: anyhow::Error) {
        self.failure().get_or_insert(error);
        self.abort();
    }

    /// Returns true if the run is to end, in order or at once.
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.load(Ordering::Relaxed)
    }

    /// Returns true if nothing is to be waited for.
    pub fn is_aborted(&self) -> bool {
        *self.0.is_aborted.borrow()
    }

    /// Completes once the run is aborted.
    pub async fn aborted(&self) {
        // It cannot fail: this value holds the sender.
        let _ = self.0.is_aborted.subscribe().wait_for(|is_aborted| *is_aborted).await;
    }

    /// The failure that ended the run, if one did.
    pub fn take_failure(&self) -> Option<anyhow::Error> {
        self.failure().take()
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<anyhow::Error>> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let shutdown = Shutdown::default();
        let stage = shutdown.clone();
        stage.request();
        assert!(shutdown.is_requested() && !shutdown.is_aborted());
        stage.fail(anyhow::anyhow!("first"));
        stage.fail(anyhow::anyhow!("second"));
        assert!(shutdown.is_aborted());
        assert_eq!(shutdown.take_failure().map(|error| error.to_string()).as_deref(), Some("first"));
    }
}
