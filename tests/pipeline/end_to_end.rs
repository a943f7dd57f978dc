//! Each tool's captured stream ends in exactly the tables' rows, with and without plugins, in whatever order partitions
//! are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::{Pipeline, Summary};
use rowmill::sink::embedded;
use rowmill_store::StoreHandle;
use rowmill_tests::captures::{self, Record, captured, interleaved};
use rowmill_tests::elasticsearch::{Document, Elasticsearch};
use rowmill_tests::gateway::{Gateway, Run};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::tables::{self, Documents, TABLES};
use rowmill_tests::{guests, seed, unique};
use serde_json::Value;

/// Which plugins a row goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    None,
    /// The bundled ones: row-filter without settings, which keeps all, and trade-document.
    Bundled,
}

fn plugins(chain: Chain) -> String {
    match chain {
        Chain::None => String::new(),
        Chain::Bundled => {
            let folder: PathBuf = guests::bundled();
            format!("[plugins]\nstate = \"\"\ndir = {:?}\n", folder.display().to_string())
        }
    }
}

fn routes(prefix: &str) -> String {
    let route =
        |table| format!("[[routes]]\ntable = \"shop.{table}\"\nindex = \"{prefix}-{table}\"\ntruncate = \"apply\"\n");
    TABLES.map(route).concat()
}

fn wanted(stream: &str, table: &str, chain: Chain) -> Documents {
    let documents = tables::expected(stream, table);
    if table != "trade" || chain == Chain::None {
        return documents;
    }
    documents.into_iter().map(|(id, row)| (id, tables::trade_document(&row))).collect()
}

#[track_caller]
fn check_all(what: &str, stream: &str, chain: Chain, mut sources: impl FnMut(&str) -> Documents) {
    for table in TABLES {
        tables::check(what, stream, table, &sources(table), &wanted(stream, table, chain));
    }
}

/// A stream in a real Kafka, and its own indices in a real Elasticsearch.
struct Servers {
    kafka: Kafka,
    elasticsearch: Elasticsearch,
    prefix: String,
    topics: BTreeSet<String>,
    records: usize,
}

impl Servers {
    fn with(stream: &str) -> Self {
        let (kafka, elasticsearch) = (Kafka::real(), Elasticsearch::real());
        let prefix = unique("e2e");
        let mut records = captured(stream);
        for record in &mut records {
            // A prefix, since the last parts of a topic name can name the table.
            record.topic = format!("{prefix}.{}", record.topic);
        }
        kafka.load(&records);
        let topics = records.iter().map(|record| record.topic.clone()).collect();
        Self { kafka, elasticsearch, prefix, topics, records: records.len() }
    }

    #[track_caller]
    fn run(&self, group: &str, chain: Chain, declared: &str) -> Run {
        let configuration = format!(
            "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = ['^{}\\..*']\ngroup = \"{group}\"\n[sink]\nurls = [{:?}]\n{}{}{declared}",
            self.kafka.brokers,
            self.prefix,
            self.elasticsearch.url,
            plugins(chain),
            routes(&self.prefix),
        );
        let gateway = Gateway::new("end-to-end", &configuration);
        let run = gateway.run().ended_well();
        assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
        assert_eq!(run.number("events"), self.records as u64);
        run
    }

    fn documents(&self) -> BTreeMap<&'static str, BTreeMap<String, Document>> {
        TABLES.map(|table| (table, self.elasticsearch.documents(&format!("{}-{table}", self.prefix)))).into()
    }

    fn sources(&self, table: &str) -> Documents {
        self.elasticsearch.sources(&format!("{}-{table}", self.prefix))
    }
}

/// From a real Kafka into a real Elasticsearch, and once more by a group that has read nothing.
#[track_caller]
fn kafka_to_elasticsearch(stream: &str, chain: Chain) {
    let servers = Servers::with(stream);
    let group = format!("{}-first", servers.prefix);
    servers.run(&group, chain, &tables::declared());
    check_all("from Kafka", stream, chain, |table| servers.sources(table));

    let committed: i64 = servers.kafka.committed(&group, &servers.topics).values().sum();
    assert_eq!(committed, servers.records as i64, "all that is settled is committed");

    let before = servers.documents();
    servers.run(&format!("{}-second", servers.prefix), chain, &tables::declared());
    assert_eq!(servers.documents(), before, "reading all again changes neither a source nor a version");
}

