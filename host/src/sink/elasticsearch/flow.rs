//! How much is sent at a time, and whether anything is sent at all.
//!
//! The limits on bytes and on concurrent requests grow by steps while requests succeed, and shrink by a factor when
//! Elasticsearch rejects work, takes much longer than usual, or does not answer. All nodes share them. When there is no
//! answer, nothing more is sent: after a wait that grows with every attempt, one small request asks whether the cluster is
//! back, and only its success lets others follow.

use std::time::{Duration, Instant};

use super::retry::backoff;
use crate::config::BulkConfig;

/// The smallest limit of a request, in bytes.
const MIN_BYTES: usize = 64 << 10;
/// The most documents of the request that asks whether the cluster is back.
const PROBE_DOCUMENTS: usize = 16;
/// A request is slow if it takes this many times as long as usual…
const SLOW: f64 = 4.0;
/// … and at least this long, in seconds. Below it, differences say nothing about the cluster.
const SLOW_SECONDS: f64 = 1.0;
/// The weight of a new duration in the usual one.
const WEIGHT: f64 = 0.125;

/// What the answer to a request says about the cluster's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// All items were taken.
    Fine,
    /// Some items could not be taken, for a reason other than load.
    Impaired,
    /// Some items were rejected because there is too much to do.
    Overloaded,
}

/// Whether requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    /// The cluster answers.
    Closed,
    /// It did not answer this many times: nothing is sent until then.
    Open { until: Instant, attempts: u32 },
    /// One request asks whether it answers again.
    Probing { attempts: u32 },
}

/// The current limits of requests, at or below the configured ones.
#[derive(Debug)]
pub(super) struct Flow {
    bytes: usize,
    /// Concurrent requests; it grows by fractions.
    in_flight: f64,
    /// The usual duration of a request in seconds, 0 before the first.
    usual: f64,
    /// When the limits were last lowered. Requests that began earlier were sent under the earlier limits, so what became of
    /// them is no reason to lower them again.
    lowered: Option<Instant>,
    breaker: Breaker,
}

impl Flow {
    /// The configured limits.
    pub fn new(bulk: &BulkConfig) -> Self {
        Self {
            bytes: bulk.bytes,
            in_flight: bulk.in_flight as f64,
            usual: 0.0,
            lowered: None,
            breaker: Breaker::Closed,
        }
    }

    /// The bytes of a request.
    pub fn bytes(&self) -> usize {
        if self.is_open() { self.bytes } else { MIN_BYTES.min(self.bytes) }
    }

    /// The most documents of a request.
    pub fn documents(&self, bulk: &BulkConfig) -> usize {
        if self.is_open() { bulk.documents } else { PROBE_DOCUMENTS.min(bulk.documents) }
    }

    /// The number of concurrent requests, at least 1.
    pub fn in_flight(&self) -> usize {
        self.in_flight.max(1.0) as usize
    }

    /// Returns true if requests are sent without restriction.
    pub fn is_open(&self) -> bool {
        self.breaker == Breaker::Closed
    }

    /// Returns true if a request may be sent now: freely, or as the one that asks whether the cluster is back.
    pub fn may_send(&self, now: Instant) -> bool {
        match self.breaker {
            Breaker::Closed => true,
            Breaker::Open { until, .. } => until <= now,
            Breaker::Probing { .. } => false,
        }
    }

