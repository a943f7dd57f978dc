//! Gateways as processes of their own that read a broker of librdkafka: killed at the worst moments, stopped, halted, two at a time,
//! with faults of the broker, of the network and of the store.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rowmill::sink::embedded;
use rowmill_store::{FaultEffect, FaultRule, StoreHandle};
use rowmill_tests::captures::Record;
use rowmill_tests::gateway::{Gateway, Running};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{guests, wait};
use rustix::process::Signal;

use crate::faults::Fault;
use crate::proxy::{Network, Proxy};
use crate::seeds;
use crate::store;
use crate::workload::Workload;

/// How long a step may take, on a machine with nothing to spare.
const PATIENCE: Duration = Duration::from_secs(120);
/// The group of all gateways.
const GROUP: &str = "chaos";
const PARTITIONS: i32 = 3;
const BROKERS: i32 = 2;
/// More than two gateways with the largest workload ever need.
const MEMORY: u64 = 160 * 1024 * 1024;

#[test]
fn killed() {
    seeds::run("killed", 0..6, 6, |seed| run(&mut fastrand::Rng::with_seed(seed), Steps::kills));
}

#[test]
fn mixed() {
    seeds::run("mixed", 0..6, 6, |seed| run(&mut fastrand::Rng::with_seed(seed), Steps::mixed));
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
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
    /// Requests of this kind fail with these errors.
    Refused(RDKafkaApiKey, Vec<RDKafkaRespErr>),
}

/// The point at which a gateway is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// With this bulk request, which is not applied.
    BeforeBulk(u64),
    /// With this bulk request, which is applied, and never answered.
    Applied(u64),
    /// After this many answers, before a commit.
    BeforeCommit(u64),
}

struct Steps;

