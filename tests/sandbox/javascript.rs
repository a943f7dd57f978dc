//! Plugins in JavaScript: from the template and the packages that npm brings to a component that imports the contract
//! alone, shapes rows as its twin in Rust does, and harms nobody.
//!
//! Skipped without node or npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::harness::{GENEROUS, Row, Running};
use rowmill::config::{Overrides, read_text};
use rowmill::pipeline::{Pipeline, Summary};
use rowmill::sink::embedded;
use rowmill_sandbox::{Batch, CallError, Column, ColumnKind, FileKind, Guest, Limits, Plugin, Sandbox, Table};
use rowmill_store::StoreHandle;
use rowmill_tests::captures::{self, STREAMS, captured};
use rowmill_tests::tables::{self, Documents};
use rowmill_tests::{gateway, guests, javascript, root, scratch};

/// A sandbox whose calls end soon, but not before an engine in WebAssembly has made a few rows.
static SOON: LazyLock<Arc<Sandbox>> = LazyLock::new(|| {
    let limits = Limits {
        batch_time: Duration::from_secs(3),
        setup_time: Duration::from_secs(20),
        image_time: Duration::ZERO,
        ..Limits::default()
    };
    Arc::new(Sandbox::new(limits).expect("this machine can run the engine"))
});

fn load(sandbox: &Arc<Sandbox>, path: &Path) -> Plugin {
    Plugin::load(sandbox, &fs::read(path).expect("it was built")).expect("it imports the contract alone")
}

#[test]
fn the_package_s_copy_of_the_contract_is_the_contract() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("the contract");
    let (original, copy) = ("wit/rowmill-plugin.wit", "plugin-sdk/js/wit/rowmill-plugin.wit");
    assert!(read(original) == read(copy), "cp {original} {copy}");
}

#[test]
fn the_sdk_passes_its_own_tests_and_its_types_hold() {
    let Some(built) = javascript::built() else { return };
    let sdk = root().join("plugin-sdk/js");
    eprintln!("{}", javascript::run("node", &["--test", "test/"], &sdk));
    let compiler = built.project.join("node_modules/.bin/tsc").display().to_string();
    javascript::run(&compiler, &["-p", "test"], &sdk);
    javascript::run(&compiler, &["-p", "jsconfig.json"], &built.project);
}

