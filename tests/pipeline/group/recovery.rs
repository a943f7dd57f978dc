//! A gateway that is killed again and again keeps its identity in the group, and works again within seconds.

use std::time::{Duration, Instant};

use rowmill_tests::gateway::Gateway;

use super::lines::Lines;
use super::{PATIENCE, Settings, Stream};

const KILLS: u64 = 6;

#[test]
#[ignore = "needs a real Kafka: make test"]
fn it_reads_again_within_seconds_after_each_kill() {
    let mut stream = Stream::real();
    let topic = stream.create("things", 3);
    // So long that a gateway without an identity would have to wait.
    let settings = Settings { properties: "\"session.timeout.ms\" = \"45000\"\n", ..Settings::default() };
    let gateway = stream.gateway("classic", settings);
    let mut lines = Lines::of(&gateway);
    stream.send(&topic, 0..3, 10);
    let mut running = gateway.start(&[]);
    stream.expect(0..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    for kill in 1..=KILLS {
        running.kill();
        let sent = stream.send(&topic, 0..3, 10);
        let start = Instant::now();
        running = gateway.start(&[]);
        stream.expect(sent, Duration::from_secs(10), &mut [(&mut running, &mut lines)]);
        eprintln!("kill {kill}: all is written {:?} after the restart", start.elapsed());
    }
    running.stop();
}

/// The gateway gets what it had at once; nobody else could assign what is new.
#[test]
#[ignore = "needs a real Kafka: make test"]
fn topics_and_partitions_that_appear_while_it_is_down_are_read() {
    let mut stream = Stream::real();
    let (topic, later) = (stream.create("things", 2), stream.topic("later"));
    for (topics, partitions) in [(&[][..], 4), (&[topic.as_str(), later.as_str()][..], 6)] {
        let gateway = stream.gateway("classic", Settings { topics, ..Settings::default() });
        let mut lines = Lines::of(&gateway);
        let mut running = gateway.start(&[]);
        let sent = stream.send(&topic, 0..partitions - 2, 10);
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        running.kill();
        stream.kafka.raise_partitions(&topic, partitions as usize);
        stream.create(&format!("later.{partitions}"), 1);
        if !topics.is_empty() {
            stream.create("later", 1);
        }
        let mut sent = stream.send(&topic, 0..partitions, 10);
        sent.end = match topics {
            [] => stream.send(&stream.topic(&format!("later.{partitions}")), 0..1, 10).end,
            _ => stream.send(&later, 0..1, 10).end,
        };
        let mut running = gateway.start(&[]);
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        running.stop();
    }
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_topic_that_is_no_longer_configured_is_no_longer_read() {
    let mut stream = Stream::real();
    let (first, second) = (stream.create("first", 2), stream.create("second", 2));
    let gateway = stream.gateway("classic", Settings { topics: &[&first], ..Settings::default() });
    let mut lines = Lines::of(&gateway);
    let mut running = gateway.start(&[]);
    let sent = stream.send(&first, 0..2, 10);
    stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
    running.kill();
    stream.configure(&gateway, "classic", Settings { topics: &[&second], ..Settings::default() });
    let mut running = gateway.start(&[]);
    let other = stream.send(&first, 0..2, 10);
    let sent = stream.send(&second, 0..2, 10);
    stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
    running.stop();
    lines.read();
    assert!(other.into_iter().all(|number| !lines.versions.contains_key(&number)), "the first topic is read");
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn two_gateways_with_one_state_folder_have_two_identities() {
    let mut stream = Stream::real();
    let topic = stream.create("things", 4);
    let gateways = [Gateway::new("group", ""), Gateway::new("group", "")];
    let state = gateways[0].folder.path().join("state");
    let shared = format!("[plugins]\nstate = {:?}\n", state.display().to_string());
    for gateway in &gateways {
        stream.configure(gateway, "classic", Settings::default());
        let path = gateway.folder.path().join("rowmill.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        let (before, after) = text.split_once("[plugins]\n").expect("a section");
        let (_, after) = after.split_once('\n').expect("the state");
        std::fs::write(&path, format!("{before}{shared}{after}")).expect("the configuration can be written");
    }
    let [first, second] = &gateways;
    let (mut first_lines, mut second_lines) = (Lines::of(first), Lines::of(second));
    let (mut first, mut second) = (first.start(&[]), second.start(&[]));
    let mut rounds = 0;
    let start = Instant::now();
    while first_lines.read() == 0 || second_lines.read() == 0 {
        assert!(start.elapsed() < PATIENCE, "one does not get a partition:\n{}\n{}", first.log(), second.log());
        let sent = stream.send(&topic, 0..4, 1);
        stream.expect(sent, PATIENCE, &mut [(&mut first, &mut first_lines), (&mut second, &mut second_lines)]);
        rounds += 1;
    }
    eprintln!("both read after {rounds} rounds");
    let read = |name: &str| std::fs::read_to_string(state.join(name)).expect("an identity");
    assert_ne!(read("instance"), read("instance-2"));
    first.stop();
    second.stop();
}