impl Steps {
    /// One gateway that is killed several times.
    fn kills(random: &mut fastrand::Rng, records: usize) -> Vec<Step> {
        let mut steps = vec![Step::Start(0)];
        for _ in 0..random.usize(2..=3) {
            let number = random.u64(1..6);
            let point = match random.u8(..3) {
                0 => Point::BeforeBulk(number),
                1 => Point::Applied(number),
                _ => Point::BeforeCommit(number),
            };
            steps.push(Step::Produce(random.usize(1..=records / 3)));
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
    fn mixed(random: &mut fastrand::Rng, records: usize) -> Vec<Step> {
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

/// Runs the steps of a seed; the error says what went wrong, and after which steps.
fn run(random: &mut fastrand::Rng, steps: impl Fn(&mut fastrand::Rng, usize) -> Vec<Step>) -> Result<(), String> {
    let largest = *random.choice(&[40, 200]).expect("there are sizes");
    let workload = Workload::random(random, largest);
    let records = workload.records();
    let steps = steps(random, records.len());
    let mut world = World::new(&workload, records)?;
    let result = steps.iter().try_for_each(|step| world.step(step)).and_then(|()| world.end());
    result.map_err(|failure| {
        let lines: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        format!("{failure}\n{}\n{}\n{}", workload.lines(), lines.join("\n"), world.logs())
    })
}

struct World<'a> {
    workload: &'a Workload,
    brokers: MockCluster<'static, DefaultProducerContext>,
    kafka: Kafka,
    store: StoreHandle,
    proxy: Proxy,
    /// What is still to be written to Kafka.
    records: std::vec::IntoIter<Record>,
    /// The ends of the partitions.
    ends: BTreeMap<(String, i32), i64>,
    gateways: [Gateway; 2],
    running: [Option<Running>; 2],
    /// What gateways that have ended said.
    said: String,
}

impl<'a> World<'a> {
    fn new(workload: &'a Workload, records: Vec<Record>) -> Result<Self, String> {
        let brokers = MockCluster::new(BROKERS).map_err(|error| error.to_string())?;
        let mut ends = BTreeMap::new();
        for topic in workload.topics() {
            brokers.create_topic(&topic, PARTITIONS, 1).map_err(|error| error.to_string())?;
            ends.extend((0..PARTITIONS).map(|partition| ((topic.clone(), partition), 0)));
        }
        let store = embedded::start(0).map_err(|error| error.to_string())?;
        let proxy = Proxy::start(store.port()).map_err(|error| error.to_string())?;
        let kafka = Kafka { brokers: brokers.bootstrap_servers() };
        let gateway = || Gateway::new("chaos", &configuration(workload, &kafka, &proxy));
        let gateways = [gateway(), gateway()];
        let running = [None, None];
        Ok(Self {
            workload,
            brokers,
            kafka,
            store,
            proxy,
            records: records.into_iter(),
            ends,
            gateways,
            running,
            said: String::new(),
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Produce(count) => self.produce(*count),
            Step::Start(gateway) => {
                if self.running[*gateway].is_none() {
                    self.running[*gateway] = Some(self.gateways[*gateway].start(&[]));
                }
            }
            Step::Stop(gateway) => {
                if let Some(running) = self.running[*gateway].take() {
                    running.signal(Signal::TERM);
                    let run = running.wait();
                    self.said += &run.log;
                    // During a fault the end may take too long, and a signal in the first moment ends it at once.
                    if !matches!(run.code, Some(0 | 1) | None) {
                        return Err(format!("gateway {gateway} ended with {:?}", run.code));
                    }
                }
            }
            Step::Kill(gateway, point) => {
                if let Some(running) = self.running[*gateway].take() {
                    self.kill(&running, *point);
                    self.check_memory(&running)?;
                    self.said += &running.log();
                    running.kill();
                }
            }
            Step::Halt(gateway, time) => {
                if let Some(running) = &self.running[*gateway] {
                    running.signal(Signal::STOP);
                    thread::sleep(*time);
                    running.signal(Signal::CONT);
                }
            }
            Step::Settle => self.settle()?,
            Step::Store(fault) => self.store.inject(fault.rule()),
            Step::Network(network, time) => {
                self.proxy.set(*network);
                thread::sleep(*time);
                self.proxy.set(Network::Fine);
            }
            Step::SlowBroker(broker, delay, time) => {
                let set =
                    |delay| self.brokers.broker_round_trip_time(*broker, delay).map_err(|error| error.to_string());
                set(*delay)?;
                thread::sleep(*time);
                set(Duration::ZERO)?;
            }
            Step::Leader(partition, broker) => self.lead(*partition, *broker)?,
            Step::Refused(key, errors) => self.brokers.request_errors(*key, errors),
        }
        Ok(())
    }

    /// Changes the leader of a partition of every topic.
    fn lead(&self, partition: i32, broker: i32) -> Result<(), String> {
        let topics = self.workload.topics();
        let mut results = topics.iter().map(|topic| self.brokers.partition_leader(topic, partition, Some(broker)));
        results.try_for_each(|result| result.map_err(|error| error.to_string()))
    }

    fn produce(&mut self, count: usize) {
        let records: Vec<Record> = self.records.by_ref().take(count).collect();
        self.kafka.produce(&records);
        for record in records {
            *self.ends.entry((record.topic, record.partition)).or_default() += 1;
        }
    }

    /// Waits for the point and kills the gateway there.
    fn kill(&self, running: &Running, point: Point) {
        let limit = Duration::from_secs(15);
        let applied = |effect, number: u64| {
            let seen = std::sync::atomic::AtomicU64::new(0);
            let kill = running.killer();
            self.store.inject(FaultRule::request(effect).times(1).when(move |_| {
                let is_due = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == number;
                if is_due {
                    kill();
                }
                is_due
            }));
        };
        match point {
            Point::BeforeBulk(number) => applied(FaultEffect::ResetBefore, number),
            Point::Applied(number) => applied(FaultEffect::ResetAfter, number),
            Point::BeforeCommit(number) => {
                let goal = self.store.counters().requests + number;
                wait::within(limit, || (self.store.counters().requests >= goal || self.is_settled()).then_some(()));
                running.signal(Signal::KILL);
            }
        }
        // It may never send so many requests.
        let is_dead = || running.is_dead().then_some(());
        if wait::within(limit, || is_dead().or_else(|| self.is_settled().then_some(()))).is_none()
            || is_dead().is_none()
        {
            running.signal(Signal::KILL);
        }
    }

    /// Whether everything that is written is committed.
    fn is_settled(&self) -> bool {
        self.workload.topics().iter().all(|topic| {
            let committed = self.kafka.committed_of(GROUP, topic, PARTITIONS);
            (0..).zip(committed).all(|(partition, offset)| {
                let end = self.ends[&(topic.clone(), partition)];
                offset.unwrap_or(0) == end
            })
        })
    }

    /// Starts a gateway if none runs, and waits until everything is committed, without faults.
    fn settle(&mut self) -> Result<(), String> {
        self.store.clear_faults();
        self.proxy.set(Network::Fine);
        for key in [
            RDKafkaApiKey::OffsetCommit,
            RDKafkaApiKey::Fetch,
            RDKafkaApiKey::Heartbeat,
            RDKafkaApiKey::OffsetFetch,
            RDKafkaApiKey::JoinGroup,
        ] {
            self.brokers.clear_request_errors(key);
        }
        if self.running.iter().all(Option::is_none) {
            self.running[0] = Some(self.gateways[0].start(&[]));
        }
        let start = Instant::now();
        while !self.is_settled() {
            for (number, running) in self.running.iter_mut().enumerate() {
                if running.as_mut().is_some_and(|running| !running.is_running()) {
                    return Err(format!("gateway {number} has ended"));
                }
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not everything is committed within {PATIENCE:?}"));
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Everything is written, delivered and committed; then the dead letters are replayed, and the documents compared.
    fn end(&mut self) -> Result<(), String> {
        self.produce(usize::MAX);
        self.settle()?;
        for gateway in 0..2 {
            if let Some(running) = &self.running[gateway] {
                self.check_memory(running)?;
            }
            self.step(&Step::Stop(gateway))?;
        }
        let letters: Vec<String> =
            self.gateways.iter().flat_map(|gateway| store::letters(&gateway.letters_path())).collect();
        store::replay(self.gateways[0].folder.path(), &self.store, self.workload, letters)?;
        self.workload.difference(store::documents(&self.store)).map_or(Ok(()), Err)
    }

    fn check_memory(&self, running: &Running) -> Result<(), String> {
        let peak = running.peak_memory().unwrap_or(0);
        seeds::note_memory(peak);
        if peak > MEMORY { Err(format!("{} MiB of memory", peak / 1024 / 1024)) } else { Ok(()) }
    }

    /// What all gateways said.
    fn logs(&self) -> String {
        let running = self.running.iter().flatten().map(Running::log).collect::<String>();
        format!("{}{running}", self.said)
    }
}

fn configuration(workload: &Workload, kafka: &Kafka, proxy: &Proxy) -> String {
    format!(
        "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = {:?}\ngroup = {GROUP:?}\n\
         [source.properties]\n\"session.timeout.ms\" = \"3000\"\n\"heartbeat.interval.ms\" = \"300\"\n\
         \"reconnect.backoff.max.ms\" = \"500\"\n\
         [pipeline]\nworkers = 2\nbatch_rows = 16\nbytes_in_flight = \"8MiB\"\ncommit_interval = \"300ms\"\n\
         [sink]\nurls = [{:?}]\nlinger = \"5ms\"\nbulk_documents = 20\ntimeout = \"2s\"\nretry_wait = \"5ms\"\nretry_wait_max = \"100ms\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\n{}{}",
        kafka.brokers,
        workload.topics(),
        proxy.url,
        guests::shaper().display().to_string(),
        workload.settings_text(),
        workload.routes(),
    )
}