#[test]
fn the_template_becomes_a_plugin() {
    let Some(built) = javascript::built() else { return };
    javascript::run("npm", &["test"], &built.project);
    // The cases of the template, without anything of the project but the file.
    let binary = gateway::binary().display().to_string();
    let file = built.template.display().to_string();
    let cases = built.project.join("cases").display().to_string();
    let said = javascript::run(&binary, &["plugin", "test", &file, "--cases", &cases], root());
    assert!(said.contains("first"), "{said}");
    let plugin = load(&GENEROUS, &built.template);
    assert_eq!(plugin.kind(), FileKind::Component);
    assert!(!plugin.imports_wasi());
    let description = plugin.description();
    assert_eq!((&*description.name, &*description.version), ("hello-js", "0.1.0"));
    assert_eq!(description.tables, ["shop.orders"]);
    assert!(description.indices[0].mapping.as_ref().is_some_and(|mapping| mapping.contains("\"keyword\"")));

    let refused = |settings: &str| plugin.instantiate(settings).err().expect("a refusal").to_string();
    assert_eq!(
        refused(r#"{"currency":"EURO"}"#),
        "configure: settings: currency is 'EURO', expected three letters, as in 'CNY'"
    );
    assert_eq!(refused(r#"{"curency":"EUR"}"#), "configure: settings: unknown field 'curency', expected 'currency'");

    let mut guest = plugin.instantiate("{}").expect("it needs no settings");
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let mut table = Table {
        id: 1,
        database: "shop".into(),
        name: "orders".into(),
        columns: vec![column("id", ColumnKind::Integer), column("state", ColumnKind::Text)],
        key: vec![0],
    };
    assert_eq!(
        guest.define_table(&table),
        Err(CallError::Refused("table shop.orders has no columns 'total', 'customer_no'".into()))
    );
    table.columns.extend([column("customer_no", ColumnKind::Text), column("total", ColumnKind::Decimal)]);
    assert_eq!(guest.define_table(&table), Ok(vec![1, 3]));
    let bytes = br#""draft""0.00""#;
    let batch = Batch { table: 1, count: 1, cells: vec![7, 13], bytes: bytes.to_vec(), ..Batch::default() };
    assert_eq!(guest.transform(&batch).map(|output| output.verdicts), Ok(vec![1]));
}

/// A folder with one plugin.
fn folder_of(plugin: &Path) -> rowmill_tests::TempDir {
    let folder = scratch("javascript");
    fs::copy(plugin, folder.path().join("plugin.wasm")).expect("a plugin can be copied");
    folder
}

/// A captured stream through one plugin into the embedded store.
fn shaped(stream: &str, plugin: &Path, declared: &str) -> (StoreHandle, Summary) {
    let (plugins, folder) = (folder_of(plugin), scratch("records"));
    let records: PathBuf = captures::write(folder.path(), "records.ndjson", &captured(stream));
    let text = |path: &Path| format!("{:?}", path.display().to_string());
    let store = embedded::start(0).expect("the embedded store starts");
    let configuration = format!(
        "[source]\nkind = \"file\"\npath = {}\n[sink]\nurls = [{:?}]\n[dead_letter]\npath = {}\n[plugins]\nstate = \"\"\ndir = {}\n[[routes]]\ntable = \"shop.trade\"\nindex = \"trade\"\ntruncate = \"apply\"\n{declared}",
        text(&records),
        store.url(),
        text(&folder.path().join("dead-letter.ndjson")),
        text(plugins.path()),
    );
    let config = read_text(&configuration, "javascript.toml", &Overrides::default()).expect("a configuration");
    let pipeline = Pipeline::new(config).expect("the pipeline is set up");
    let (summary, _) = pipeline.run(true).expect("it ends in order");
    (store, summary)
}

fn documents(store: &StoreHandle) -> Documents {
    let value = |text: &str| serde_json::from_str(text).expect("a source is JSON");
    store.documents("trade").into_iter().map(|one| (one.id, value(&one.source))).collect()
}

#[test]
fn the_example_shapes_the_captured_streams_as_its_twin_in_rust_does() {
    let Some(built) = javascript::built() else { return };
    let twin = &guests::built().trade_document;
    for stream in STREAMS {
        // Without declared types, the two see the tools' spelling, and so all representations of a value.
        let (ours, theirs) = (shaped(stream, &built.trade_document, "").0, shaped(stream, twin, "").0);
        assert_eq!(documents(&ours), documents(&theirs), "{stream}");
    }

    let stream = "debezium/plain";
    let (store, summary) = shaped(stream, &built.trade_document, &tables::declared());
    assert_eq!(summary.dead_letters, 0);
    let wanted = tables::expected(stream, "trade");
    let wanted = wanted.into_iter().map(|(id, row)| (id, tables::trade_document(&row))).collect();
    tables::check("JavaScript", stream, "trade", &documents(&store), &wanted);
}

/// The outcomes of four rows, of which the second triggers the guest's action, in a sandbox with separate limits.
fn deed(plugin: &Plugin, name: &str) -> (Vec<Row>, u32) {
    let mut running = Running::start(plugin, &format!("{{\"do\":\"{name}\"}}")).expect("it starts");
    running.transform(4, &[1])
}

#[test]
fn a_hostile_plugin_costs_its_own_rows_alone() {
    let Some(built) = javascript::built() else { return };
    let plugin = load(&SOON, &built.hostile);
    let unharmed = Row::Edit(vec![(2, "\"unharmed\"".into())]);
    let check = |name: &str, expected: &str, is_call: bool| {
        let (rows, faults) = deed(&plugin, name);
        assert_eq!((&rows[0], &rows[2], &rows[3]), (&unharmed, &unharmed, &unharmed), "{name}: {rows:?}");
        let (Row::Fails(reason) | Row::CallFails(reason)) = &rows[1] else { panic!("{name}: {rows:?}") };
        assert!(reason.contains(expected), "{name}: {reason}");
        assert_eq!(matches!(rows[1], Row::CallFails(_)), is_call, "{name}: {rows:?}");
        assert_eq!(faults > 0, is_call, "{name}: {faults} instances were spent");
    };
    check("throw", "shop.trade: Error: a reason", false);
    check("clock", "shop.trade: Error: there is no clock in the sandbox", false);
    check("date", "there is no clock in the sandbox", false);
    check("random", "there is no randomness in the sandbox", false);
    check("loop", "ran longer than the limit of 3000 ms", true);
    check("regex", "ran longer than the limit of 3000 ms", true);
}

#[test]
fn excessive_use_fails_its_row_and_the_next_row_is_processed() {
    let Some(built) = javascript::built() else { return };
    let plugin = load(&SOON, &built.hostile);
    for name in ["recurse", "memory", "texts", "prototype"] {
        let (rows, _) = deed(&plugin, name);
        assert!(matches!(rows[1], Row::Fails(_) | Row::CallFails(_) | Row::Keep), "{name}: {rows:?}");
        // Whatever happened to the instance, a new one works.
        let (rows, _) = deed(&plugin, "throw");
        assert_eq!(rows[0], Row::Edit(vec![(2, "\"unharmed\"".into())]), "{name}: {rows:?}");
    }
    let ((), lines) = crate::log::capture(|| drop(deed(&plugin, "flood")));
    let told = lines.iter().filter(|line| line.contains("flood")).count();
    assert!((1..=200).contains(&told), "{told} lines of a flood");
}