    /// When the next request may ask whether the cluster is back.
    pub fn next_probe(&self) -> Option<Instant> {
        match self.breaker {
            Breaker::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// A request is sent. Returns true if it is the one that asks whether the cluster is back.
    pub fn begin(&mut self) -> bool {
        let Breaker::Open { attempts, .. } = self.breaker else { return false };
        self.breaker = Breaker::Probing { attempts };
        true
    }

    /// A request, which was a probe or not, was answered. Returns true if that ends an outage.
    pub fn answered(&mut self, is_probe: bool) -> bool {
        let is_end = is_probe && !self.is_open();
        if is_end {
            self.breaker = Breaker::Closed;
        }
        is_end
    }

    /// A request that began at `begin` was not answered, or the answer was that the cluster cannot take any.
    pub fn failed(&mut self, bulk: &BulkConfig, begin: Instant, is_probe: bool) {
        match self.breaker {
            Breaker::Closed => {
                self.lower(bulk, begin);
                self.breaker = Breaker::Open { until: Instant::now() + backoff(bulk, 0), attempts: 1 };
            }
            // The requests that were in flight when it failed fail with it.
            _ if !is_probe => {}
            Breaker::Open { attempts, .. } | Breaker::Probing { attempts } => {
                self.slow_down(bulk);
                let until = Instant::now() + backoff(bulk, attempts);
                self.breaker = Breaker::Open { until, attempts: attempts.saturating_add(1) };
            }
        }
    }

    /// A request that began at `begin` was not answered in time. If it was not the one that asks whether the cluster is back,
    /// one of its indices may be the reason, so others are still sent.
    pub fn timed_out(&mut self, bulk: &BulkConfig, begin: Instant, is_probe: bool) {
        if is_probe {
            self.failed(bulk, begin, true);
        } else {
            self.lower(bulk, begin);
        }
    }

    /// A request that began at `begin` was answered after `duration`.
    pub fn observe(&mut self, bulk: &BulkConfig, begin: Instant, duration: Duration, load: Load) {
        let seconds = duration.as_secs_f64();
        let is_slow = self.usual > 0.0 && seconds > SLOW_SECONDS && seconds > self.usual * SLOW;
        self.usual += (seconds - self.usual) * if self.usual > 0.0 { WEIGHT } else { 1.0 };
        match load {
            Load::Overloaded => self.lower(bulk, begin),
            _ if is_slow => self.lower(bulk, begin),
            Load::Fine => self.speed_up(bulk),
            Load::Impaired => {}
        }
    }

    fn lower(&mut self, bulk: &BulkConfig, begin: Instant) {
        if self.lowered.is_none_or(|lowered| begin > lowered) {
            self.lowered = Some(Instant::now());
            self.slow_down(bulk);
        }
    }

    fn slow_down(&mut self, bulk: &BulkConfig) {
        self.bytes = (self.bytes / 2).max(MIN_BYTES).min(bulk.bytes);
        self.in_flight = (self.in_flight / 2.0).max(1.0);
    }

    fn speed_up(&mut self, bulk: &BulkConfig) {
        self.bytes = (self.bytes + bulk.bytes / 20).min(bulk.bytes);
        self.in_flight = (self.in_flight + 0.1).min(bulk.in_flight as f64);
    }

    /// The configuration changed. Limits that were lowered stay lowered, within the new configuration.
    pub fn reconfigure(&mut self, old: &BulkConfig, new: &BulkConfig) {
        let is_lowered = (self.bytes < old.bytes, self.in_flight < old.in_flight as f64);
        self.bytes = if is_lowered.0 { self.bytes.min(new.bytes) } else { new.bytes };
        let in_flight = new.in_flight as f64;
        self.in_flight = if is_lowered.1 { self.in_flight.min(in_flight) } else { in_flight };
        // A wait that the earlier settings allowed ends.
        if let Breaker::Open { until, .. } = &mut self.breaker {
            *until = (*until).min(Instant::now() + new.retry_wait_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    fn bulk() -> BulkConfig {
        BulkConfig { bytes: 1 << 20, in_flight: 4, ..BulkConfig::default() }
    }

    #[test]
    fn lowered_limits_grow_back_and_survive_a_new_configuration() {
        let bulk = bulk();
        let mut flow = Flow::new(&bulk);
        flow.slow_down(&bulk);
        assert_eq!((flow.bytes(), flow.in_flight()), (1 << 19, 2));
        let larger = BulkConfig { bytes: 2 << 20, in_flight: 8, ..bulk };
        flow.reconfigure(&bulk, &larger);
        assert_eq!((flow.bytes(), flow.in_flight()), (1 << 19, 2), "still lowered");
        for _ in 0..100 {
            flow.observe(&larger, Instant::now(), SOON, Load::Fine);
        }
        assert_eq!((flow.bytes(), flow.in_flight()), (2 << 20, 8));
        for _ in 0..100 {
            flow.slow_down(&larger);
        }
        assert_eq!((flow.bytes(), flow.in_flight()), (MIN_BYTES, 1));
        let mut full = Flow::new(&bulk);
        full.reconfigure(&bulk, &larger);
        assert_eq!((full.bytes(), full.in_flight()), (2 << 20, 8), "a limit that was not lowered follows");
    }

    #[test]
    fn the_limits_do_not_grow_while_items_fail() {
        let bulk = bulk();
        let mut flow = Flow::new(&bulk);
        flow.slow_down(&bulk);
        for _ in 0..100 {
            flow.observe(&bulk, Instant::now(), SOON, Load::Impaired);
        }
        assert_eq!((flow.bytes(), flow.in_flight()), (1 << 19, 2));
    }

    #[test]
    fn requests_of_one_round_lower_the_limits_once() {
        let bulk = bulk();
        let mut flow = Flow::new(&bulk);
        let begin = Instant::now();
        for _ in 0..4 {
            flow.observe(&bulk, begin, SOON, Load::Overloaded);
        }
        assert_eq!((flow.bytes(), flow.in_flight()), (1 << 19, 2));
        flow.observe(&bulk, Instant::now() + SOON, SOON, Load::Overloaded);
        assert_eq!((flow.bytes(), flow.in_flight()), (1 << 18, 1));
    }

    #[test]
    fn a_request_that_takes_much_longer_than_usual_lowers_the_limits() {
        let bulk = bulk();
        let mut flow = Flow::new(&bulk);
        for _ in 0..20 {
            flow.observe(&bulk, Instant::now(), SOON, Load::Fine);
        }
        flow.observe(&bulk, Instant::now(), SOON * 20, Load::Fine);
        assert_eq!(flow.in_flight(), 4, "200 ms are no reason");
        flow.observe(&bulk, Instant::now(), Duration::from_secs(3), Load::Fine);
        assert_eq!(flow.in_flight(), 2);
        // What takes long for long is usual.
        for _ in 0..100 {
            flow.observe(&bulk, Instant::now(), Duration::from_secs(3), Load::Fine);
        }
        assert_eq!(flow.in_flight(), 4);
    }

    #[test]
    fn without_an_answer_one_small_request_asks_and_no_storm_follows() {
        let bulk = BulkConfig { bytes: 8 << 20, in_flight: 64, retry_wait_max: SOON * 5, ..BulkConfig::default() };
        let mut flow = Flow::new(&bulk);
        let begin = Instant::now();
        for _ in 0..64 {
            flow.failed(&bulk, begin, false);
        }
        assert_eq!(flow.in_flight(), 32, "requests of one round count once");
        assert_eq!(flow.documents(&bulk), PROBE_DOCUMENTS);
        assert!(flow.bytes() <= MIN_BYTES);
        for attempt in 0..10 {
            let due = flow.next_probe().expect("a wait");
            assert!(due <= Instant::now() + bulk.retry_wait_max, "attempt {attempt}");
            assert!(flow.may_send(due));
            assert!(flow.begin());
            assert!(!flow.may_send(due + SOON * 1000), "one at a time");
            // An earlier request that fails as well changes nothing.
            flow.failed(&bulk, begin, false);
            assert!(!flow.may_send(due + SOON * 1000));
            flow.failed(&bulk, due, true);
        }
        assert!(flow.begin());
        assert!(!flow.answered(false), "only the probe's answer counts");
        assert!(flow.answered(true));
        assert!(flow.is_open());
        assert_eq!((flow.in_flight(), flow.bytes()), (1, MIN_BYTES), "it begins with little");
        for _ in 0..10 {
            flow.observe(&bulk, Instant::now(), SOON, Load::Fine);
        }
        assert_eq!(flow.in_flight(), 2, "and grows by steps");
    }
}
