//! One index never stops another: an index that is closed, blocked, missing or refused delays its own documents only.

use super::*;
use rowmill_tests::gateway::Running;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Waits that suit a test.
pub(super) const WAITS: &str = "retry_wait = \"5ms\"\nretry_wait_max = \"50ms\"\n";

pub(super) fn buyers(count: u64) -> Vec<Record> {
    (0..count).map(|id| insert("buyer", 50_000 + id, json!({ "id": id, "name": format!("buyer {id}") }))).collect()
}

/// Rows of two tables, whose documents go to two indices; those of the troubled one come first.
fn records() -> Vec<Record> {
    let mut records = buyers(20);
    records.extend(things(200));
    records.extend(buyers(40).split_off(20));
    records
}

pub(super) fn store(sink: &Sink) -> &StoreHandle {
    sink.store.as_ref().expect("the embedded store")
}

/// A fault of every request that names the index of `buyer` in its path.
fn of_index(sink: &Sink, effect: FaultEffect) -> FaultRule {
    let path = format!("/{}", sink.index("buyer"));
    FaultRule::request(effect).on_any_request().when(move |target| target.path.starts_with(&path))
}

pub(super) fn until_things_are_written(sink: &Sink, running: &Running) {
    wait::until("the documents of the other index", PATIENCE, || {
        assert!(!running.log().contains("WARN dead letter"), "{}", running.log());
        store(sink).count(&sink.index("thing")) == 200
    });
}

/// While one index has this trouble, the other's documents are written; once it is over, all are.
#[track_caller]
fn waits_for(rule: impl Fn(&Sink) -> FaultRule, keys: &str, logged: &str) {
    let sink = Sink::embedded();
    store(&sink).inject(rule(&sink));
    let gateway = sink.gateway(&records(), &format!("{WAITS}{keys}"), "");
    let running = gateway.start(&["--until-caught-up"]);
    until_things_are_written(&sink, &running);
    assert_eq!(store(&sink).count(&sink.index("buyer")), 0);
    wait::until("the log names the index", PATIENCE, || running.log().contains(logged));
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(store(&sink).count(&sink.index("buyer")), 40, "{}", run.log);
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (0, 240), "{}", run.log);
}

pub(super) fn item(sink: &Sink, status: u16, kind: &'static str) -> FaultRule {
    FaultRule::item(FaultEffect::Error(status, kind, "the test's".into())).on_index(&sink.index("buyer"))
}

#[test]
fn a_closed_index_delays_only_its_own_documents() {
    waits_for(|sink| item(sink, 400, "index_closed_exception"), "", "index_closed_exception");
}

#[test]
fn a_read_only_index_delays_only_its_own_documents() {
    waits_for(|sink| item(sink, 403, "cluster_block_exception"), "", "cluster_block_exception");
}

/// At the flood stage of the disk the answer is 429, which is no sign of too many requests.
#[test]
fn an_index_blocked_by_a_full_disk_delays_only_its_own_documents() {
    waits_for(|sink| item(sink, 429, "cluster_block_exception"), "", "cluster_block_exception");
}

#[test]
fn a_red_index_delays_only_its_own_documents() {
    waits_for(|sink| item(sink, 503, "unavailable_shards_exception"), "", "unavailable_shards_exception");
}

#[test]
fn an_index_that_cannot_be_looked_up_yet_delays_only_its_own_documents() {
    waits_for(|sink| of_index(sink, FaultEffect::Unavailable), "", "503");
    waits_for(|sink| of_index(sink, FaultEffect::ResetBefore), "", "look");
    waits_for(|sink| of_index(sink, FaultEffect::Hold), "", "");
}

#[test]
fn an_index_without_a_right_is_paused_if_configured() {
    let keys = "on_index_error = \"pause\"\n";
    waits_for(|sink| item(sink, 403, "security_exception"), keys, "on_index_error");
    waits_for(|sink| of_index(sink, FaultEffect::Forbidden), keys, "on_index_error");
}

#[test]
fn an_index_that_cannot_be_created_is_paused_if_configured() {
    let refused = FaultEffect::Error(400, "mapper_parsing_exception", "the test's".into());
    waits_for(|sink| of_index(sink, refused.clone()), "on_index_error = \"pause\"\n", "mapper_parsing_exception");
}

/// An index with too many fields accepts documents without new ones, so it is paused only if that is configured.
#[test]
fn an_index_with_too_many_fields_is_paused_if_configured() {
    let full = "Limit of total fields [1000] has been exceeded";
    let rule = |sink: &Sink| {
        FaultRule::item(FaultEffect::Error(400, "illegal_argument_exception", full.into()))
            .on_index(&sink.index("buyer"))
    };
    waits_for(rule, "on_index_error = \"pause\"\n", full);
}

/// By default the documents of such an index become dead letters, and the others are written.
#[track_caller]
fn becomes_dead_letters(rule: impl Fn(&Sink) -> FaultRule, reason: &str) {
    let sink = Sink::embedded();
    store(&sink).inject(rule(&sink));
    let gateway = sink.gateway(&records(), WAITS, "");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (40, 200), "{}", run.log);
    for letter in gateway.letters() {
        assert!(letter["error"]["reason"].to_string().contains(reason), "{letter}");
        assert_eq!(letter["error"]["index"], sink.index("buyer"));
    }
    assert!(run.log.contains("ERROR") && run.log.contains(&sink.index("buyer")), "{}", run.log);
}

