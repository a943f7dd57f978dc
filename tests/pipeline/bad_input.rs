//! Records that cannot be processed become dead letters with the unchanged record and a clear reason, and all other records are
//! written. Errors in a configuration say what to write instead.

use std::net::TcpListener;
use std::time::Duration;

use rowmill_store::{Store, StoreHandle};
use rowmill_tests::captures::{self, Record};
use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::Gateway;
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{unique, wait};
use serde_json::{Value, json};

/// A row in Maxwell's format.
fn maxwell(table: &str, row: Value, number: u64) -> String {
    json!({
        "database": "shop", "table": table, "type": "insert", "ts": 1_795_216_000, "xid": number, "commit": true,
        "position": format!("binlog.000001:{}", 1000 + number), "primary_key_columns": ["id"], "data": row,
    })
    .to_string()
}

/// Bad records by name, and what their reason must contain.
fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = maxwell("thing", json!({ "id": 1000, "name": "x" }), 900);
    vec![
        ("not JSON", b"Hello?".to_vec(), "not JSON at byte 0"),
        ("truncated", good.as_bytes()[..good.len() - 9].to_vec(), "not JSON at byte"),
        (
            "another tool's",
            json!({ "data": [{ "id": "1" }], "database": "shop", "table": "thing", "type": "INSERT", "isDdl": false, "es": 1, "ts": 1,
                    "pkNames": ["id"], "mysqlType": { "id": "int" }, "old": null, "sql": "", "id": 1 })
            .to_string()
            .into_bytes(),
            "canal",
        ),
        ("without its key column", maxwell("thing", json!({ "name": "no id" }), 901).into_bytes(), "key column id"),
        ("with an id too long", maxwell("thing", json!({ "id": "x".repeat(600) }), 902).into_bytes(), "the limit is 512"),
        ("not UTF-8", vec![b'{', 0xff, 0xfe, b'}'], "not UTF-8"),
    ]
}

/// Good records with the bad ones between them.
fn mixed(topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut add = |value: Vec<u8>| {
        let offset = records.len() as i64;
        let mut record = Record::new(topic, offset, value).key(vec![b'k', 0xff, offset as u8]);
        record.headers = vec![
            ("trace".into(), Some(b"abc".to_vec())),
            ("bytes".into(), Some(vec![0xff, 0])),
            ("nothing".into(), None),
        ];
        records.push(record);
    };
    for (number, (_, value, _)) in bad().into_iter().enumerate() {
        add(maxwell("thing", json!({ "id": number, "name": "good" }), number as u64).into_bytes());
        add(value);
    }
    add(maxwell("never_heard_of", json!({ "id": 7 }), 100).into_bytes());
    records
}

fn reading(gateway: &Gateway, records: &[Record], store: &StoreHandle, more: &str) {
    let path = captures::write(gateway.folder.path(), "records.ndjson", records);
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n{more}\n[sink]\nurls = [{:?}]\nlinger = \"5ms\"\n",
        path.display().to_string(),
        store.url(),
    ));
}

#[test]
fn each_bad_record_is_a_dead_letter_with_a_reason_and_the_others_are_written() {
    let store = Store::builder().start().expect("the embedded store starts");
    let gateway = Gateway::new("bad-input", "");
    let records = mixed("maxwell");
    reading(&gateway, &records, &store, "");
    let run = gateway.run().ended_well();
    let letters = gateway.letters();
    assert_eq!(run.number("dead_letters"), bad().len() as u64, "{}", run.log);
    assert_eq!(letters.len(), bad().len());
    for (number, (name, _, reason)) in bad().into_iter().enumerate() {
        let record = &records[number * 2 + 1];
        let letter = letters
            .iter()
            .find(|letter| letter["offset"] == record.offset)
            .unwrap_or_else(|| panic!("no letter of the record {name}"));
        let said = letter["error"]["reason"].as_str().unwrap_or_default();
        assert!(said.to_lowercase().contains(&reason.to_lowercase()), "a record {name}: {said}");
        assert_eq!(Record::of_line(&letter.to_string()), *record, "a record {name} stays as it was");
    }
    let ids: Vec<String> = store.documents("thing").into_iter().map(|document| document.id).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5"], "the good ones are there");
    assert_eq!(store.count("never_heard_of"), 1, "a table that no route names goes to the index of its name");
}

