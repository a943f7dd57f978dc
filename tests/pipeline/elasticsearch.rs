//! How the sink handles Elasticsearch's answers: one list of scenarios against the embedded store and a real server,
//! and faults that only the embedded store has.

mod faults;
mod indices;
mod merged;
mod stuck;
mod truncates;

use std::time::Duration;

use rowmill_store::{FaultEffect, FaultRule, Store, StoreHandle};
use rowmill_tests::captures::{self, Record};
use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::{Gateway, Run};
use rowmill_tests::{guests, unique, wait};
use serde_json::{Value, json};

use merged::*;

/// A server to write to, and a name that all indices of a scenario begin with.
struct Sink {
    elasticsearch: Elasticsearch,
    /// The same server, if it is the embedded store.
    store: Option<StoreHandle>,
    prefix: String,
}

impl Sink {
    fn embedded() -> Self {
        let store = rowmill::sink::embedded::start(0).expect("the embedded store starts");
        Self { elasticsearch: Elasticsearch::at(&store.url()), store: Some(store), prefix: unique("sink") }
    }

    /// A gateway that reads these records, one after the other, so that the file's order is that of arrival. `keys` are
    /// further keys of the sink, `sections` further sections.
    fn gateway(&self, records: &[Record], keys: &str, sections: &str) -> Gateway {
        let gateway = Gateway::new("sink", "");
        let path = captures::write(gateway.folder.path(), "records.ndjson", records);
        let route = |table| format!("[[routes]]\ntable = \"{table}\"\nindex = \"{}\"\n", self.index(table));
        let linger = if keys.contains("linger") { "" } else { "linger = \"1ms\"\n" };
        gateway.configure(&format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[pipeline]\nworkers = 1\nbatch_rows = 1\n\
             [sink]\nurls = [{:?}]\nin_flight = 1\n{linger}{keys}\n{sections}\n{}",
            path.display().to_string(),
            self.elasticsearch.url,
            ["thing", "order", "buyer"].map(route).concat(),
        ));
        gateway
    }

    #[track_caller]
    fn run(&self, records: &[Record]) -> Run {
        self.gateway(records, "", "").run().ended_well()
    }

    fn index(&self, table: &str) -> String {
        format!("{}-{table}", self.prefix)
    }

    #[track_caller]
    fn source(&self, table: &str, id: &str) -> Option<Value> {
        self.elasticsearch.sources(&self.index(table)).remove(id)
    }
}

/// A change in Debezium's format, at a binlog position.
fn change(table: &str, place: u64, before: Option<Value>, after: Option<Value>) -> Record {
    let op = match (&before, &after) {
        (None, _) => "c",
        (_, None) => "d",
        _ => "u",
    };
    let id = after.as_ref().or(before.as_ref()).map(|row| row["id"].clone());
    let value = json!({
        "before": before, "after": after, "op": op, "ts_ms": 1_795_216_000_000_u64,
        "source": { "connector": "mysql", "name": "tool", "ts_ms": 1_795_216_000_000_u64, "db": "shop", "table": table,
                    "file": "binlog.000001", "pos": place, "row": 0 },
    });
    // Each record has its own partition, so only the order of arrival is defined.
    let mut record =
        Record::new(&format!("tool.shop.{table}"), 0, value.to_string()).key(json!({ "id": id }).to_string());
    record.partition = place as i32;
    record
}

fn insert(table: &str, place: u64, row: Value) -> Record {
    change(table, place, None, Some(row))
}

fn delete(table: &str, place: u64, row: Value) -> Record {
    change(table, place, Some(row), None)
}

fn things(count: u64) -> Vec<Record> {
    (0..count).map(|id| insert("thing", 1000 + id, json!({ "id": id, "name": format!("thing {id}") }))).collect()
}

fn a_delete_does_not_come_back_by_a_late_older_write(sink: &Sink) {
    let row = json!({ "id": 1, "name": "old" });
    sink.run(&[delete("thing", 200, row.clone()), insert("thing", 100, row.clone())]);
    assert_eq!(sink.source("thing", "1"), None);
    // Nor in another run, which remembers nothing.
    let run = sink.run(&[insert("thing", 100, row)]);
    assert_eq!(sink.source("thing", "1"), None);
    assert_eq!((run.number("stale"), run.number("documents.index")), (1, 0), "{}", run.summary);
}

fn an_older_write_does_not_replace_a_newer_one(sink: &Sink) {
    sink.run(&[insert("thing", 200, json!({ "id": 1, "name": "new" }))]);
    let run =
        sink.run(&[insert("thing", 100, json!({ "id": 1, "name": "old" })), delete("thing", 150, json!({ "id": 1 }))]);
    assert_eq!(sink.source("thing", "1"), Some(json!({ "id": 1, "name": "new" })));
    assert_eq!(run.number("stale") + run.number("folded"), 2, "{}", run.summary);
    // The same again is no conflict that anyone should see.
    sink.run(&[insert("thing", 200, json!({ "id": 1, "name": "new" }))]);
    assert_eq!(sink.source("thing", "1"), Some(json!({ "id": 1, "name": "new" })));
}

