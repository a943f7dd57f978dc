//! The mapping of an index: the fields that it has, the values that they accept, and how it grows.

mod check;
mod date;
mod field;
mod model;
mod parse;
mod walk;

pub(crate) use self::check::{decimal, whole};
pub(crate) use self::date::parse_date;
pub(crate) use self::field::{FieldMapper, FieldType};
pub(crate) use self::model::Mapping;
pub(crate) use self::parse::parse_mapping;
pub(crate) use self::walk::{DocumentLimits, check_document};
