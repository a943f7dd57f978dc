//! Faults that only the embedded store can have: rejected items, lost answers, refused access.

use super::*;

/// Writes 200 documents during a fault: in the end each exists once, and there are no dead letters.
#[track_caller]
fn survives(rules: impl IntoIterator<Item = FaultRule>) -> (Run, u64) {
    let sink = Sink::embedded();
    let store = sink.store.as_ref().expect("the embedded store");
    rules.into_iter().for_each(|rule| store.inject(rule));
    let run = sink.gateway(&things(200), "retry_wait_max = \"1s\"\n", "").run().ended_well();
    let sources = sink.elasticsearch.sources(&sink.index("thing"));
    assert_eq!(sources.len(), 200, "{}", run.log);
    assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
    let faults = store.counters().faults;
    assert!(faults > 0, "the fault was met");
    (run, faults)
}

#[test]
fn rejected_items_are_sent_again() {
    let (run, _) = survives([FaultRule::item(FaultEffect::TooManyRequests).times(50)]);
    assert_eq!(run.number("documents.index"), 200);
}

#[test]
fn a_rejected_document_delays_only_itself() {
    let rule = FaultRule::item(FaultEffect::TooManyRequests).times(5).when(|target| target.id == Some("7"));
    let (run, faults) = survives([rule]);
    assert_eq!((run.number("documents.index"), faults), (200, 5));
}

#[test]
fn an_unavailable_cluster_is_waited_for() {
    survives([FaultRule::request(FaultEffect::Unavailable).times(4)]);
}

#[test]
fn a_rejected_request_is_sent_again() {
    survives([FaultRule::request(FaultEffect::TooManyRequests).times(4)]);
}

#[test]
fn a_connection_that_is_reset_before_anything_is_applied_loses_nothing() {
    survives([FaultRule::request(FaultEffect::ResetBefore).times(3)]);
}

#[test]
fn a_connection_that_is_reset_after_all_is_applied_writes_nothing_twice() {
    let (run, _) = survives([FaultRule::request(FaultEffect::ResetAfter).times(3)]);
    assert_eq!(run.number("documents.index") + run.number("stale"), 200, "what was applied is stale the second time");
}

#[test]
fn a_request_that_is_too_large_is_split() {
    let store = Store::builder().max_content_length(3_000).start().expect("the embedded store starts");
    let sink = Sink { elasticsearch: Elasticsearch::at(&store.url()), store: Some(store), prefix: unique("sink") };
    // Long enough for one request of all.
    let run = sink.gateway(&things(200), "linger = \"1s\"\n", "").run().ended_well();
    assert_eq!(sink.elasticsearch.sources(&sink.index("thing")).len(), 200, "{}", run.log);
    assert_eq!(run.number("dead_letters"), 0);
}

#[test]
fn one_document_that_is_too_large_is_a_dead_letter() {
    let store = Store::builder().max_content_length(3_000).start().expect("the embedded store starts");
    let sink = Sink { elasticsearch: Elasticsearch::at(&store.url()), store: Some(store), prefix: unique("sink") };
    let mut records = things(3);
    records.push(insert("thing", 5000, json!({ "id": 9, "name": "long ".repeat(1000) })));
    let gateway = sink.gateway(&records, "", "");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (1, 3));
    assert!(
        gateway.letters()[0]["error"]["reason"].as_str().is_some_and(|reason| reason.contains("413")),
        "{:?}",
        gateway.letters()
    );
}

#[test]
fn no_access_stops() {
    let of_bulk = |effect| FaultRule::request(effect);
    // All but the first request, which is for the version: the index is looked up.
    let of_indices = |effect| FaultRule::request(effect).on_any_request().after(1);
    for rule in [
        of_bulk(FaultEffect::Unauthorized),
        of_bulk(FaultEffect::Forbidden),
        of_indices(FaultEffect::Unauthorized),
        of_indices(FaultEffect::Forbidden),
    ] {
        let sink = Sink::embedded();
        sink.store.as_ref().expect("the embedded store").inject(rule);
        let run = sink.gateway(&things(5), "", "").run();
        assert_eq!(run.code, Some(1), "{}", run.log);
        assert!(run.log.contains("check sink.username, sink.password or sink.api_key"), "{}", run.log);
        sink.store.as_ref().expect("the embedded store").clear_faults();
        assert_eq!(sink.elasticsearch.sources(&sink.index("thing")).len(), 0);
    }
}

/// An item with an error that Rowmill does not know may be a matter of time. If it is not, only its record suffers.
#[test]
fn an_item_with_an_unknown_error_is_sent_again_and_then_becomes_a_dead_letter() {
    let strange = || FaultRule::item(FaultEffect::Error(500, "strange", "never seen".into()));
    survives([strange().times(3)]);
    let sink = Sink::embedded();
    sink.store.as_ref().expect("the embedded store").inject(strange().when(|target| target.id == Some("3")));
    let gateway = sink.gateway(&things(5), "retry_wait = \"1ms\"\nretry_wait_max = \"10ms\"\n", "");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.index")), (1, 4), "{}", run.log);
    let reason = gateway.letters()[0]["error"]["reason"].to_string();
    assert!(reason.contains("never seen"), "{reason}");
}

/// A closed index is opened again by somebody; until then its documents wait.
#[test]
fn a_closed_index_is_waited_for() {
    let closed = FaultEffect::Error(400, "index_closed_exception", "closed".into());
    survives([FaultRule::item(closed).times(50)]);
}

/// What must exist before the first document is written is asked for again as well.
#[test]
fn an_index_that_cannot_be_created_yet_is_created_later() {
    for effect in [FaultEffect::TooManyRequests, FaultEffect::Unavailable] {
        // The first request is for the version, the others look the index up and create it.
        survives([FaultRule::request(effect).on_any_request().after(1).times(4)]);
    }
}

#[test]
fn a_server_that_comes_later_is_waited_for() {
    let port = Store::builder().start().expect("a free port").port();
    let sink = Sink {
        elasticsearch: Elasticsearch::at(&format!("http://127.0.0.1:{port}")),
        store: None,
        prefix: unique("sink"),
    };
    let gateway = sink.gateway(&things(5), "", "");
    let mut running = gateway.start(&["--until-caught-up"]);
    wait::until("it says that there is no answer", Duration::from_secs(30), || {
        running.log().contains("does not answer yet")
    });
    assert!(running.is_running());
    let store = Store::builder().port(port).start().expect("the store starts late");
    let _ = running.wait().ended_well();
    assert_eq!(store.count(&sink.index("thing")), 5);
}