/// A changed key makes a delete and an insert with one position. Where the document's ID is not the key, both are about one
/// document, and they may come from two partitions.
fn at_one_position_a_write_beats_a_delete(sink: &Sink) {
    let row = |id: u64| json!({ "id": id, "name": "moved" });
    for (id, is_soft) in [(1, false), (2, true)] {
        let policy = if is_soft { "soft" } else { "hard" };
        let sections =
            format!("[[routes]]\ntable = \"thing\"\nindex = \"{}\"\ndelete = \"{policy}\"\n", sink.index("thing"));
        let run = |records: &[Record]| sink.gateway(records, "linger = \"1s\"\n", &sections).run().ended_well();
        let [d, c] = [delete("thing", 200, row(id)), insert("thing", 200, row(id))];
        for order in [[&d, &c], [&c, &d]] {
            for record in order {
                run(std::slice::from_ref(record));
            }
            assert_eq!(sink.source("thing", &id.to_string()), Some(row(id)), "{policy}, in two requests");
        }
        let id = id + 10;
        let [d, c] = [delete("thing", 200, row(id)), insert("thing", 200, row(id))];
        run(&[d.clone(), c.clone()]);
        assert_eq!(sink.source("thing", &id.to_string()), Some(row(id)), "{policy}, in one request");
        run(&[c, d]);
        assert_eq!(sink.source("thing", &id.to_string()), Some(row(id)), "{policy}, in one request");
    }
}

/// An update fixes the value that the plugin fails on, so the plugin fails on its before image only: the update is written,
/// and if it is filtered, the document is deleted.
fn an_update_that_fixes_a_row_is_written(sink: &Sink) {
    let plugins = format!(
        "[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nfail = \"broken\"\nkeep = [\"state\", \"open\"]\n",
        guests::shaper().display().to_string()
    );
    let row = |id: u64, broken: Value, state: &str| json!({ "id": id, "broken": broken, "state": state });
    let records = [1, 2].map(|id| {
        let (first, bad) = (row(id, Value::Null, "open"), row(id, json!(1), "open"));
        let fixed = row(id, Value::Null, if id == 1 { "open" } else { "closed" });
        let at = |place: u64| id * 1000 + place;
        [
            insert("thing", at(1), first.clone()),
            change("thing", at(2), Some(first), Some(bad.clone())),
            change("thing", at(3), Some(bad), Some(fixed)),
        ]
    });
    let gateway = sink.gateway(&records.concat(), "", &plugins);
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 2, "one for each update to the bad value: {}", run.log);
    assert_eq!(sink.source("thing", "1"), Some(row(1, Value::Null, "open")));
    assert_eq!(sink.source("thing", "2"), None, "the fixed row is filtered");
}

/// Unwrapped Debezium has no before images: the host deletes the documents that a row may have had, as the route says.
fn without_before_images_a_filtered_row_is_soft_deleted(sink: &Sink) {
    let sections = format!(
        "[[routes]]\ntable = \"thing\"\nindex = \"{}\"\ndelete = \"soft\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nkeep = [\"state\", \"open\"]\n",
        sink.index("thing"),
        guests::shaper().display().to_string()
    );
    let update = |place: u64, state: &str| {
        let value = json!({
            "id": 1, "state": state, "__op": "u", "__deleted": "false", "__source_db": "shop", "__table": "thing",
            "__source_file": "binlog.000001", "__source_pos": place, "__source_row": 0,
        });
        Record::new("flat.shop.thing", place as i64, value.to_string()).key(json!({ "id": 1 }).to_string())
    };
    let run = |record: Record| sink.gateway(&[record], "", &sections).run().ended_well();
    let written = run(update(100, "open"));
    assert_eq!(sink.source("thing", "1"), Some(json!({ "id": 1, "state": "open" })), "{}", written.log);
    let filtered = run(update(200, "closed"));
    let deleted = json!({ "id": 1, "state": "closed", "is_deleted": true });
    assert_eq!(sink.source("thing", "1"), Some(deleted), "{}", filtered.log);
}

