//! Rowmill's sandbox: loads plugins, limits them, and checks what they answer.
//!
//! It knows WebAssembly and the contract in `wit/`, and nothing of Kafka, Elasticsearch or the formats of change
//! events. The way through it:
//!
//! ```text
//! bytes of a file ── Plugin::load ──▶ Plugin ── instantiate ──▶ Instance (a Guest)
//!                                                                  │ transform(Batch)
//!        Part ◀── isolate::transform (halves a batch that fails) ◀─┘
//!          └ Output (checked) ── verdict(image) ──▶ Keep | Drop | Edit | Documents | Fail | Refused
//! ```
//!
//! Invariants:
//! - A plugin reaches the log and nothing else: no clock, randomness, network, files. WASI is refused, or where it is
//!   allowed it does nothing.
//! - No call lasts longer than its limit, and no instance grows beyond its memory.
//! - What leaves [`Output::check`] can be copied into a bulk request: every literal is one JSON value on one line,
//!   every id, routing value and index is in bounds and allowed, every column exists.
//! - A trap spends one instance; the rows beside the bad one get their verdicts from the next.

mod bindings;
mod contract;
mod document;
mod engine;
mod instance;
pub mod isolate;
mod limits;
pub mod literal;
mod load;
mod output;
mod pattern;
mod reason;
mod wasi;

pub use contract::{
    Batch, CONTRACT_VERSION, CallError, Column, ColumnKind, Description, Guest, Index, Mode, RawOutput, Table,
};
pub use document::{Cells, ColumnNames, Document, DocumentOperation, Documents, Item};
pub use engine::Sandbox;
pub use instance::Instance;
pub use limits::Limits;
pub use load::{FileKind, Plugin, Refusal, is_index_name};
pub use output::{Edits, Expect, Output, Verdict};
pub use pattern::Pattern;
