//! A new generation on the most recent real rows, before it is published.

use std::sync::Arc;

use rowmill_engine::{Batch, Chain, ChainInstance, Indices};
use rowmill_rows::{Decoder, RowBatch};

use super::worker::Shared;

/// What a probe found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Rows that went through both chains.
    pub rows: u64,
    /// Rows that the new generation fails on and the running chain accepts.
    pub regressed: u64,
    /// The first of them: its table, and why it fails.
    pub first: Option<(String, String)>,
}

/// Runs the most recent rows of each table through the chain with the new generation, and those that fail there through
/// the running chain. Writes nothing and counts nothing.
pub fn probe(shared: &Shared, generation: u64, candidate: Arc<Chain>, running: Arc<Chain>) -> Probe {
    let mut decoder = Decoder::new(shared.config.decoder.clone());
    let mut rows = RowBatch::default();
    let instance = || ChainInstance::new(Arc::<Indices>::default(), shared.config.limits.clone(), shared.rules);
    let (mut new, mut old) = (instance(), instance());
    let is_new = |place: usize| candidate.plugins[place].generation == generation;
    new.switch_to(candidate.clone(), &mut Vec::new(), is_new);
    old.switch_to(running, &mut Vec::new(), |_| false);
    let mut found = Probe::default();
    for records in shared.recent.records() {
        decoder.decode(&records, &mut rows);
        found.rows += rows.rows.len() as u64;
        let mut batch = Batch { tables: decoder.tables(), rows: &mut rows, records: &records };
        new.run(&mut batch, |_| true);
        if !new.has_failures(is_new) {
            continue;
        }
        old.run(&mut batch, |_| true);
        for row in 0..batch.rows.rows.len() {
            let Some((place, reason)) = new.failure_of(row) else { continue };
            if is_new(place) && old.failure_of(row).is_none() {
                found.regressed += 1;
                found.first.get_or_insert_with(|| (batch.table_of(row).full_name(), reason.to_string()));
            }
        }
    }
    found
}
