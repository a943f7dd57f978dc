//! Rowmill: a gateway between a MySQL binlog and Elasticsearch that runs every row through sandboxed plugins.
//!
//! The architecture, with the code map, the invariants and the steps for a new source, sink, format, command or metric,
//! is in `docs/architecture.md`. Start reading at [`pipeline`]: the whole flow on one screen, and the only module that
//! knows all the others.
//!
//! ```text
//! source ─▶ transform workers ─▶ sink ─▶ Elasticsearch
//!    ▲                            │
//!    └── watermarks ◀─ tickets ◀──┴─▶ dead letters
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod pipeline;

pub mod sink;
pub mod source;
pub mod transform;

pub mod alarms;
pub mod budget;
pub mod checkpoint;
pub mod dead_letter;
pub(crate) mod kafka;
pub mod operation;
pub mod plugins;
pub mod record_versions;

pub mod command;
pub mod config;
pub mod health;
pub mod http;
pub mod metrics;
pub mod reload;
pub mod report;
pub mod shutdown;
