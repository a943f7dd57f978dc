//! Faults of the store, as data: chosen at random, printed, and left out one by one to make a failing scenario smaller.

use std::sync::Mutex;
use std::time::Duration;

use rowmill_store::{FaultEffect, FaultRule, FaultTarget};

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub what: What,
    /// How many requests or items are spared first.
    pub after: u64,
    /// How many are affected.
    pub times: u64,
}

/// What is affected, and how.
#[derive(Clone, Debug)]
pub enum What {
    /// A bulk request.
    Bulk(FaultEffect),
    /// Any request, also those that prepare an index.
    Request(FaultEffect),
    /// Items of bulk requests, each with this probability in percent, chosen by a seed.
    Items { effect: FaultEffect, percent: u8, seed: u64 },
    /// The items with this ID.
    Id { effect: FaultEffect, id: String },
}

impl Fault {
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let what = match random.u8(..10) {
            0..=3 => What::Bulk(of_requests(random)),
            4 => What::Request(of_requests(random)),
            5..=7 => What::Items { effect: of_items(random), percent: random.u8(1..60), seed: random.u64(..) },
            _ => What::Id { effect: of_items(random), id: random.u8(..8).to_string() },
        };
        Self { what, after: random.u64(..6), times: random.u64(1..6) }
    }

    pub fn rule(&self) -> FaultRule {
        let rule = match &self.what {
            What::Bulk(effect) => FaultRule::request(effect.clone()),
            What::Request(effect) => FaultRule::request(effect.clone()).on_any_request(),
            What::Items { effect, percent, seed } => {
                let random = Mutex::new(fastrand::Rng::with_seed(*seed));
                let percent = *percent;
                FaultRule::item(effect.clone())
                    .when(move |_: &FaultTarget<'_>| random.lock().is_ok_and(|mut random| random.u8(..100) < percent))
            }
            What::Id { effect, id } => {
                let id = id.clone();
                FaultRule::item(effect.clone()).when(move |target| target.id == Some(id.as_str()))
            }
        };
        rule.after(self.after).times(self.times)
    }
}

fn of_requests(random: &mut fastrand::Rng) -> FaultEffect {
    match random.u8(..8) {
        0 => FaultEffect::TooManyRequests,
        1 => FaultEffect::Unavailable,
        2 => FaultEffect::Delay(Duration::from_millis(random.u64(1..30))),
        3 => FaultEffect::Error(500, "internal_server_error", "made up".into()),
        4 => FaultEffect::Error(502, "bad_gateway", "made up by a proxy".into()),
        5 | 6 => FaultEffect::ResetAfter,
        _ => FaultEffect::ResetBefore,
    }
}

fn of_items(random: &mut fastrand::Rng) -> FaultEffect {
    match random.u8(..7) {
        0 | 1 => FaultEffect::TooManyRequests,
        2 => FaultEffect::Unavailable,
        3 => FaultEffect::Error(400, "index_closed_exception", "closed".into()),
        4 => FaultEffect::Error(
            403,
            "cluster_block_exception",
            "index [thing] blocked by: [FORBIDDEN/8/read-only]".into(),
        ),
        5 => FaultEffect::Error(418, "made_up_exception", "an answer that nobody has seen".into()),
        // For good: the record becomes a dead letter.
        _ => FaultEffect::Error(400, "document_parsing_exception", "made up".into()),
    }
}
