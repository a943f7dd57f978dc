//! A sink that does not answer: the budget is full, and meanwhile the group changes.

use std::time::Duration;

use rowmill_store::{FaultEffect, FaultRule, StoreHandle};
use rowmill_tests::gateway::Running;
use rowmill_tests::wait;
use rustix::process::Signal;

use super::{PATIENCE, PROTOCOLS, Settings, Stream, expect_log, figure};

/// A bulk endpoint that can be stalled, and the section of the configuration that names it.
struct Sink {
    store: StoreHandle,
    section: String,
}

impl Sink {
    fn start() -> Self {
        let store = rowmill::sink::embedded::start(0).expect("the embedded store starts");
        let section = format!("[sink]\nurls = [{:?}]\nlinger = \"5ms\"\n", store.url());
        Self { store, section }
    }

    /// From now on no bulk request is answered.
    fn stall(&self) {
        self.store.inject(FaultRule::request(FaultEffect::Hold));
    }

    fn answer(&self) {
        self.store.clear_faults();
    }

    /// Waits until all changes of the stream are documents.
    #[track_caller]
    fn expect_all(&self, stream: &Stream, running: &mut Running) {
        let wanted = usize::try_from(stream.next).expect("a number of documents");
        let is_done = wait::within(PATIENCE, || (self.store.count("thing") == wanted).then_some(()));
        let written = self.store.count("thing");
        assert!(is_done.is_some() && running.is_running(), "{written} of {wanted} written\n{}", running.log());
    }
}

#[track_caller]
fn expect_full(running: &Running) {
    let is_full = wait::within(PATIENCE, || (figure(running, "rowmill_paused") > 0.5).then_some(()));
    assert!(is_full.is_some(), "the budget is not full:\n{}", running.log());
}

/// The gateway stands still for longer than its session lasts, while the budget is full.
#[track_caller]
fn loses_its_session(source: &str) {
    let (mut stream, sink) = (Stream::real(), Sink::start());
    let topic = stream.create("things", 3);
    let settings =
        Settings { source, pipeline: "bytes_in_flight = \"64KiB\"", sink: &sink.section, ..Settings::default() };
    let gateway = stream.gateway("classic", settings);
    sink.stall();
    stream.send(&topic, 0..3, 400);
    let mut running = gateway.start(&[]);
    expect_full(&running);
    running.signal(Signal::STOP);
    wait::until("the session has timed out", PATIENCE, || stream.kafka.members(&stream.name) == 0);
    running.signal(Signal::CONT);
    wait::until("the gateway has joined again", PATIENCE, || stream.kafka.members(&stream.name) == 1);
    sink.answer();
    sink.expect_all(&stream, &mut running);
    stream.send(&topic, 0..3, 10);
    sink.expect_all(&stream, &mut running);
    stream.expect_committed(&topic, &[410; 3]);
    running.stop();
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_session_that_is_lost_while_the_budget_is_full_loses_nothing() {
    loses_its_session("");
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_new_member_that_loses_its_session_while_the_budget_is_full_loses_nothing() {
    loses_its_session("instance = \"none\"");
}

/// A topic appears while the budget is full, or nearly full.
#[track_caller]
fn a_topic_appears(protocol: &str, is_full: bool) {
    let (mut stream, sink) = (Stream::real(), Sink::start());
    let topic = stream.create("things", 1);
    let settings = Settings { pipeline: "bytes_in_flight = \"1MiB\"", sink: &sink.section, ..Settings::default() };
    let gateway = stream.gateway(protocol, settings);
    sink.stall();
    let mut running = gateway.start(&[]);
    let held = || figure(&running, "rowmill_in_flight_bytes") / f64::from(1 << 20);
    if is_full {
        stream.send(&topic, 0..1, 4000);
        expect_full(&running);
    }
    while held() < 0.75 {
        let sent = stream.send(&topic, 0..1, 20).end;
        wait::until("all are read", PATIENCE, || figure(&running, "rowmill_events_total") >= sent as f64);
    }
    assert!(is_full || held() < 1.0, "{}", held());
    eprintln!("protocol {protocol}: {} changes fill {:.0} % of the budget", stream.next, held() * 100.0);
    let small = stream.create("small", 3);
    stream.send(&small, 0..3, 5);
    expect_log(&running, "partitions=3");
    sink.answer();
    sink.expect_all(&stream, &mut running);
    // And both are read on.
    stream.send(&topic, 0..1, 10);
    stream.send(&small, 0..3, 10);
    sink.expect_all(&stream, &mut running);
    stream.expect_committed(&small, &[15; 3]);
    running.stop();
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_topic_that_appears_while_the_budget_is_full_is_read() {
    PROTOCOLS.iter().for_each(|protocol| a_topic_appears(protocol, true));
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_topic_that_appears_while_the_budget_is_nearly_full_is_read() {
    PROTOCOLS.iter().for_each(|protocol| a_topic_appears(protocol, false));
}

#[test]
#[ignore = "needs a real Kafka: make test"]
fn a_stall_is_seen_from_outside() {
    let (mut stream, sink) = (Stream::real(), Sink::start());
    let topic = stream.create("things", 3);
    let settings = Settings { http: "stalled_after = \"2s\"", sink: &sink.section, ..Settings::default() };
    let gateway = stream.gateway("classic", settings);
    let mut running = gateway.start(&[]);
    let http = running.http();
    let becomes = |status: u16| {
        wait::until(&format!("/readyz is {status}"), Duration::from_secs(20), || {
            http.send("GET", "/readyz", None).0 == status
        });
    };
    stream.send(&topic, 0..3, 10);
    sink.expect_all(&stream, &mut running);
    becomes(200);
    sink.stall();
    stream.send(&topic, 0..3, 10);
    becomes(503);
    let (status, health) = http.send("GET", "/healthz", None);
    assert_eq!(status, 200, "a restart does not help");
    assert!(health.starts_with("stalled\n") && health.contains("nothing was settled for"), "{health}");
    assert!(health.contains(&format!("of topic {topic}, partition")), "{health}");
    assert!(figure(&running, "rowmill_oldest_unsettled_seconds") > 1.0);
    sink.answer();
    becomes(200);
    sink.expect_all(&stream, &mut running);
    let (_, health) = http.send("GET", "/healthz", None);
    assert!(health.starts_with("ok\n"), "{health}");
    running.stop();
}
