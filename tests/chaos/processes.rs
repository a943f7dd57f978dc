//! Gateways as processes of their own that read a broker of librdkafka: killed at the worst moments, stopped, halted, two at a time,
//! with faults of the broker, of the network and of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rowmill::sink::embedded;
use rowmill_store::{FaultEffect, FaultRule, StoreHandle};
use rowmill_tests::captures::Record;
use rowmill_tests::gateway::{Gateway, Running};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{guests, unique, wait};
use rustix::process::Signal;

use crate::proxy::{Network, Proxy};
use crate::seeds;
use crate::servers::Servers;
use crate::steps::{self, BROKERS, PARTITIONS, Point, Step};
use crate::store;
use crate::workload::Workload;

/// How long a step may take, on a machine with nothing to spare.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than two gateways with the largest workload ever need.
const MEMORY: u64 = 160 * 1024 * 1024;

#[test]
fn killed() {
    seeds::run("killed", 0..6, 6, |seed| run(seed, None, steps::kills));
}

#[test]
fn mixed() {
    seeds::run("mixed", 0..6, 6, |seed| run(seed, None, steps::mixed));
}

#[test]
#[ignore = "starts a Kafka and an Elasticsearch of its own: make test, make chaos"]
fn real() {
    let servers = Servers::start().unwrap_or_else(|error| panic!("{error}"));
    // One after the other, since a seed kills the servers.
    seeds::run("real", 0..1, 1, |seed| {
        servers.clear();
        run(seed, Some(&servers), steps::real)
    });
}

/// Runs the steps of a seed; the error says what went wrong, and after which steps.
fn run(seed: u64, servers: Option<&Servers>, steps: fn(&mut fastrand::Rng, usize) -> Vec<Step>) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let sizes = if servers.is_some() { [400, 3000] } else { [40, 200] };
    let largest = sizes[random.usize(..2)];
    let workload = Workload::random(&mut random, largest);
    let steps = steps(&mut random, workload.records().len());
    let mut world = World::new(&workload, servers)?;
    let result = steps.iter().try_for_each(|step| world.step(step)).and_then(|()| world.end());
    result.map_err(|failure| {
        let lines: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        format!("{failure}\n{}\n{}\n{}", workload.lines(), lines.join("\n"), world.logs())
    })
}

