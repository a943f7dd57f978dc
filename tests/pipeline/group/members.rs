//! Groups with several members: rebalances, a killed and a slow gateway, added partitions, and a member that does not fit.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rowmill_tests::gateway::{Gateway, Running};
use rowmill_tests::{seed, wait};
use rustix::process::Signal;

use super::lines::Lines;
use super::{PATIENCE, Settings, Stream};

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_member_with_another_assignor_ends_the_run() {
    let mut stream = Stream::real();
    let topic = stream.create("things", 3);
    stream.send(&topic, 0..3, 10);
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &stream.kafka.brokers)
        .set("group.id", &stream.name)
        .set("partition.assignment.strategy", "range")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    other.subscribe(&[&topic]).expect("a subscription");
    wait::until("the other member reads", PATIENCE, || other.poll(Duration::from_millis(10)).is_some());
    let gateway = stream.gateway("classic", Settings::default());
    let mut running = gateway.start(&[]);
    let ended = wait::within(PATIENCE, || {
        let _ = other.poll(Duration::from_millis(10));
        (!running.is_running()).then_some(())
    });
    assert!(ended.is_some(), "it does not end:\n{}", running.log());
    let run = running.wait();
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains("another protocol or assignor") && run.log.contains("source.group"), "{}", run.log);
}

/// A gateway of a pair.
struct Member {
    gateway: Gateway,
    lines: Lines,
    running: Running,
}

impl Member {
    fn start(stream: &Stream, protocol: &str, source: &str) -> Self {
        let gateway = stream.gateway(protocol, Settings { source, ..Settings::default() });
        let (lines, running) = (Lines::of(&gateway), gateway.start(&[]));
        Self { gateway, lines, running }
    }
}

/// The changes of one gateway arrive in order within each partition, repetitions aside.
#[track_caller]
fn check_order(stream: &Stream, lines: &Lines) {
    let mut last = std::collections::HashMap::new();
    for number in &lines.order {
        let partition = &stream.sent[number];
        if let Some(earlier) = last.insert(partition, *number) {
            assert!(earlier < *number, "{partition:?}: {number} is written after {earlier}");
        }
    }
}

/// Sends changes until this member has written further ones; the other member may write changes too.
#[track_caller]
fn send_until_it_writes(stream: &mut Stream, topic: &str, partitions: i32, member: &mut Member, other: &mut Member) {
    let (start, before) = (Instant::now(), member.lines.read());
    while member.lines.read() == before {
        assert!(start.elapsed() < PATIENCE, "it gets no partition:\n{}", member.running.log());
        let sent = stream.send(topic, 0..partitions, 5);
        both(stream, sent, PATIENCE, member, other);
    }
}

#[track_caller]
fn both(stream: &Stream, sent: std::ops::Range<u64>, limit: Duration, one: &mut Member, other: &mut Member) {
    let pairs = &mut [(&mut one.running, &mut one.lines), (&mut other.running, &mut other.lines)];
    stream.expect(sent, limit, pairs);
}

/// Two gateways in one group. `takeover` is the time limit for taking over the partitions of a dead member.
#[track_caller]
fn a_pair_loses_nothing(protocol: &str, source: &str, takeover: Duration) {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut stream = Stream::real();
    let topic = stream.create("things", 4);
    stream.send(&topic, 0..4, 200);
    let mut first = Member::start(&stream, protocol, source);
    wait::until("the first reads", PATIENCE, || first.lines.read() > 0);

    let mut second = Member::start(&stream, protocol, source);
    send_until_it_writes(&mut stream, &topic, 4, &mut second, &mut first);
    both(&stream, 0..stream.next, PATIENCE, &mut first, &mut second);

    // One is killed in the middle of its work.
    let before = first.lines.read();
    let (lines, running) = (&mut first.lines, first.running);
    let (sent, killed) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| stream.send(&topic, 0..4, random.u64(1000..2000)));
        wait::until("the first writes some of them", PATIENCE, || lines.read() > before);
        running.kill();
        let killed = Instant::now();
        (sending.join().expect("all are sent"), killed)
    });
    // What it wrote before it was killed counts.
    first.lines.read();
    let unwritten = sent.filter(|number| !first.lines.versions.contains_key(number));
    stream.expect(unwritten, takeover, &mut [(&mut second.running, &mut second.lines)]);
    eprintln!("{protocol} {source}: taken over {:?} after the kill", killed.elapsed());

    // It comes back.
    first.running = first.gateway.start(&[]);
    send_until_it_writes(&mut stream, &topic, 4, &mut first, &mut second);

    // The other one stands still until its session has timed out.
    second.running.signal(Signal::STOP);
    let stopped = Instant::now();
    let sent = stream.send(&topic, 0..4, random.u64(200..400));
    second.lines.read();
    let unwritten = sent.filter(|number| !second.lines.versions.contains_key(number));
    stream.expect(unwritten, takeover, &mut [(&mut first.running, &mut first.lines)]);
    eprintln!("{protocol} {source}: taken over {:?} after the stop", stopped.elapsed());
    second.running.signal(Signal::CONT);
    send_until_it_writes(&mut stream, &topic, 4, &mut second, &mut first);

    stream.kafka.raise_partitions(&topic, 6);
    let sent = stream.send(&topic, 0..6, 50);
    both(&stream, sent, PATIENCE, &mut first, &mut second);
    stream.expect_committed(&topic, &stream.ends(&topic, 6));
    first.running.stop();
    second.running.stop();
    for lines in [&mut first.lines, &mut second.lines] {
        lines.read();
        check_order(&stream, lines);
    }
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_pair_with_identities_loses_nothing() {
    a_pair_loses_nothing("classic", "", Duration::from_secs(30));
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_pair_without_identities_loses_nothing() {
    a_pair_loses_nothing("classic", "instance = \"none\"", Duration::from_secs(30));
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_pair_with_the_consumer_protocol_loses_nothing() {
    // The brokers' session timeout is 45 s.
    a_pair_loses_nothing("consumer", "", Duration::from_secs(75));
}
