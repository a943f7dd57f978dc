//! What is to be written to one document: an operation or the parts of a merged document, each with the older operations
//! that it replaced.

use std::cmp::Ordering;
use std::sync::Arc;

use rowmill_engine::Action;

use crate::sink::OperationRef;

/// Bytes of an operation's line in a bulk request, beside ID and body.
const LINE_BYTES: usize = 120;

/// Elasticsearch routes a document by its routing value, so the same ID with another value is another document.
pub(super) fn is_same_document(a: &OperationRef, b: &OperationRef) -> bool {
    a.operation().index == b.operation().index && a.id() == b.id() && a.routing() == b.routing()
}

/// Whether both write the same part of a merged document.
fn is_same_part(a: &OperationRef, b: &OperationRef) -> bool {
    a.table() == b.table() && a.item() == b.item()
}

/// Whether `new`, which arrived later, replaces `known`.
fn replaces(new: &OperationRef, known: &OperationRef) -> bool {
    let (a, b) = (new.operation(), known.operation());
    match a.version.cmp(&b.version) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // The rows of a record are in order. Otherwise a write beats a removal, as in Elasticsearch.
        Ordering::Equal => {
            let is_one_record = Arc::ptr_eq(new.batch(), known.batch()) && a.record == b.record;
            is_one_record || !a.is_removal() || b.is_removal()
        }
    }
}

pub(super) fn bytes_of(operation: &OperationRef) -> usize {
    operation.operation().body.len() + operation.operation().id.len() + LINE_BYTES
}

/// What is to be written to a document, or to one part of a merged document.
#[derive(Debug)]
pub(in super::super) struct Part {
    /// The operation.
    pub operation: OperationRef,
    /// Older operations that this one replaced. They are settled with it; if it is rejected, the newest of them is sent.
    pub superseded: Vec<OperationRef>,
    /// The version of a truncate that has deleted the row: what is sent removes the document, or the part, with this version.
    pub truncated: Option<u64>,
}

impl Part {
    pub fn new(operation: OperationRef) -> Self {
        Self { operation, superseded: Vec::new(), truncated: None }
    }

    /// Adds an operation on the same part.
    fn fold(&mut self, new: OperationRef) {
        if replaces(&new, &self.operation) {
            self.superseded.push(std::mem::replace(&mut self.operation, new));
            self.truncated = None;
        } else {
            self.superseded.push(new);
        }
    }

    /// Adds what another entry has of the same part.
    fn join(&mut self, other: Self) {
        self.fold(other.operation);
        self.superseded.extend(other.superseded);
    }

    /// What is sent: the operation's action, or the removal of what it writes.
    pub fn action(&self) -> Action {
        let action = self.operation.operation().action;
        match (self.truncated, action) {
            (None, _) => action,
            (Some(_), Action::Merge) => Action::MergeRemove,
            (Some(_), Action::PutItem) => Action::RemoveItem,
            (Some(_), Action::Index) => Action::Delete,
            (Some(_), _) => action,
        }
    }

    /// The version that is sent.
    pub fn version(&self) -> u64 {
        self.truncated.unwrap_or(self.operation.operation().version)
    }

    /// The body that is sent.
    pub fn body(&self) -> &[u8] {
        if self.truncated.is_some() { b"" } else { self.operation.body() }
    }

    /// Returns true if it is sent as a removal.
    pub fn is_removal(&self) -> bool {
        self.truncated.is_some() || self.operation.operation().is_removal()
    }

    /// What is left without the operation; `None` if it replaced no other.
    pub fn older(self) -> Option<Self> {
        let mut superseded = self.superseded.into_iter();
        let mut left = Self::new(superseded.next()?);
        superseded.for_each(|operation| left.fold(operation));
        Some(left)
    }
}

/// What is to be written to one document.
#[derive(Debug)]
pub(in super::super) struct Entry {
    /// The document, or the parts of a merged one, one per table and one per item. There is at least one.
    pub parts: Vec<Part>,
    /// How often the entry was sent without success, for a reason of its own.
    pub attempts: u32,
    /// How often the answer was an error that Rowmill does not know.
    pub unknown_errors: u32,
    pub(super) slot: u32,
}

impl Entry {
    pub fn bytes(&self) -> usize {
        self.operations().map(bytes_of).sum()
    }

    /// The operations that are sent.
    pub fn operations(&self) -> impl Iterator<Item = &OperationRef> {
        self.parts.iter().map(|part| &part.operation)
    }

    /// The first of these. All are on the same document.
    pub fn first(&self) -> &OperationRef {
        &self.parts[0].operation
    }

    pub(super) fn new(part: Part, slot: u32) -> Self {
        Self { parts: vec![part], attempts: 0, unknown_errors: 0, slot }
    }

    /// Adds what is to be written to the same document; of two operations on the same part the newer one is sent.
    pub(super) fn fold(&mut self, new: Part) {
        let is_merge = new.operation.operation().action.is_merge();
        match self.parts.iter_mut().find(|known| !is_merge || is_same_part(&known.operation, &new.operation)) {
            None => self.parts.push(new),
            Some(known) => known.join(new),
        }
    }
}
