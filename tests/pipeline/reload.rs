//! A running gateway applies changes of its configuration file, completely or not at all, without a restart.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rowmill_store::{Store, StoreHandle};
use rowmill_tests::captures::Record;
use rowmill_tests::gateway::{Gateway, Running, binary};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{guests, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(60);
const CHANGED: &str = "configuration changed";
const REFUSED: &str = "changed configuration refused";

/// A gateway that reads from a pipe and writes to a store of the test's.
struct Bench {
    gateway: Gateway,
    store: StoreHandle,
    running: Running,
    pipe: File,
    head: String,
}

impl Bench {
    fn start(name: &str, rest: &str) -> Self {
        let store = Store::builder().start().expect("the embedded store starts");
        let gateway = Gateway::new(name, "");
        let folder = gateway.folder.path();
        let (pipe, plugins) = (folder.join("records"), folder.join("plugins"));
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success(), "a pipe is made");
        fs::create_dir(&plugins).expect("a folder is made");
        fs::copy(guests::shaper().join("shaper.wasm"), plugins.join("shaper.wasm")).expect("the plugin is put there");
        let head = format!(
            "[source]\nkind = \"file\"\npath = {:?}\n[plugins]\ndir = {:?}\nstate = {:?}\n[sink]\nurls = [{:?}]\n",
            pipe.display().to_string(),
            plugins.display().to_string(),
            folder.join("state").display().to_string(),
            store.url(),
        );
        gateway.configure(&format!("{head}{rest}"));
        let running = gateway.start(&["--until-caught-up"]);
        // Open for both, so that it does not wait for a gateway that may have failed to start.
        let pipe = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe opens");
        Self { gateway, store, running, pipe, head }
    }

    /// Does something and waits until the log has one more line with this text; returns that line.
    #[track_caller]
    fn logged(&self, text: &str, action: impl FnOnce()) -> String {
        let lines =
            || self.running.log().lines().filter(|line| line.contains(text)).map(String::from).collect::<Vec<_>>();
        let before = lines().len();
        action();
        wait::value(text, PATIENCE, || lines().get(before).cloned())
    }

    /// Changes the configuration; returns the log line with the result.
    #[track_caller]
    fn change(&self, rest: &str, text: &str) -> String {
        self.logged(text, || self.gateway.configure(&format!("{}{rest}", self.head)))
    }

    /// Runs `rowmill config` with these arguments; returns its exit code and output.
    fn config(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary());
        command.arg("config").args(arguments).arg("-c").arg(self.gateway.folder.path().join("rowmill.toml"));
        let output = command.env_remove("ROWMILL_LOG").output().expect("the command runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    }

    /// Writes a file for `rowmill config push`.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.gateway.folder.path().join(name);
        fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    }

    fn send(&mut self, format: &str, offset: u64, value: &Value) {
        let record = Record::new(format, offset as i64, value.to_string());
        self.pipe.write_all(format!("{}\n", record.line()).as_bytes()).expect("the gateway reads");
    }

    /// Sends a row in Maxwell's format.
    fn row(&mut self, id: u64) {
        let value = json!({
            "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": id, "commit": true,
            "position": format!("binlog.000001:{}", 1000 + id), "primary_key_columns": ["id"], "data": { "id": id, "name": "x" },
        });
        self.send("maxwell", id, &value);
    }

    fn find(&self, index: &str, id: u64) -> Option<String> {
        let document = self.store.documents(index).into_iter().find(|document| document.id == id.to_string())?;
        let source: Value = serde_json::from_str(&document.source).expect("JSON");
        Some(source["name"].as_str().expect("a name").to_string())
    }

    /// The name in a row's document, once it is there.
    #[track_caller]
    fn name(&self, index: &str, id: u64) -> String {
        wait::value("the row's document", PATIENCE, || self.find(index, id))
    }
}

