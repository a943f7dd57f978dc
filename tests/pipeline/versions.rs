//! The newest change of a row wins, also where records carry different or misleading positions.

use rowmill_store::{Store, StoreHandle};
use rowmill_tests::captures::{self, Record};
use rowmill_tests::gateway::{Gateway, Run};
use serde_json::{Value, json};

/// Reads the records, in this order, into a new embedded store. `sections` are further sections of the configuration.
#[track_caller]
fn run(records: &[Record], sections: &str) -> (StoreHandle, Gateway, Run) {
    let store = Store::builder().start().expect("the embedded store starts");
    let gateway = Gateway::new("versions", "");
    let run = run_into(&store, &gateway, records, sections);
    (store, gateway, run)
}

#[track_caller]
fn run_into(store: &StoreHandle, gateway: &Gateway, records: &[Record], sections: &str) -> Run {
    let path = captures::write(gateway.folder.path(), "records.ndjson", records);
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[pipeline]\nbatch_rows = 1\n[sink]\nurls = [{:?}]\nlinger = \"5ms\"\n{sections}",
        path.display().to_string(),
        store.url(),
    ));
    gateway.run().ended_well()
}

/// The `name` of each document of the table `thing`, by ID.
fn names(store: &StoreHandle) -> Vec<(String, String)> {
    let name = |source: &str| serde_json::from_str::<Value>(source).expect("a source is JSON")["name"].to_string();
    let mut names: Vec<_> = store.documents("thing").into_iter().map(|one| (one.id, name(&one.source))).collect();
    names.sort();
    names
}

fn named(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(id, name)| ((*id).to_owned(), format!("\"{name}\""))).collect()
}

/// A row in Maxwell's format, with a position as current versions write it: rows of a bootstrap have none.
fn maxwell(offset: i64, kind: &str, id: u64, name: &str, position: Option<u64>) -> Record {
    let mut value = json!({
        "database": "shop", "table": "thing", "type": kind, "ts": 1_795_216_000 + offset, "xid": offset, "commit": true,
        "primary_key_columns": ["id"], "data": { "id": id, "name": name },
    });
    if kind == "update" {
        value["old"] = json!({ "name": "before" });
    }
    if let Some(position) = position {
        value["position"] = json!(format!("binlog.000001:{position}"));
    }
    Record::new("maxwell", offset, value.to_string())
}

#[test]
fn a_row_of_a_maxwell_bootstrap_does_not_keep_later_changes_out() {
    let records = [
        maxwell(0, "insert", 1, "streamed", Some(100)),
        maxwell(1, "bootstrap-insert", 1, "read", None),
        maxwell(2, "bootstrap-insert", 2, "read", None),
        maxwell(3, "bootstrap-insert", 3, "read", None),
        maxwell(4, "update", 2, "changed", Some(200)),
    ];
    let (store, _, run) = run(&records, "");
    assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
    assert_eq!(names(&store), named(&[("1", "streamed"), ("2", "changed"), ("3", "read")]));
    // The bootstrap may come first, and one in a new epoch replaces what there is.
    let (store, gateway, _) = self::run(&records[1..], "");
    assert_eq!(names(&store), named(&[("1", "read"), ("2", "changed"), ("3", "read")]));
    let again = [maxwell(5, "bootstrap-insert", 2, "read again", None)];
    let run = run_into(&store, &gateway, &again, "[[routes]]\ntable = \"*\"\nepoch = 1\n");
    assert_eq!(run.number("stale"), 0, "{}", run.summary);
    assert_eq!(names(&store), named(&[("1", "read"), ("2", "read again"), ("3", "read")]));
}

/// Older versions of Maxwell give all rows of a bootstrap its position.
#[test]
fn rows_that_share_the_position_of_their_bootstrap_stay_below_the_next_change() {
    let mut records: Vec<Record> =
        (0..3000).map(|id| maxwell(id, "bootstrap-insert", id as u64, "read", Some(100))).collect();
    records.push(maxwell(3000, "update", 2999, "changed", Some(101)));
    let (store, _, run) = run(&records, "");
    assert!(names(&store).contains(&("2999".into(), "\"changed\"".into())), "{}", run.summary);
    assert_eq!(run.number("stale"), 0, "{}", run.summary);
}

/// An unwrapped Debezium row, with a binlog position or without one.
fn flat(offset: i64, op: &str, id: u64, name: &str, position: Option<u64>) -> Record {
    let mut value = json!({
        "id": id, "name": name, "__op": op, "__deleted": "false", "__source_db": "shop", "__table": "thing",
        "__source_ts_ms": 1_795_216_000_000_u64 + offset as u64 * 1000,
    });
    if let Some(position) = position {
        value["__source_file"] = json!("binlog.000001");
        value["__source_pos"] = json!(position);
        value["__source_row"] = json!(0);
    }
    Record::new("flat.shop.thing", offset, value.to_string()).key(json!({ "id": id }).to_string())
}

#[test]
fn a_record_without_the_position_that_others_have_is_a_dead_letter() {
    let records = [
        flat(0, "c", 1, "first", Some(100)),
        flat(1, "u", 1, "without a position", None),
        flat(2, "u", 1, "last", Some(300)),
    ];
    let (store, gateway, run) = run(&records, "");
    assert_eq!(names(&store), named(&[("1", "last")]), "{}", run.log);
    let letters = gateway.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["offset"], 1);
    let reason = letters[0]["error"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no binlog file and position") && reason.contains("`epoch`"), "{reason}");
}

#[test]
fn a_row_of_a_debezium_snapshot_loses_against_a_change_at_its_position() {
    let records = [flat(0, "u", 1, "streamed", Some(100)), flat(1, "r", 1, "read", Some(100))];
    let (store, _, run) = run(&records, "");
    assert_eq!(names(&store), named(&[("1", "streamed")]), "{}", run.summary);
}

#[test]
fn a_reset_binlog_raises_an_alarm_that_names_the_epoch() {
    let mut records = [flat(0, "c", 1, "before", Some(100)), flat(1, "u", 1, "after the failover", Some(100))];
    let value = String::from_utf8(records[0].value.take().expect("a value")).expect("text");
    records[0].value = Some(value.replace("binlog.000001", "binlog.000042").into_bytes());
    let (store, _, run) = run(&records, "");
    assert!(run.log.contains("file numbers went back from 42 to 1"), "{}", run.log);
    assert!(run.log.contains("ERROR") && run.log.contains("`epoch`"), "{}", run.log);
    assert_eq!(names(&store), named(&[("1", "before")]));
}
