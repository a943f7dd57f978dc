//! A row to emit, and the operations that came of it.

use crate::failure::Failure;

/// A row whose operations are wanted.
#[derive(Clone, Copy, Debug)]
pub struct RowToEmit {
    /// The row's number in the batch.
    pub row: usize,
    /// The version of its documents.
    pub version: u64,
    /// The number of the chain's first plugin among the producers of the operations; see
    /// [`crate::ChainInstance::add_producers`].
    pub first_producer: usize,
}

/// The operations that a row added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Operations that the row's documents are written by; further ones delete documents that the row no longer becomes.
    pub written: usize,
    /// Why a plugin failed on the row's before image, if it did. The row is written nevertheless, and its default ID is
    /// deleted where it has no document now; a document under an ID that the plugin chose for the before image may remain.
    pub before_failure: Option<Failure>,
}
