//! Rows from the JSON that Canal, Debezium and Maxwell write: the row model and the decoders.

pub mod record;
pub mod row;
pub mod types;