/// With another routing value a document may be in another shard, where the old one must be deleted.
fn a_changed_routing_value_leaves_no_copy(sink: &Sink) {
    let shards = json!({ "settings": { "number_of_shards": 5 } });
    let (status, answer) = sink.elasticsearch.ask("PUT", &format!("/{}", sink.index("thing")), Some(&shards));
    assert_eq!(status, 200, "{answer}");
    let plugins = format!(
        "[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nid = \"id\"\nrouting = \"shop\"\n",
        guests::shaper().display().to_string()
    );
    let row = |id: u64, shop: u64| json!({ "id": id, "shop": shop });
    let records: Vec<Record> = (0..20)
        .flat_map(|id| {
            let (old, new) = (row(id, id), row(id, id + 1));
            [insert("thing", 100 + id, old.clone()), change("thing", 200 + id, Some(old), Some(new))]
        })
        .collect();
    let _ = sink.gateway(&records, "", &plugins).run().ended_well();
    sink.elasticsearch.ask("POST", &format!("/{}/_refresh", sink.index("thing")), None);
    let count = sink.elasticsearch.ask("GET", &format!("/{}/_count", sink.index("thing")), None).1["count"].clone();
    assert_eq!(count, 20, "each document once");
    assert_eq!(sink.source("thing", "7"), Some(row(7, 8)));
}

/// Of two changes that wait together only the newer one is sent. If it is rejected, the older one must be written.
fn a_rejected_change_does_not_take_the_older_one_along(sink: &Sink) {
    let mapping = json!({ "mappings": { "properties": { "name": { "type": "object" } } } });
    let (status, answer) = sink.elasticsearch.ask("PUT", &format!("/{}", sink.index("thing")), Some(&mapping));
    assert_eq!(status, 200, "{answer}");
    let row = |id: u64, name: Value| json!({ "id": id, "name": name });
    sink.run(&[insert("thing", 50, row(2, json!({ "a": 0 })))]);
    let records = [
        insert("thing", 100, row(1, json!({ "a": 1 }))),
        insert("thing", 150, row(1, json!({ "a": 2 }))),
        insert("thing", 200, row(1, json!("text"))),
        delete("thing", 300, row(2, json!({ "a": 0 }))),
        insert("thing", 400, row(2, json!("text"))),
    ];
    let gateway = sink.gateway(&records, "linger = \"1s\"\n", "");
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 2, "{}", run.log);
    assert_eq!(sink.source("thing", "1"), Some(row(1, json!({ "a": 2 }))));
    assert_eq!(sink.source("thing", "2"), None, "the row was deleted before the rejected insert");
    let outcomes = ["documents.index", "documents.delete", "folded"].map(|name| run.number(name));
    assert_eq!(outcomes, [1, 1, 1], "{}", run.summary);
}

fn truncate(table: &str, place: u64) -> Record {
    let mut record = change(table, place, None, None);
    let text = String::from_utf8(record.value.clone().expect("a value")).expect("text");
    record.value = Some(text.replace("\"op\":\"c\"", "\"op\":\"t\"").into_bytes());
    record
}

/// The mapping rejects one document: only that one becomes a dead letter, with Elasticsearch's reason.
fn a_mapping_error_is_a_dead_letter_and_the_others_are_written(sink: &Sink) {
    let mapping = json!({ "mappings": { "properties": { "name": { "type": "object" } } } });
    let (status, answer) = sink.elasticsearch.ask("PUT", &format!("/{}", sink.index("thing")), Some(&mapping));
    assert_eq!(status, 200, "{answer}");
    let row = |id: u64, name: Value| insert("thing", id, json!({ "id": id, "name": name }));
    let records = [row(1, json!({ "a": 1 })), row(2, json!("text")), row(3, json!({ "a": 3 }))];
    let gateway = sink.gateway(&records, "", "");
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 1, "{}", run.log);
    let ids: Vec<String> = sink.elasticsearch.sources(&sink.index("thing")).into_keys().collect();
    assert_eq!(ids, ["1", "3"]);
    let letter = &gateway.letters()[0];
    assert_eq!(letter["error"]["stage"], "sink");
    assert_eq!(letter["error"]["id"], "2");
    let reason = letter["error"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("_parsing_exception") && reason.contains("name"), "{reason}");
    assert_eq!(letter["value"].as_str().map(str::as_bytes), records[1].value.as_deref(), "the record is whole");
}

