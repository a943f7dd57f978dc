//! An index that accepts no writes while its topic has more than the budget: other topics are read on.

use rdkafka::mocking::MockCluster;
use rowmill_store::{FaultEffect, FaultRule};
use rowmill_tests::captures::Record;
use rowmill_tests::kafka::Kafka;
use rowmill_tests::wait;

use super::{PATIENCE, Settings, Stream, figure};

const BUDGET: f64 = 8_388_608.0;

/// The same changes as those of another table.
fn of_table(records: Vec<Record>, table: &str) -> Vec<Record> {
    let rename = |mut record: Record| {
        let text = String::from_utf8(record.value.take().expect("a value")).expect("text");
        record.value = Some(text.replace("\"table\":\"thing\"", &format!("\"table\":\"{table}\"")).into_bytes());
        record
    };
    records.into_iter().map(rename).collect()
}

/// Two topics with more than the budget each; the index of one is closed. `mixed`: their rows are in one topic.
fn closed_index(mixed: bool) -> (usize, usize) {
    // The mock cluster keeps 5 MiB of a partition.
    let count: u64 = if mixed { 8000 } else { 16_000 };
    let cluster = MockCluster::new(1).expect("a mock cluster");
    let mut stream = Stream::of(Kafka { brokers: cluster.bootstrap_servers() });
    let store = rowmill::sink::embedded::start(0).expect("the embedded store starts");
    let closed = FaultEffect::Error(400, "index_closed_exception", "closed".into());
    store.inject(FaultRule::item(closed).on_index("buyer"));
    let (things, buyers) = (stream.topic("things"), stream.topic(if mixed { "things" } else { "buyers" }));
    for topic in if mixed { vec![&things] } else { vec![&things, &buyers] } {
        cluster.create_topic(topic, 2, 1).expect("a topic");
    }
    let mut records = of_table(stream.changes(&buyers, 0..2, count / 2), "buyer");
    let more = stream.changes(&things, 0..2, count / 2);
    if mixed {
        records = records.into_iter().zip(more).flat_map(|(a, b)| [a, b]).collect();
    } else {
        records.extend(more);
    }
    stream.kafka.produce(&records);
    let sink = format!(
        "[sink]\nurls = [{:?}]\nlinger = \"5ms\"\nretry_wait = \"5ms\"\nretry_wait_max = \"200ms\"\n",
        store.url()
    );
    let gateway = stream
        .gateway("classic", Settings { pipeline: "bytes_in_flight = \"8MiB\"", sink: &sink, ..Settings::default() });
    let mut running = gateway.start(&[]);
    let wanted = usize::try_from(count).expect("a number of documents");
    if mixed {
        wait::until("the budget is full", PATIENCE, || figure(&running, "rowmill_paused") > 0.5);
        wait::until("what was read is written", PATIENCE, || {
            let before = store.count("thing");
            std::thread::sleep(std::time::Duration::from_millis(500));
            store.count("thing") == before
        });
    } else {
        let is_done = wait::within(PATIENCE, || (store.count("thing") == wanted).then_some(()));
        let (_, health) = running.http().send("GET", "/healthz", None);
        assert!(is_done.is_some(), "{} of {wanted}\n{health}\n{}", store.count("thing"), running.log());
        assert!(health.contains("accepts no writes") && health.contains("index buyer"), "{health}");
    }
    let written = store.count("thing");
    let held = figure(&running, "rowmill_in_flight_bytes");
    assert!(held < BUDGET * 2.0, "{held} bytes are held");
    assert_eq!(store.count("buyer"), 0);
    store.clear_faults();
    let is_done =
        wait::within(PATIENCE, || (store.count("buyer") == wanted && store.count("thing") == wanted).then_some(()));
    assert!(
        is_done.is_some() && running.is_running(),
        "{} and {} of {wanted}\n{}",
        store.count("buyer"),
        store.count("thing"),
        running.log()
    );
    running.stop();
    (written, wanted)
}

#[test]
fn an_index_that_accepts_no_writes_does_not_take_the_budget_of_other_topics() {
    let (written, wanted) = closed_index(false);
    assert_eq!(written, wanted);
}

/// In one partition the watermark cannot pass the index's documents: others are written as far as the budget goes.
#[test]
fn documents_of_the_same_partition_are_written_as_far_as_the_budget_goes() {
    let (written, wanted) = closed_index(true);
    eprintln!("{written} of {wanted} documents of the other index were written");
    assert!(written > 100);
}
