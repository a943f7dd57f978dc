//! Rowmill's engine: turns rows and a chain of plugins into document operations.
//!
//! The gateway and the test harness share it, so a golden case runs through the code that ships. It has no input or
//! output of its own, no metrics registry and no threads; failures and counts are returned to the caller.
//!
//! ```text
//! Batch (tables, rows, records)
//!   └─ ChainInstance::run ─── each plugin of the table's plan ──▶ a disposition per image
//!        └─ ChainInstance::emit_row ─── version, document IDs, bodies, deletes ──▶ Operations
//! ```
//!
//! Deliberately absent: the engine knows neither Kafka nor Elasticsearch, and it does not decide which chain answers for
//! a row. That decision belongs to the gateway's rollout.

mod basis;
mod batch;
mod call;
mod chain;
mod chain_instance;
mod emit;
mod emitted;
mod failure;
mod health;
mod images;
mod indices;
mod mapping;
mod operation;
mod pause;
mod plan;
mod plugin_instance;
mod route;
mod target;
pub mod version;
mod write;

pub use basis::Basis;
pub use batch::Batch;
pub use call::Call;
pub use chain::{Chain, ChainPlugin, MakeGuest};
pub use chain_instance::ChainInstance;
pub use emitted::{Emitted, RowToEmit};
pub use failure::{Failure, Stage};
pub use health::{Figures, Health};
pub use indices::Indices;
pub use operation::{Action, IndexNumber, Operation, Operations, Producer};
pub use pause::{Pause, Stopwatch};
pub use plan::TablePlan;
pub use plugin_instance::PluginInstance;
pub use route::{DeletePolicy, Route, TruncatePolicy, route_for, table_index};