/// Of one row come three documents that the mapping refuses, of the next two of another: each record is one letter, with
/// all that was refused of it.
fn a_record_with_several_rejected_documents_is_one_dead_letter(sink: &Sink) {
    let mapping = json!({ "mappings": { "properties": { "name": { "type": "object" } } } });
    let (status, answer) = sink.elasticsearch.ask("PUT", &format!("/{}", sink.index("thing")), Some(&mapping));
    assert_eq!(status, 200, "{answer}");
    let row = |id: u64, count: u64, name: Value| insert("thing", id, json!({ "id": id, "count": count, "name": name }));
    let records = [row(1, 3, json!("text")), row(2, 2, json!({ "a": 1 })), row(3, 12, json!("text"))];
    let plugins = format!(
        "[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nid = \"id\"\ncopies = \"count\"\n",
        guests::shaper().display().to_string()
    );
    // Requests of two documents: those of a record are in several.
    let gateway = sink.gateway(&records, "bulk_documents = 2\n", &plugins);
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 2, "{}", run.log);
    let ids: Vec<String> = sink.elasticsearch.sources(&sink.index("thing")).into_keys().collect();
    assert_eq!(ids, ["2#0", "2#1"]);
    let letters = gateway.letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    for (record, copies) in [(&records[0], 3), (&records[2], 12)] {
        let letter = letters.iter().find(|letter| letter["partition"] == record.partition).expect("its letter");
        assert_eq!(letter["value"].as_str().map(str::as_bytes), record.value.as_deref(), "the record is whole");
        let reason = letter["error"]["reason"].as_str().expect("a reason");
        assert!(reason.starts_with(&format!("{copies} documents of the record were rejected: ")), "{reason}");
        for number in 0..copies.min(10) {
            assert!(reason.contains(&format!("{}/{}#{number}: ", sink.index("thing"), record.partition)), "{reason}");
        }
        assert_eq!(reason.ends_with("; and 2 more"), copies == 12, "{reason}");
        assert_eq!(letter["error"]["plugin"], "shaper");
    }
}

/// A TRUNCATE takes the documents of the table's rows, and not what a plugin of the mode `change` wrote beside them of
/// how the rows changed, whatever comes first.
fn an_audit_trail_survives_a_truncate(sink: &Sink) {
    // The index of the plugin has a fixed name, so the name of the table is unique.
    let table = unique("audited").replace('-', "_");
    let index = sink.index("rows");
    let truncate = |place: u64| {
        let mut record = change(&table, place, None, None);
        let mut value: Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
        value["op"] = "t".into();
        record.value = Some(value.to_string().into_bytes());
        record.key = None;
        record
    };
    let row = |id: u64, name: &str| json!({ "id": id, "name": name });
    let records = [
        insert(&table, 100, row(1, "old")),
        // It comes before a change that is older than it.
        truncate(300),
        change(&table, 200, Some(row(1, "old")), Some(row(1, "older than the truncate"))),
        insert(&table, 400, row(2, "new")),
    ];
    let sections = format!(
        "[[routes]]\ntable = \"shop.{table}\"\nindex = {index:?}\ntruncate = \"apply\"\n[plugins]\ndir = {:?}\n",
        guests::example("audit-trail").display().to_string()
    );
    let run = sink.gateway(&records, "", &sections).run().ended_well();
    assert_eq!((run.number("dead_letters"), run.number("documents.truncate")), (0, 1), "{}", run.log);
    let rows: Vec<String> = sink.elasticsearch.sources(&index).into_keys().collect();
    assert_eq!(rows, ["2"], "the table has one row");
    let trail = sink.elasticsearch.sources("audit");
    let mut trail: Vec<String> = trail
        .values()
        .filter(|document| document["table"] == format!("shop.{table}"))
        .map(|document| {
            assert!(document.get("_rowmill").is_none(), "{document}");
            format!("{} {}", document["operation"].as_str().unwrap_or_default(), document["after"]["name"])
        })
        .collect();
    trail.sort();
    assert_eq!(trail, ["insert \"new\"", "insert \"old\"", "update \"older than the truncate\""]);
}

fn a_missing_index_stops_where_none_may_be_created(sink: &Sink) {
    let run = sink.gateway(&things(3), "create_indices = false\n", "").run();
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains(&sink.index("thing")) && run.log.contains("create_indices"), "{}", run.log);
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            use super::*;
            $(#[test]
            fn $name() {
                super::$name(&Sink::embedded());
            })*
        }

        mod real {
            use super::*;
            $(#[test]
            #[ignore = "needs an Elasticsearch: make test"]
            fn $name() {
                let elasticsearch = Elasticsearch::real();
                super::$name(&Sink { elasticsearch, store: None, prefix: unique("sink") });
            })*
        }
    };
}

scenarios! {
    a_delete_does_not_come_back_by_a_late_older_write,
    an_older_write_does_not_replace_a_newer_one,
    at_one_position_a_write_beats_a_delete,
    at_one_position_a_written_part_beats_a_removed_one,
    a_rejected_change_does_not_take_the_older_one_along,
    an_update_that_fixes_a_row_is_written,
    without_before_images_a_filtered_row_is_soft_deleted,
    a_changed_routing_value_leaves_no_copy,
    parts_of_two_tables_merge_in_every_order,
    items_of_an_array_converge_in_every_order,
    an_item_does_not_overwrite_a_field_of_another_part,
    a_refused_part_takes_no_other_with_it,
    a_removed_item_leaves_only_its_version,
    a_mapping_error_is_a_dead_letter_and_the_others_are_written,
    a_record_with_several_rejected_documents_is_one_dead_letter,
    an_audit_trail_survives_a_truncate,
    a_missing_index_stops_where_none_may_be_created,
}