#[test]
fn a_file_of_dead_letters_can_be_replayed() {
    let store = Store::builder().start().expect("the embedded store starts");
    let gateway = Gateway::new("bad-input", "");
    reading(&gateway, &mixed("maxwell"), &store, "");
    let run = gateway.run().ended_well();
    let again = Gateway::new("bad-input", "");
    again.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\n",
        gateway.letters_path().display().to_string(),
        store.url()
    ));
    let second = again.run().ended_well();
    assert_eq!(second.number("events"), run.number("dead_letters"));
    let values = |gateway: &Gateway| gateway.letters().iter().map(|letter| letter["value"].clone()).collect::<Vec<_>>();
    assert!(values(&again).iter().all(|value| values(&gateway).contains(value)));
}

/// A Canal message has several rows. A record has one dead letter, whose replay changes nothing that is right.
#[test]
fn one_bad_cell_of_a_canal_message_keeps_only_its_own_row_out() {
    let store = Store::builder().start().expect("the embedded store starts");
    let message = |offset: i64, quantities: &[(&str, &str)]| {
        let rows: Vec<Value> =
            quantities.iter().map(|(id, quantity)| json!({ "id": id, "quantity": quantity })).collect();
        let value = json!({
            "data": rows, "old": null, "database": "shop", "table": "thing", "type": "INSERT", "isDdl": false,
            "es": (1_795_216_000 + offset) * 1000, "id": 7, "ts": 1, "pkNames": ["id"],
            "mysqlType": { "id": "int", "quantity": "int" },
        });
        Record::new("canal", offset, value.to_string())
    };
    let records = [message(0, &[("1", "5"), ("2", "many"), ("3", "7")]), message(1, &[("4", "8")])];
    let gateway = Gateway::new("bad-input", "");
    reading(&gateway, &records, &store, "");
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 1, "{}", run.log);
    let ids = || store.documents("thing").into_iter().map(|document| document.id).collect::<Vec<_>>();
    assert_eq!(ids(), ["1", "3", "4"]);
    let letters = gateway.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let reason = letters[0]["error"]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("row 2 of 3 cannot be decoded"), "{reason}");
    assert!(reason.contains("column quantity"), "{reason}");
    // With a type that holds the value, the replay writes the row, and the others are as they were.
    let again = Gateway::new("bad-input", "");
    again.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[tables.\"shop.thing\"]\nquantity = \"varchar(9)\"\n[sink]\nurls = [{:?}]\n",
        gateway.letters_path().display().to_string(),
        store.url()
    ));
    let run = again.run().ended_well();
    assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
    assert_eq!(ids(), ["1", "2", "3", "4"]);
}

/// Canal reports seconds, and a partition's clock holds the latest. Dead letters are not in the order of their offsets, so with a
/// common clock an old one would get a version above newer data.
#[test]
fn a_replayed_record_has_the_version_that_it_had() {
    let store = Store::builder().start().expect("the embedded store starts");
    let change = |offset: i64, seconds: u64, kind: &str, row: Value, old: Value| {
        let value = json!({
            "data": [row], "old": if old.is_null() { Value::Null } else { json!([old]) }, "database": "shop", "table": "thing",
            "type": kind, "isDdl": false, "es": (1_795_216_000 + seconds) * 1000, "pkNames": ["id"],
            "mysqlType": { "id": "int", "name": "varchar(9)", "broken": "int" },
        });
        let mut record = Record::new("canal", 0, value.to_string());
        record.offset = offset;
        record
    };
    let row = |id: &str, name: &str, broken: Value| json!({ "id": id, "name": name, "broken": broken });
    let records = [
        change(5, 0, "INSERT", row("2", "old", json!("1")), Value::Null),
        change(50, 50, "UPDATE", row("2", "new", Value::Null), json!({ "name": "old", "broken": "1" })),
        change(100, 100, "INSERT", row("1", "late", json!("1")), Value::Null),
    ];
    let gateway = Gateway::new("bad-input", "");
    reading(&gateway, &records, &store, "");
    let plugins = |settings: &str| {
        let shaper = rowmill_tests::guests::shaper().display().to_string();
        format!("[plugins]\ndir = {shaper:?}\n[plugins.settings.shaper]\n{settings}\n")
    };
    let path = captures::write(gateway.folder.path(), "records.ndjson", &records);
    let configuration = |path: &str, more: &str| {
        format!("[source]\nkind = \"file\"\npath = {path:?}\n[sink]\nurls = [{:?}]\n{more}", store.url())
    };
    gateway.configure(&configuration(&path.display().to_string(), &plugins("fail = \"broken\"")));
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 2, "{}", run.log);

    let mut letters: Vec<String> = gateway.letters().iter().map(Value::to_string).collect();
    letters.reverse();
    let again = Gateway::new("bad-input", "");
    let replay = again.folder.path().join("replay.ndjson");
    std::fs::write(&replay, letters.join("\n")).expect("written");
    again.configure(&configuration(&replay.display().to_string(), ""));
    let run = again.run().ended_well();
    assert_eq!((run.number("stale"), run.number("documents.index")), (1, 1), "{}", run.summary);
    let names: Vec<Value> = store
        .documents("thing")
        .into_iter()
        .map(|document| serde_json::from_str::<Value>(&document.source).expect("JSON")["name"].clone())
        .collect();
    assert_eq!(names, ["late", "new"]);
}

