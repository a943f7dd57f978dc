//! `rowmill plugins …`: its output, its requests, and how it finds the gateway.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rowmill::config::{Rollout, RolloutMode};
use rowmill::http::address::{self, AddressFile};
use rowmill::plugins::status::OperatorCommand;
use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::gateway::{Gateway, binary};
use rowmill_tests::{scratch, wait};
use serde_json::{Value, json};

use super::fake::{Fake, status};

/// The result of a command: exit code, standard output and standard error.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn rowmill(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(binary())
        .arg("plugins")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env_remove("ROWMILL_LOG")
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The command against this gateway.
#[track_caller]
fn asked(fake: &Fake, arguments: &[&str]) -> String {
    let url = format!("http://{}", fake.address);
    let said = rowmill(Path::new("."), &[arguments, &["--url", &url]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

#[track_caller]
fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!((said.code, &*said.out), (Some(code), ""), "{}", said.err);
    for word in words {
        assert!(said.err.contains(word), "{}\ndoes not contain\n{word}", said.err);
    }
}

#[test]
fn all_plugins_are_a_table_with_remarks() {
    let expected = "\
plugin          state      gen.  hash          version       rows  failed  µs/row
row-filter      running       1  e6ddc508da6a  0.1.0    1,204,551       0    0.31
trade-document  probation     4  bbbbbbbbbbbb  0.2.0       20,113       2    1.02
  on probation: if it fails, it is rolled back to generation 3 (0.1.9, aaaaaaaaaaaa)
  candidate cccccccccccc held: 4,210 of 10,000 rows, 10% of all rows
    documents: 4,180 equal, 12 changed, 1 added, 0 missing
    old → new: failed rows 0 → 3, µs/row 1.02 → 1.40
    12 of 4,193 documents changed, which is more than max_changed (0.1 %)
    rowmill plugins promote trade-document   publishes it
    rowmill plugins discard trade-document   discards it

refused files
  plugins/x.wasm
    format: not a WebAssembly file: it does not begin with \\0asm; build it with `rowmill plugin build`
";
    assert_eq!(asked(&Fake::start(status()), &[]), expected);
}

#[test]
fn a_gateway_without_plugins_explains_it() {
    let without = Fake::start(json!({"chain": 1, "folder": null, "plugins": [], "refused": []}));
    assert!(asked(&without, &[]).starts_with("This gateway runs without plugins: every row"));
    let empty = Fake::start(json!({"chain": 1, "folder": "plugins", "plugins": [], "refused": []}));
    assert!(asked(&empty, &[]).starts_with("No plugin runs: no file in plugins was accepted."));
}

#[test]
fn one_plugin_is_shown_with_its_trial_field_by_field() {
    let expected = format!(
        "\
trade-document 0.2.0, probation
  file        plugins/20-trade-document.wasm
  generation  4, version 0.2.0, SHA-256 {b}
              20,113 row images, failed 2, faults 1, 1.02 µs each
  last good   3, version 0.1.9, SHA-256 {a}
              9,113,004 row images, failed 0, faults 0, 0.98 µs each
  next file   shadow for 10,000 rows with 10% of all rows, then published if at most 0.1% of the documents differ, else held

candidate, held
  SHA-256     {c}
  reason      12 of 4,193 documents changed, which is more than max_changed (0.1 %)
  to do       rowmill plugins promote trade-document   publishes it
              rowmill plugins discard trade-document   discards it

trial, shadow
  rows        4,210 of 10,000 rows, 10% of all rows
  documents   4,180 equal, 12 changed, 1 added, 0 missing
  old → new   failed rows 0 → 3, µs/row 1.02 → 1.40

differing documents by field
  12  pay.amountCents
   1  note

first differing documents
  changed trade/4, table shop.trade
    pay.amountCents  39964 → 39965
    note             (none) → \" [31mred\"
  added trade/5, table shop.trade

history
  2026-11-21T14:00:05Z  3  aaaaaaaaaaaa  published
  2026-11-21T14:03:10Z  –  dddddddddddd  refused
      case two-rows: the document of row 2 is not as expected
  2026-11-21T14:10:00Z  4  bbbbbbbbbbbb  published
      after a shadow of 10,000 rows
",
        a = "aa".repeat(32),
        b = "bb".repeat(32),
        c = "cc".repeat(32),
    );
    let fake = Fake::start(status());
    assert_eq!(asked(&fake, &["show", "trade-document"]), expected);
    let quiet = asked(&fake, &["show", "row-filter"]);
    assert!(quiet.contains("last good   none in this run"), "{quiet}");
    assert!(quiet.contains("next file   direct: published once it is validated"), "{quiet}");
    assert!(!quiet.contains("candidate") && !quiet.contains("history"), "{quiet}");
}

#[test]
fn commands_and_rollouts_are_sent() {
    let fake = Fake::start(status());
    let command_of = |arguments: &[&str]| {
        assert!(asked(&fake, arguments).contains("trade-document"));
        let commands = fake.taken_commands();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands[0].1
    };
    assert_eq!(asked(&fake, &["promote", "trade-document"]), "trade-document: Promote is done\n");
    assert_eq!(fake.taken_commands(), [("trade-document".to_string(), OperatorCommand::Promote)]);
    assert_eq!(command_of(&["rollback", "trade-document"]), OperatorCommand::Rollback);
    assert_eq!(command_of(&["enable", "trade-document"]), OperatorCommand::Enable);
    assert_eq!(command_of(&["disable", "trade-document"]), OperatorCommand::Disable);
    assert_eq!(command_of(&["discard", "trade-document"]), OperatorCommand::Discard);
    let shadow = Rollout { mode: RolloutMode::Shadow, rows: 50, share: 0.2, publish: false, max_changed: 0.05 };
    let arguments = ["shadow", "trade-document", "--rows", "50", "--share", "20%", "--max-changed", "0.05", "--manual"];
    assert_eq!(command_of(&arguments), OperatorCommand::Rollout(shadow));
    // Omitted options keep their values.
    assert_eq!(
        command_of(&["direct", "trade-document"]),
        OperatorCommand::Rollout(Rollout { mode: RolloutMode::Direct, ..shadow })
    );
    let canary = Rollout { mode: RolloutMode::Canary, publish: true, ..shadow };
    assert_eq!(command_of(&["canary", "trade-document", "--auto"]), OperatorCommand::Rollout(canary));
}

#[test]
fn errors_of_the_gateway_are_printed() {
    let fake = Fake::start(status());
    let url = format!("http://{}", fake.address);
    let said = |arguments: &[&str]| rowmill(Path::new("."), &[arguments, &["--url", &url]].concat());
    refused(&said(&["show", "trade"]), 1, &["no plugin is named \"trade\"; plugins: row-filter, trade-document"]);
    refused(&said(&["disable", "trade"]), 1, &["plugins: row-filter, trade-document"]);
    refused(&said(&["rollback", "row-filter"]), 1, &["row-filter has no last good generation"]);
    refused(&said(&["canary", "row-filter", "--share", "0"]), 1, &["share = 0 must be more than 0"]);
    refused(&said(&["shadow", "row-filter", "--share", "2"]), 2, &["write a share like 0.1 or 10%"]);
    refused(&said(&["shadow", "row-filter", "--manual", "--auto"]), 2, &["cannot be used with"]);
    let nowhere = rowmill(Path::new("."), &["--url", "10.0.0.5:8088"]);
    refused(&nowhere, 2, &["--url \"10.0.0.5:8088\" is not a URL like \"http://127.0.0.1:8088\""]);
}

#[test]
fn json_is_the_answer_of_the_gateway() {
    let fake = Fake::start(status());
    let all: Value = serde_json::from_str(&asked(&fake, &["--json"])).expect("JSON");
    assert_eq!(all["plugins"][1]["candidate"]["state"], "held");
    let one: Value = serde_json::from_str(&asked(&fake, &["show", "row-filter", "--json"])).expect("JSON");
    assert_eq!(one["running"]["rows"], 1_204_551);
    assert_eq!(asked(&fake, &["--json", "enable", "row-filter"]), "{\"done\":\"row-filter: Enable is done\"}\n");
}

#[test]
fn a_gateway_is_found_by_its_configuration() {
    let folder = scratch("plugins-found");
    let folder = folder.path();
    let configure = |text: &str| {
        let minimal = "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nkind = \"null\"\n";
        std::fs::write(folder.join("rowmill.toml"), format!("{minimal}{text}")).expect("a configuration");
    };
    refused(&rowmill(folder, &[]), 2, &["rowmill.toml does not exist", "-c", "--url"]);
    configure("");
    refused(&rowmill(folder, &[]), 1, &["sets no plugins.dir", "--plugins DIR", "--url"]);
    configure("[plugins]\ndir = \"plugins\"\n");
    refused(
        &rowmill(folder, &[]),
        1,
        &["no gateway runs with rowmill.toml", ".rowmill", "start one with `rowmill run -c rowmill.toml`"],
    );
    assert!(!folder.join(".rowmill").exists(), "a look leaves nothing behind");

    // By the address in the private folder.
    let fake = Fake::start(status());
    let address = AddressFile::write(&folder.join(".rowmill"), fake.address).expect("a private folder");
    assert!(rowmill(folder, &[]).out.contains("row-filter"));
    configure("");
    assert!(rowmill(folder, &["--plugins", "plugins"]).out.contains("row-filter"), "as the gateway was started");
    // A killed gateway leaves its address.
    let left = fake.address;
    drop(fake);
    let said = rowmill(folder, &["--plugins", "plugins"]);
    refused(&said, 1, &[&format!("no gateway answers at http://{left}/"), "refused", "start one with"]);
    drop(address);

    // By the address in the configuration, with its token.
    let fake = Fake::serve(status(), "0.0.0.0:0", Some("one-word"));
    std::fs::write(folder.join("token"), "one-word\n").expect("a token");
    let listen = format!("[http]\nlisten = \"{}\"\n", fake.address);
    configure(&listen);
    refused(&rowmill(folder, &[]), 1, &["the token is missing or wrong", "--token-file FILE"]);
    assert!(rowmill(folder, &["--token-file", "token"]).out.contains("row-filter"));
    refused(&rowmill(folder, &["--token-file", "nothing"]), 2, &["cannot read nothing"]);
    configure(&format!("{listen}token_file = \"token\"\n"));
    assert!(rowmill(folder, &[]).out.contains("row-filter"));
}

/// Without an HTTP configuration, the gateway writes its address to a file and removes it at the end.
#[test]
fn a_gateway_with_plugins_writes_its_address() {
    let plugins = scratch("plugins-address");
    let records = plugins.path().join("records.ndjson");
    std::fs::write(&records, "").expect("a file without records");
    let configuration = |source: &str| {
        format!(
            "[source]\n{source}\n[sink]\nkind = \"null\"\n[plugins]\ndir = {:?}\n",
            plugins.path().display().to_string()
        )
    };
    let gateway = Gateway::new("plugins-address", &configuration("brokers = \"127.0.0.1:1\"\ntopics = [\"nothing\"]"));
    let state = gateway.folder.path().join("state");
    let running = gateway.start(&[]);
    let found = wait::value("it writes its address", Duration::from_secs(60), || address::read(&state).ok().flatten());
    assert!(running.log().contains(&format!("address={found}")), "{}", running.log());
    assert_eq!(Elasticsearch::at(&format!("http://{found}")).send("GET", "/healthz", None).0, 200);
    running.kill();
    assert_eq!(address::read(&state).ok().flatten(), Some(found), "one that is killed leaves it");

    gateway.configure(&configuration(&format!("kind = \"file\"\npath = {:?}", records.display().to_string())));
    let run = gateway.run();
    assert_eq!(run.code, Some(0), "{}", run.log);
    assert_eq!(address::read(&state).ok(), Some(None), "one that ends does not");
}
