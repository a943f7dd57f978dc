//! What a run did.

use std::time::Duration;

use rowmill_engine::Action;
use serde::Serialize;

use crate::metrics::Metrics;

/// What a run did. A run until caught up prints it as a line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Records read.
    pub events: u64,
    /// Rows decoded.
    pub rows: u64,
    /// Documents by action, as the sink confirmed them.
    pub documents: Documents,
    /// Operations that a newer one replaced before they were sent.
    pub folded: u64,
    /// Operations that changed nothing because the sink has a newer version.
    pub stale: u64,
    /// Rows that wrote no document and deleted none.
    pub filtered: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Duration of the run in seconds.
    pub seconds: f64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Documents by action.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names of the actions")]
pub struct Documents {
    pub index: u64,
    pub delete: u64,
    pub merge: u64,
    pub merge_remove: u64,
    pub put_item: u64,
    pub remove_item: u64,
    pub truncate: u64,
}

impl Summary {
    /// What these metrics counted in a run of this duration.
    pub fn new(metrics: &Metrics, duration: Duration) -> Self {
        Self {
            events: metrics.events.get(),
            rows: metrics.rows.get(),
            documents: Documents {
                index: metrics.written_of(Action::Index),
                delete: metrics.written_of(Action::Delete),
                merge: metrics.written_of(Action::Merge),
                merge_remove: metrics.written_of(Action::MergeRemove),
                put_item: metrics.written_of(Action::PutItem),
                remove_item: metrics.written_of(Action::RemoveItem),
                truncate: metrics.written_of(Action::Truncate),
            },
            folded: metrics.folded.get(),
            stale: metrics.stale.get(),
            filtered: metrics.filtered.get(),
            dead_letters: metrics.dead_letters_total(),
            seconds: duration.as_secs_f64(),
            bytes: metrics.bytes.get(),
        }
    }
}
