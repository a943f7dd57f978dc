//! `rowmill plugin …` and `rowmill dev`, as a plugin author uses them: from an empty folder to documents that
//! change in a running gateway.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rowmill::plugins::cases;
use rowmill_sandbox::{Limits, Plugin, Sandbox};
use rowmill_tests::gateway::binary;
use rowmill_tests::{fixture, guests, root, scratch, wait};
use serde_json::Value;

/// The maximum time of a step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command with the environment of this test: the program, and a target folder that is kept, so that the second run of this
/// test compiles nothing again.
fn command(program: impl AsRef<Path>, folder: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("ROWMILL_BIN", binary())
        .env("CARGO_TARGET_DIR", target())
        // Everything that a new plugin needs was fetched with the SDK.
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("ROWMILL_BLESS")
        .env_remove("ROWMILL_LOG");
    command
}

fn target() -> PathBuf {
    let target = root().join("target/new-plugin");
    fs::create_dir_all(&target).expect("a target folder can be made");
    // The compiled dependencies of other tests' plugins are reused.
    #[cfg(unix)]
    if !target.join("guests").exists() {
        fs::create_dir_all(root().join("target/guests")).expect("a target folder can be made");
        let _ = std::os::unix::fs::symlink(root().join("target/guests"), target.join("guests"));
    }
    target
}

/// The output of a command.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

#[track_caller]
fn run(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the command can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[track_caller]
fn rowmill(folder: &Path, arguments: &[&str]) -> Said {
    let mut rowmill = command(binary(), folder);
    rowmill.args(arguments);
    run(rowmill)
}

#[track_caller]
fn cargo_test(folder: &Path, bless: bool) -> Said {
    let mut cargo = command(std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from), folder);
    cargo.args(["test", "--test", "cases", "--", "--nocapture"]);
    if bless {
        cargo.env("ROWMILL_BLESS", "1");
    }
    run(cargo)
}

impl Said {
    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "it said:\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        let all = format!("{}\n{}", self.out, self.err);
        for words in words {
            assert!(all.contains(words), "{words:?} is not in:\n{all}");
        }
        self
    }
}

