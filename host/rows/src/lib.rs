//! Rows from the JSON that Canal, Debezium and Maxwell write: the row model and the decoders.
//!
//! A [`RecordBatch`] holds the bytes of many records in one arena, and their format. A [`Decoder`] turns it into a
//! [`RowBatch`] whose cells are ranges of that arena, or of a scratch arena for values that had to be converted. Values that
//! need no conversion are not copied, and no JSON tree is built.
//!
//! # Invariants
//! - Every record of a batch becomes one or more rows, or is ignored with its kind, or is undecodable with a reason.
//! - A cell is exactly one JSON value of its column's type, on one line. It is checked before a row is made.
//! - No input makes this crate panic, and no error message contains a value of a row.
//! - This crate knows nothing of Kafka clients, files or configuration formats.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod record;
mod row;
mod types;

mod context;
mod decoder;
mod error;
mod settings;

mod canal;
mod debezium;
mod maxwell;
mod partial;

mod image;
mod table;
mod value;

mod json;

pub mod capture;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use record::{Header, Record, RecordBatch, Span, TopicPartition};
pub use row::{Cell, Column, Ignored, Operation, Row, RowBatch, RowInEvent, SourcePosition, TableVersion, Undecodable};
pub use settings::{DeclaredTypes, DecoderSettings, Format};
pub use types::ColumnType;
