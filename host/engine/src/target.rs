//! What an operation is about: a document, or a part of one.

use rowmill_rows::Span;

use crate::operation::IndexNumber;

/// What an operation writes or deletes: a document, or a part of a merged one.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub index: IndexNumber,
    pub id: Span,
    /// The routing value, if any. It is part of a document's identity: Elasticsearch may store the same ID with another
    /// value in another shard.
    pub routing: Option<Span>,
    /// The item of a merged document; see [`Operation::item`].
    pub item: Span,
}

impl Target {
    pub fn whole(index: IndexNumber, id: Span) -> Self {
        Self { index, id, routing: None, item: Span::default() }
    }

    pub fn is_same(self, other: Self, bytes: &[u8]) -> bool {
        let routing = |target: Self| target.routing.map(|routing| routing.of(bytes));
        self.index == other.index
            && self.id.of(bytes) == other.id.of(bytes)
            && routing(self) == routing(other)
            && self.item.of(bytes) == other.item.of(bytes)
    }
}
