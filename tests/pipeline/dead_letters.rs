//! Dead letters: what they keep, and what a replay makes of them.

use std::path::Path;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::{Ended, Pipeline, Summary};
use rowmill_store::{FaultEffect, FaultRule, Store, StoreHandle};
use rowmill_tests::captures::{self, Record};
use rowmill_tests::kafka::Kafka;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the files of some runs, and the store that they write to.
struct Bench {
    folder: TempDir,
    store: StoreHandle,
}

impl Bench {
    fn new() -> Self {
        let store = Store::builder().start().expect("the embedded store starts");
        Self { folder: rowmill_tests::scratch("dead-letters"), store }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs the records of a file into the store; dead letters go to the file `letters`.
    #[track_caller]
    fn run_file(&self, records: &str, letters: &str, more: &str) -> Summary {
        let text = format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"1ms\"\n[dead_letter]\npath = {:?}\n{more}",
            self.path(records),
            self.store.url(),
            self.path(letters),
        );
        let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is valid");
        Pipeline::new(config).expect("the pipeline is set up").run(true).expect("it ends in order").0
    }

    #[track_caller]
    fn run(&self, records: &[Record], letters: &str, more: &str) -> Summary {
        captures::write(self.folder.path(), "records.ndjson", records);
        self.run_file("records.ndjson", letters, more)
    }

    /// Lets the store reject the documents with these IDs.
    fn reject(&self, ids: &'static [&'static str]) {
        let effect = FaultEffect::Error(400, "mapper_parsing_exception", "rejected by the test".into());
        self.store.inject(FaultRule::item(effect).when(|item| item.id.is_some_and(|id| ids.contains(&id))));
    }

    fn letters(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a letter is a line of JSON")).collect()
    }

    #[track_caller]
    fn version(&self, id: &str) -> u64 {
        let document = self.store.get("thing", id).unwrap_or_else(|| panic!("no document {id}"));
        u64::try_from(document.version).expect("a version")
    }

    #[track_caller]
    fn name(&self, id: &str) -> String {
        let document = self.store.get("thing", id).unwrap_or_else(|| panic!("no document {id}"));
        let source: Value = serde_json::from_str(&document.source).expect("a source is JSON");
        source["name"].as_str().expect("a name").to_string()
    }
}

const BEGIN: i64 = 1_795_216_000;

/// Rows in one record of Canal's, at a second after [`BEGIN`].
fn canal(offset: i64, second: i64, rows: &[(&str, &str)]) -> Record {
    let data: Vec<Value> = rows.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    let milliseconds = (BEGIN + second) * 1000;
    let value = json!({
        "data": data, "database": "shop", "table": "thing", "type": "INSERT", "es": milliseconds, "ts": milliseconds,
        "isDdl": false, "mysqlType": { "id": "varchar(32)", "name": "varchar(64)" }, "old": null, "pkNames": ["id"],
        "sql": "", "sqlType": { "id": 12, "name": 12 }, "id": 1,
    });
    Record::new("canal", offset, value.to_string())
}

/// The version of a row by time, as docs/versions.md describes it.
fn by_time(second: i64, offset: u64) -> u64 {
    ((BEGIN + second - 1_500_000_000) as u64) << 28 | offset
}

/// A row of Maxwell's, numbered in its transaction.
fn maxwell(offset: i64, position: u64, number: u64, id: u64) -> Record {
    let value = json!({
        "database": "shop", "table": "thing", "type": "insert", "ts": BEGIN, "xid": 1, "xoffset": number,
        "position": format!("binlog.000001:{position}"), "primary_key_columns": ["id"],
        "data": { "id": id, "name": "row" },
    });
    Record::new("maxwell", offset, value.to_string())
}

fn write_lines(folder: &Path, name: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.join(name), text).expect("the file can be written");
}

/// A time that runs backwards is held at the maximum of its partition. In a file of letters, which are not in the order of
/// the offsets, that maximum is too high.
#[test]
fn a_replayed_canal_record_does_not_overwrite_newer_data() {
    let bench = Bench::new();
    bench.reject(&["1", "2"]);
    bench.run(&[canal(5, 100, &[("1", "old")]), canal(9, 200, &[("2", "later")])], "letters", "");
    bench.store.clear_faults();
    bench.run(&[canal(7, 150, &[("1", "new")])], "none", "");
    let mut letters = bench.letters("letters");
    assert_eq!(letters.len(), 2);
    letters.sort_by_key(|letter| std::cmp::Reverse(letter["offset"].as_i64()));
    write_lines(bench.folder.path(), "replay", &letters);
    let summary = bench.run_file("replay", "again", "");
    assert_eq!((bench.name("1").as_str(), summary.stale), ("new", 1), "the newer state stays");
    assert_eq!((bench.version("1"), bench.version("2")), (by_time(150, 7), by_time(200, 9)));
}

/// Replayed alone, a record has no earlier ones that hold its time.
#[test]
fn a_rejected_document_keeps_its_version() {
    let bench = Bench::new();
    bench.reject(&["2"]);
    let records = [canal(1, 300, &[("1", "x")]), canal(2, 250, &[("3", "x"), ("2", "held")])];
    bench.run(&records, "letters", "");
    bench.store.clear_faults();
    bench.run_file("letters", "again", "");
    assert_eq!((bench.version("2"), bench.version("3")), (by_time(300, 2), by_time(300, 2)));
}

