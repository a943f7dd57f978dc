//! How many documents end wrong with Canal's whole seconds: a seeded workload with key changes, ordered by what Canal reports.
//!
//! Each document must end with its last change. A document's operations come from different partitions if rows take over its
//! key, so only the versions order them; the order of arrival makes no difference and is left out.

use std::collections::{BTreeMap, HashMap};

use rowmill_engine::version::{PartitionClock, Source, VersionStrategy, version};
use rowmill_rows::SourcePosition;

const PARTITIONS: u64 = 4;
const KEYS: u64 = 20_000;
const COMMITS: u64 = 200_000;
const BEGIN: u64 = 1_795_216_000_000_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// One message of Canal: a change of the row with `key`, which had `old_key` before.
#[derive(Clone, Copy)]
struct Message {
    key: u64,
    old_key: Option<u64>,
    is_delete: bool,
    es: i64,
    ts: i64,
    transaction: u64,
}

/// The workload in the order of the binlog: `rate` commits per second of 1 to 3 changes each. `poll` is the time in
/// microseconds for which Canal collects a batch.
fn workload(seed: u64, rate: u64, poll: u64) -> Vec<Message> {
    let mut random = Random(seed);
    let mut used: Vec<u64> = (0..KEYS).step_by(2).collect();
    let mut free: Vec<u64> = (1..KEYS).step_by(2).collect();
    let mut messages = Vec::new();
    let (mut now, mut batch_end, mut sent) = (BEGIN, BEGIN, BEGIN);
    for transaction in 1..=COMMITS {
        now += random.below(2_000_000 / rate);
        if now >= batch_end {
            // A batch is what was committed until Canal asked; it asks again when the batch is sent.
            batch_end = (now + poll / 2 + random.below(poll)).max(sent);
            sent = batch_end + 1_000 + random.below(2_000);
        }
        for _ in 0..1 + random.below(3) {
            // Canal converts about 200 rows per millisecond.
            sent += 5;
            let place = random.below(used.len() as u64) as usize;
            // Keys that are free again are soon used again, as names and places in a list are.
            let recent = free.len() - 1 - random.below(20) as usize;
            let (key, old_key, is_delete) = match random.below(10) {
                0..4 => (used[place], Some(used[place]), false),
                4..8 => {
                    let old_key = std::mem::replace(&mut used[place], free.remove(recent));
                    free.push(old_key);
                    (used[place], Some(old_key), false)
                }
                8 => {
                    used.push(free.remove(recent));
                    (used[used.len() - 1], None, false)
                }
                _ => {
                    free.push(used.swap_remove(place));
                    (free[free.len() - 1], None, true)
                }
            };
            let [es, ts] = [now / 1_000_000 * 1_000, sent / 1_000].map(|time| time as i64);
            messages.push(Message { key, old_key, is_delete, es, ts, transaction });
        }
    }
    messages
}

/// The documents that end wrong, and all that were changed, with positions made by `position`.
fn wrong_documents(messages: &[Message], position: impl Fn(&Message) -> SourcePosition) -> (usize, usize) {
    let mut partitions: HashMap<u64, (i64, PartitionClock)> = HashMap::new();
    let mut last_of_partition: HashMap<u64, u64> = HashMap::new();
    // Of each document: the message of its last change in truth, and by version. A write beats a delete with its version.
    let mut truth: BTreeMap<u64, usize> = BTreeMap::new();
    let mut stored: HashMap<u64, ((u64, bool), usize)> = HashMap::new();
    for (number, message) in messages.iter().enumerate() {
        let partition = Random(message.key).next() % PARTITIONS;
        // Partitions have had different numbers of records before.
        let (offset, clock) =
            partitions.entry(partition).or_insert_with(|| (partition as i64 * 1_000_003, PartitionClock::default()));
        *offset += 1;
        let source = Source {
            position: position(message),
            offset: *offset,
            column: None,
            is_delete: message.is_delete,
            is_snapshot: false,
            pinned: None,
        };
        let version = version(&VersionStrategy::Time, 0, source, clock).expect("a version");
        let last = last_of_partition.insert(partition, version).unwrap_or(0);
        assert!(version > last, "versions run backwards within a partition");
        let left = message.old_key.filter(|old_key| *old_key != message.key).map(|old_key| (old_key, false));
        for (key, is_write) in left.into_iter().chain([(message.key, !message.is_delete)]) {
            truth.insert(key, number);
            let stored = stored.entry(key).or_insert(((0, false), number));
            if (version, is_write) >= stored.0 {
                *stored = ((version, is_write), number);
            }
        }
    }
    let wrong = truth.iter().filter(|(key, number)| stored[key].1 != **number).count();
    (wrong, truth.len())
}

#[test]
fn what_canal_reports_narrows_the_order_within_a_second() {
    for (rate, poll) in [(100, 20_000), (1_000, 20_000), (1_000, 500_000)] {
        let (mut offsets, mut sent, mut numbered, mut all) = (0, 0, 0, 0);
        for seed in 1..=5 {
            let messages = workload(seed, rate, poll);
            let time = |message: &Message, ts, transaction| SourcePosition::Time {
                milliseconds: message.es,
                sent: ts,
                transaction,
            };
            let (wrong, documents) = wrong_documents(&messages, |message| time(message, 0, 0));
            offsets += wrong;
            all += documents;
            sent += wrong_documents(&messages, |message| time(message, message.ts, 0)).0;
            numbered += wrong_documents(&messages, |message| time(message, message.ts, message.transaction)).0;
        }
        eprintln!(
            "{rate} commits/s, batches of {} ms: of {all} documents wrong by offset {offsets}, with ts {sent}, with ts and gtid {numbered}",
            poll / 1_000
        );
        assert!(numbered <= sent && sent <= offsets && numbered * 10 <= offsets, "{numbered} {sent} {offsets}");
    }
}

#[test]
fn numbers_that_begin_again_never_run_backwards_within_a_partition() {
    let messages = workload(7, 1_000, 20_000);
    let mut random = Random(8);
    let noise: Vec<(i64, u64)> =
        (0..messages.len()).map(|_| (random.below(400_000) as i64 - 100_000, random.below(5_000))).collect();
    // wrong_documents asserts the order within the partitions.
    let by_number: HashMap<(i64, u64), (i64, u64)> =
        messages.iter().zip(noise).map(|(message, noise)| ((message.ts, message.key), noise)).collect();
    wrong_documents(&messages, |message| {
        let (delay, transaction) = by_number[&(message.ts, message.key)];
        SourcePosition::Time { milliseconds: message.es + delay / 10, sent: message.ts + delay, transaction }
    });
}
