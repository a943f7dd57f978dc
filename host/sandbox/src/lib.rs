//! Rowmill's sandbox: loads plugins, limits them, and checks what they answer.
//!
//! It knows WebAssembly and the contract in `wit/`, and nothing of Kafka, of sinks or of the formats of change events;
//! the sink's rules for names are given to it as [`NameRules`]. The way through it:
//!
//! ```text
//! bytes of a file ── Plugin::load ──▶ Plugin ── instantiate ──▶ Instance (a Guest)
//!    └ Sandbox::compile ▶ load_compiled ┘                          │ transform(Batch)
//!        Part ◀── isolate::transform (halves a batch that fails) ◀─┘
//!          └ Output (checked) ── verdict(image) ──▶ Keep | Drop | Edit | Documents | Fail | Refused
//! ```
//!
//! Without the feature `sandbox` only the contract is here, with the checks of what a guest answers: enough to run a
//! native guest, and quick to build. The test harness of a plugin's crate uses it so.
//!
//! Invariants:
//! - A plugin reaches the log and nothing else: no clock, randomness, network, files. WASI is refused, or where it is
//!   allowed it does nothing.
//! - No call lasts longer than its limit, and no instance grows beyond its memory.
//! - What leaves [`Output::check`] can be copied into a bulk request: every literal is one JSON value on one line,
//!   every id, routing value and index is in bounds and allowed, every column exists.
//! - A trap spends one instance; the rows beside the bad one get their verdicts from the next.

#[cfg(feature = "sandbox")]
mod anatomy;
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
mod reason;
#[cfg(feature = "sandbox")]
mod refusal;
mod rules;
#[cfg(feature = "sandbox")]
mod wasi;

#[cfg(feature = "sandbox")]
pub use anatomy::Anatomy;
pub use contract::{
    Batch, CONTRACT_VERSION, CallError, Column, ColumnKind, Description, Guest, Index, Mode, RawOutput, Table,
};
pub use default_id::UsualId;
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
pub use reason::readable;
#[cfg(feature = "sandbox")]
pub use refusal::Refusal;
pub use rules::NameRules;
