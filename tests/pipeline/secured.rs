//! Kafka and Elasticsearch with authentication: each way to log in works, and `run` and `check` report errors with what to do, and
//! without the password.

use rowmill_store::{Store, StoreHandle};
use rowmill_tests::captures::{self, Record};
use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::Gateway;
use rowmill_tests::kafka::Kafka;
use rowmill_tests::secured::{PASSWORD, Secured, USER};
use rowmill_tests::unique;
use serde_json::{Value, json};

const WRONG: &str = "not-the-word";

/// Three rows in Maxwell's format, and a record that cannot be decoded.
fn records(topic: &str) -> Vec<Record> {
    let row = |id: u64| {
        json!({
            "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": id, "commit": true,
            "position": format!("binlog.000001:{}", 1000 + id), "primary_key_columns": ["id"], "data": { "id": id },
        })
    };
    let mut values: Vec<String> = (0..3).map(|id| row(id).to_string()).collect();
    values.push("no record".into());
    values.into_iter().enumerate().map(|(offset, value)| Record::new(topic, offset as i64, value)).collect()
}

/// The lines of a section of librdkafka's properties.
fn properties(mechanism: &str, password: &str, ca: &str) -> String {
    format!(
        "\"security.protocol\" = \"SASL_SSL\"\n\"ssl.ca.location\" = {ca:?}\n\"sasl.mechanism\" = {mechanism:?}\n\
         \"sasl.username\" = {USER:?}\n\"sasl.password\" = {password:?}\n"
    )
}

/// A topic, filled through the listener without authentication, and a store for the documents.
struct Stream {
    kafka: Kafka,
    secured: Secured,
    store: StoreHandle,
    topic: String,
    letters: String,
}

impl Stream {
    fn new() -> Self {
        let (kafka, secured) = (Kafka::real(), Secured::kafka());
        let name = unique("secured");
        let (topic, letters) = (format!("{name}.maxwell"), format!("{name}.letters"));
        kafka.load(&records(&topic));
        kafka.create(&letters, 1);
        let store = Store::builder().start().expect("the embedded store starts");
        Self { kafka, secured, store, topic, letters }
    }

    fn gateway(&self, properties: &str, dead_letter: &str) -> Gateway {
        Gateway::new(
            "secured",
            &format!(
                "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = [{:?}]\ngroup = {:?}\n[source.properties]\n{properties}\n\
                 [sink]\nurls = [{:?}]\nlinger = \"5ms\"\n[dead_letter]\n{dead_letter}\n",
                self.secured.address,
                self.topic,
                unique("group"),
                self.store.url(),
            ),
        )
    }

    fn letters_in_kafka(&self) -> String {
        format!("kind = \"kafka\"\ntopic = {:?}\n", self.letters)
    }
}

/// The gateway exits immediately with this code, and with a message that says what to do and never contains the password.
#[track_caller]
fn refused(gateway: &Gateway, said: &[&str]) {
    let run = gateway.run();
    assert_eq!(run.code, Some(1), "{}", run.log);
    let (code, verdicts) = gateway.check();
    assert_eq!(code, Some(3), "{verdicts}");
    assert!(verdicts.contains("FAIL"), "{verdicts}");
    for text in [&run.log, &verdicts] {
        for word in said {
            assert!(text.contains(word), "{text}\ndoes not say {word:?}");
        }
        for word in [WRONG, PASSWORD, "panicked", "stack backtrace"] {
            assert!(!text.contains(word), "{text}\nsays {word:?}");
        }
    }
}

#[track_caller]
fn logs_in_to_kafka_by(mechanism: &str) {
    let stream = Stream::new();
    let properties = properties(mechanism, PASSWORD, &stream.secured.ca());
    // Dead letters go to the same cluster, and so use the same login.
    let gateway = stream.gateway(&properties, &stream.letters_in_kafka());
    let (code, verdicts) = gateway.check();
    assert_eq!(code, Some(0), "{verdicts}");
    assert!(verdicts.contains(&stream.letters), "{verdicts}");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("documents.index"), run.number("dead_letters")), (3, 1), "{}", run.log);
    assert_eq!(stream.store.count("thing"), 3);
    let letter = &stream.kafka.read(&stream.letters, 1)[0];
    assert_eq!(letter.value.as_deref(), Some(&b"no record"[..]));
    assert!(!run.log.contains(PASSWORD), "{}", run.log);
}

