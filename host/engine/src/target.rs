//! What an operation is about: a document, or a part of one.

use rowmill_rows::Span;

use crate::operation::IndexNumber;

/// What an operation writes or deletes: a document, or a part of a merged one.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub index: IndexNumber,
    pub id: Span,
    /// The item of a merged document; see [`Operation::item`].
    pub item: Span,
}

impl Target {
    pub fn whole(index: IndexNumber, id: Span) -> Self {
        Self { index, id, item: Span::default() }
    }

    pub fn is_same(self, other: Self, bytes: &[u8]) -> bool {
        self.index == other.index
            && self.id.of(bytes) == other.id.of(bytes)
            && self.item.of(bytes) == other.item.of(bytes)
    }
}
