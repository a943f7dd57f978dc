//! The gateway as a Kafka consumer: whatever happens to its topics, its group and its commits, no record is lost, and
//! reading never stops while it could continue.
//!
//! Every test sends changes with consecutive numbers, and waits until each of them is written. A gateway that is idle
//! although there are records to read therefore fails a test by its time limit.

mod back_pressure;
mod blocked;
mod faults;
mod lines;
mod members;
mod missing;
mod recovery;
mod start;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowmill_tests::captures::Record;
use rowmill_tests::gateway::{Gateway, Running};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{unique, wait};
use serde_json::json;

use lines::Lines;

/// Time limit for steps that take seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both protocols of consumer groups.
const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

/// Topics that a gateway reads, and the changes in them.
struct Stream {
    kafka: Kafka,
    /// The consumer group, and the beginning of the names of all topics.
    name: String,
    /// The number of the next change.
    next: u64,
    /// The partition of each change.
    sent: BTreeMap<u64, (String, i32)>,
    /// The age of the changes that are sent.
    age: Duration,
}

/// Parts of a gateway's configuration.
#[derive(Clone, Copy, Default)]
struct Settings<'a> {
    /// The names of the topics to read; all topics of the stream if it is empty.
    topics: &'a [&'a str],
    /// Further keys of `[source]`.
    source: &'a str,
    /// Further lines of `[source.properties]`.
    properties: &'a str,
    /// Further keys of `[pipeline]`.
    pipeline: &'a str,
    /// Further keys of `[http]`.
    http: &'a str,
    /// `[sink]` and its keys; a file of lines if it is empty.
    sink: &'a str,
}

impl Stream {
    fn real() -> Self {
        Self::of(Kafka::real())
    }

    fn of(kafka: Kafka) -> Self {
        Self { kafka, name: unique("group"), next: 0, sent: BTreeMap::new(), age: Duration::ZERO }
    }

    /// The name of a topic that the gateway reads.
    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Creates a topic that the gateway reads; returns its name.
    #[track_caller]
    fn create(&self, name: &str, partitions: i32) -> String {
        let topic = self.topic(name);
        self.kafka.create(&topic, partitions);
        topic
    }

    /// Sends `count` changes to each of these partitions; returns their numbers.
    #[track_caller]
    fn send(&mut self, topic: &str, partitions: Range<i32>, count: u64) -> Range<u64> {
        let records = self.changes(topic, partitions, count);
        self.kafka.produce(&records);
        self.next - records.len() as u64..self.next
    }

    /// The records of `count` further changes in each of these partitions.
    fn changes(&mut self, topic: &str, partitions: Range<i32>, count: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..count {
            for partition in partitions.clone() {
                records.push(change(topic, partition, self.next, self.age));
                self.sent.insert(self.next, (topic.to_string(), partition));
                self.next += 1;
            }
        }
        records
    }

    /// A gateway that reads topics of the stream.
    fn gateway(&self, protocol: &str, settings: Settings<'_>) -> Gateway {
        let gateway = Gateway::new("group", "");
        self.configure(&gateway, protocol, settings);
        gateway
    }