/// Without declared types, values keep the tool's spelling, with the same meaning.
#[track_caller]
fn undeclared(stream: &str) {
    let (store, _) = into_store(&captured(stream), Chain::None, "undeclared", "");
    for table in TABLES {
        let types = tables::columns(table);
        let got = sources(&store, table);
        let rows = tables::rows(table);
        for (id, row) in &rows {
            let document = got.get(id).unwrap_or_else(|| panic!("{stream}: no {table} {id}"));
            assert_eq!(
                document.as_object().map(|fields| fields.len()),
                row.as_object().map(|row| row.len()),
                "{document}"
            );
            for (column, value) in row.as_object().expect("a row") {
                // Maxwell's TIME is wrong outside of a day.
                if stream == "maxwell/records" && column == "cutoff" {
                    continue;
                }
                let same = tables::says(stream, &types[column], &document[column], value);
                assert!(same, "{stream} {table} {id} {column}: {} does not say {value}", document[column]);
            }
        }
        if !tables::lacks_truncates(stream, table) {
            assert_eq!(got.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>(), "{stream} {table}");
        }
    }
}

/// The pipeline as a library: these records from a file into the embedded store.
#[track_caller]
fn into_store(records: &[Record], chain: Chain, name: &str, declared: &str) -> (StoreHandle, Summary) {
    let folder = rowmill_tests::scratch(name);
    let path = captures::write(folder.path(), "records.ndjson", records);
    file_into_store(&path, chain, declared)
}

#[track_caller]
fn file_into_store(path: &Path, chain: Chain, declared: &str) -> (StoreHandle, Summary) {
    let letters = path.with_file_name("dead-letter.ndjson").display().to_string();
    let store = embedded::start(0).expect("the embedded store starts");
    let text = format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"5ms\"\n[dead_letter]\npath = {letters:?}\n[pipeline]\nbatch_rows = 16\n{}{}{declared}",
        path.display().to_string(),
        store.url(),
        plugins(chain),
        routes("own"),
    );
    let config = read_text(&text, "test", &Overrides::default()).expect("the configuration is right");
    let pipeline = Pipeline::new(config).expect("the pipeline is set up");
    let (summary, _) = pipeline.run(true).expect("it ends in order");
    assert_eq!(summary.dead_letters, 0, "{}", std::fs::read_to_string(&letters).unwrap_or_default());
    assert_eq!(summary.events, std::fs::read_to_string(path).expect("the records").lines().count() as u64);
    (store, summary)
}

fn sources(store: &StoreHandle, table: &str) -> Documents {
    let documents = store.documents(&format!("own-{table}"));
    documents
        .into_iter()
        .map(|one| (one.id, serde_json::from_str::<Value>(&one.source).expect("a source is JSON")))
        .collect()
}

/// From a file into the embedded store, in twenty orders that partitions can be read in.
#[track_caller]
fn any_interleaving(stream: &str) {
    let records = captured(stream);
    let (store, _) = into_store(&records, Chain::Bundled, "file", &tables::declared());
    check_all("from a file", stream, Chain::Bundled, |table| sources(&store, table));

    let mut random = fastrand::Rng::with_seed(seed());
    for number in 0..20 {
        let chain = if number % 4 == 0 { Chain::Bundled } else { Chain::None };
        let (store, _) = into_store(&interleaved(&records, &mut random), chain, "interleaved", &tables::declared());
        check_all(&format!("interleaving {number}"), stream, chain, |table| sources(&store, table));
    }
}

macro_rules! for_each_stream {
    ($($name:ident: $stream:literal),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            #[ignore = "needs a Kafka and an Elasticsearch: make test"]
            fn from_kafka_into_elasticsearch() {
                kafka_to_elasticsearch($stream, Chain::None);
            }

            #[test]
            #[ignore = "needs a Kafka and an Elasticsearch: make test"]
            fn from_kafka_through_plugins_into_elasticsearch() {
                kafka_to_elasticsearch($stream, Chain::Bundled);
            }

            #[test]
            fn says_the_same_without_declared_types() {
                undeclared($stream);
            }

            #[test]
            fn ends_in_the_same_rows_in_any_interleaving() {
                any_interleaving($stream);
            }
        }
    )*};
}

