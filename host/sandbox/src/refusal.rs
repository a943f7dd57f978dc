//! Why a file is not accepted as a plugin: the step that failed and what to do.

use crate::reason::readable;

/// Why a file is not used as a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Refusal {
    /// The step that refused it: `read`, `format`, `imports`, `exports`, `compile`, `instantiate`, `describe`,
    /// `configure`; the steps that a host adds have names of its own.
    pub step: &'static str,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Refusal {
    /// A refusal of a step. The reason is cut to 1024 bytes on one line.
    pub fn new(step: &'static str, reason: impl Into<String>) -> Self {
        // Names of a file's imports or the words of a plugin may be in it.
        Self { step, reason: readable(&reason.into()) }
    }
}
