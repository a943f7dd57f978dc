//! How much is sent at a time: it halves when Elasticsearch rejects work, and grows back while requests succeed.

use crate::config::BulkConfig;

/// The smallest limit of a request, in bytes.
const MIN_BYTES: usize = 64 << 10;

/// The current limits of requests, at or below the configured ones.
#[derive(Debug)]
pub(super) struct Pace {
    bytes: usize,
    /// Concurrent requests; it grows by fractions.
    in_flight: f64,
}

impl Pace {
    /// The configured limits.
    pub fn new(bulk: &BulkConfig) -> Self {
        Self { bytes: bulk.bytes, in_flight: bulk.in_flight as f64 }
    }

    /// The bytes of a request.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of concurrent requests, at least 1.
    pub fn in_flight(&self) -> usize {
        self.in_flight.max(1.0) as usize
    }

    /// Elasticsearch has too much to do, or does not answer.
    pub fn slow_down(&mut self, bulk: &BulkConfig) {
        self.bytes = (self.bytes / 2).max(MIN_BYTES).min(bulk.bytes);
        self.in_flight = (self.in_flight / 2.0).max(1.0);
    }

    /// A request succeeded.
    pub fn speed_up(&mut self, bulk: &BulkConfig) {
        self.bytes = (self.bytes + bulk.bytes / 20).min(bulk.bytes);
        self.in_flight = (self.in_flight + 0.1).min(bulk.in_flight as f64);
    }

    /// The configuration changed. Limits that were lowered stay lowered, within the new configuration.
    pub fn reconfigure(&mut self, old: &BulkConfig, new: &BulkConfig) {
        let is_lowered = (self.bytes < old.bytes, self.in_flight < old.in_flight as f64);
        self.bytes = if is_lowered.0 { self.bytes.min(new.bytes) } else { new.bytes };
        let in_flight = new.in_flight as f64;
        self.in_flight = if is_lowered.1 { self.in_flight.min(in_flight) } else { in_flight };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowered_limits_grow_back_and_survive_a_new_configuration() {
        let bulk = BulkConfig { bytes: 1 << 20, in_flight: 4, ..BulkConfig::default() };
        let mut pace = Pace::new(&bulk);
        pace.slow_down(&bulk);
        assert_eq!((pace.bytes(), pace.in_flight()), (1 << 19, 2));
        let larger = BulkConfig { bytes: 2 << 20, in_flight: 8, ..bulk };
        pace.reconfigure(&bulk, &larger);
        assert_eq!((pace.bytes(), pace.in_flight()), (1 << 19, 2), "still lowered");
        for _ in 0..100 {
            pace.speed_up(&larger);
        }
        assert_eq!((pace.bytes(), pace.in_flight()), (2 << 20, 8));
        for _ in 0..100 {
            pace.slow_down(&larger);
        }
        assert_eq!((pace.bytes(), pace.in_flight()), (MIN_BYTES, 1));
        let mut full = Pace::new(&bulk);
        full.reconfigure(&bulk, &larger);
        assert_eq!((full.bytes(), full.in_flight()), (2 << 20, 8), "a limit that was not lowered follows");
    }
}