#[test]
fn settings_routes_and_batches_reach_the_next_rows() {
    let edit = |text: &str| format!("[plugins.settings.shaper]\nedit = [\"name\", \"{text} \"]\n");
    let mut bench = Bench::start("reload", &format!("linger = \"1ms\"\n{}", edit("one")));
    bench.row(1);
    assert_eq!(bench.name("thing", 1), "one x");

    let entry = bench.change(&format!("linger = \"1ms\"\n{}", edit("two")), CHANGED);
    assert!(entry.contains("plugins.settings.shaper"), "{entry}");
    bench.row(2);
    assert_eq!(bench.name("thing", 2), "two x");

    let other = format!("{}[[routes]]\ntable = \"shop.thing\"\nindex = \"other\"\n", edit("two"));
    let entry = bench.change(&format!("linger = \"1ms\"\n{other}"), CHANGED);
    assert!(entry.contains("routes"), "{entry}");
    bench.row(3);
    assert_eq!(bench.name("other", 3), "two x");

    // Two documents fill a request, and a single one waits for `linger`, which then becomes shorter.
    bench.change(&format!("linger = \"1h\"\nbulk_documents = 2\n{other}"), CHANGED);
    (4..=6).for_each(|id| bench.row(id));
    assert_eq!((bench.name("other", 4), bench.name("other", 5)), ("two x".into(), "two x".into()));
    assert_eq!(bench.find("other", 6), None);
    let entry = bench.change(&format!("linger = \"1ms\"\nbulk_documents = 2\n{other}"), CHANGED);
    assert!(entry.contains("sink.linger") && !entry.contains("sink.bulk_documents"), "{entry}");
    assert_eq!(bench.name("other", 6), "two x");

    // Refused changes are refused completely: each of these would also move rows to another index.
    let third = edit("three").replace("[plugins", "bulk_documents = 1\n[plugins")
        + "[[routes]]\ntable = \"*\"\nindex = \"third\"\n";
    let entry = bench.change(&format!("lingr = \"1ms\"\n{third}"), REFUSED);
    assert!(entry.contains("did you mean `linger`?"), "{entry}");
    let entry = bench.change(&third.replace("edit =", "edt ="), REFUSED);
    assert!(entry.contains("shaper") && entry.contains("edt"), "{entry}");
    let entry = bench.change(&format!("gzip = true\n{third}[pipeline]\nworkers = 7\n"), REFUSED);
    assert!(["sink.gzip", "pipeline.workers", "restart"].iter().all(|word| entry.contains(word)), "{entry}");
    bench.row(7);
    assert_eq!(bench.name("other", 7), "two x");

    bench.change(&third, CHANGED);
    bench.row(8);
    assert_eq!(bench.name("third", 8), "three x");

    let Bench { running, pipe, .. } = bench;
    drop(pipe);
    let run = running.wait().ended_well();
    assert_eq!((run.number("documents.index"), run.number("dead_letters")), (8, 0), "{}", run.log);
}

/// Whichever of the two is validated first, in the end the new file runs with the new settings.
#[test]
fn a_file_and_its_settings_change_together() {
    let rest = |word: &str| format!("linger = \"1ms\"\n[plugins.settings.shaper]\nedit = [\"name\", \"{word} \"]\n");
    let mut bench = Bench::start("reload-together", &rest("old"));
    bench.row(1);
    assert_eq!(bench.name("thing", 1), "old x");
    let plugins = bench.gateway.folder.path().join("plugins");
    let mut file = fs::read(plugins.join("shaper.wasm")).expect("the plugin");
    for (round, word) in (2..).zip(["new", "newer", "newest"]) {
        file = guests::rebuilt(&file);
        let part = plugins.join(".shaper.wasm");
        fs::write(&part, &file).and_then(|()| fs::rename(&part, plugins.join("shaper.wasm"))).expect("a new file");
        bench.change(&rest(word), CHANGED);
        let hash = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let is_published = |line: &str| line.contains("plugin published") && line.contains(&hash[..12]);
        wait::until("the file is published", PATIENCE, || bench.running.log().lines().any(is_published));
        // The settings may be applied after the file.
        let mut id = round * 1_000;
        wait::until("the new settings", PATIENCE, || {
            id += 1;
            bench.row(id);
            bench.name("thing", id) == format!("{word} x")
        });
    }
    drop(bench.pipe);
    assert_eq!(bench.running.wait().ended_well().number("dead_letters"), 0);
}

