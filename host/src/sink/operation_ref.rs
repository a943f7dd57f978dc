//! A reference to one operation of a batch.

use std::sync::Arc;

use rowmill_engine::Operation;

use crate::operation::OperationBatch;

/// An operation together with the batch that holds its bytes.
#[derive(Clone, Debug)]
pub struct OperationRef {
    batch: Arc<OperationBatch>,
    number: u32,
}

impl OperationRef {
    /// The operation with this number in `batch`.
    pub fn new(batch: &Arc<OperationBatch>, number: usize) -> Self {
        Self { batch: batch.clone(), number: number as u32 }
    }

    /// The batch.
    pub fn batch(&self) -> &Arc<OperationBatch> {
        &self.batch
    }

    /// The operation's place in the batch.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.batch.operations.list[self.number as usize]
    }

    /// The document's ID, UTF-8.
    pub fn id(&self) -> &[u8] {
        self.operation().id.of(&self.batch.operations.bytes)
    }

    /// The document's ID as text.
    pub fn id_text(&self) -> &str {
        self.batch.operations.text(self.operation().id)
    }

    /// The routing value, if there is one.
    pub fn routing(&self) -> Option<&str> {
        self.operation().routing.map(|routing| self.batch.operations.text(routing))
    }

    /// The document's body; see [`Operation::body`].
    pub fn body(&self) -> &[u8] {
        self.operation().body.of(&self.batch.operations.bytes)
    }

    /// The item of a merged document; see [`Operation::item`].
    pub fn item(&self) -> &[u8] {
        self.operation().item.of(&self.batch.operations.bytes)
    }

    /// The full name of the table that the operation came from.
    pub fn table(&self) -> &Arc<str> {
        &self.batch.operations.tables[self.operation().table as usize]
    }
}
