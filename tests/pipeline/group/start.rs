//! Where reading begins: with new partitions, with new topics, and after a crash right after the first start.

use std::time::Duration;

use rowmill_tests::wait;

use super::lines::Lines;
use super::{PATIENCE, PROTOCOLS, Settings, Stream};

const START: [&str; 2] = ["earliest", "latest"];

#[test]
#[ignore = "needs a real Kafka: make test"]
fn partitions_that_are_added_are_read_from_their_first_record() {
    for (start, protocol) in START.iter().flat_map(|start| PROTOCOLS.map(|protocol| (start, protocol))) {
        eprintln!("start = {start}, protocol {protocol}");
        let mut stream = Stream::real();
        let topic = stream.create("things", 2);
        let source = format!("start = {start:?}");
        let gateway = stream.gateway(protocol, Settings { source: &source, ..Settings::default() });
        let mut lines = Lines::of(&gateway);
        let old = stream.send(&topic, 0..2, 10);
        let mut running = gateway.start(&[]);
        wait::until("reading has begun", PATIENCE, || {
            stream.committed(&topic, 2).iter().all(|offset| *offset >= Some(if *start == "latest" { 10 } else { 0 }))
        });
        let first = if *start == "latest" { old.end } else { old.start };
        stream.send(&topic, 0..2, 10);
        stream.expect(first..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
        stream.kafka.raise_partitions(&topic, 4);
        // At once, so that the gateway does not know the partitions yet.
        stream.send(&topic, 0..4, 10);
        stream.expect(first..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
        stream.expect_committed(&topic, &[30, 30, 10, 10]);
        running.stop();
    }
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn nothing_is_lost_after_the_first_start_from_the_latest_record() {
    let mut stream = Stream::real();
    let topic = stream.create("things", 3);
    let gateway = stream.gateway("classic", Settings { source: "start = \"latest\"", ..Settings::default() });
    let mut lines = Lines::of(&gateway);
    // Before the clocks' differences that are allowed for.
    stream.age = Duration::from_secs(60);
    let old = stream.send(&topic, 0..3, 10);
    stream.age = Duration::ZERO;
    let running = gateway.start(&[]);
    wait::until("the start is committed", PATIENCE, || stream.committed(&topic, 3).iter().any(Option::is_some));
    running.kill();
    stream.send(&topic, 0..3, 10);
    let mut running = gateway.start(&[]);
    stream.expect(old.end..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    running.kill();

    // Another topic appears while no gateway runs, and one while it runs.
    let later = stream.create("later", 1);
    stream.send(&later, 0..1, 10);
    let mut running = gateway.start(&[]);
    let last = stream.create("last", 1);
    stream.send(&last, 0..1, 10);
    stream.expect(old.end..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    lines.read();
    assert!(old.clone().all(|number| !lines.versions.contains_key(&number)), "what was there before is not read");
    running.stop();
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_run_until_caught_up_ends_although_the_last_offset_holds_no_record() {
    let mut stream = Stream::real();
    let topic = stream.create("things", 2);
    let records = stream.changes(&topic, 0..2, 10);
    stream.kafka.produce_in_transaction(&records);
    let gateway = stream.gateway("classic", Settings::default());
    let mut lines = Lines::of(&gateway);
    let run = gateway.start(&["--until-caught-up"]).wait().ended_well();
    assert_eq!(lines.read(), 20, "{}", run.log);
    stream.expect_committed(&topic, &[10, 10]);
    // It knows that it is at the end. Otherwise it would wait 15 s for further records.
    let seconds = run.summary["seconds"].as_f64().expect("the duration of the run");
    assert!(seconds < 14.0, "the run took {seconds} s");
}
