//! Features that only the embedded store has: a manual clock, injected faults, limits, direct access.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rowmill_store::{Clock, FaultEffect, FaultRule, ScriptOp, Store, StoreHandle};
use serde_json::{Value, json};

use support::{call, send};

fn start() -> StoreHandle {
    Store::builder().start().unwrap()
}

fn bulk(store: &StoreHandle, lines: &[Value]) -> Value {
    call(&store.url(), "POST", "/_bulk", &body(lines)).json()
}

fn body(lines: &[Value]) -> String {
    lines.iter().map(|line| line.to_string() + "\n").collect()
}

fn index(id: &str, version: i64) -> [Value; 2] {
    let action = json!({"_index": "a", "_id": id, "version": version, "version_type": "external"});
    [json!({ "index": action }), json!({ "v": version })]
}

fn delete(id: &str, version: i64) -> [Value; 1] {
    [json!({"delete": {"_index": "a", "_id": id, "version": version, "version_type": "external"}})]
}

#[track_caller]
fn statuses(answer: &Value) -> Vec<u64> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("no items in {answer}"));
    let status = |item: &Value| item.as_object().unwrap().values().next().unwrap()["status"].as_u64().unwrap();
    items.iter().map(status).collect()
}

#[test]
fn a_tombstone_expires_after_gc_deletes() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).start().unwrap();
    call(&store.url(), "PUT", "/a", r#"{"settings":{"gc_deletes":"10m"}}"#);
    assert_eq!(statuses(&bulk(&store, &delete("1", 8))), [404]);
    clock.advance(Duration::from_secs(600));
    call(&store.url(), "POST", "/a/_refresh", "");
    assert_eq!(statuses(&bulk(&store, &index("1", 7))), [409]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(statuses(&bulk(&store, &index("1", 7))), [201], "also without a refresh in between");
    assert_eq!(statuses(&bulk(&store, &delete("1", 8))), [200]);
    clock.advance(Duration::from_secs(601));
    call(&store.url(), "POST", "/a/_refresh", "");
    assert_eq!(statuses(&bulk(&store, &index("1", 3))), [201]);
}

#[test]
fn writes_are_searchable_after_the_refresh_interval() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).start().unwrap();
    let count = || call(&store.url(), "GET", "/a/_count", "").json()["count"].as_u64().unwrap();
    bulk(&store, &index("1", 1));
    assert_eq!((count(), store.count("a")), (0, 1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(count(), 1);
    call(&store.url(), "PUT", "/a/_settings", r#"{"refresh_interval":"-1"}"#);
    bulk(&store, &index("2", 1));
    clock.advance(Duration::from_secs(3600));
    assert_eq!(count(), 1, "no refresh without a request");
    call(&store.url(), "POST", "/a/_refresh", "");
    assert_eq!(count(), 2);
}

#[test]
fn a_scroll_expires() {
    let clock = Clock::manual();
    let store = Store::builder().clock(clock.clone()).start().unwrap();
    bulk(&store, &index("1", 1));
    let first = call(&store.url(), "POST", "/a/_search?scroll=1m", r#"{"size":1}"#).json();
    let next = json!({"scroll": "1m", "scroll_id": first["_scroll_id"]}).to_string();
    assert_eq!(call(&store.url(), "POST", "/_search/scroll", &next).status, 200);
    clock.advance(Duration::from_secs(61));
    assert_eq!(call(&store.url(), "POST", "/_search/scroll", &next).status, 404);
}

#[test]
fn single_items_fail_and_the_others_are_applied() {
    let store = start();
    store.inject(FaultRule::item(FaultEffect::TooManyRequests).times(2).when(|target| target.id == Some("2")));
    store.inject(FaultRule::item(FaultEffect::Unavailable).times(1).on_index("a"));
    let lines = [index("1", 1), index("2", 1), index("3", 1)].concat();
    let answer = bulk(&store, &lines);
    assert_eq!(statuses(&answer), [503, 429, 201]);
    assert_eq!(answer["items"][1]["index"]["error"]["type"], "es_rejected_execution_exception");
    assert_eq!(statuses(&bulk(&store, &lines)), [201, 429, 409]);
    assert_eq!(statuses(&bulk(&store, &lines)), [409, 201, 409]);
    assert_eq!(store.counters().faults, 3);
}

#[test]
fn whole_requests_fail_as_often_as_the_rule_says() {
    let store = start();
    for (effect, status) in [
        (FaultEffect::TooManyRequests, 429),
        (FaultEffect::Unavailable, 503),
        (FaultEffect::TooLarge, 413),
        (FaultEffect::Unauthorized, 401),
        (FaultEffect::Forbidden, 403),
        (FaultEffect::Error(500, "exception", "an internal error".into()), 500),
    ] {
        store.inject(FaultRule::request(effect).after(1).times(1));
        let send = || call(&store.url(), "POST", "/_bulk", &body(&index("1", 1))).status;
        assert_eq!([send(), send(), send()], [200, status, 200]);
        store.clear_faults();
    }
    store.inject(FaultRule::request(FaultEffect::Unavailable));
    assert_eq!(call(&store.url(), "GET", "/", "").status, 200, "only bulk requests by default");
    store.inject(FaultRule::request(FaultEffect::Forbidden).on_any_request());
    assert_eq!(call(&store.url(), "GET", "/", "").status, 403);
}

#[test]
fn a_held_request_is_answered_once_the_faults_are_cleared() {
    let store = start();
    store.inject(FaultRule::request(FaultEffect::Hold));
    let url = store.url();
    let request = std::thread::spawn(move || call(&url, "POST", "/_bulk", &body(&index("1", 1))).status);
    while store.counters().faults == 0 {
        std::thread::yield_now();
    }
    assert!(store.get("a", "1").is_none() && !request.is_finished());
    store.clear_faults();
    assert_eq!(request.join().unwrap(), 200);
    assert!(store.get("a", "1").is_some());
}

#[test]
fn connections_are_reset_before_or_after_the_work() {
    let store = start();
    let send = |id: &str| send(&store.url(), "POST", "/_bulk", &[], body(&index(id, 1)).as_bytes());
    store.inject(FaultRule::request(FaultEffect::ResetBefore).times(1));
    assert_eq!(send("1").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(store.get("a", "1").is_none());
    store.inject(FaultRule::request(FaultEffect::ResetAfter).times(1));
    assert_eq!(send("2").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(store.get("a", "2").is_some());
    assert_eq!(send("3").unwrap().status, 200);
}

#[test]
fn a_request_is_delayed() {
    let store = start();
    store.inject(FaultRule::request(FaultEffect::Delay(Duration::from_millis(200))).times(1));
    let started = Instant::now();
    bulk(&store, &index("1", 1));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn bodies_over_the_limit_are_refused_compressed_or_not() {
    let store = Store::builder().max_content_length(1000).start().unwrap();
    let large = body(&[json!({"index": {"_index": "a"}}), json!({"x": "y".repeat(1000)})]);
    assert_eq!(call(&store.url(), "POST", "/_bulk", &large).status, 413);
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(large.as_bytes()).unwrap();
    let compressed = compressed.finish().unwrap();
    assert!(compressed.len() < 1000);
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(send(&store.url(), "POST", "/_bulk", &gzip, &compressed).unwrap().status, 413);
    assert_eq!(send(&store.url(), "POST", "/_bulk", &gzip, b"not gzip").unwrap().status, 400);
    assert_eq!(store.count("a"), 0);
}

#[test]
fn missing_indices_are_not_created_if_auto_creation_is_off() {
    let store = Store::builder().auto_create_index(false).start().unwrap();
    let answer = bulk(&store, &index("1", 1));
    assert_eq!(statuses(&answer), [404]);
    let error = &answer["items"][0]["index"]["error"];
    assert_eq!(error["type"], "index_not_found_exception");
    let reason = error["reason"].as_str().unwrap();
    assert!(reason.contains("[a]") && reason.contains("action.auto_create_index"), "{reason}");
    call(&store.url(), "PUT", "/a", "");
    assert_eq!(statuses(&bulk(&store, &index("1", 1))), [201]);
}

#[test]
fn a_stored_script_runs_its_native_function() {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    let builder = Store::builder().script("add", move |context| {
        counted.fetch_add(1, Ordering::Relaxed);
        assert_eq!((context.index, context.id), ("a", "1"));
        let sum =
            context.source.get("n").and_then(Value::as_i64).unwrap_or(0) + context.params["by"].as_i64().unwrap_or(0);
        context.source.insert("n".into(), sum.into());
        context.op = if sum > 10 { ScriptOp::Delete } else { ScriptOp::Index };
    });
    let store = builder.start().unwrap();
    let add = || {
        let script = json!({"script": {"id": "add", "params": {"by": 6}}, "upsert": {}, "scripted_upsert": true});
        statuses(&bulk(&store, &[json!({"update": {"_index": "a", "_id": "1"}}), script]))
    };
    assert_eq!(add(), [400], "a client has to store it as well");
    call(
        &store.url(),
        "PUT",
        "/_scripts/add",
        r#"{"script":{"lang":"painless","source":"ctx._source.n += params.by"}}"#,
    );
    assert_eq!(add(), [201]);
    assert_eq!(store.get("a", "1").unwrap().source, r#"{"n":6}"#);
    assert_eq!(add(), [200]);
    assert!(store.get("a", "1").is_none());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[test]
fn sources_keep_their_bytes_and_documents_their_order() {
    let store = start();
    let source = r#"{"n":  123456789012345678901234567890.123456789012345678901234567890,"u":"\u00e4\/"}"#;
    call(&store.url(), "PUT", "/a", r#"{"mappings":{"properties":{"n":{"type":"keyword"}}}}"#);
    call(&store.url(), "PUT", "/a/_doc/2?routing=r", source);
    call(&store.url(), "PUT", "/a/_doc/10", "{}");
    let documents = store.documents("a");
    assert_eq!(documents.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(), ["10", "2"]);
    assert_eq!((documents[1].source.as_str(), documents[1].routing.as_deref()), (source, Some("r")));
    assert_eq!(call(&store.url(), "GET", "/a/_source/2", "").text(), source);
    assert!(call(&store.url(), "GET", "/a/_search?refresh", "").status == 400, "no such parameter there");
    call(&store.url(), "POST", "/a/_refresh", "");
    assert!(call(&store.url(), "GET", "/a/_search", "").text().contains(source));
    assert_eq!(store.indices(), ["a"]);
}

#[test]
fn invalid_requests_are_answered_and_never_stop_the_server() {
    let store = start();
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let bodies: [&[u8]; 12] = [
        b"\xff\xfe\n\xff\n",
        b"{\"index\":{\"_index\":\"a\\",
        b"{\"index\":{\"_index\":\"a\"}}\n\xff\xff\n",
        b"{\n{\n",
        b"\"\\u\"\n\n",
        b"{\"index\":{\"_id\":\"\\ud800\",\"_index\":\"a\"}}\n{\"\\ud800\":\"\\udfff\"}\n",
        b"[",
        b"{\"update\":{\"_index\":\"a\",\"_id\":\"1\"}}\n\n",
        b"{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n\n",
        b"{\"delete\":{}}\n",
        b"0",
        b"\0",
    ];
    for path in [
        "/_bulk",
        "/a/_doc/1",
        "/a/_update/1",
        "/a/_search",
        "/_mget",
        "/a",
        "/_scripts/x",
        "/_aliases",
        "/a/_mapping",
        "/_search/scroll",
        "/a/_settings",
    ] {
        for body in bodies.into_iter().chain([deep.as_bytes(), deep_objects.as_bytes()]) {
            for method in ["POST", "PUT"] {
                let answer = send(&store.url(), method, path, &[], body).unwrap();
                assert!((200..500).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
            }
        }
    }
    for source in [&deep, &deep_objects] {
        let lines = format!("{{\"index\":{{\"_index\":\"a\",\"_id\":\"d\"}}}}\n{source}\n");
        assert_eq!(statuses(&call(&store.url(), "POST", "/_bulk", &lines).json()), [400]);
    }
    for path in ["/%", "/%zz", "/a/_doc/%ff", "/a/_doc/", "/a//_doc//1", "/?=&&=", "/_search?size=x", "/*/_search?q=x"]
    {
        send(&store.url(), "GET", path, &[], b"").unwrap();
    }
    assert_eq!(call(&store.url(), "GET", "/", "").status, 200);
}

#[test]
fn it_counts_requests_and_keeps_its_contents_after_shutdown() {
    let store = start();
    let url = store.url();
    bulk(&store, &[index("1", 1), index("2", 1)].concat());
    let counters = store.counters();
    assert_eq!((counters.requests, counters.bulk_requests, counters.items), (1, 1, 2));
    assert!(counters.bytes > 100);
    let contents = store.store();
    store.shutdown();
    assert!(send(&url, "GET", "/", &[], b"").is_err());
    assert_eq!(contents.count("a"), 2);
}

#[test]
fn many_clients_write_at_once() {
    let store = start();
    let url = store.url();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let url = &url;
            scope.spawn(move || {
                for round in 1..=20 {
                    let lines: Vec<Value> =
                        (0..50).flat_map(|id| index(&id.to_string(), client * 100 + round)).collect();
                    let answer = call(url, "POST", "/_bulk", &body(&lines)).json();
                    assert!(statuses(&answer).iter().all(|status| matches!(status, 200 | 201 | 409)));
                }
            });
        }
    });
    let documents = store.documents("a");
    assert_eq!(documents.len(), 50);
    assert!(documents.iter().all(|document| document.version == 720 && document.source == r#"{"v":720}"#));
}
