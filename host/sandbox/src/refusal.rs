//! Why a file is not accepted as a plugin: the step that failed and what to do.

use crate::single_line::single_line;

/// Why a file is rejected as a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Refusal {
    /// The step that failed: `read`, `format`, `imports`, `exports`, `compile`, `instantiate`, `describe`,
    /// `configure`, or a step of the host.
    pub step: &'static str,
    /// The error and how to fix it.
    pub reason: String,
}

impl Refusal {
    /// A refusal by `step`. The reason is put on one line and cut to 1024 bytes.
    pub fn new(step: &'static str, reason: impl Into<String>) -> Self {
        // It may contain names of imports or a plugin's own text.
        Self { step, reason: single_line(&reason.into()) }
    }
}