#[test]
fn a_message_of_50_mb_is_written_or_refused_by_the_limit() {
    let store = Store::builder().start().expect("the embedded store starts");
    let large = maxwell("thing", json!({ "id": 1, "name": "x".repeat(50_000_000) }), 1);
    let records = [
        Record::new("maxwell", 0, maxwell("thing", json!({ "id": 0 }), 0)),
        Record::new("maxwell", 1, large),
        Record::new("maxwell", 2, maxwell("thing", json!({ "id": 2 }), 2)),
    ];
    let gateway = Gateway::new("bad-input", "");
    reading(&gateway, &records, &store, "max_message_bytes = \"1MiB\"\n");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("dead_letters"), store.count("thing")), (1, 2), "{}", run.log);
    let letter = &gateway.letters()[0];
    assert!(letter["error"]["reason"].as_str().is_some_and(|reason| reason.contains("raise max_message_bytes")));
    assert_eq!(letter["value"].as_str().map(str::len), records[1].value.as_ref().map(Vec::len), "and whole");

    reading(&gateway, &records, &store, "");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("dead_letters"), store.count("thing")), (0, 3), "{}", run.log);
}

#[test]
#[ignore = "needs a Kafka: make test"]
fn dead_letters_in_kafka_have_the_record_and_headers_with_the_reason() {
    let kafka = Kafka::real();
    let store = Store::builder().start().expect("the embedded store starts");
    let name = unique("bad");
    let records = mixed(&format!("{name}.maxwell"));
    kafka.load(&records);
    let letters = format!("{name}.letters");
    kafka.create(&letters, 1);
    let gateway = Gateway::new(
        "bad-input",
        &format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = [{:?}]\ngroup = {name:?}\n[sink]\nurls = [{:?}]\n\
             [dead_letter]\nkind = \"kafka\"\ntopic = {letters:?}\n",
            kafka.brokers,
            records[0].topic,
            store.url(),
        ),
    );
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), bad().len() as u64, "{}", run.log);
    let kept = kafka.read(&letters, bad().len());
    for (number, (what, _, reason)) in bad().into_iter().enumerate() {
        let record = &records[number * 2 + 1];
        let letter = kept
            .iter()
            .find(|letter| letter.key == record.key)
            .unwrap_or_else(|| panic!("no letter of the record {what}"));
        assert_eq!(letter.value, record.value, "{what}");
        let (own, told): (Vec<_>, Vec<_>) =
            letter.headers.iter().cloned().partition(|(name, _)| !name.starts_with("rowmill."));
        assert_eq!(own, record.headers, "{what}: its own headers are all there");
        let header = |name: &str| {
            let found = told.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
            String::from_utf8(found.unwrap_or_default()).expect("a header is text")
        };
        assert!(
            header("rowmill.reason").to_lowercase().contains(&reason.to_lowercase()),
            "{what}: {}",
            header("rowmill.reason")
        );
        assert_eq!(header("rowmill.topic"), record.topic);
        assert_eq!(header("rowmill.offset"), record.offset.to_string());
    }
    let topics = [records[0].topic.clone()].into();
    assert_eq!(kafka.committed(&name, &topics).values().sum::<i64>(), records.len() as i64, "letters are settled");
}

