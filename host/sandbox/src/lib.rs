//! Rowmill's sandbox: loads plugins, limits their resources, and validates their answers.
//!
//! It knows WebAssembly and the contract in `wit/`, and nothing of Kafka, of sinks or of the formats of change events;
//! the sink's rules for names are given to it as [`NameRules`]. The way through it:
//!
//! ```text
//! bytes of a file ── Plugin::load ──▶ Plugin ── instantiate ──▶ Instance (a Guest)
//!    └ Sandbox::compile ▶ load_compiled ┘                          │ transform(Batch)
//!        Part ◀── isolate::transform (bisects a batch that fails) ◀┘
//!          └ Output (checked) ── verdict(image) ──▶ Keep | Drop | Edit | Documents | Fail | Refused
//! ```
//!
//! Without the feature `sandbox` the crate has only the contract's types and the validation of answers: enough to run native
//! guests, and quick to build. Test harnesses of plugin crates use it this way.
//!
//! Invariants:
//! - A plugin can reach the log and nothing else: no clock, randomness, network or files. WASI is rejected, or a stub if
//!   allowed.
//! - No call lasts longer than its time limit, and no instance exceeds its memory limit.
//! - After [`Output::check`] every literal is one JSON value on one line, every id, routing value and index is within the
//!   rules and allowed, and every column exists: documents can be copied into requests unchecked.
//! - A trap costs one instance and the rows that caused it; the next instance processes the other rows.

mod answer;
#[cfg(feature = "sandbox")]
mod bindings;
#[cfg(feature = "sandbox")]
mod compile;
mod contract;
mod default_id;
mod document;
mod encoding;
#[cfg(feature = "sandbox")]
mod engine;
#[cfg(feature = "sandbox")]
mod file;
#[cfg(feature = "sandbox")]
mod host_state;
#[cfg(feature = "sandbox")]
mod instance;
#[cfg(feature = "sandbox")]
mod interface;
pub mod isolate;
mod limits;
pub mod literal;
#[cfg(feature = "sandbox")]
mod load;
mod output;
mod pattern;
#[cfg(feature = "sandbox")]
mod refusal;
mod rules;
mod single_line;
#[cfg(feature = "sandbox")]
mod summary;
#[cfg(feature = "sandbox")]
mod wasi;

pub use contract::{
    Batch, CONTRACT_VERSION, CallError, Column, ColumnKind, Description, Guest, Index, Mode, RawOutput, Table,
};
pub use default_id::DefaultId;
pub use document::{Cells, ColumnNames, Document, DocumentOperation, Documents, Item};
#[cfg(feature = "sandbox")]
pub use engine::Sandbox;
#[cfg(feature = "sandbox")]
pub use file::FileKind;
#[cfg(feature = "sandbox")]
pub use instance::Instance;
pub use limits::Limits;
#[cfg(feature = "sandbox")]
pub use load::Plugin;
pub use output::{Edits, Expect, Output, Verdict};
pub use pattern::Pattern;
#[cfg(feature = "sandbox")]
pub use refusal::Refusal;
pub use rules::NameRules;
pub use single_line::single_line;
#[cfg(feature = "sandbox")]
pub use summary::FileSummary;