#[test]
fn a_route_begins_to_apply_truncates() {
    let route = |truncate: &str| format!("linger = \"1ms\"\n[[routes]]\ntable = \"*\"\ntruncate = \"{truncate}\"\n");
    let mut bench = Bench::start("reload-truncate", &route("ignore"));
    let truncate = |bench: &mut Bench, place: u64| {
        let value = json!({
            "database": "shop", "table": "thing", "type": "table-truncate", "ts": 1_795_216_000_000_u64,
            "position": format!("binlog.000001:{}", 1000 + place), "sql": "truncate table thing",
        });
        bench.send("maxwell", place, &value);
    };
    bench.row(1);
    truncate(&mut bench, 2);
    bench.row(3);
    assert_eq!(bench.name("thing", 3), "x");
    assert_eq!(bench.name("thing", 1), "x");

    bench.change(&route("apply"), CHANGED);
    truncate(&mut bench, 4);
    bench.row(5);
    assert_eq!(bench.name("thing", 5), "x");
    // Other writes do not wait for a truncate.
    wait::until("only the row after the truncate", Duration::from_secs(60), || {
        let left = bench.store.documents("thing").into_iter();
        left.map(|document| document.id).collect::<Vec<_>>() == ["5"]
    });

    let Bench { running, pipe, .. } = bench;
    drop(pipe);
    let run = running.wait().ended_well();
    assert_eq!((run.number("documents.truncate"), run.number("dead_letters")), (1, 0), "{}", run.log);
}

#[test]
fn several_gateways_follow_a_topic() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).expect("a broker in this process");
    cluster.create_topic("settings", 1, 1).expect("a topic");
    follow(&cluster.bootstrap_servers(), "settings");
}

#[test]
#[ignore = "needs a Kafka: make test"]
fn several_gateways_follow_a_compacted_topic_of_a_real_kafka() {
    let kafka = Kafka::real();
    let topic = rowmill_tests::unique("settings");
    kafka.create_compacted(&topic);
    follow(&kafka.brokers, &topic);
}

/// The pushed record overrides the file, in running gateways and in those that start later.
fn follow(brokers: &str, settings: &str) {
    let topic = format!("[config_topic]\ntopic = {settings:?}\nbrokers = {brokers:?}\n");
    let rest = format!("linger = \"1ms\"\n[plugins.settings.shaper]\nedit = [\"name\", \"file \"]\n{topic}");
    let mut first = Bench::start("reload-topic", &rest);
    first.row(1);
    assert_eq!(first.name("thing", 1), "file x");

    let pushed = first.file("push.toml", "[plugins.settings.shaper]\nedit = [\"name\", \"topic \"]\n");
    let entry = first.logged(CHANGED, || assert_eq!(first.config(&["push", &pushed]).0, Some(0)));
    assert!(entry.contains("plugins.settings.shaper"), "{entry}");
    first.row(2);
    assert_eq!(first.name("thing", 2), "topic x");
    let mut second = Bench::start("reload-topic-later", &rest);
    second.row(1);
    assert_eq!(second.name("thing", 1), "topic x");

    // Other keys of the file still apply, and `show` names their source.
    first.change(&rest.replace("1ms", "2ms"), CHANGED);
    let (code, shown) = first.config(&["show"]);
    assert_eq!(code, Some(0), "{shown}");
    let line = |key: &str| shown.lines().find(|line| line.contains(key)).unwrap_or_default().to_string();
    assert!(
        line("plugins.settings.shaper.edit = [\"name\", \"topic \"]").starts_with(&format!("topic {settings}")),
        "{shown}"
    );
    assert!(line("sink.linger = \"2ms\"").contains("rowmill.toml"), "{shown}");
    assert!(!shown.contains("sink.urls"), "it needs a restart: {shown}");

    // A record that is invalid with the file is not pushed; settings that a plugin refuses are refused by the gateways.
    let unfit = first.file("unfit.toml", "[pipeline]\nworkers = 3\n");
    let (code, said) = first.config(&["push", &unfit]);
    assert!(code == Some(2) && said.contains("pipeline.workers needs a restart"), "{code:?} {said}");
    let bad = first.file("bad.toml", "[sink]\nbulk_documents = 1\n[plugins.settings.shaper]\nedt = 1\n");
    for bench in [&first, &second] {
        let entry = bench.logged(REFUSED, || assert_eq!(bench.config(&["push", &bad]).0, Some(0)));
        assert!(entry.contains("edt"), "{entry}");
    }
    first.row(3);
    assert_eq!(first.name("thing", 3), "topic x");

    let entry = first.logged(CHANGED, || assert_eq!(first.config(&["push", "--remove"]).0, Some(0)));
    assert!(entry.contains("plugins.settings.shaper"), "{entry}");
    first.row(4);
    assert_eq!(first.name("thing", 4), "file x");
    for bench in [first, second] {
        drop(bench.pipe);
        assert_eq!(bench.running.wait().ended_well().number("dead_letters"), 0);
    }
}
