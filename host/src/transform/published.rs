//! The published chain, and the chains beside it while a generation is on probation or on trial.

use std::sync::Arc;

use rowmill_engine::Chain;

use super::trial::Trial;

/// What is published to the workers: never changed, only replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Rises with every publication.
    pub number: u64,
    /// The chain that rows go through.
    pub chain: Arc<Chain>,
    /// The chain of the last good generations, while a generation of `chain` is on probation. It transforms the batches
    /// with rows that only the new generation fails on.
    pub last_good: Option<Arc<Chain>>,
    /// The chain with the generation on trial, if there is one.
    pub candidate: Option<Candidate>,
    /// Rung when a generation on probation or in a canary fails on a row.
    pub alarm: Option<Alarm>,
}

/// A generation on trial.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The published chain with the generation on trial in its place.
    pub chain: Arc<Chain>,
    /// Which rows the candidate gets, and what the trial found so far.
    pub trial: Arc<Trial>,
}

impl Published {
    /// A chain with nothing beside it.
    pub fn new(number: u64, chain: Chain) -> Self {
        Self { number, chain: Arc::new(chain), ..Self::default() }
    }
}

/// Wakes the thread that decides on generations, so that it looks at their figures now.
#[derive(Clone, Debug)]
pub struct Alarm(crossbeam_channel::Sender<()>);

impl Alarm {
    /// An alarm and its receiver. Rings that were not received yet count as one.
    pub fn channel() -> (Self, crossbeam_channel::Receiver<()>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        (Self(sender), receiver)
    }

    /// Rings.
    pub fn ring(&self) {
        // A full channel means that a ring is already waiting; a closed one that nobody decides any more.
        let _ = self.0.try_send(());
    }
}
