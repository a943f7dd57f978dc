//! A running gateway applies changes of its plugin folder, between two rows and without a restart.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use rowmill_store::Store;
use rowmill_tests::captures::Record;
use rowmill_tests::gateway::{Gateway, Running};
use rowmill_tests::{guests, wait};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a row in Maxwell's format.
fn write(pipe: &mut File, id: u64) {
    let value = json!({
        "database": "shop", "table": "thing", "type": "insert", "ts": 1_795_216_000, "xid": id, "commit": true,
        "position": format!("binlog.000001:{}", 1000 + id), "primary_key_columns": ["id"], "data": { "id": id, "name": "x" },
    });
    let record = Record::new("maxwell", id as i64, value.to_string());
    pipe.write_all(format!("{}\n", record.line()).as_bytes()).expect("the gateway reads");
}

#[track_caller]
fn says(running: &Running, word: &str) {
    wait::until(word, PATIENCE, || running.log().contains(word));
}

#[track_caller]
fn published(running: &Running, generation: u64) {
    let field = format!("generation={generation}");
    let is_told = |line: &str| line.contains("plugin published") && line.contains(&field);
    wait::until("it is published", PATIENCE, || running.log().lines().any(is_told));
}

#[test]
fn a_plugin_is_replaced_and_removed_while_rows_flow() {
    let store = Store::builder().start().expect("the embedded store starts");
    let gateway = Gateway::new("hot-swap", "");
    let folder = gateway.folder.path();
    let (pipe, plugins) = (folder.join("records"), folder.join("plugins"));
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success(), "a pipe is made");
    fs::create_dir(&plugins).expect("a folder is made");
    let built = fs::read(guests::shaper().join("shaper.wasm")).expect("the shaper is built");
    let place = plugins.join("shaper.wasm");
    fs::write(&place, &built).expect("the plugin is put there");
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"1ms\"\n[plugins]\ndir = {:?}\n\
         [plugins.settings.shaper]\nedit = [\"name\", \"edited \"]\n",
        pipe.display().to_string(),
        store.url(),
        plugins.display().to_string(),
    ));
    let running = gateway.start(&["--until-caught-up"]);
    // Open for both, so that it does not wait for a gateway that may have failed to start.
    let mut pipe = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe opens");
    let name = |id: u64| {
        wait::value("the row's document", PATIENCE, || {
            let document = store.documents("thing").into_iter().find(|document| document.id == id.to_string())?;
            let source: Value = serde_json::from_str(&document.source).expect("JSON");
            Some(source["name"].as_str().expect("a name").to_string())
        })
    };

    write(&mut pipe, 1);
    assert_eq!(name(1), "edited x");

    // Another file with the same behaviour, put there in one step as docs/writing-a-plugin.md says.
    let part = plugins.join(".shaper.wasm");
    fs::write(&part, guests::rebuilt(&built)).expect("the new plugin is written");
    fs::rename(&part, &place).expect("and put in the place of the old");
    published(&running, 2);
    write(&mut pipe, 2);
    assert_eq!(name(2), "edited x");

    // A file that is not a plugin changes nothing.
    fs::write(plugins.join("broken.wasm"), "no plugin").expect("a file is written");
    says(&running, "plugin refused");
    write(&mut pipe, 3);
    assert_eq!(name(3), "edited x");

    fs::remove_file(&place).expect("the plugin is removed");
    says(&running, "no plugin is enabled");
    write(&mut pipe, 4);
    assert_eq!(name(4), "x");
    assert_eq!(name(1), "edited x", "what was written stays until its row changes");

    drop(pipe);
    let run = running.wait().ended_well();
    assert_eq!((run.number("documents.index"), run.number("dead_letters")), (4, 0), "{}", run.log);
    let warned = run.log.lines().find(|line| line.contains("no plugin is enabled")).unwrap_or_default();
    assert!(warned.contains("WARN"), "{warned}");
}

/// A file with another name, such as a release with its version in the name, is the same plugin: no row bypasses the plugin while
/// one file replaces the other.
#[test]
fn a_plugin_continues_in_a_file_with_another_name() {
    let store = Store::builder().start().expect("the embedded store starts");
    let gateway = Gateway::new("hot-swap-names", "");
    let folder = gateway.folder.path();
    let (pipe, plugins) = (folder.join("records"), folder.join("plugins"));
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success(), "a pipe is made");
    fs::create_dir(&plugins).expect("a folder is made");
    let built = fs::read(guests::shaper().join("shaper.wasm")).expect("the shaper is built");
    fs::write(plugins.join("shaper-1.wasm"), &built).expect("the plugin is put there");
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nurls = [{:?}]\nlinger = \"1ms\"\n[plugins]\ndir = {:?}\nstate = {:?}\n\
         [plugins.settings.shaper]\nedit = [\"name\", \"edited \"]\n",
        pipe.display().to_string(),
        store.url(),
        plugins.display().to_string(),
        folder.join("state").display().to_string(),
    ));
    let running = gateway.start(&["--until-caught-up"]);
    let mut pipe = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe opens");
    let name = |id: u64| {
        wait::value("the row's document", PATIENCE, || {
            let document = store.documents("thing").into_iter().find(|document| document.id == id.to_string())?;
            let source: Value = serde_json::from_str(&document.source).expect("JSON");
            Some(source["name"].as_str().expect("a name").to_string())
        })
    };
    write(&mut pipe, 1);
    assert_eq!(name(1), "edited x");

    // Another version, instead of the old one and beside it.
    fs::remove_file(plugins.join("shaper-1.wasm")).expect("the old file is removed");
    fs::write(plugins.join("shaper-2.wasm"), guests::rebuilt(&built)).expect("the new file is written");
    says(&running, "plugin continues from another file");
    published(&running, 2);
    write(&mut pipe, 2);
    assert_eq!(name(2), "edited x");
    fs::write(plugins.join("shaper-3.wasm"), &built).expect("the new file is written");
    says(&running, "already has a plugin named");
    fs::remove_file(plugins.join("shaper-2.wasm")).expect("the old file is removed");
    published(&running, 3);
    // The same file renamed.
    fs::rename(plugins.join("shaper-3.wasm"), plugins.join("shaper-4.wasm")).expect("the file is renamed");
    let times = || running.log().matches("plugin continues from another file").count();
    wait::until("the renamed file", PATIENCE, || times() == 3);
    write(&mut pipe, 3);
    assert_eq!(name(3), "edited x");

    drop(pipe);
    let run = running.wait().ended_well();
    assert!(!run.log.contains("no plugin is enabled"), "{}", run.log);
    assert_eq!((run.number("documents.index"), run.number("dead_letters")), (3, 0), "{}", run.log);
}
