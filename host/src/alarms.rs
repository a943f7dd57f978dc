//! Alarms about versions that go backwards: after a failover or a reset of the binlog, every change looks older than what is
//! written and is refused, which only a raised `epoch` ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rowmill_engine::version::StepBack;
use rowmill_rows::TopicPartition;

use crate::metrics::Kind;

/// How often a cause is logged at most. Also the shortest time over which the share of stale operations is taken.
const INTERVAL: Duration = Duration::from_secs(60);
/// The fewest operations of which a share is taken.
const MIN_OPERATIONS: u64 = 200;
/// The share of stale operations that is an alarm, in per cent.
const STALE_PERCENT: u64 = 95;
/// How long `/healthz` repeats an alarm.
const REPEATED: Duration = Duration::from_secs(600);

/// The alarms of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Alarms(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Alarms by kind: `binlog`, `stale`.
    counter: Family<Kind, Counter>,
    /// The last alarm of each cause: when it was raised, and its text.
    raised: Mutex<HashMap<String, (Instant, String)>>,
}

impl Alarms {
    /// The number of alarms by kind, for the metrics.
    pub fn counter(&self) -> Family<Kind, Counter> {
        self.0.counter.clone()
    }

    /// The binlog's file numbers went back within a partition.
    pub fn binlog_went_back(&self, partition: &TopicPartition, StepBack { from, to }: StepBack) {
        let TopicPartition { topic, partition } = partition;
        self.raise("binlog", format!("binlog {topic} {partition}"), Instant::now(), || {
            format!(
                "the binlog's file numbers went back from {from} to {to} in topic {topic}, partition {partition}: if the server \
                 was replaced or its binlog was reset, changes look older than the documents and are refused; raise the `epoch` \
                 of the tables' routes. If the tool only reads its binlog again, there is nothing to do"
            )
        });
    }

    /// Nearly all operations on an index are stale.
    fn is_stale(&self, index: &str, table: &str, share: Share, now: Instant) {
        let Share { stale, written, .. } = share;
        self.raise("stale", format!("stale {index}"), now, || {
            let total = stale + written;
            format!(
                "{stale} of the last {total} operations on index {index} (table {table}) were refused as older than the \
                 documents: if the server was replaced, its binlog was reset, a topic was created anew, or `version` was changed, \
                 raise the `epoch` of the table's route. If records are read again, there is nothing to do"
            )
        });
    }

    /// The alarms of the last ten minutes, one a line.
    pub fn text(&self) -> String {
        let mut texts: Vec<String> = self
            .raised()
            .values()
            .filter(|(at, _)| at.elapsed() < REPEATED)
            .map(|(at, text)| format!("{} s ago: {text}\n", at.elapsed().as_secs()))
            .collect();
        texts.sort();
        texts.concat()
    }

    fn raise(&self, kind: &str, cause: String, now: Instant, text: impl FnOnce() -> String) {
        self.0.counter.get_or_create(&Kind { kind: kind.into() }).inc();
        let mut raised = self.raised();
        if raised.get(&cause).is_some_and(|(at, _)| now.saturating_duration_since(*at) < INTERVAL) {
            return;
        }
        let text = text();
        tracing::error!(kind, "{text}");
        raised.insert(cause, (now, text));
    }

    fn raised(&self) -> MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.0.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operations on one index since the share of stale ones was last taken.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// When the first stale one was counted.
    since: Option<Instant>,
    stale: u64,
    written: u64,
}

/// The shares of stale operations, by index.
#[derive(Debug)]
pub struct StaleShares {
    alarms: Alarms,
    /// By the number of the index.
    shares: Vec<Share>,
}

impl StaleShares {
    /// Shares that raise `alarms`.
    pub fn new(alarms: Alarms) -> Self {
        Self { alarms, shares: Vec::new() }
    }

    /// Counts a written operation.
    pub fn add_written(&mut self, index: u32) {
        self.of(index).written += 1;
    }

    /// Counts a stale operation. `name` and `table` are those of the index and the operation.
    pub fn add_stale(&mut self, index: u32, name: impl FnOnce() -> Arc<str>, table: &str, now: Instant) {
        let share = self.of(index);
        share.stale += 1;
        let since = *share.since.get_or_insert(now);
        if now.saturating_duration_since(since) < INTERVAL || share.stale + share.written < MIN_OPERATIONS {
            return;
        }
        let taken = std::mem::take(share);
        if taken.stale * 100 >= STALE_PERCENT * (taken.stale + taken.written) {
            self.alarms.is_stale(&name(), table, taken, now);
        }
    }

    fn of(&mut self, index: u32) -> &mut Share {
        let index = index as usize;
        if self.shares.len() <= index {
            self.shares.resize(index + 1, Share::default());
        }
        &mut self.shares[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarms_of(shares: &[(u64, u64)]) -> (u64, String) {
        let alarms = Alarms::default();
        let mut counted = StaleShares::new(alarms.clone());
        let mut now = Instant::now();
        for &(stale, written) in shares {
            for _ in 0..written {
                counted.add_written(3);
            }
            for _ in 0..stale {
                now += INTERVAL / stale as u32 + Duration::from_millis(1);
                counted.add_stale(3, || "trade".into(), "shop.trade", now);
            }
        }
        (alarms.counter().get_or_create(&Kind { kind: "stale".into() }).get(), alarms.text())
    }

    #[test]
    fn nearly_only_stale_operations_raise_an_alarm_that_names_the_epoch() {
        let (count, text) = alarms_of(&[(400, 4)]);
        assert_eq!(count, 1, "{text}");
        assert!(text.contains("`epoch`") && text.contains("index trade") && text.contains("shop.trade"), "{text}");
        assert_eq!(alarms_of(&[(300, 30)]).0, 0, "many were written");
        assert_eq!(alarms_of(&[(150, 0)]).0, 0, "too few to say anything");
        assert_eq!(alarms_of(&[(400, 0), (400, 0), (400, 300)]).0, 2, "once per interval");
    }

    #[test]
    fn one_cause_is_logged_once_a_minute() {
        let alarms = Alarms::default();
        let partition = TopicPartition { topic: "shop".into(), partition: 2 };
        for to in 1..4 {
            alarms.binlog_went_back(&partition, StepBack { from: 42, to });
        }
        let text = alarms.text();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("from 42 to 1 in topic shop, partition 2") && text.contains("`epoch`"), "{text}");
        assert_eq!(alarms.counter().get_or_create(&Kind { kind: "binlog".into() }).get(), 3);
    }
}