/// The versions are those of the time of the letter, also if the route has another epoch by then.
#[test]
fn a_letter_keeps_its_epoch() {
    let bench = Bench::new();
    let route = |epoch| format!("[[routes]]\ntable = \"shop.thing\"\nepoch = {epoch}\n");
    bench.reject(&["1"]);
    bench.run(&[canal(1, 0, &[("1", "old")])], "letters", &route(1));
    bench.store.clear_faults();
    bench.run_file("letters", "again", &route(2));
    assert_eq!(bench.version("1"), 1 << 59 | by_time(0, 1));
}

/// A record that cannot be decoded gets the version that it would have got at first.
#[test]
fn a_record_that_could_not_be_decoded_is_held_at_the_clock_of_its_time() {
    let bench = Bench::new();
    let records = [canal(1, 300, &[("1", "x")]), canal(2, 250, &[("2", "no number")]), canal(3, 400, &[("3", "x")])];
    let declared = "[tables.\"shop.thing\"]\nname = \"INT\"\n";
    // Only one of the three names is a number.
    let numbers = [records[0].clone(), records[1].clone(), records[2].clone()].map(|mut record| {
        let text = String::from_utf8(record.value.take().expect("a value")).expect("text");
        record.value = Some(text.replace("\"x\"", "\"7\"").into_bytes());
        record
    });
    bench.run(&numbers, "letters", declared);
    let letters = bench.letters("letters");
    let error = &letters[0]["error"];
    assert_eq!((letters.len(), &error["stage"], &error["versions"]), (1, &json!("decode"), &Value::Null), "{error}");
    bench.run_file("letters", "again", "");
    assert_eq!((bench.name("2").as_str(), bench.version("2")), ("no number", by_time(300, 2)));
}

/// Maxwell numbers rows from the start of their transaction; the version depends on the numbers given before.
#[test]
fn numbered_rows_of_a_transaction_keep_their_versions() {
    let bench = Bench::new();
    let rows = [maxwell(1, 500, 1022, 1), maxwell(2, 500, 1023, 2), maxwell(3, 500, 1024, 3)];
    bench.run(&rows, "none", "");
    let wanted = ["1", "2", "3"].map(|id| bench.version(id));
    assert!(wanted.is_sorted_by(|a, b| a < b), "{wanted:?}");

    let again = Bench::new();
    again.reject(&["2"]);
    again.run(&rows, "letters", "");
    again.store.clear_faults();
    again.run_file("letters", "again", "");
    assert_eq!(["1", "2", "3"].map(|id| again.version(id)), wanted);
}

/// A letter that fails again carries the versions of the first time, and the partition's own clock never sees it.
#[test]
fn a_letter_that_fails_again_keeps_its_versions() {
    let bench = Bench::new();
    bench.reject(&["1"]);
    bench.run(&[canal(1, 300, &[("9", "x")]), canal(2, 250, &[("1", "x")])], "letters", "");
    bench.run_file("letters", "again", "");
    let versions = |name: &str| bench.letters(name)[0]["error"]["versions"].clone();
    assert_eq!(versions("letters"), json!(by_time(300, 2).to_string()));
    assert_eq!(versions("again"), versions("letters"));

    // A stream behind a letter in the same file.
    let mut lines = bench.letters("letters");
    lines[0]["error"]["versions"] = json!(by_time(1000, 2).to_string());
    lines.push(serde_json::from_str(&canal(3, 260, &[("4", "x")]).line()).expect("JSON"));
    write_lines(bench.folder.path(), "mixed", &lines);
    bench.store.clear_faults();
    bench.run_file("mixed", "again", "");
    assert_eq!((bench.version("1"), bench.version("4")), (by_time(1000, 2), by_time(260, 3)));
}

/// A topic of letters that is read like any other.
#[test]
fn letters_in_a_topic_that_is_read_keep_their_versions() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("letters", 1, 1).expect("a topic");
    let bench = Bench::new();
    bench.reject(&["1"]);
    captures::write(bench.folder.path(), "records", &[canal(1, 300, &[("9", "x")]), canal(2, 250, &[("1", "x")])]);
    let run = |source: &str, letters: &str| {
        let text = format!("[source]\n{source}\n[sink]\nurls = [{:?}]\n[dead_letter]\n{letters}\n", bench.store.url());
        let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is valid");
        Pipeline::new(config).expect("the pipeline is set up").run(true).expect("it ends in order").0
    };
    let brokers = cluster.bootstrap_servers();
    let to_topic = format!("kind = \"kafka\"\nbrokers = {brokers:?}\ntopic = \"letters\"");
    let first = run(&format!("kind = \"file\"\npath = {:?}", bench.path("records")), &to_topic);
    assert_eq!(first.dead_letters, 1);
    bench.store.clear_faults();
    let source = format!("brokers = {brokers:?}\ntopics = [\"letters\"]\ngroup = \"letters\"\ninstance = \"none\"");
    let second = run(&source, &format!("path = {:?}", bench.path("again")));
    assert_eq!((second.events, second.dead_letters), (1, 0));
    assert_eq!(bench.version("1"), by_time(300, 2));
}

