//! Rowmill's engine: rows and a chain of plugins become document operations.

pub mod version;

mod indices;
mod operation;
mod route;

pub use indices::Indices;
pub use operation::{Action, IndexNumber, Operation, Operations, Producer};
pub use route::{DeletePolicy, Route, TruncatePolicy, route_for, table_index};