for_each_stream! {
    canal: "canal/flat",
    debezium_with_schema: "debezium/full",
    debezium_without_schema: "debezium/plain",
    debezium_unwrapped: "debezium/flat",
    maxwell: "maxwell/records",
}

/// The binary reads a file too, and its summary adds up.
#[test]
#[ignore = "needs an Elasticsearch: make test"]
fn a_file_into_elasticsearch() {
    let elasticsearch = Elasticsearch::real();
    let prefix = unique("file");
    let path = rowmill_tests::fixture("canal/flat.ndjson");
    let gateway = Gateway::new(
        "file",
        &format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\n{}{}",
            path.display().to_string(),
            elasticsearch.url,
            routes(&prefix),
            tables::declared()
        ),
    );
    let run = gateway.run().ended_well();
    check_all("from a file", "canal/flat", Chain::None, |table| elasticsearch.sources(&format!("{prefix}-{table}")));
    assert_eq!(run.number("events"), captured("canal/flat").len() as u64);
    assert_eq!(run.number("dead_letters"), 0);
    assert!(
        run.number("documents.index") > 0
            && run.number("documents.delete") > 0
            && run.number("documents.truncate") == 1,
        "{}",
        run.summary
    );
    assert!(gateway.letters().is_empty());
}

/// A limit of Canal (docs/versions.md): two changes of one document, in two partitions and within one second, have no order. The
/// higher offset wins, whichever arrived last; a second later the order is correct again.
#[test]
fn one_second_of_canal_in_two_partitions_is_ordered_by_what_canal_reports() {
    let change_at = |partition, offset, milliseconds: i64, gtid: &str, name: &str, old: Option<&str>| {
        let old = old.map_or(Value::Null, |old| serde_json::json!([{ "customer_no": old }]));
        let kind = if old.is_null() { "INSERT" } else { "UPDATE" };
        let value = serde_json::json!({
            "data": [{ "customer_no": "C1", "name": name }], "database": "shop", "table": "customers", "type": kind,
            "es": 1_795_216_000_000_i64 + milliseconds / 1000 * 1000, "ts": 1_795_216_000_000_i64 + milliseconds, "isDdl": false,
            "gtid": gtid,
            "mysqlType": { "customer_no": "varchar(32)", "name": "varchar(64)" }, "old": old, "pkNames": ["customer_no"],
            "sql": "", "sqlType": { "customer_no": 12, "name": 12 }, "id": 1,
        });
        let mut record = Record::new("canal", offset, value.to_string());
        record.partition = partition;
        record
    };
    let change = |partition, offset, second: i64, name: &str, old| {
        change_at(partition, offset, second * 1000 + 500, "", name, old)
    };
    let name = |records: &[Record]| {
        let (store, _) = into_store(records, Chain::None, "one-second", "");
        sources(&store, "customers")["C1"]["name"].clone()
    };
    // The row was C1 with `first`; then, in truth, another row's key was changed to C1: that is the last change.
    let first = change(0, 100, 7, "first", None);
    let last_within_the_second = change(1, 4, 7, "last", Some("C2"));
    assert_eq!(
        name(&[first.clone(), last_within_the_second]),
        "first",
        "the higher offset wins, though it was earlier"
    );
    let last = change(1, 4, 8, "last", Some("C2"));
    assert_eq!(name(&[first.clone(), last.clone()]), "last");
    assert_eq!(name(&[last, first.clone()]), "last", "in any order of arrival");
    // What Canal sent later is later; of what it sent within one millisecond, the transaction with the higher number.
    let sent_later = change_at(1, 4, 7501, "", "last", Some("C2"));
    assert_eq!(name(&[sent_later, first]), "last");
    let [first, last] =
        [(0, 100, 9, "first", None), (1, 4, 10, "last", Some("C2"))].map(|(partition, offset, number, name, old)| {
            change_at(partition, offset, 7500, &format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{number}"), name, old)
        });
    assert_eq!(name(&[last, first]), "last");
}