#[test]
fn more_letters_than_allowed_in_a_minute_end_the_run_and_lose_nothing() {
    let bench = Bench::new();
    let records: Vec<Record> = (0..10).map(|offset| Record::new("canal", offset, "no change event")).collect();
    captures::write(bench.folder.path(), "records", &records);
    let pipeline = |limit: u32| {
        let text = format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"null\"\n[dead_letter]\npath = {:?}\nmax_per_minute = {limit}\n",
            bench.path("records"),
            bench.path("letters"),
        );
        let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is valid");
        Pipeline::new(config).expect("the pipeline is set up").run(true)
    };
    let message = format!("{:#}", pipeline(9).expect_err("the run fails"));
    assert!(message.contains("dead_letter.max_per_minute"), "{message}");
    let n_stored = bench.letters("letters").len();
    assert!(n_stored < 10, "{n_stored}");
    let (summary, ended) = pipeline(10).expect("it ends in order");
    assert_eq!((summary.dead_letters, ended), (10, Ended::CaughtUp));
    assert_eq!(bench.letters("letters").len(), n_stored + 10, "every record has a letter");
}

#[test]
fn a_damaged_letter_is_an_error_that_names_it() {
    let bench = Bench::new();
    let mut line: Value = serde_json::from_str(&canal(1, 0, &[("1", "x")]).line()).expect("JSON");
    line["error"] = json!({ "versions": "12e9" });
    write_lines(bench.folder.path(), "letters", &[line]);
    let text = format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"null\"\n[dead_letter]\npath = {:?}\n",
        bench.path("letters"),
        bench.path("again")
    );
    let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is valid");
    let error = Pipeline::new(config).expect("the pipeline is set up").run(true).expect_err("the run fails");
    let message = format!("{error:#}");
    assert!(message.contains("offset 1 of canal[0] is damaged") && message.contains("12e9"), "{message}");
}

/// A cluster with a topic for dead letters, and the configuration of two bad records that become letters in it. Kafka finds the
/// first one too large.
struct TooLarge {
    cluster: MockCluster<'static, DefaultProducerContext>,
    bench: Bench,
}

impl TooLarge {
    fn new() -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("letters", 1, 1).expect("a topic");
        Self { cluster, bench: Bench::new() }
    }

    /// Runs two records; `more` is the end of the section of dead letters. Returns the letters in the file.
    #[track_caller]
    fn run(&self, more: &str) -> Vec<Value> {
        let large = Record::new("t", 0, "x".repeat(1_020_000)).key("first");
        captures::write(self.bench.folder.path(), "records", &[large, Record::new("t", 1, "bad").key("second")]);
        let text = format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"null\"\n[dead_letter]\nkind = \"kafka\"\nbrokers = {:?}\n\
             topic = \"letters\"\npath = {:?}\n{more}",
            self.bench.path("records"),
            self.cluster.bootstrap_servers(),
            self.bench.path("new-folder/too-large"),
        );
        let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is valid");
        let (summary, ended) =
            Pipeline::new(config).expect("the pipeline is set up").run(true).expect("it ends in order");
        assert_eq!((summary.dead_letters, ended), (2, Ended::CaughtUp));
        self.bench.letters("new-folder/too-large")
    }

    #[track_caller]
    fn keys_in_topic(&self, count: usize) -> Vec<Option<Vec<u8>>> {
        let kafka = Kafka { brokers: self.cluster.bootstrap_servers() };
        kafka.read("letters", count).into_iter().map(|record| record.key).collect()
    }
}

#[test]
fn a_letter_that_the_client_finds_too_large_goes_to_a_file() {
    let kafka = TooLarge::new();
    let letters = kafka.run("[dead_letter.properties]\n\"message.max.bytes\" = \"1000000\"\n");
    assert_eq!(letters.iter().map(|letter| letter["key"].clone()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(letters[0]["value"].as_str().map(str::len), Some(1_020_000), "the record is whole");
    assert_eq!(kafka.keys_in_topic(1), [Some(b"second".to_vec())]);
}

#[test]
fn a_letter_that_the_brokers_find_too_large_goes_to_a_file() {
    let kafka = TooLarge::new();
    kafka.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    // One request for each letter.
    let letters = kafka.run("[dead_letter.properties]\n\"batch.num.messages\" = \"1\"\n\"max.in.flight\" = \"1\"\n");
    assert_eq!(letters.iter().map(|letter| letter["key"].clone()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(kafka.keys_in_topic(1), [Some(b"second".to_vec())]);
}

#[test]
fn a_letter_of_a_megabyte_is_left_to_the_limit_of_the_topic() {
    let kafka = TooLarge::new();
    assert_eq!(kafka.run(""), Vec::<Value>::new());
    assert_eq!(kafka.keys_in_topic(2), [Some(b"first".to_vec()), Some(b"second".to_vec())]);
}
