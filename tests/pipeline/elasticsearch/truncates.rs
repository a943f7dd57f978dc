//! Truncates with several gateways: a row that is older than the truncate stays away, whenever and by whom it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::indices::{PATIENCE, WAITS, store};
use super::*;
use rowmill_tests::gateway::Running;

/// A gateway whose sections are these and that applies truncates.
fn gateway_with(sink: &Sink, records: &[Record], sections: &str) -> Gateway {
    let gateway = sink.gateway(records, WAITS, sections);
    let text = std::fs::read_to_string(gateway.folder.path().join("rowmill.toml")).expect("the configuration");
    gateway.configure(&text.replace("[[routes]]\n", "[[routes]]\ntruncate = \"apply\"\n"));
    gateway
}

fn gateway(sink: &Sink, records: &[Record]) -> Gateway {
    gateway_with(sink, records, "")
}

/// Starts a gateway; Elasticsearch applies none of its requests until the faults are cleared.
fn start_held(sink: &Sink, gateway: &Gateway) -> Running {
    let is_held = Arc::new(AtomicBool::new(false));
    let seen = is_held.clone();
    store(sink).inject(FaultRule::request(FaultEffect::Hold).when(move |_| {
        seen.store(true, Ordering::Relaxed);
        true
    }));
    let running = gateway.start(&["--until-caught-up"]);
    wait::until("a request", PATIENCE, || is_held.load(Ordering::Relaxed));
    running
}

fn row(id: u64) -> Value {
    json!({ "id": id, "name": "a row" })
}

/// One gateway applies a truncate while another has an older row in a request that Elasticsearch has not applied yet.
#[test]
fn a_row_in_another_gateways_request_does_not_outlive_a_truncate() {
    let sink = Sink::embedded();
    let slow = gateway(&sink, &[insert("thing", 100, row(1))]);
    let running = start_held(&sink, &slow);
    let run = gateway(&sink, &[truncate("thing", 200)]).run().ended_well();
    assert_eq!(run.number("documents.truncate"), 1, "{}", run.log);
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(sink.source("thing", "1"), None, "{}", run.log);
    assert_eq!((run.number("stale"), run.number("documents.index")), (1, 0), "{}", run.summary);
}

/// A gateway is killed after such a request, so another one reads the record again.
#[test]
fn a_row_that_a_killed_gateway_wrote_after_a_truncate_is_deleted() {
    let sink = Sink::embedded();
    drop(gateway(&sink, &[truncate("thing", 200)]).run().ended_well());
    // What the killed one left.
    let path = format!("/{}/_doc/1?version=100&version_type=external", sink.index("thing"));
    let (status, answer) = sink.elasticsearch.ask("PUT", &path, Some(&row(1)));
    assert_eq!(status, 201, "{answer}");
    let run = gateway(&sink, &[insert("thing", 100, row(1)), insert("thing", 300, row(2))]).run().ended_well();
    assert_eq!(sink.elasticsearch.sources(&sink.index("thing")).into_keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!((run.number("stale"), run.number("documents.index")), (1, 1), "{}", run.summary);
}

/// The same for a part of a merged document.
#[test]
fn a_part_in_another_gateways_request_does_not_outlive_a_truncate() {
    let sink = Sink::embedded();
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let slow = gateway_with(&sink, &[insert("order", 100, json!({ "id": 1, "state": "open" }))], &sections);
    let running = start_held(&sink, &slow);
    drop(gateway_with(&sink, &[truncate("order", 200)], &sections).run().ended_well());
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    let documents = sink.elasticsearch.sources(&sink.index("merged"));
    assert!(documents.values().all(|document| document.get("state").is_none()), "{documents:?}\n{}", run.log);
}

/// The versions of truncates cannot be read: what other tables need is written, and nothing is settled that a truncate may
/// have deleted.
#[test]
fn rows_are_settled_once_truncates_can_be_read() {
    let sink = Sink::embedded();
    drop(gateway(&sink, &[truncate("thing", 200)]).run().ended_well());
    let red = FaultRule::request(FaultEffect::Unavailable).on_any_request();
    store(&sink).inject(red.when(|target| target.path.starts_with("/rowmill-truncates")));
    let late = gateway(&sink, &[insert("thing", 100, row(1)), insert("thing", 300, row(2))]);
    let running = late.start(&["--until-caught-up"]);
    wait::until("the newer row", PATIENCE, || sink.source("thing", "2").is_some());
    store(&sink).clear_faults();
    let run = running.wait().ended_well();
    assert_eq!(sink.source("thing", "1"), None, "{}", run.log);
}

/// The table's own index was deleted and is created again, from another tool's records or after `RESET MASTER`: the old
/// truncate says nothing about its rows.
#[test]
fn a_truncate_does_not_outlive_its_index() {
    let sink = Sink::embedded();
    drop(gateway(&sink, &[insert("thing", 100, row(1)), truncate("thing", 5000)]).run().ended_well());
    let (status, answer) = sink.elasticsearch.ask("DELETE", &format!("/{}", sink.index("thing")), None);
    assert_eq!(status, 200, "{answer}");
    let run = gateway(&sink, &[insert("thing", 300, row(2))]).run().ended_well();
    assert_eq!(sink.source("thing", "2"), Some(row(2)), "{}", run.log);
    assert!(run.log.contains("cannot be compared") && run.log.contains("was created again"), "{}", run.log);
    // A truncate with a lower version than the one that is ignored is known to other gateways.
    drop(gateway(&sink, &[truncate("thing", 400)]).run().ended_well());
    let run = gateway(&sink, &[insert("thing", 350, row(3))]).run().ended_well();
    assert_eq!(sink.elasticsearch.sources(&sink.index("thing")).len(), 0, "{}", run.log);
}

/// An offset and a binlog position cannot be compared.
#[test]
fn a_truncate_does_not_outlive_the_strategy_of_its_version() {
    let sink = Sink::embedded();
    let with_version = |records: &[Record], version: &str| {
        let gateway = gateway(&sink, records);
        let text = std::fs::read_to_string(gateway.folder.path().join("rowmill.toml")).expect("the configuration");
        gateway.configure(&text.replace("[[routes]]\n", &format!("[[routes]]\n{version}\n")));
        gateway.run().ended_well()
    };
    let mut late = truncate("thing", 200);
    // Larger than any of the binlog versions here.
    late.offset = 1 << 50;
    drop(with_version(&[insert("thing", 100, row(1)), late], "version = \"offset\""));
    let run = with_version(&[insert("thing", 300, row(2))], "version = \"binlog\"");
    assert_eq!(sink.source("thing", "2"), Some(row(2)), "{}", run.log);
    assert!(run.log.contains("cannot be compared") && run.log.contains("strategy offset"), "{}", run.log);
    drop(with_version(&[insert("thing", 300, row(2)), truncate("thing", 400)], "version = \"binlog\"\nepoch = 2"));
    let run = with_version(&[insert("thing", 300, row(3))], "version = \"binlog\"\nepoch = 1");
    assert_eq!(sink.source("thing", "3"), Some(row(3)), "{}", run.log);
    assert!(run.log.contains("epoch 2"), "{}", run.log);
}
