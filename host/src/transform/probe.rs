//! A new generation on the last real rows, before it is published.

use std::sync::Arc;

use rowmill_engine::Indices;
use rowmill_rows::{Decoder, RowBatch};

use super::Shared;
use super::chain::Chain;
use super::lane::Lane;
use crate::metrics::Metrics;

/// What a probe showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Rows that went through both chains.
    pub rows: u64,
    /// Rows that the new generation fails and the running chain does not.
    pub regressed: u64,
    /// The first of them: its table, and why it fails.
    pub first: Option<(String, String)>,
}

/// Sends the last rows of each table through the chain with the new generation, and what that fails through the running
/// chain. Writes nothing and counts nothing.
pub fn probe(shared: &Shared, generation: u64, candidate: Arc<Chain>, running: Arc<Chain>) -> Probe {
    let shared = Shared { indices: Arc::<Indices>::default(), metrics: Metrics::new(), ..shared.clone() };
    let mut decoder = Decoder::new(shared.config.decoder.clone());
    let mut rows = RowBatch::default();
    let (mut new, mut old) = (Lane::default(), Lane::default());
    new.turn_to(candidate.clone(), &mut Vec::new(), |place| candidate.plugins[place].generation == generation);
    old.turn_to(running, &mut Vec::new(), |_| false);
    (new.images.is_probe, old.images.is_probe) = (true, true);
    let is_new = |lane: &Lane, place: usize| lane.running[place].plugin.generation == generation;
    let mut found = Probe::default();
    for records in shared.recent.records() {
        decoder.decode(&records, &mut rows);
        found.rows += rows.rows.len() as u64;
        new.run(decoder.tables(), &mut rows, &records.bytes, &shared, |_| true);
        if !new.images.has_failures(|place| is_new(&new, place)) {
            continue;
        }
        old.run(decoder.tables(), &mut rows, &records.bytes, &shared, |_| true);
        for row in 0..rows.rows.len() {
            let Some((place, reason)) = new.images.failure_of(row) else { continue };
            if is_new(&new, place) && old.images.failure_of(row).is_none() {
                found.regressed += 1;
                found.first.get_or_insert_with(|| {
                    (decoder.tables()[rows.rows[row].table as usize].full_name(), reason.to_string())
                });
            }
        }
    }
    found
}
