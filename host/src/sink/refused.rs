//! What Elasticsearch refuses: one dead letter a record, with the reasons of all its documents.
//!
//! The documents of a record get their outcomes one by one, in whatever requests they are. Refused ones are held here,
//! unsettled, until every operation of their batch has an outcome; so a record has one letter, however many of its
//! documents are refused, and none is committed before its letter is kept.

use std::fmt::Write as _;
use std::sync::Arc;

use super::elasticsearch::pending::OperationRef;
use crate::dead_letter::{DeadLetter, DeadLetters, Stage};
use crate::indices::Indices;
use crate::operation::OperationBatch;

/// A letter tells so many reasons; what is more is counted.
const REASONS: usize = 10;

/// The refused operations of all batches that are not through yet.
#[derive(Debug, Default)]
pub(super) struct RefusedOperations(Vec<(OperationRef, String)>);

impl RefusedOperations {
    /// Holds a refused operation.
    pub fn hold(&mut self, operation: OperationRef, reason: &str) {
        self.0.push((operation, reason.to_string()));
    }

    /// Every operation of the batch has an outcome: sends a letter for each record of which documents were refused.
    pub fn send(&mut self, batch: &Arc<OperationBatch>, indices: &Indices, letters: &DeadLetters) {
        if self.0.is_empty() {
            return;
        }
        let mut refused: Vec<_> = self.0.extract_if(.., |(one, _)| Arc::ptr_eq(&one.batch, batch)).collect();
        // Outcomes come in any order.
        refused.sort_by_key(|(one, _)| (one.operation().record, one.number()));
        for of_record in refused.chunk_by(|(a, _), (b, _)| a.operation().record == b.operation().record) {
            let (first, _) = &of_record[0];
            let operation = first.operation();
            let mut letter = DeadLetter::new(&batch.source, operation.record, Stage::Sink, reason(of_record, indices));
            letter.table = Some(first.table().clone());
            letter.producer = batch.producers.get(operation.producer as usize).cloned();
            letter.index = Some(indices.name(operation.index));
            letter.id = Some(batch.text(operation.id).to_string());
            letters.send(letter);
            // The letter has a claim of its own.
            batch.source.ticket.settle(of_record.len() as u64);
        }
    }
}

/// Elasticsearch's own reason; of several documents each with the document that it is of.
fn reason(refused: &[(OperationRef, String)], indices: &Indices) -> String {
    if let [(_, reason)] = refused {
        return reason.clone();
    }
    let mut text = format!("{} documents of the record are refused", refused.len());
    for (place, (one, reason)) in refused.iter().take(REASONS).enumerate() {
        let index = indices.name(one.operation().index);
        let id = one.batch.text(one.operation().id);
        // Writing into a String cannot fail.
        let _ = write!(text, "{} {index}/{id}: {reason}", if place == 0 { ":" } else { ";" });
    }
    if refused.len() > REASONS {
        let _ = write!(text, "; and {} more", refused.len() - REASONS);
    }
    text
}
