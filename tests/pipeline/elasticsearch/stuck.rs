//! Requests that get no answer, or the wrong one, for one index: nothing else gets stuck, and nothing is given up too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::indices::{PATIENCE, WAITS, buyers, store, until_things_are_written};
use super::*;
use rowmill_store::FaultTarget;

/// A rule without effect that counts the requests with such a path.
fn count(path: impl Fn(&str) -> bool + Send + Sync + 'static) -> (Arc<AtomicU64>, FaultRule) {
    let counter = Arc::new(AtomicU64::new(0));
    let counted = counter.clone();
    let rule = FaultRule::request(FaultEffect::Delay(Duration::ZERO)).on_any_request().when(move |target| {
        if path(target.path) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        false
    });
    (counter, rule)
}

/// Buyers and things by turns, so that a request has both.
fn mixed() -> Vec<Record> {
    let (mut buyers, mut things) = (buyers(40).into_iter(), things(200).into_iter());
    let rows = |_| buyers.next().into_iter().chain(things.by_ref().take(5)).collect::<Vec<_>>();
    (0..40).flat_map(rows).collect()
}

/// Without an answer to a look-up, an index waits for `sink.timeout`; a new one is looked up meanwhile.
#[test]
fn indices_without_an_answer_do_not_keep_a_new_one_waiting() {
    let sink = Sink::embedded();
    let tables: Vec<String> = (0..6).map(|number| format!("stuck{number}")).collect();
    let prefix = format!("/{}-stuck", sink.prefix);
    let held = FaultRule::request(FaultEffect::Hold).on_any_request();
    store(&sink).inject(held.when(move |target| target.path.starts_with(&prefix)));
    let mut records: Vec<Record> =
        tables.iter().map(|table| insert(table, 100, json!({ "id": 1, "name": table }))).collect();
    records.extend(things(200));
    let route = |table| format!("[[routes]]\ntable = \"{table}\"\nindex = \"{}\"\n", sink.index(table));
    let routes: String = tables.iter().map(|table| route(table)).collect();
    let gateway = sink.gateway(&records, WAITS, &routes);
    let running = gateway.start(&["--until-caught-up"]);
    until_things_are_written(&sink, &running);
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(run.number("documents.index"), 206, "{}", run.log);
}

/// A shard that hangs delays the answer to every request with one of its documents.
#[test]
fn an_index_without_an_answer_to_its_documents_delays_only_them() {
    let sink = Sink::embedded();
    let index = sink.index("buyer");
    store(&sink).inject(FaultRule::request(FaultEffect::Hold).when(move |target| target.names_index(&index)));
    let gateway = sink.gateway(&mixed(), &format!("{WAITS}timeout = \"500ms\"\n"), "");
    let running = gateway.start(&["--until-caught-up"]);
    until_things_are_written(&sink, &running);
    assert_eq!(store(&sink).count(&sink.index("buyer")), 0);
    wait::until("the log names the index", PATIENCE, || running.log().contains("the index accepts no writes"));
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (0, 240), "{}", run.log);
}

/// The same where the connection ends when the index is looked up: the other documents ask whether the cluster is back.
#[test]
fn an_index_that_cannot_be_looked_up_is_not_what_the_cluster_is_asked_with() {
    let sink = Sink::embedded();
    let index = sink.index("buyer");
    let reset = FaultRule::request(FaultEffect::ResetBefore).on_any_request();
    store(&sink).inject(reset.when(move |target| target.names_index(&index)));
    let gateway = sink.gateway(&mixed(), "retry_wait = \"2s\"\nretry_wait_max = \"60s\"\nbulk_documents = 20\n", "");
    let running = gateway.start(&["--until-caught-up"]);
    until_things_are_written(&sink, &running);
    wait::until("the log names the index", PATIENCE, || running.log().contains("the index accepts no writes"));
    assert!(!running.log().contains("no answer from Elasticsearch"), "{}", running.log());
    store(&sink).clear_faults();
}

