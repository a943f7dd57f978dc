//! Faults of the brokers, on librdkafka's mock cluster: a partition without a leader, refused commits.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::wait;

use super::lines::Lines;
use super::{PATIENCE, Settings, Stream};

const PARTITIONS: i32 = 4;

/// A mock cluster with one broker and one topic.
fn cluster() -> (MockCluster<'static, DefaultProducerContext>, Stream, String) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    let stream = Stream::of(Kafka { brokers: cluster.bootstrap_servers() });
    let topic = stream.topic("things");
    cluster.create_topic(&topic, PARTITIONS, 1).expect("a topic");
    (cluster, stream, topic)
}

/// One partition has no leader for 15 seconds, from before the gateway joins the group.
#[track_caller]
fn lacks_a_leader(was_read_before: bool) {
    const MISSING: i32 = 2;
    let (cluster, mut stream, topic) = cluster();
    let gateway = stream.gateway("classic", Settings::default());
    let mut lines = Lines::of(&gateway);
    if was_read_before {
        let sent = stream.send(&topic, 0..PARTITIONS, 50);
        let mut running = gateway.start(&[]);
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        stream.expect_committed(&topic, &[50; PARTITIONS as usize]);
        running.stop();
    }
    let hidden = stream.send(&topic, MISSING..MISSING + 1, 50);
    cluster.partition_leader(&topic, MISSING, None).expect("the leader is removed");
    let mut sent = stream.send(&topic, 0..MISSING, 50);
    let mut running = gateway.start(&[]);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(15) {
        stream.expect(sent, PATIENCE, &mut [(&mut running, &mut lines)]);
        sent = stream.send(&topic, 0..MISSING, 10);
    }
    assert!(!lines.versions.contains_key(&hidden.start), "the partition without a leader cannot be read");
    let (_, health) = running.http().send("GET", "/healthz", None);
    if !was_read_before {
        assert!(health.contains(&format!("topic {topic}, partition {MISSING}: asking")), "{health}");
    }
    cluster.partition_leader(&topic, MISSING, Some(1)).expect("the leader returns");
    stream.expect(0..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    running.stop();
}

#[test]
fn a_partition_without_a_leader_does_not_hold_up_the_others() {
    lacks_a_leader(false);
}

#[test]
fn a_partition_that_was_read_before_may_lack_a_leader() {
    lacks_a_leader(true);
}

#[test]
fn refused_commits_are_repeated() {
    const ERRORS: [RDKafkaRespErr; 6] = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    let (cluster, mut stream, topic) = cluster();
    let gateway = stream.gateway("classic", Settings::default());
    let mut lines = Lines::of(&gateway);
    // The commits of where reading begins.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &ERRORS);
    stream.send(&topic, 0..PARTITIONS, 50);
    let mut running = gateway.start(&[]);
    stream.expect(0..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    stream.expect_committed(&topic, &[50; PARTITIONS as usize]);

    // The last commits of a stream that is quiet afterwards.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &ERRORS);
    stream.send(&topic, 0..PARTITIONS, 50);
    stream.expect(0..stream.next, PATIENCE, &mut [(&mut running, &mut lines)]);
    stream.expect_committed(&topic, &[100; PARTITIONS as usize]);
    wait::until("the log names the refused commits", PATIENCE, || running.log().contains("cannot commit offsets"));
    running.stop();
}
