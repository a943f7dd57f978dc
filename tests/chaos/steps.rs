//! What happens to gateways and their surroundings, one step after the other, as a seed chooses it.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::faults::Fault;
use crate::proxy::Network;

/// The brokers of librdkafka.
pub const BROKERS: i32 = 2;
/// The partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// The requests that brokers refuse.
pub const REFUSED: [RDKafkaApiKey; 5] = [
    RDKafkaApiKey::OffsetCommit,
    RDKafkaApiKey::Fetch,
    RDKafkaApiKey::Heartbeat,
    RDKafkaApiKey::OffsetFetch,
    RDKafkaApiKey::JoinGroup,
];

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// This many records are written to Kafka.
    Produce(usize),
    /// A gateway starts, if it does not run.
    Start(usize),
    /// A gateway is ended in order.
    Stop(usize),
    /// A gateway is killed at this point, or after a while if it does not come to it.
    Kill(usize, Point),
    /// A gateway is halted for this time.
    Halt(usize, Duration),
    /// Everything that is written so far is committed.
    Settle,
    Store(Fault),
    /// The network in front of the store is in this state for a time.
    Network(Network, Duration),
    /// All requests to a broker take this long, for a time. (A broker of librdkafka that is down may not get its port again.)
    SlowBroker(i32, Duration, Duration),
    /// Another broker becomes the leader of a partition.
    Leader(i32, i32),
    /// Kafka is killed, and started again with its data.
    RestartKafka,
    /// Elasticsearch is killed, and started again with its data.
    RestartElasticsearch,
    /// Requests of this kind fail with these errors.
    Refused(RDKafkaApiKey, Vec<RDKafkaRespErr>),
}

/// The point at which a gateway is killed.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// With this bulk request, which is not applied.
    BeforeBulk(u64),
    /// With this bulk request, which is applied, and never answered.
    Applied(u64),
    /// After this many answers, before a commit.
    BeforeCommit(u64),
    /// After this time.
    After(Duration),
}

/// One gateway that is killed several times.
pub fn kills(random: &mut fastrand::Rng, records: usize) -> Vec<Step> {
    let mut steps = vec![Step::Start(0)];
    for _ in 0..random.usize(2..=3) {
        let number = random.u64(1..6);
        let point = match random.u8(..3) {
            0 => Point::BeforeBulk(number),
            1 => Point::Applied(number),
            _ => Point::BeforeCommit(number),
        };
        steps.push(Step::Produce(random.usize(1..=(records / 3).max(1))));
        if random.u8(..3) == 0 {
            steps.push(Step::Store(Fault::random(random)));
        }
        steps.extend([Step::Kill(0, point), Step::Start(0)]);
        if random.bool() {
            steps.push(Step::Settle);
        }
    }
    steps
}

/// Two gateways, and everything that can happen to them.
pub fn mixed(random: &mut fastrand::Rng, records: usize) -> Vec<Step> {
    let gateways = random.usize(1..=2);
    let mut steps = vec![Step::Start(0)];
    for _ in 0..random.usize(4..10) {
        let gateway = random.usize(..gateways);
        let time = Duration::from_millis(random.u64(50..1500));
        steps.push(match random.u8(..14) {
            0 => Step::Stop(gateway),
            1 => Step::Start(gateway),
            2 => Step::Kill(gateway, Point::Applied(random.u64(1..4))),
            // Longer than a session in part of the cases.
            3 => Step::Halt(gateway, time * 4),
            4 => Step::Settle,
            5 | 6 => Step::Store(Fault::random(random)),
            7..=9 => Step::Network(network(random), time),
            10 => Step::SlowBroker(random.i32(1..=BROKERS), time / 2, time),
            11 => Step::Leader(random.i32(0..PARTITIONS), random.i32(1..=BROKERS)),
            12 => refused(random),
            _ => Step::Produce(0),
        });
        steps.push(Step::Produce(random.usize(..=records / 5)));
        steps.push(Step::Start(gateway));
    }
    steps
}

/// Two gateways in front of real servers that are killed too.
pub fn real(random: &mut fastrand::Rng, records: usize) -> Vec<Step> {
    let mut steps = vec![Step::Start(0), Step::Start(1)];
    for _ in 0..random.usize(3..6) {
        let gateway = random.usize(..2);
        let time = Duration::from_millis(random.u64(50..1500));
        steps.push(Step::Produce(random.usize(..=records / 4)));
        steps.push(match random.u8(..8) {
            0 | 1 => Step::RestartElasticsearch,
            2 => Step::RestartKafka,
            3 | 4 => Step::Kill(gateway, Point::After(time)),
            // Longer than a session in part of the cases.
            5 => Step::Halt(gateway, time * 6),
            6 => Step::Stop(gateway),
            _ => Step::Network(network(random), time),
        });
        steps.extend([Step::Start(0), Step::Start(1)]);
    }
    steps
}

fn network(random: &mut fastrand::Rng) -> Network {
    match random.u8(..5) {
        0 => Network::Down,
        1 => Network::Late(Duration::from_millis(random.u64(1..200))),
        2 => Network::Drip(random.usize(1..40)),
        3 => Network::HalfOpen,
        _ => Network::Truncated(random.usize(1..400)),
    }
}

fn refused(random: &mut fastrand::Rng) -> Step {
    use RDKafkaRespErr as Error;
    let (key, error) = match random.u8(..8) {
        0 => (RDKafkaApiKey::OffsetCommit, Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS),
        1 => (RDKafkaApiKey::OffsetCommit, Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT),
        2 => (RDKafkaApiKey::Fetch, Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        // Not UNKNOWN_MEMBER_ID: librdkafka's broker then keeps a dead member with this one's identity, and its partitions.
        3 => (RDKafkaApiKey::Heartbeat, Error::RD_KAFKA_RESP_ERR__TRANSPORT),
        4 => (RDKafkaApiKey::OffsetFetch, Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        // The broker closes the connection.
        5 => (RDKafkaApiKey::Fetch, Error::RD_KAFKA_RESP_ERR__TRANSPORT),
        6 => (RDKafkaApiKey::OffsetCommit, Error::RD_KAFKA_RESP_ERR__TRANSPORT),
        _ => (RDKafkaApiKey::JoinGroup, Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
    };
    Step::Refused(key, vec![error; random.usize(1..5)])
}
