//! The harness: runs plugins on rows from files and code, and compares the outcomes with golden cases.
//!
//! ```text
//! cases/first/input.ndjson ─▶ Input ──┐                              ┌─▶ compare with expected.ndjson, or bless it
//!             settings.toml ──────────┴─▶ Subject::run ─▶ Outcomes ──┤
//!             (native code or an instance of the sandbox)            └─▶ compare native with the sandbox, old with new
//! ```
//!
//! A [`Subject`] is anything that creates a [`rowmill_sandbox::Guest`]: native code in a plugin's own tests, an instance of
//! the sandbox in `rowmill plugin`. An [`Outcome`] is what the engine does for a row with the plugin alone in the chain:
//! documents with index, ID, routing and body, deletes, rows that are kept or dropped, failures with their reason.
//!
//! A plugin's cases are folders; [`embedded`] copies them into its `.wasm` file.
//!
//! This crate depends on neither Kafka, Elasticsearch nor wasmtime, so the first `cargo test` of a new plugin builds in
//! seconds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod input;
mod outcome;

mod figures;
mod subject;
mod through_engine;

mod case;
mod compare;
mod report;

pub mod embedded;

pub mod build;
pub mod checkout;
pub mod program;

pub use case::{Case, Settings};
pub use compare::{Sides, compare};
pub use figures::Figures;
pub use input::{Image, Input, Operation, Reading, Row, Rows};
pub use outcome::{ItemKey, Outcome, from_ndjson, to_ndjson};
pub use report::{CaseReport, summary};
pub use rowmill_sandbox as runtime;
pub use subject::Subject;
