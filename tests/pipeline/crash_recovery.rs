//! A gateway that is killed at any moment and restarted loses nothing, and never commits unsettled records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rowmill_tests::captures::Record;
use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::Gateway;
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{seed, unique, wait};
use serde_json::{Value, json};

const RECORDS: u64 = 30_000;
const KEYS: u64 = 4_000;

/// Upserts and deletes of a few thousand keys in three partitions, and the resulting documents.
fn history(topic: &str, random: &mut fastrand::Rng) -> (Vec<Record>, BTreeMap<String, Value>) {
    let mut table: BTreeMap<u64, Value> = BTreeMap::new();
    let mut offsets = [0; 3];
    let mut records = Vec::new();
    for number in 0..RECORDS {
        let id = random.u64(..KEYS);
        let before = table.get(&id).cloned();
        let after = (before.is_none() || random.u8(..5) > 0)
            .then(|| json!({ "id": id, "number": number, "text": "x".repeat(random.usize(..400)) }));
        let op = match (&before, &after) {
            (None, _) => "c",
            (_, None) => "d",
            _ => "u",
        };
        let value = json!({
            "before": before, "after": after, "op": op, "ts_ms": 1_795_216_000_000_u64 + number,
            "source": { "connector": "mysql", "name": "tool", "ts_ms": 1_795_216_000_000_u64 + number, "db": "shop", "table": "thing",
                        "file": "binlog.000001", "pos": 1000 + number * 100, "row": 0 },
        });
        let partition = (id % 3) as usize;
        let mut record = Record::new(topic, offsets[partition], value.to_string()).key(json!({ "id": id }).to_string());
        record.partition = partition as i32;
        offsets[partition] += 1;
        records.push(record);
        match after {
            Some(after) => drop(table.insert(id, after)),
            None => drop(table.remove(&id)),
        }
    }
    (records, table.into_iter().map(|(id, row)| (id.to_string(), row)).collect())
}

/// What the documents must at least be by what is committed: for each key the last committed change of it, or a later
/// one. So a commit that runs ahead of the index is seen though the next run would hide it.
#[track_caller]
fn check_settled(records: &[Record], committed: &BTreeMap<(String, i32), i64>, documents: &BTreeMap<String, Value>) {
    let mut last: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    let mut later: BTreeSet<String> = BTreeSet::new();
    for record in records {
        let value: Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        let row = if value["after"].is_null() { &value["before"] } else { &value["after"] };
        let id = row["id"].to_string();
        if record.offset < committed.get(&(record.topic.clone(), record.partition)).copied().unwrap_or(0) {
            last.insert(id, (row["number"].as_u64().expect("a number"), !value["after"].is_null()));
        } else {
            later.insert(id);
        }
    }
    for (id, (number, is_there)) in last {
        let found = documents.get(&id).and_then(|document| document["number"].as_u64());
        match (is_there, found) {
            (true, Some(found)) => {
                assert!(found >= number, "{id}: committed up to {number}, but the document is {found}")
            }
            // A later delete, or a later insert, may have been written without being committed yet.
            (true, None) | (false, Some(_)) => {
                assert!(later.contains(&id), "{id}: committed {number}, there {is_there}, but found {found:?}")
            }
            (false, None) => {}
        }
    }
}

#[test]
#[ignore = "needs a Kafka and an Elasticsearch: make test"]
fn killing_it_at_random_moments_loses_nothing() {
    let (kafka, elasticsearch) = (Kafka::real(), Elasticsearch::real());
    let mut random = fastrand::Rng::with_seed(seed());
    let name = unique("crash");
    let (records, wanted) = history(&format!("{name}.shop.thing"), &mut random);
    kafka.load(&records);
    let topics: BTreeSet<String> = [records[0].topic.clone()].into();
    let index = format!("{name}-thing");
    let gateway = Gateway::new(
        "crash",
        &format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = [{:?}]\ngroup = {name:?}\n\
             # So that the group forgets who was killed in seconds.\n[source.properties]\n\"session.timeout.ms\" = \"6000\"\n\
             # So that reading takes long enough for several kills.\n\
             [pipeline]\ncommit_interval = \"20ms\"\nbatch_rows = 64\nbytes_in_flight = \"64KiB\"\n[sink]\nurls = [{:?}]\nbulk_documents = 300\nlinger = \"5ms\"\n\
             [[routes]]\ntable = \"shop.thing\"\nindex = {index:?}\n",
            kafka.brokers, records[0].topic, elasticsearch.url,
        ),
    );
    let mut kills = 0;
    let mut before = 0;
    for round in 1..=4 {
        let mut running = gateway.start(&["--until-caught-up"]);
        // From the first sign of work on, a random number of further commits, so that no kill is before or after it all.
        let goal = before + random.i64(1..=(RECORDS as i64 / 6));
        let progress = |committed: &BTreeMap<_, i64>| committed.values().sum::<i64>();
        wait::until("it gets on or ends", Duration::from_secs(120), || {
            !running.is_running() || progress(&kafka.committed(&name, &topics)) >= goal
        });
        if !running.is_running() {
            break;
        }
        running.kill();
        kills += 1;
        let committed = kafka.committed(&name, &topics);
        before = progress(&committed);
        eprintln!("round {round}: killed with {before} of {RECORDS} committed");
        check_settled(&records, &committed, &elasticsearch.sources(&index));
    }
    assert!(kills > 0, "it was killed at least once");
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
    assert_eq!(kafka.committed(&name, &topics).values().sum::<i64>(), RECORDS as i64);
    let found = elasticsearch.sources(&index);
    assert_eq!(found.len(), wanted.len());
    for (id, row) in wanted {
        assert_eq!(found[&id], row, "{id}");
    }
}