#[test]
#[ignore = "needs a Kafka: make test"]
fn a_dead_letter_that_is_too_large_for_kafka_goes_to_the_file() {
    let kafka = Kafka::real();
    let store = Store::builder().start().expect("the embedded store starts");
    let name = unique("large");
    let topic = format!("{name}.maxwell");
    let good = maxwell("thing", json!({ "id": 1 }), 1).into_bytes();
    // As large as the topic takes: the letter, with its headers, is larger than the producer's limit.
    let values = [b"no JSON".to_vec(), b"x".repeat(999_000), good];
    let records: Vec<Record> =
        values.iter().map(|value| Record::new(&topic, 0, String::from_utf8_lossy(value).into_owned())).collect();
    kafka.load(&records);
    let letters = format!("{name}.letters");
    kafka.create(&letters, 1);
    let gateway = Gateway::new("bad-input", "");
    gateway.configure(
        &format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = [{topic:?}]\ngroup = {name:?}\n[sink]\nurls = [{:?}]\n\
             [dead_letter]\nkind = \"kafka\"\ntopic = {letters:?}\npath = {:?}\n[dead_letter.properties]\n\"message.max.bytes\" = \"990000\"\n",
            kafka.brokers,
            store.url(),
            gateway.letters_path().display().to_string(),
        ),
    );
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 2, "{}", run.log);
    assert_eq!(store.count("thing"), 1);
    assert_eq!(kafka.read(&letters, 1)[0].value, records[0].value, "the small one is in the topic");
    let in_file = gateway.letters();
    assert_eq!(in_file.len(), 1, "{}", run.log);
    assert_eq!(in_file[0]["value"].as_str().map(str::as_bytes), records[1].value.as_deref());
    let topics = [topic].into();
    assert_eq!(kafka.committed(&name, &topics).values().sum::<i64>(), 3, "both are settled");
}

#[track_caller]
fn refused(configuration: &str, said: &str) {
    let run = Gateway::new("bad-configuration", configuration).run();
    assert_eq!(run.code, Some(2), "{}", run.log);
    assert!(run.log.contains(said), "{}\ndoes not say\n{said}", run.log);
    assert!(!run.log.contains("panicked"), "{}", run.log);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line_and_the_nearest_key() {
    refused(
        "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nkind = \"null\"\nlingr = \"1s\"\n",
        "line 6: unknown key `lingr`; did you mean `linger`?",
    );
    refused("[source]\nkind = \"kafak\"\n", "did you mean \"kafka\"?");
    refused("[source\n", "line 1");
}

#[test]
fn a_missing_configuration_is_refused_by_its_name() {
    let gateway = Gateway::new("bad-configuration", "");
    std::fs::remove_file(gateway.folder.path().join("rowmill.toml")).expect("it was there");
    let run = gateway.run();
    assert_eq!(run.code, Some(2));
    assert!(run.log.contains("cannot read the configuration"), "{}", run.log);
}

#[test]
fn a_kafka_that_is_down_is_reported_and_retried() {
    // Bound and never listening, so that nobody else takes the port.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let gateway = Gateway::new(
        "away",
        &format!(
            "[source]\nkind = \"kafka\"\nbrokers = \"127.0.0.1:{port}\"\ntopics = [\"t\"]\n[sink]\nkind = \"null\"\n"
        ),
    );
    let mut running = gateway.start(&[]);
    wait::until("it says which broker is down", Duration::from_secs(30), || {
        running.log().contains(&format!("127.0.0.1:{port}"))
    });
    assert!(running.is_running(), "{}", running.log());
    // Without a terminal, progress is logged every ten seconds; that once caused a deadlock.
    wait::until("it tells how far it is", Duration::from_secs(30), || running.log().contains(" events · "));
}

#[test]
#[ignore = "needs an Elasticsearch: make test"]
fn a_password_is_never_printed() {
    let elasticsearch = Elasticsearch::real();
    // The test server has no security: it takes whoever comes.
    let gateway = Gateway::new("bad-input", "");
    let path = captures::write(gateway.folder.path(), "records.ndjson", &[]);
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nusername = \"a\"\npassword = \"secret-word\"\n",
        path.display().to_string(),
        elasticsearch.url
    ));
    let run = gateway.run().ended_well();
    assert!(!run.log.contains("secret-word"), "a password is never printed");
}
