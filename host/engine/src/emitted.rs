//! A row to emit, and the operations that came of it.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Operations that the row's documents are written by; further ones delete documents that the row no longer becomes.
    pub written: usize,
}