    /// Configures a gateway, so that it notices within a second that topics have changed.
    fn configure(&self, gateway: &Gateway, protocol: &str, settings: Settings<'_>) {
        let Settings { topics, source, properties, pipeline, http, sink } = settings;
        let all = [format!("^{}\\..*", self.name)];
        let topics = if topics.is_empty() { format!("{all:?}") } else { format!("{topics:?}") };
        // With the newer protocol the brokers decide.
        let is_given = protocol != "classic" || properties.contains("session.timeout.ms");
        let session = if is_given { "" } else { "\"session.timeout.ms\" = \"6000\"\n" };
        let lines = format!("[sink]\nkind = \"ndjson\"\npath = {:?}\n", lines_path(gateway).display().to_string());
        let sink = if sink.is_empty() { &lines } else { sink };
        gateway.configure(&format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = {topics}\ngroup = {:?}\n{source}\n\
             [source.properties]\n\"group.protocol\" = {protocol:?}\n\"topic.metadata.refresh.interval.ms\" = \"1000\"\n\
             {session}{properties}\n[http]\nlisten = \"127.0.0.1:0\"\n{http}\n[plugins]\n\
             [pipeline]\ncommit_interval = \"50ms\"\n{pipeline}\n{sink}\n\
             [[routes]]\ntable = \"shop.thing\"\nindex = \"thing\"\n",
            self.kafka.brokers, self.name,
        ));
    }

    /// Waits until the gateways have written all these changes.
    ///
    /// # Panics
    /// They have not within `limit`, or one of them has ended; the message says which changes are missing.
    #[track_caller]
    fn expect(
        &self,
        wanted: impl IntoIterator<Item = u64>,
        limit: Duration,
        gateways: &mut [(&mut Running, &mut Lines)],
    ) {
        let mut missing: Vec<u64> = wanted.into_iter().collect();
        let is_done = wait::within(limit, || {
            for (running, lines) in &mut *gateways {
                lines.read();
                missing.retain(|number| !lines.versions.contains_key(number));
                assert!(running.is_running(), "the gateway has ended:\n{}", running.log());
            }
            missing.is_empty().then_some(())
        });
        if is_done.is_none() {
            let mut by_partition: BTreeMap<&(String, i32), Vec<u64>> = BTreeMap::new();
            missing.iter().for_each(|number| by_partition.entry(&self.sent[number]).or_default().push(*number));
            eprintln!("not written within {limit:?}: {by_partition:?}");
            for (topic, partition) in by_partition.keys() {
                eprintln!("committed, {topic} up to {partition}: {:?}", self.committed(topic, partition + 1));
            }
            for (running, _) in gateways {
                eprintln!("\na gateway:\n{}", running.log());
                eprintln!("{}", running.http().send("GET", "/healthz", None).1);
            }
            panic!("{} changes are not written", missing.len());
        }
    }

    /// The committed offsets of the topic's partitions; `None` where nothing is committed.
    #[track_caller]
    fn committed(&self, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        self.kafka.committed_of(&self.name, topic, partitions)
    }

    /// The ends of the topic's partitions, if it was never deleted.
    fn ends(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let mut ends = vec![0; usize::try_from(partitions).expect("a number of partitions")];
        for (_, partition) in self.sent.values().filter(|(name, _)| name == topic) {
            ends[usize::try_from(*partition).expect("a partition")] += 1;
        }
        ends
    }

    /// Waits until the committed offsets of the topic's partitions are these.
    #[track_caller]
    fn expect_committed(&self, topic: &str, wanted: &[i64]) {
        let wanted: Vec<Option<i64>> = wanted.iter().copied().map(Some).collect();
        let partitions = i32::try_from(wanted.len()).expect("a number of partitions");
        let mut committed = Vec::new();
        let is_done = wait::within(PATIENCE, || {
            committed = self.committed(topic, partitions);
            (committed == wanted).then_some(())
        });
        assert!(is_done.is_some(), "committed: {committed:?}, expected: {wanted:?}");
    }
}

/// The file of a gateway that writes lines.
fn lines_path(gateway: &Gateway) -> std::path::PathBuf {
    gateway.folder.path().join("lines.ndjson")
}

/// The insert of a row with this number. A later number has a later position in the binlog.
fn change(topic: &str, partition: i32, number: u64, age: Duration) -> Record {
    let value = json!({
        "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": number, "commit": true,
        "position": format!("binlog.000001:{}", 1000 + number), "primary_key_columns": ["id"],
        "data": { "id": number, "text": "x".repeat(400) },
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let mut record = Record::new(topic, 0, value.to_string());
    record.partition = partition;
    record.timestamp = i64::try_from((now - age).as_millis()).expect("a time");
    record
}

/// The value in the line of `/metrics` that begins like this; 0 if no line does.
fn figure(running: &Running, line: &str) -> f64 {
    let (status, text) = running.http().send("GET", "/metrics", None);
    assert_eq!(status, 200);
    let numbers = text.lines().filter(|one| one.starts_with(line)).filter_map(|one| one.rsplit(' ').next());
    numbers.map(|number| number.parse::<f64>().expect("a number")).sum()
}

/// Waits until the log contains a text.
#[track_caller]
fn expect_log(running: &Running, text: &str) {
    let is_there = wait::within(PATIENCE, || running.log().contains(text).then_some(()));
    assert!(is_there.is_some(), "the log does not contain {text:?}:\n{}", running.log());
}
