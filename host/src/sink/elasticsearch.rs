//! Documents to Elasticsearch: `pending` holds one entry per document, `writer` sends bulk requests, `outcome` decides what
//! each answer means, `client` speaks HTTP.

pub mod client;
pub mod merge;
pub mod outcome;
pub(super) mod pending;
mod truncate;
mod writer;

pub use writer::{Writer, WriterSettings};