/// What the gateways read from and write to.
enum Ends<'a> {
    Embedded { brokers: MockCluster<'static, DefaultProducerContext>, store: StoreHandle },
    Real(&'a Servers),
}

struct World<'a> {
    workload: &'a Workload,
    around: Ends<'a>,
    kafka: Kafka,
    proxy: Proxy,
    /// The group of the gateways, and the beginning of the topics' names.
    group: String,
    topics: Vec<String>,
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
    fn new(workload: &'a Workload, servers: Option<&'a Servers>) -> Result<Self, String> {
        let group = unique("chaos");
        let topics: Vec<String> = workload.topics().iter().map(|topic| format!("{group}.{topic}")).collect();
        let mut records = workload.records();
        records.iter_mut().for_each(|record| record.topic = format!("{group}.{}", record.topic));
        let (around, kafka, port) = match servers {
            Some(servers) => {
                topics.iter().for_each(|topic| servers.kafka().create(topic, PARTITIONS));
                (Ends::Real(servers), servers.kafka(), servers.port())
            }
            None => {
                let brokers = MockCluster::new(BROKERS).map_err(|error| error.to_string())?;
                let mut created = topics.iter().map(|topic| brokers.create_topic(topic, PARTITIONS, 1));
                created.try_for_each(|result| result.map_err(|error| error.to_string()))?;
                let store = embedded::start(0).map_err(|error| error.to_string())?;
                let (kafka, port) = (Kafka { brokers: brokers.bootstrap_servers() }, store.port());
                (Ends::Embedded { brokers, store }, kafka, port)
            }
        };
        let partitions =
            topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic.clone(), partition)));
        let ends = partitions.map(|partition| (partition, 0)).collect();
        let proxy = Proxy::start(port).map_err(|error| error.to_string())?;
        let mut world = Self {
            workload,
            around,
            kafka,
            proxy,
            group,
            topics,
            ends,
            records: records.into_iter(),
            gateways: [Gateway::new("chaos", ""), Gateway::new("chaos", "")],
            running: [None, None],
            said: String::new(),
        };
        let configuration = world.configuration();
        world.gateways.iter_mut().for_each(|gateway| gateway.configure(&configuration));
        Ok(world)
    }

    /// The servers in this process.
    fn embedded(&self) -> Result<(&MockCluster<'static, DefaultProducerContext>, &StoreHandle), String> {
        match &self.around {
            Ends::Embedded { brokers, store } => Ok((brokers, store)),
            Ends::Real(_) => Err("a step that real servers cannot take".into()),
        }
    }

    fn servers(&self) -> Result<&Servers, String> {
        match self.around {
            Ends::Real(servers) => Ok(servers),
            Ends::Embedded { .. } => Err("a step that needs real servers".into()),
        }
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
                    self.kill(&running, *point)?;
                    self.check_memory(&running)?;
                    self.said += &running.log();
                    running.kill();
                    self.check_commits()?;
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
            Step::Store(fault) => self.embedded()?.1.inject(fault.rule()),
            Step::RestartKafka => self.servers()?.restart_kafka()?,
            Step::RestartElasticsearch => self.servers()?.restart_elasticsearch()?,
            Step::Network(network, time) => {
                self.proxy.set(*network);
                thread::sleep(*time);
                self.proxy.set(Network::Fine);
            }
            Step::SlowBroker(broker, delay, time) => {
                let brokers = self.embedded()?.0;
                let set = |delay| brokers.broker_round_trip_time(*broker, delay).map_err(|error| error.to_string());
                set(*delay)?;
                thread::sleep(*time);
                set(Duration::ZERO)?;
            }
            Step::Leader(partition, broker) => self.lead(*partition, *broker)?,
            Step::Refused(key, errors) => self.embedded()?.0.request_errors(*key, errors),
        }
        Ok(())
    }

    /// Changes the leader of a partition of every topic.
    fn lead(&self, partition: i32, broker: i32) -> Result<(), String> {
        let brokers = self.embedded()?.0;
        let mut results = self.topics.iter().map(|topic| brokers.partition_leader(topic, partition, Some(broker)));
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
    fn kill(&self, running: &Running, point: Point) -> Result<(), String> {
        let limit = Duration::from_secs(15);
        match point {
            Point::BeforeBulk(number) => self.kill_at_bulk(running, FaultEffect::ResetBefore, number)?,
            Point::Applied(number) => self.kill_at_bulk(running, FaultEffect::ResetAfter, number)?,
            Point::BeforeCommit(number) => {
                let store = self.embedded()?.1;
                let goal = store.counters().requests + number;
                wait::within(limit, || (store.counters().requests >= goal || self.is_settled()).then_some(()));
                running.signal(Signal::KILL);
            }
            Point::After(time) => {
                thread::sleep(time);
                running.signal(Signal::KILL);
            }
        }
        // It may never send so many requests.
        wait::within(limit, || (running.is_dead() || self.is_settled()).then_some(()));
        if !running.is_dead() {
            running.signal(Signal::KILL);
        }
        Ok(())
    }

    /// Has the store kill the gateway when this bulk request arrives.
    fn kill_at_bulk(&self, running: &Running, effect: FaultEffect, number: u64) -> Result<(), String> {
        let (seen, kill) = (AtomicU64::new(0), running.killer());
        self.embedded()?.1.inject(FaultRule::request(effect).times(1).when(move |_| {
            let is_due = seen.fetch_add(1, Ordering::Relaxed) + 1 == number;
            if is_due {
                kill();
            }
            is_due
        }));
        Ok(())
    }

    /// What is committed is in the store, or in a dead letter.
    fn check_commits(&self) -> Result<(), String> {
        // A letter may be about any document.
        if self.gateways.iter().any(|gateway| gateway.letters_path().exists()) {
            return Ok(());
        }
        let committed: BTreeMap<&str, Vec<Option<i64>>> = self
            .topics
            .iter()
            .map(|topic| (topic.as_str(), self.kafka.committed_of(&self.group, topic, PARTITIONS)))
            .collect();
        let mut open = BTreeSet::new();
        for reported in self.workload.reported() {
            let topic = self.topic(&reported.record.topic);
            let offset =
                usize::try_from(reported.record.partition).ok().and_then(|number| committed[topic.as_str()][number]);
            if reported.record.offset >= offset.unwrap_or(0) {
                open.insert(reported.change);
            }
        }
        let documents = match &self.around {
            Ends::Embedded { store, .. } => store::documents(store),
            Ends::Real(servers) => servers.documents(),
        };
        let difference = self.workload.early_difference(documents, |change| !open.contains(&change));
        difference.map_or(Ok(()), |difference| Err(format!("committed, but not in the store:\n{difference}")))
    }

    /// The name of a topic of the workload in Kafka.
    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.group)
    }

    /// Whether everything that is written is committed.
    fn is_settled(&self) -> bool {
        self.topics.iter().all(|topic| {
            let committed = self.kafka.committed_of(&self.group, topic, PARTITIONS);
            (0..).zip(committed).all(|(partition, offset)| {
                let end = self.ends[&(topic.clone(), partition)];
                offset.unwrap_or(0) == end
            })
        })
    }

    /// Starts a gateway if none runs, and waits until everything is committed, without faults.
    fn settle(&mut self) -> Result<(), String> {
        self.proxy.set(Network::Fine);
        if let Ends::Embedded { brokers, store } = &self.around {
            store.clear_faults();
            steps::REFUSED.iter().for_each(|key| brokers.clear_request_errors(*key));
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
        let folder = self.gateways[0].folder.path();
        let documents = match &self.around {
            Ends::Embedded { store, .. } => {
                store::replay(folder, &store.url(), self.workload, letters)?;
                store::documents(store)
            }
            Ends::Real(servers) => {
                store::replay(folder, &servers.elasticsearch().url, self.workload, letters)?;
                servers.documents()
            }
        };
        self.workload.difference(documents).map_or(Ok(()), Err)
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

    /// The configuration of both gateways.
    fn configuration(&self) -> String {
        // Kafka's shortest.
        let session = if matches!(self.around, Ends::Real(_)) { 6000 } else { 3000 };
        format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = {:?}\ngroup = {:?}\n\
             [source.properties]\n\"session.timeout.ms\" = \"{session}\"\n\"heartbeat.interval.ms\" = \"300\"\n\
             \"reconnect.backoff.max.ms\" = \"500\"\n\
             [pipeline]\nworkers = 2\nbatch_rows = 16\nbytes_in_flight = \"8MiB\"\ncommit_interval = \"300ms\"\n\
             [sink]\nurls = [{:?}]\nlinger = \"5ms\"\nbulk_documents = 20\ntimeout = \"2s\"\nretry_wait = \"5ms\"\nretry_wait_max = \"100ms\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\n{}{}",
            self.kafka.brokers,
            self.topics,
            self.group,
            self.proxy.url,
            guests::shaper().display().to_string(),
            self.workload.settings_text(),
            self.workload.routes(),
        )
    }
}
