//! Why a record cannot be decoded.

use crate::settings::Format;

/// Why a record cannot be decoded. The message never contains a value of a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 text: expected JSON (Canal needs flatMessage, Debezium the JSON converter)")]
    NotText,
    /// The text is not JSON.
    #[error("not JSON at byte {at}: expected {expected}")]
    NotJson {
        /// The position, in bytes from the start of the message.
        at: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// The message is longer than the settings allow.
    #[error("a message of {bytes} bytes exceeds the limit of {limit}: raise max_message_bytes")]
    TooLong {
        /// Length of the message in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes of the record batch, or its converted values, exceed 2 GiB, the most that cells can address.
    #[error("the record's batch exceeds 2 GiB: make batches smaller")]
    BatchTooLarge,
    /// Another tool wrote the message.
    #[error("a {found} message where {expected} was expected: a topic has one format")]
    OtherFormat {
        /// The format of the message.
        found: Format,
        /// The format of the topic.
        expected: Format,
    },
    /// The message is JSON in no known format.
    #[error(
        "no known format: expected a Canal flat message, a Debezium envelope (or an unwrapped row with __op or \
         __deleted) or a Maxwell message; set `source.format` if it cannot be detected"
    )]
    UnknownFormat,
    /// A member of the message is missing or has the wrong form.
    #[error("not a {format} message: expected {expected}")]
    Envelope {
        /// The format that was expected.
        format: Format,
        /// What was expected.
        expected: &'static str,
    },
    /// The row lacks a column of its key.
    #[error("table {table}: key column {column} is not in the row: the source must send all key columns")]
    KeyColumn {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
    },
    /// An update lacks a column that the table's rows have.
    #[error(
        "table {table}: the update lacks column {column}, so the server's binlog_row_image is not FULL: set it to FULL and \
         write the row again, or allow such rows with `source.partial_rows = \"write\"`; if the column was dropped, updates are \
         accepted again after the next insert, or a restart"
    )]
    Partial {
        /// The table's full name.
        table: String,
        /// The first column that it lacks.
        column: String,
    },
    /// An image has a column twice, or one that the table version does not have.
    #[error("table {table}: column {column} is {what}")]
    Column {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
        /// What is wrong with the column.
        what: &'static str,
    },
    /// A value is not of its column's type.
    #[error("table {table}: column {column} does not hold {expected}: correct the declared type or the source")]
    Value {
        /// The table's full name.
        table: String,
        /// The column's name.
        column: String,
        /// The values that the type has.
        expected: &'static str,
    },
    /// The rows of a table have too many different sets of columns.
    #[error("table {table}: its rows have more than {limit} different shapes: are these rows of one table?")]
    TooManyShapes {
        /// The table's full name.
        table: String,
        /// The largest number of shapes.
        limit: usize,
    },
}