#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn kafka_by_plain() {
    logs_in_to_kafka_by("PLAIN");
}

#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn kafka_by_scram_sha_256() {
    logs_in_to_kafka_by("SCRAM-SHA-256");
}

#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn kafka_by_scram_sha_512() {
    logs_in_to_kafka_by("SCRAM-SHA-512");
}

#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn a_wrong_password_for_kafka_is_reported() {
    let stream = Stream::new();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let properties = properties(mechanism, WRONG, &stream.secured.ca());
        let gateway = stream.gateway(&properties, "path = \"not-used.ndjson\"");
        refused(&gateway, &["Kafka refuses the connection", "\"sasl.password\" in [source.properties]"]);
    }
}

#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn an_untrusted_kafka_is_reported() {
    let stream = Stream::new();
    let properties = properties("PLAIN", PASSWORD, &stream.secured.other_ca());
    let gateway = stream.gateway(&properties, "path = \"not-used.ndjson\"");
    refused(&gateway, &["Kafka refuses the connection", "certificate", "\"ssl.ca.location\"", "[source.properties]"]);
}

/// A client without TLS gets no valid answer: it keeps trying, and reports the likely cause.
#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn a_kafka_that_requires_tls_is_reported() {
    let stream = Stream::new();
    let gateway = stream.gateway("", "path = \"not-used.ndjson\"");
    let (code, verdicts) = gateway.check();
    assert_eq!(code, Some(3), "{verdicts}");
    assert!(verdicts.contains("TLS, SASL"), "{verdicts}");
    let running = gateway.start(&[]);
    rowmill_tests::wait::until("it says what it may be", std::time::Duration::from_secs(30), || {
        running.log().contains("security.protocol")
    });
}

/// Dead letters have a separate login if they go to another cluster.
#[test]
#[ignore = "needs a Kafka and a Kafka with TLS and SASL: make test"]
fn refused_dead_letters_stop_the_run_and_lose_nothing() {
    let stream = Stream::new();
    let cases = [
        (WRONG, stream.secured.ca(), "\"sasl.password\" in [dead_letter.properties]"),
        (PASSWORD, stream.secured.other_ca(), "\"ssl.ca.location\""),
    ];
    for (password, ca, said) in cases {
        let group = unique("group");
        let gateway = Gateway::new(
            "secured",
            &format!(
                "[source]\nkind = \"kafka\"\nbrokers = {:?}\ntopics = [{:?}]\ngroup = {group:?}\n[sink]\nurls = [{:?}]\n\
                 [dead_letter]\n{}brokers = {:?}\n[dead_letter.properties]\n{}",
                stream.kafka.brokers,
                stream.topic,
                stream.store.url(),
                stream.letters_in_kafka(),
                stream.secured.address,
                properties("SCRAM-SHA-512", password, &ca),
            ),
        );
        refused(&gateway, &["Kafka refuses the connection", said, "[dead_letter.properties]"]);
        let committed = stream.kafka.committed(&group, &[stream.topic.clone()].into());
        assert!(committed.values().all(|offset| *offset <= 3), "the bad record is not committed: {committed:?}");
    }
}

/// A gateway that writes the good records to Elasticsearch, with these keys of the sink.
fn writing(server: &Secured, prefix: &str, keys: &str) -> Gateway {
    let gateway = Gateway::new("secured", "");
    let path = captures::write(gateway.folder.path(), "records.ndjson", &records("maxwell")[..3]);
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"5ms\"\n{keys}\n\
         [[routes]]\ntable = \"*\"\nindex = \"{prefix}-thing\"\ntruncate = \"apply\"\n",
        path.display().to_string(),
        server.address,
    ));
    gateway
}

#[track_caller]
fn logs_in_to_elasticsearch_by(server: &Secured, prefix: &str, keys: &str) {
    let gateway = writing(server, prefix, keys);
    let (code, verdicts) = gateway.check();
    assert_eq!(code, Some(0), "{verdicts}");
    let run = gateway.run().ended_well();
    assert_eq!((run.number("documents.index"), run.number("dead_letters")), (3, 0), "{}", run.log);
    assert_eq!(Elasticsearch::secured(server).documents(&format!("{prefix}-thing")).len(), 3);
}

