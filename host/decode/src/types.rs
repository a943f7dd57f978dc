//! Column types, as declared in MySQL.

/// What the values of a column are and so how a cell spells them (the final JSON of the row model).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// The format does not tell and nobody declared it: the value passes as it is.
    Unknown,
    /// `TINYINT` to `BIGINT`, `YEAR`: a JSON number.
    Integer {
        /// `UNSIGNED`.
        unsigned: bool,
    },
    /// Declared `BOOL`/`BOOLEAN` by the configuration: `true` or `false`. (A format's `tinyint(1)` is an integer.)
    Boolean,
    /// `BIT(n)`: the unsigned number, a JSON number.
    Bit,
    /// `FLOAT`: a JSON number of single precision.
    Float,
    /// `DOUBLE`: a JSON number.
    Double,
    /// `DECIMAL`: a JSON string with all its digits.
    Decimal {
        /// Digits after the point, where it is told.
        scale: Option<u32>,
    },
    /// `DATE`: `"2026-03-04"`.
    Date,
    /// `TIME`: `"-12:34:56.789"`.
    Time,
    /// `DATETIME`: ISO-8601 without a zone, `"2026-03-04T05:06:07.123456"`.
    DateTime,
    /// `TIMESTAMP`: ISO-8601 in UTC, `"2026-03-04T05:06:07Z"`.
    Timestamp,
    /// `CHAR`, `VARCHAR`: a JSON string.
    Text,
    /// `TINYTEXT` to `LONGTEXT`: a JSON string.
    LongText,
    /// `BINARY`, `VARBINARY`, `BLOB`s, geometry: base64 in a JSON string.
    Binary,
    /// `ENUM`: the label as a JSON string.
    Enum {
        /// The labels in declared order.
        labels: Vec<String>,
    },
    /// `SET`: the labels joined by commas, a JSON string.
    Set {
        /// The labels in declared order.
        labels: Vec<String>,
    },
    /// `JSON`: the value itself.
    Json,
}
