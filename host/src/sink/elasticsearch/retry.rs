//! Requests that must succeed before anything else can be written, and the waits between attempts.

use std::time::Duration;

use super::client::{Forbidden, Refused};
use crate::config::BulkConfig;
use crate::shutdown::Shutdown;

/// A random wait before the next attempt, below a bound that doubles with every attempt ("full jitter"), and at least a
/// millisecond.
pub(super) fn backoff(bulk: &BulkConfig, attempts: u32) -> Duration {
    let bound = bulk.retry_wait.saturating_mul(1 << attempts.min(16)).min(bulk.retry_wait_max);
    Duration::from_micros(fastrand::u64(1_000..=(bound.as_micros() as u64).max(1_000)))
}

/// How requests are repeated.
#[derive(Clone, Copy)]
pub(super) struct Retry<'a> {
    pub bulk: &'a BulkConfig,
    pub shutdown: &'a Shutdown,
    /// Returns true for an error that no repetition changes.
    pub is_final: fn(&anyhow::Error) -> bool,
}

/// Access is refused, in general or for this request.
pub(super) fn is_refusal(error: &anyhow::Error) -> bool {
    error.is::<Refused>() || error.is::<Forbidden>()
}

impl Retry<'_> {
    /// Repeats `request` until it succeeds. `what` completes the sentence "cannot …".
    ///
    /// # Errors
    /// The run was aborted, or the error is final.
    pub async fn until_ok<T, F: Future<Output = anyhow::Result<T>>>(
        &self,
        what: &str,
        request: impl Fn() -> F,
    ) -> anyhow::Result<T> {
        let mut attempts = 0;
        loop {
            let error = match request().await {
                Ok(value) => return Ok(value),
                Err(error) if (self.is_final)(&error) => return Err(error),
                Err(error) => error,
            };
            let wait = backoff(self.bulk, attempts);
            attempts = attempts.saturating_add(1);
            tracing::warn!(%error, retry_in_ms = wait.as_millis() as u64, "cannot {what}");
            tokio::select! {
                () = self.shutdown.aborted() => anyhow::bail!("the run ended before Rowmill could {what}: {error}"),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