#[test]
fn documents_of_an_index_that_is_refused_become_dead_letters() {
    becomes_dead_letters(|sink| item(sink, 403, "security_exception"), "security_exception");
    becomes_dead_letters(|sink| of_index(sink, FaultEffect::Forbidden), "privileges");
    let refused = FaultEffect::Error(400, "mapper_parsing_exception", "the test's".into());
    becomes_dead_letters(|sink| of_index(sink, refused.clone()), "mapper_parsing_exception");
}

#[test]
fn a_refused_index_ends_the_run_if_configured() {
    let sink = Sink::embedded();
    store(&sink).inject(item(&sink, 403, "security_exception"));
    let run = sink.gateway(&records(), &format!("{WAITS}on_index_error = \"stop\"\n"), "").run();
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains(&sink.index("buyer")) && run.log.contains("on_index_error"), "{}", run.log);
}

/// An index that is deleted while the gateway runs is created again, with its settings.
#[test]
fn a_deleted_index_is_created_again() {
    let sink = Sink::embedded();
    store(&sink).inject(item(&sink, 404, "index_not_found_exception").times(30));
    let run = sink.gateway(&records(), WAITS, "").run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (0, 240), "{}", run.log);
}

/// A blocked index gets a small request now and then, not all of its documents again and again.
#[test]
fn a_blocked_index_is_probed_with_few_documents() {
    let sink = Sink::embedded();
    store(&sink).inject(item(&sink, 400, "index_closed_exception"));
    let mut records = things(200);
    records.extend(buyers(500));
    let gateway = sink.gateway(&records, "retry_wait = \"20ms\"\nretry_wait_max = \"100ms\"\nlinger = \"200ms\"\n", "");
    let running = gateway.start(&["--until-caught-up"]);
    until_things_are_written(&sink, &running);
    let begin = std::time::Instant::now();
    let before = store(&sink).counters();
    wait::until("some probes", PATIENCE, || store(&sink).counters().bulk_requests >= before.bulk_requests + 20);
    let probes = store(&sink).counters();
    let per_probe = (probes.items - before.items) / (probes.bulk_requests - before.bulk_requests);
    assert!(per_probe <= 40, "{per_probe} items a probe");
    assert!(begin.elapsed() >= Duration::from_millis(400), "20 probes in {:?}", begin.elapsed());
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(run.number("documents.index"), 700, "{}", run.log);
}

/// A truncate of one table does not wait for the documents of another, and drops rows of its own that still wait.
#[test]
fn a_truncate_does_not_wait_for_a_blocked_index() {
    let sink = Sink::embedded();
    store(&sink).inject(item(&sink, 400, "index_closed_exception"));
    let mut records = buyers(5);
    records.extend(things(20));
    records.push(truncate("thing", 1010));
    records.extend(buyers(10).split_off(5));
    let gateway = sink.gateway(&records, WAITS, "");
    let text = std::fs::read_to_string(gateway.folder.path().join("rowmill.toml")).expect("the configuration");
    gateway.configure(&text.replace("[[routes]]\n", "[[routes]]\ntruncate = \"apply\"\n"));
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("the truncate", PATIENCE, || running.log().contains("truncate applied"));
    assert_eq!(store(&sink).count(&sink.index("buyer")), 0);
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(store(&sink).count(&sink.index("thing")), 10, "{}", run.log);
    assert_eq!(store(&sink).count(&sink.index("buyer")), 10, "{}", run.log);
}

/// Without an answer, one request at a time asks whether the cluster is back, with growing waits.
#[test]
fn during_an_outage_requests_are_few_and_small() {
    let sink = Sink::embedded();
    let keys = "retry_wait = \"10ms\"\nretry_wait_max = \"100ms\"\nbulk_documents = 50\n";
    let gateway = sink.gateway(&things(4000), keys, "");
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("some documents", PATIENCE, || store(&sink).count(&sink.index("thing")) >= 100);
    store(&sink).inject(FaultRule::request(FaultEffect::ResetBefore).on_any_request());
    wait::until("the outage is noticed", PATIENCE, || running.log().contains("no answer from Elasticsearch"));
    let before = store(&sink).counters().requests;
    let begin = std::time::Instant::now();
    wait::until("some attempts", PATIENCE, || store(&sink).counters().requests >= before + 40);
    // Waits of 50 ms on average: 40 attempts take two seconds.
    assert!(begin.elapsed() >= Duration::from_millis(800), "40 attempts in {:?}", begin.elapsed());
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(store(&sink).count(&sink.index("thing")), 4000, "{}", run.log);
}

/// A node that does not answer is left out; the others take its requests, and nothing is slowed down.
#[test]
fn a_dead_node_costs_nothing() {
    let dead = Store::builder().start().expect("a free port").url();
    let sink = Sink::embedded();
    let gateway = sink.gateway(&things(400), "bulk_documents = 20\n", "");
    let text = std::fs::read_to_string(gateway.folder.path().join("rowmill.toml")).expect("the configuration");
    let url = format!("urls = [{:?}]", sink.elasticsearch.url);
    assert!(text.contains(&url));
    gateway.configure(&text.replace(&url, &format!("urls = [{dead:?}, {:?}, {dead:?}]", sink.elasticsearch.url)));
    let run = gateway.run().ended_well();
    assert_eq!(run.number("documents.index"), 400, "{}", run.log);
    assert!(!run.log.contains("no answer"), "{}", run.log);
}
