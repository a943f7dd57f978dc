//! Rows from the JSON that Canal, Debezium and Maxwell write: the row model and the decoders.
//!
//! A [`RecordBatch`] holds the bytes of many records in one arena; a [`Decoder`] turns it into a [`RowBatch`] whose
//! cells are ranges of that arena, or of a scratch arena where a value had to be spelled anew. Nothing is copied and
//! no tree is built for a value that a message already spells as it shall be.
//!
//! # Invariants
//! - Every record of a batch ends as one or more rows, as ignored with its kind, or as undecodable with a reason.
//! - A cell is exactly one JSON value on one line, of its column's final type; it is checked before a row is made.
//! - No input makes this crate panic, and no error message carries a value of a row.
//! - This crate knows no Kafka, no files and no configuration format.
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