fn merged(sink: &Sink) -> String {
    format!(
        "[[routes]]\ntable = \"order\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    )
}

fn orders() -> Vec<Record> {
    (0..20).map(|id| insert("order", 70_000 + id, json!({ "id": id, "state": "open" }))).collect()
}

/// Somebody deletes the script, or restores the cluster's state from before.
#[test]
fn a_merge_script_that_is_gone_is_stored_again() {
    let sink = Sink::embedded();
    let (stored, rule) = count(|path| path.starts_with("/_scripts/"));
    store(&sink).inject(rule);
    let gone =
        FaultEffect::Error(400, "illegal_argument_exception", "unable to find script [x] in cluster state".into());
    let counter = stored.clone();
    let is_gone = move |_: &FaultTarget<'_>| counter.load(Ordering::Relaxed) < 2;
    store(&sink).inject(FaultRule::item(gone).on_index(&sink.index("merged")).when(is_gone));
    let gateway = sink.gateway(&orders(), WAITS, &merged(&sink));
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("the script is stored again", PATIENCE, || stored.load(Ordering::Relaxed) >= 2);
    let run = running.wait().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.merge")), (0, 20), "{}", run.summary);
}

/// A script that is refused is no matter of time.
#[test]
fn documents_whose_merge_script_is_refused_become_dead_letters() {
    let sink = Sink::embedded();
    let refused = FaultEffect::Error(400, "script_exception", "the test's".into());
    let rule = FaultRule::request(refused).on_any_request();
    store(&sink).inject(rule.when(|target| target.path.starts_with("/_scripts/")));
    let gateway = sink.gateway(&orders(), WAITS, &merged(&sink));
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("dead letters", PATIENCE, || running.log().contains("WARN dead letter"));
    let run = running.wait().ended_well();
    assert_eq!(run.number("dead_letters"), 20, "{}", run.log);
    assert!(run.log.contains("script_exception"), "{}", run.log);
}

/// Its reason may pass, a full disk for example, so the attempts take their time.
#[test]
fn an_unknown_error_is_given_time_to_pass() {
    let sink = Sink::embedded();
    let strange = FaultEffect::Error(500, "i_o_exception", "no space left on device".into());
    let first = std::sync::OnceLock::new();
    let lasts = move |_: &FaultTarget<'_>| first.get_or_init(Instant::now).elapsed() < Duration::from_millis(300);
    store(&sink).inject(FaultRule::item(strange).when(lasts));
    let run = sink.gateway(&buyers(1), "retry_wait = \"1ms\"\nretry_wait_max = \"1s\"\n", "").run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (0, 1), "{}", run.log);
}

fn with_truncates(gateway: &Gateway) {
    let text = std::fs::read_to_string(gateway.folder.path().join("rowmill.toml")).expect("the configuration");
    gateway.configure(&text.replace("[[routes]]\n", "[[routes]]\ntruncate = \"apply\"\n"));
}

/// Each reads an index with a scroll, of which Elasticsearch allows a few hundred at a time.
#[test]
fn only_a_few_truncates_are_applied_at_a_time() {
    let sink = Sink::embedded();
    // Each begins with the question whether this index exists.
    let (begun, rule) = count(|path| path == "/rowmill-truncates");
    store(&sink).inject(rule);
    let held = FaultRule::request(FaultEffect::Hold).on_any_request();
    store(&sink).inject(held.when(|target| target.path == "/rowmill-truncates"));
    let mut records: Vec<Record> = (0..30).map(|place| truncate("thing", 1010 + place)).collect();
    records.extend(buyers(500));
    let gateway = sink.gateway(&records, WAITS, "");
    with_truncates(&gateway);
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("other documents", PATIENCE, || store(&sink).count(&sink.index("buyer")) == 500);
    wait::until("some truncates", PATIENCE, || begun.load(Ordering::Relaxed) > 0);
    assert!(begun.load(Ordering::Relaxed) <= 4, "{begun:?} at a time");
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(run.log.matches("truncate applied").count(), 30, "{}", run.log);
}

/// A truncate of an index that may not be read is treated like the documents of such an index.
#[test]
fn a_truncate_without_a_right_becomes_a_dead_letter() {
    let sink = Sink::embedded();
    let path = format!("/{}/_search", sink.index("thing"));
    let refused = FaultRule::request(FaultEffect::Forbidden).on_any_request();
    store(&sink).inject(refused.when(move |target| target.path == path));
    let mut records = buyers(5);
    records.push(truncate("thing", 1010));
    let gateway = sink.gateway(&records, WAITS, "");
    with_truncates(&gateway);
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("the dead letter", PATIENCE, || running.log().contains("dead letter"));
    let run = running.wait().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (1, 5), "{}", run.log);
    assert!(gateway.letters()[0]["error"]["reason"].to_string().contains("privileges"), "{:?}", gateway.letters());
}
