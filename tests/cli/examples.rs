//! Runs every plugin of `examples/plugins` on its records, as its README says: the documents in the store at the end equal the
//! example's `documents.ndjson`. `ROWMILL_BLESS=1` rewrites that file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::Gateway;
use rowmill_tests::{guests, root};
use serde_json::json;

/// Runs an example that writes into these indices.
#[track_caller]
fn check(name: &str, indices: &[&str]) {
    let folder = root().join("examples/plugins").join(name);
    let text = std::fs::read_to_string(folder.join("rowmill.toml")).expect("the example has a configuration");
    let store = rowmill::sink::embedded::start(0).expect("the embedded store starts");
    let gateway = Gateway::new("example", &configuration(&text, &folder, &store.url(), &guests::example(name)));
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 0, "{}\n{:?}", run.log, gateway.letters());
    let elasticsearch = Elasticsearch::at(&store.url());
    let mut documents = String::new();
    for index in indices {
        for (id, mut source) in elasticsearch.sources(index) {
            // The versions of parts depend on the source, not on the example.
            source.as_object_mut().expect("a document").remove("_rowmill");
            writeln!(documents, "{}", json!({ "index": index, "id": id, "source": source })).expect("a text grows");
        }
    }
    let expected = folder.join("documents.ndjson");
    if std::env::var_os("ROWMILL_BLESS").is_some() {
        std::fs::write(&expected, &documents).expect("the file can be written");
    }
    let known = std::fs::read_to_string(&expected).unwrap_or_default();
    assert!(!known.is_empty(), "{} is missing or empty; run with ROWMILL_BLESS=1", expected.display());
    for (line, (is, should)) in documents.lines().zip(known.lines()).enumerate() {
        assert_eq!(is, should, "{name}, line {}; ROWMILL_BLESS=1 accepts it", line + 1);
    }
    assert_eq!(documents.lines().count(), known.lines().count(), "{name}");
}

/// The example's configuration with the test's own store, plugin folder and absolute paths.
fn configuration(text: &str, folder: &Path, url: &str, plugins: &Path) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        let value = line.split('"').nth(1).unwrap_or_default();
        let line = match (key, value) {
            ("kind", "embedded") => format!("urls = [{url:?}]"),
            ("listen", _) => String::new(),
            ("path", records) => format!("path = {:?}", folder.join(records).display().to_string()),
            ("dir", _) => format!("dir = {:?}", plugins.display().to_string()),
            _ => line.to_string(),
        };
        out += &line;
        out.push('\n');
    }
    out
}

macro_rules! examples {
    ($($test:ident: $name:literal in [$($index:literal),+]),+ $(,)?) => {
        $(#[test]
        fn $test() {
            check($name, &[$($index),+]);
        })+

        /// Every example is tested.
        #[test]
        fn all_examples_are_run() {
            let mut tested = vec![$($name),+];
            tested.sort_unstable();
            let folder: PathBuf = root().join("examples/plugins");
            let mut there: Vec<String> = std::fs::read_dir(folder)
                .expect("the examples are there")
                .filter_map(|entry| entry.ok())
                .filter(|entry| entry.path().join("Cargo.toml").exists())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            there.sort_unstable();
            assert_eq!(tested, there);
        }
    };
}

examples! {
    audit_trail: "audit-trail" in ["orders", "audit"],
    converters: "converters" in ["customers"],
    mask_personal: "mask-personal" in ["customers"],
    month_index: "month-index" in ["trade-2026-03", "trade-undated"],
    order_and_note: "order-and-note" in ["orders", "order-notes"],
    order_full: "order-full" in ["order-full"],
    rename_and_nest: "rename-and-nest" in ["orders"],
}
