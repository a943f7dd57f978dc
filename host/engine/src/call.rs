//! What a call of a plugin cost.

use std::sync::Arc;
use std::time::Duration;

/// What calling a plugin with rows of one table cost, and how many of them failed.
#[derive(Clone, Debug)]
pub struct Call {
    /// The plugin's place in the chain.
    pub place: usize,
    /// The full name of the table.
    pub table: Arc<str>,
    /// Images that the plugin was called with; in change mode, changes.
    pub images: u64,
    /// Images that failed, also those that never reached the plugin because it refuses the table.
    pub failed: u64,
    /// Traps and answers that break the contract.
    pub faults: u32,
    /// Time spent in the plugin, and in renewing its instance.
    pub time: Duration,
}
