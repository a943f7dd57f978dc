//! Why a record cannot be decoded.

use crate::settings::Format;

/// Why a record cannot be decoded, to be read by a person. It never carries a value of a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 text: expected JSON (Canal needs flatMessage, Debezium the JSON converter)")]
    NotText,
    /// The text is not JSON.
    #[error("not JSON at byte {at}: expected {expected}")]
    NotJson {
        /// Where, in bytes from the start of the message.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
    /// The message is longer than the settings allow.
    #[error("a message of {bytes} bytes is over the limit of {limit}: raise max_message_bytes")]
    TooLong {
        /// Length of the message in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The record batch's bytes, or what has to be spelled anew of them, pass what a cell can point at.
    #[error("the record's batch is over 2 GiB: make batches smaller")]
    BatchTooLarge,
    /// The message is another tool's.
    #[error("a {found} message where {expected} was expected: a topic has one format")]
    OtherFormat {
        /// Whose message it is.
        found: Format,
        /// Whose message it should be.
        expected: Format,
    },
    /// The message is JSON but of no known tool.
    #[error(
        "no known format: expected a Canal flat message, a Debezium envelope (or an unwrapped row with __op or \
         __deleted) or a Maxwell message; set the format where `auto` cannot tell it"
    )]
    UnknownFormat,
    /// A message of the right tool lacks something or has it in the wrong form.
    #[error("not a {format} message: expected {expected}")]
    Envelope {
        /// Whose message was expected.
        format: Format,
        /// What would have been right.
        expected: &'static str,
    },
    /// A key column is not in the row.
    #[error("table {table}: key column {column} is not in the row: the source must send all key columns")]
    KeyColumn {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
    },
    /// An image has a column twice, or one that the table version does not have.
    #[error("table {table}: column {column} is {what}")]
    Column {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A value is not of its column's type.
    #[error("table {table}: column {column} does not hold {expected}: correct the declared type or the source")]
    Value {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
        /// What the type wants.
        expected: &'static str,
    },
    /// A table changes its shape without end.
    #[error("table {table}: more than {limit} shapes of its rows: are these rows of one table?")]
    TooManyShapes {
        /// The table's full name.
        table: String,
        /// How many are kept.
        limit: usize,
    },
}
