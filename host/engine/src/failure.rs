//! Why a row cannot be processed.

use crate::operation::IndexNumber;
use crate::plan::TablePlan;

/// The step that a row failed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A plugin failed on the row.
    Plugin,
    /// No document can be made of the row: it has no ID or no version, or an index cannot hold the document.
    Document,
}

/// A row that cannot be processed. The record that it came from becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// What is wrong, in words for a person.
    pub reason: String,
    /// The plugin that failed, as an index into [`crate::Operations::producers`].
    pub producer: Option<usize>,
    /// The index that the document was meant for.
    pub index: Option<IndexNumber>,
}

impl Failure {
    /// No document can be made of a row of this table.
    pub(crate) fn of_document(plan: &TablePlan, reason: impl std::fmt::Display) -> Self {
        Self { stage: Stage::Document, reason: format!("{}: {reason}", plan.full_name), producer: None, index: None }
    }
}