/// An API key with these privileges on the indices with a prefix, as Elasticsearch returns it.
fn api_key(server: &Secured, prefix: &str, privileges: Value) -> String {
    let role = json!({
        "cluster": ["monitor"],
        "indices": [{ "names": [format!("{prefix}-*"), "rowmill-truncates"], "privileges": privileges }],
    });
    let body = json!({ "name": prefix, "role_descriptors": { "writer": role } });
    let (status, answer) = Elasticsearch::secured(server).ask("POST", "/_security/api_key", Some(&body));
    assert_eq!(status, 200, "{answer}");
    answer["encoded"].as_str().expect("a key").into()
}

/// The privileges listed in docs/delivery.md.
fn documented() -> Value {
    json!(["read", "write", "create_index", "manage"])
}

#[test]
#[ignore = "needs an Elasticsearch with TLS: make test"]
fn elasticsearch_by_password() {
    let server = Secured::elasticsearch();
    let ca = server.ca();
    let keys = format!("ca = {ca:?}\nusername = {USER:?}\npassword = {PASSWORD:?}\n");
    logs_in_to_elasticsearch_by(&server, &unique("secured"), &keys);

    let folder = rowmill_tests::scratch("secured");
    let file = folder.path().join("password");
    // With the line break that editors add.
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("the file can be written");
    let keys = format!("ca = {ca:?}\nusername = {USER:?}\npassword_file = {:?}\n", file.display().to_string());
    logs_in_to_elasticsearch_by(&server, &unique("secured"), &keys);
}

#[test]
#[ignore = "needs an Elasticsearch with TLS: make test"]
fn elasticsearch_by_api_key_with_the_documented_privileges() {
    let server = Secured::elasticsearch();
    let prefix = unique("secured");
    let key = api_key(&server, &prefix, documented());
    let keys = format!("ca = {:?}\napi_key = {key:?}\ngzip = true\n", server.ca());
    logs_in_to_elasticsearch_by(&server, &prefix, &keys);
}

#[test]
#[ignore = "needs an Elasticsearch with TLS: make test"]
fn a_refused_login_to_elasticsearch_is_reported() {
    let server = Secured::elasticsearch();
    let ca = server.ca();
    for keys in [
        format!("username = {USER:?}\npassword = {WRONG:?}\n"),
        format!("username = \"nobody\"\npassword = {PASSWORD:?}\n"),
        // The base64 of `nobody:nothing`: of the right form, and no key.
        "api_key = \"bm9ib2R5Om5vdGhpbmc=\"\n".into(),
        String::new(),
    ] {
        let gateway = writing(&server, &unique("secured"), &format!("ca = {ca:?}\n{keys}"));
        refused(&gateway, &["access is refused (status 401", "sink.username", "sink.api_key"]);
    }
}

#[test]
#[ignore = "needs an Elasticsearch with TLS: make test"]
fn an_untrusted_elasticsearch_is_reported() {
    let server = Secured::elasticsearch();
    let login = format!("username = {USER:?}\npassword = {PASSWORD:?}\n");
    for ca in [format!("ca = {:?}\n", server.other_ca()), String::new()] {
        let gateway = writing(&server, &unique("secured"), &format!("{ca}{login}"));
        refused(&gateway, &["certificate is not trusted", "sink.ca"]);
    }
}

#[test]
#[ignore = "needs an Elasticsearch with TLS: make test"]
fn a_missing_write_privilege_stops_the_run() {
    let server = Secured::elasticsearch();
    let prefix = unique("secured");
    let index = format!("/{prefix}-thing");
    assert_eq!(Elasticsearch::secured(&server).ask("PUT", &index, None).0, 200);
    let key = api_key(&server, &prefix, json!(["read", "view_index_metadata"]));
    let run = writing(&server, &prefix, &format!("ca = {:?}\napi_key = {key:?}\n", server.ca())).run();
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains("refuses") && run.log.contains("indices:data/write"), "{}", run.log);
    assert!(run.log.contains("privileges"), "{}", run.log);
    assert!(!run.log.contains(&key), "{}", run.log);
}

#[test]
fn an_unreadable_ca_is_a_configuration_error() {
    let gateway = Gateway::new(
        "secured",
        "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nurls = [\"https://127.0.0.1:9\"]\nca = \"no-such-file.pem\"\n",
    );
    let run = gateway.run();
    assert_eq!(run.code, Some(2), "{}", run.log);
    assert!(run.log.contains("cannot read sink.ca no-such-file.pem"), "{}", run.log);
}