/// A command that runs until it is dropped, and all that it has printed.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let said = Arc::new(Mutex::new(String::new()));
        let out: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for stream in out {
            let said = said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    said.lock().expect("nobody panics with it").push_str(&(line + "\n"));
                }
            });
        }
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    /// Waits until it has printed this, and discards the output up to then.
    #[track_caller]
    fn wait_for(&self, words: &str) -> String {
        self.wait_for_all(&[words])
    }

    /// Waits until it has printed all of this, in any order, since its two streams are not synchronized.
    #[track_caller]
    fn wait_for_all(&self, all: &[&str]) -> String {
        let found = wait::within(PATIENCE, || {
            let mut said = self.said.lock().expect("nobody panics with it");
            let ends: Option<Vec<usize>> = all.iter().map(|words| Some(said.find(words)? + words.len())).collect();
            let rest = said.split_off(ends?.into_iter().max()?);
            Some(std::mem::replace(&mut *said, rest))
        });
        found.unwrap_or_else(|| panic!("waited in vain for {all:?}; it says:\n{}", self.said()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file is there");
    assert!(text.contains(from), "{from:?} is not in {}", file.display());
    fs::write(file, text.replace(from, to)).expect("it can be written");
}

#[test]
fn from_an_empty_folder_to_documents_that_change() {
    // Outside this repository, since the crate must build anywhere.
    let outside = tempfile::tempdir().expect("a temporary folder");
    rowmill(outside.path(), &["plugin", "new", "hello"]).ended(0).says(&["cargo test", "rowmill plugin build"]);
    rowmill(outside.path(), &["plugin", "new", "hello"]).ended(2).says(&["hello already exists"]);
    rowmill(outside.path(), &["plugin", "new", "2fast"])
        .ended(2)
        .says(&["is not a valid plugin name", "starting with a letter"]);
    let hello = outside.path().join("hello");

    let tested = cargo_test(&hello, false).ended(0);
    assert!(tested.err.contains("case first: 2 documents, 2 deletes, 2 dropped, 1 failed; "), "{}", tested.err);
    assert!(tested.err.contains("µs per row") && tested.err.contains("bytes in") && tested.err.contains("MiB"));

    let built =
        rowmill(&hello, &["plugin", "build"]).ended(0).says(&["hello 0.1.0", "contract 1.0.0", "1 case embedded"]);
    let wasm = target().join("hello.wasm");
    assert!(built.out.contains(&wasm.display().to_string()), "{}", built.out);
    let size = fs::metadata(&wasm).expect("the built file").len();
    assert!(size < 100_000, "the template's file has {size} bytes");

    a_difference_is_shown_and_blessed(&hello);
    cases_run_without_the_source(outside.path(), &wasm);
    cases_travel_with_the_file(outside.path(), &wasm);
    documents_follow_the_file(&hello);
    every_save_is_built_and_compared(&hello);
}

fn a_difference_is_shown_and_blessed(hello: &Path) {
    let expected = hello.join("cases/first/expected.ndjson");
    edit(&expected, "\"cents\":990", "\"cents\":991");
    let differs = ["case first: row 1 (line 2, Insert of shop.orders id 1): body.amount.cents", "- ", "991", "990"];
    let failed = cargo_test(hello, false).says(&differs).says(&["ROWMILL_BLESS=1"]);
    assert_ne!(failed.code, Some(0));
    rowmill(hello, &["plugin", "test"]).ended(3).says(&["FAIL  first"]).says(&differs[1..]);
    cargo_test(hello, true).ended(0).says(&["case first: blessed"]);
    rowmill(hello, &["plugin", "test"]).ended(0).says(&["ok    first", "all passed"]);

    edit(&expected, "\"cents\":990", "\"cents\":991");
    rowmill(hello, &["plugin", "test", "--bless"]).ended(0).says(&["bless first"]);
    cargo_test(hello, false).ended(0);
}

fn cases_run_without_the_source(outside: &Path, wasm: &Path) {
    let alone = outside.join("alone");
    fs::create_dir_all(alone.join("cases/one")).expect("a folder can be made");
    fs::copy(wasm, alone.join("some.wasm")).expect("it can be copied");
    let case = outside.join("hello/cases/first");
    for file in ["input.ndjson", "expected.ndjson"] {
        fs::copy(case.join(file), alone.join("cases/one").join(file)).expect("it can be copied");
    }
    rowmill(&alone, &["plugin", "test", "some.wasm"]).ended(0).says(&["ok    one", "1 case in cases, all passed"]);
    fs::remove_dir_all(alone.join("cases")).expect("it can be removed");
}

/// The file contains its cases, and needs no folder of cases.
fn cases_travel_with_the_file(outside: &Path, wasm: &Path) {
    let (hello, alone) = (outside.join("hello"), outside.join("alone"));
    let test = |code: i32, words: &[&str]| {
        fs::copy(wasm, alone.join("some.wasm")).expect("it can be copied");
        rowmill(&alone, &["plugin", "test", "some.wasm"]).ended(code).says(words);
    };
    test(0, &["ok    first", "1 case in some.wasm, all passed"]);
    rowmill(&alone, &["plugin", "inspect", "some.wasm"]).ended(0).says(&["1 case embedded"]);
    let said = rowmill(&alone, &["plugin", "inspect", "some.wasm", "--json"]).ended(0);
    assert_eq!(serde_json::from_str::<Value>(&said.out).expect("one JSON object")["cases"], 1);
    rowmill(&alone, &["plugin", "test", "some.wasm", "--bless"]).ended(1).says(&["cannot be blessed", "--cases"]);

    // The gateway runs them too: a file whose cases fail is not published.
    edit(&hello.join("src/lib.rs"), "\"CNY\"", "\"USD\"");
    rowmill(&hello, &["plugin", "build"]).ended(0).says(&["1 case embedded"]);
    test(3, &["FAIL  first", "body.amount.currency", "1 case in some.wasm, 1 failed"]);
    let bytes = fs::read(wasm).expect("the built file");
    let sandbox = Arc::new(Sandbox::new(Limits::default()).expect("this machine can run the engine"));
    let plugin = Plugin::load(&sandbox, &bytes).expect("the changed plugin loads");
    let refusal = cases::run(&Arc::new(plugin), &bytes).expect_err("its case does not hold");
    assert_eq!(refusal.step, "cases");
    assert!(refusal.reason.contains("case first") && refusal.reason.contains("body.amount.currency"), "{refusal}");

    rowmill(&hello, &["plugin", "build", "--no-cases"]).ended(0).says(&["no cases embedded"]);
    test(1, &["no embedded cases", "--cases"]);
    edit(&hello.join("src/lib.rs"), "\"USD\"", "\"CNY\"");
    rowmill(&hello, &["plugin", "build"]).ended(0).says(&["1 case embedded"]);
}

/// The file, dropped into the folder of a running demo, changes documents.
fn documents_follow_the_file(hello: &Path) {
    let plugins = scratch("plugins");
    let mut demo = command(binary(), hello);
    demo.arg("demo").arg("--plugins").arg(plugins.path());
    let demo = Running::start(demo);
    demo.wait_for("  store     ");
    let url = demo.wait_for("\n").trim().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let n_documents = |query: &str| -> u64 {
        runtime.block_on(async {
            let get = async |path: &str| -> Option<Value> {
                let answer = reqwest::get(format!("{url}/orders/{path}")).await.ok()?;
                serde_json::from_slice(&answer.bytes().await.ok()?).ok()
            };
            get("_refresh").await;
            let counted = get(&format!("_count?q={query}")).await;
            counted.and_then(|counted| counted["count"].as_u64()).unwrap_or(0)
        })
    };
    wait::until("the captured orders are there", PATIENCE, || n_documents("*:*") > 5);
    assert_eq!(n_documents("amount.currency:CNY"), 0);
    let plugins_path = plugins.path().display().to_string();
    rowmill(hello, &["plugin", "build", "--into", &plugins_path]).ended(0).says(&["hello.wasm"]);
    let begin = Instant::now();
    wait::until("an order is shaped by the plugin", PATIENCE, || n_documents("amount.currency:CNY") > 0);
    let took = begin.elapsed();
    eprintln!("the first document changed {took:?} after the file was there");
    // Takes a second on an idle machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let left: Vec<String> = fs::read_dir(plugins.path())
        .expect("the folder")
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["hello.wasm"]);
}

fn every_save_is_built_and_compared(hello: &Path) {
    let source = hello.join("src/lib.rs");
    rowmill(hello, &["dev", "--once"]).ended(0).says(&["no differences from the expected output"]);
    let mut dev = command(binary(), hello);
    dev.args(["dev", "."]);
    let dev = Running::start(dev);
    dev.wait_for("watching .");
    edit(&source, "\"CNY\"", "\"EUR\"");
    let said = dev.wait_for("watching .");
    assert!(said.contains("body.amount.currency") && said.contains("(- before, + now)"), "{said}");
    assert!(said.contains("-     \"currency\": \"CNY\"") && said.contains("+     \"currency\": \"EUR\""), "{said}");
    // The compiler's messages; the next save fixes the error.
    edit(&source, "\"EUR\"", "EUR");
    dev.wait_for_all(&["cannot find value `EUR`", "does not compile", "watching ."]);
    edit(&source, " EUR)", " \"CNY\")");
    let said = dev.wait_for("watching .");
    assert!(said.contains("+     \"currency\": \"CNY\""), "{said}");
}

#[test]
fn show_prints_the_columns_that_a_file_uses() {
    let file = guests::built().trade_document.display().to_string();
    let folder = scratch("inspect");
    let said = rowmill(folder.path(), &["plugin", "inspect", &file]).ended(0);
    said.says(&[
        "trade-document 0.1.0",
        "contract   1.0.0",
        "rowmill:plugin/log@1.0.0.log",
        "depends on table and settings",
    ]);
    let capture = fixture("canal/flat.ndjson").display().to_string();
    let said = rowmill(folder.path(), &["plugin", "inspect", &file, "--input", &capture, "--json"]).ended(0);
    let report: Value = serde_json::from_str(&said.out).expect("one JSON object");
    assert_eq!(report["columns"][0]["table"], "shop.trade");
    assert_eq!(report["columns"][0]["of"], 41);
    assert!(report["columns"][0]["reads"].as_array().expect("names").contains(&"amount".into()), "{report}");
    assert_eq!((&report["mode"], &report["tables"][0]), (&"image".into(), &"trade".into()));
    assert_eq!(report["size"], fs::metadata(&file).expect("the file").len());
    assert_eq!(report["sha256"].as_str().map(str::len), Some(64));
    assert!(
        report["settings_schema"]["properties"]["currency"].is_object() && report["indices"][0]["mapping"].is_object()
    );
}

#[test]
fn rows_go_in_and_documents_come_out() {
    let file = guests::built().row_filter.display().to_string();
    let folder = scratch("run");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file can be written");
    write("rows.ndjson", "{\"id\": 1, \"state\": \"open\"}\n{\"id\": 2, \"state\": \"draft\"}\n");
    write("settings.toml", "[[rules]]\ntable = \"orders\"\nwhere = [{ column = \"state\", ne = \"draft\" }]\n");
    let arguments = ["plugin", "run", &file, "--input", "rows.ndjson"];
    rowmill(folder.path(), &arguments).ended(1).says(&["neither rows nor events", "\"columns\""]);
    let said =
        rowmill(folder.path(), &[&arguments[..], &["--table", "shop.orders", "--settings", "settings.toml"]].concat())
            .ended(0);
    assert_eq!(
        said.out,
        "{\"row\":1,\"operation\":\"keep\",\"index\":\"orders\",\"id\":\"1\",\"body\":{\"id\":1,\"state\":\"open\"}}\n\
         {\"row\":2,\"operation\":\"drop\"}\n"
    );
}

#[test]
fn errors_say_what_to_do() {
    let folder = scratch("wrong");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    };
    rowmill(folder.path(), &["plugin", "build"]).ended(1).says(&["there is no Cargo.toml"]);
    write("empty/Cargo.toml", "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n");
    write("empty/src/lib.rs", "");
    rowmill(folder.path(), &["plugin", "build", "empty"]).ended(1).says(&["crate-type = [\"cdylib\", \"rlib\"]"]);
    write(
        "empty/Cargo.toml",
        "[package]\nname = \"empty\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n",
    );
    rowmill(folder.path(), &["plugin", "build", "empty"]).ended(1).says(&["rowmill_sdk::export!"]);
    write("page.wasm", "<html>");
    rowmill(folder.path(), &["plugin", "inspect", "page.wasm"]).ended(1).says(&["page.wasm is refused"]);

    let file = guests::built().row_filter.display().to_string();
    let cases = |name: &str| folder.path().join(name).display().to_string();
    write("reference/a/input.ndjson", "");
    write("reference/a/reference/fx.csv", "");
    let said = rowmill(folder.path(), &["plugin", "test", &file, "--cases", &cases("reference")]);
    said.ended(1).says(&["reference tables"]);
    let table = "{\"table\": \"t\", \"columns\": {\"id\": \"int\", \"total\": \"decimal(10,2)\"}}\n";
    for (name, row, words) in [
        (
            "number",
            "{\"id\": 1, \"total\": 9.90}",
            "line 2: column total of t is of the kind decimal: expected its digits",
        ),
        ("column", "{\"id\": 1, \"totall\": \"1\"}", "table t has no column \"totall\"; it has id, total"),
        ("change", "{\"before\": {\"id\": 1}}", "expected one of `insert`, `update`"),
        ("text", "id 1", "expected a JSON object"),
    ] {
        write(&format!("{name}/a/input.ndjson"), &format!("{table}{row}\n"));
        rowmill(folder.path(), &["plugin", "test", &file, "--cases", &cases(name)]).ended(1).says(&["case a", words]);
    }
    write("type/a/input.ndjson", "{\"table\": \"t\", \"columns\": {\"id\": \"bigintt\"}}\n");
    let said = rowmill(folder.path(), &["plugin", "test", &file, "--cases", &cases("type")]);
    said.ended(1).says(&["column id: column type `bigintt`"]);
}
