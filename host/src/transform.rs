//! From records to document operations: one worker per thread decodes, runs the chain and writes the operations.
//!
//! The steady state is [`worker`]. A new generation's way into the chain (fallback, canary, shadow) is `rollout`, which
//! the worker calls only while there is one.

mod versions;
pub mod worker;

mod rollout;

pub mod published;
pub mod trial;

pub mod probe;
pub mod recent;
pub mod retire;
pub(crate) mod routes;

pub use published::{Alarm, Candidate, Published};
pub use worker::{Shared, Worker};
