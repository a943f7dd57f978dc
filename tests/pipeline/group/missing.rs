//! Records that no longer exist when they are to be read: retention, and topics that are deleted and created again.

use rowmill_tests::gateway::{Gateway, Run, Running};
use rowmill_tests::wait;

use super::lines::Lines;
use super::{PATIENCE, PROTOCOLS, Settings, Stream, expect_log, figure};

const CONTINUE: Settings<'static> = Settings {
    topics: &[],
    source: "missing_records = \"continue\"",
    properties: "",
    pipeline: "",
    http: "",
    sink: "",
};

/// A topic with three partitions, and a gateway that has read a hundred records of each and committed them.
fn read_a_hundred(protocol: &str, settings: Settings<'_>) -> (Stream, String, Gateway, Running, Lines) {
    let mut stream = Stream::real();
    let topic = stream.create("things", 3);
    let gateway = stream.gateway(protocol, settings);
    let mut lines = Lines::of(&gateway);
    stream.send(&topic, 0..3, 100);
    let mut running = gateway.start(&[]);
    stream.expect(0..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    stream.expect_committed(&topic, &[100; 3]);
    (stream, topic, gateway, running, lines)
}

#[track_caller]
fn stopped_because_of(run: &Run, reason: &str) {
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains(reason) && run.log.contains("source.missing_records"), "{}", run.log);
}

/// Deletes the topic and creates it again: at once, or after the gateway has noticed that it does not exist.
#[track_caller]
fn create_again(stream: &Stream, topic: &str, running: &Running, is_noticed: bool) {
    stream.kafka.delete(topic);
    if is_noticed {
        expect_log(running, "partitions revoked");
    }
    wait::until("the topic is created again", PATIENCE, || stream.kafka.try_create(topic, 3));
}

fn each_way(mut test: impl FnMut(&str, bool)) {
    for protocol in PROTOCOLS {
        for is_noticed in [false, true] {
            eprintln!("protocol {protocol}, deletion noticed: {is_noticed}");
            test(protocol, is_noticed);
        }
    }
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_topic_that_is_created_again_stops_the_run() {
    each_way(|protocol, is_noticed| {
        let (mut stream, topic, _gateway, running, _) = read_a_hundred(protocol, Settings::default());
        create_again(&stream, &topic, &running, is_noticed);
        stream.send(&topic, 0..3, 10);
        stopped_because_of(&running.wait(), "deleted and created again");
    });
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_topic_that_is_created_again_is_read_if_missing_records_are_accepted() {
    each_way(|protocol, is_noticed| {
        let (mut stream, topic, gateway, mut running, mut lines) = read_a_hundred(protocol, CONTINUE);
        create_again(&stream, &topic, &running, is_noticed);
        let sent = stream.send(&topic, 0..3, 10);
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        assert!(running.log().contains("deleted and created again"), "{}", running.log());
        assert!(figure(&running, "rowmill_missing_records_total") >= 3.0);
        stream.expect_committed(&topic, &[10; 3]);
        running.stop();

        // The next start expects the new offsets.
        let mut running = gateway.start(&[]);
        let sent = stream.send(&topic, 0..3, 10);
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        assert!(figure(&running, "rowmill_missing_records_total") < 0.5);
        running.stop();
    });
}

/// A hundred records are read, the next hundred are deleted before they are, and a hundred remain.
fn loses_a_hundred(settings: Settings<'_>) -> (Stream, Gateway, Lines) {
    let (mut stream, topic, gateway, running, lines) = read_a_hundred("classic", settings);
    running.stop();
    stream.send(&topic, 0..3, 200);
    for partition in 0..2 {
        stream.kafka.delete_records(&topic, partition, 200);
    }
    // All of them.
    stream.kafka.delete_records(&topic, 2, 300);
    (stream, gateway, lines)
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn records_that_retention_deleted_stop_the_run() {
    let (_stream, gateway, _) = loses_a_hundred(Settings::default());
    stopped_because_of(&gateway.start(&[]).wait(), "were deleted by the topic's retention");
    // Until a person decides.
    stopped_because_of(&gateway.run(), "were deleted by the topic's retention");
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn records_that_retention_deleted_are_counted_if_they_are_accepted() {
    let (mut stream, gateway, mut lines) = loses_a_hundred(CONTINUE);
    let topic = stream.topic("things");
    let mut running = gateway.start(&[]);
    stream.send(&topic, 0..3, 10);
    // Of the first 900 numbers the last 300 are those with the offsets from 200 on.
    let is_left = |number: &u64| *number >= 900 || *number >= 600 && stream.sent[number].1 < 2;
    let left: Vec<u64> = (0..stream.next).filter(is_left).collect();
    stream.expect(left, PATIENCE, &mut [(&mut running, &mut lines)]);
    assert!(!lines.versions.contains_key(&300), "a deleted record");
    assert!((figure(&running, "rowmill_missing_records_total") - 400.0).abs() < 0.5);
    stream.expect_committed(&topic, &[310; 3]);
    running.stop();
}
