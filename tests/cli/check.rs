//! Problems are reported before any row is read: `rowmill check` prints a line for each part, and `rowmill run` exits with the
//! code of a wrong configuration.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use rowmill_tests::gateway::{Gateway, binary};
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{captures, guests, scratch, unique, wait};

/// A gateway that reads an empty file and writes nowhere, with these further sections.
fn gateway(sections: &str) -> Gateway {
    let gateway = Gateway::new("check", "");
    let path = captures::write(gateway.folder.path(), "records.ndjson", &[]);
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"null\"\n{sections}",
        path.display().to_string()
    ));
    gateway
}

/// Checks that `check` exits with this code and prints a line that starts with `begin` and contains the words.
#[track_caller]
fn verdict(gateway: &Gateway, code: i32, begin: &str, words: &[&str]) {
    let (found, verdicts) = gateway.check();
    assert_eq!(found, Some(code), "{verdicts}");
    let line = verdicts.lines().find(|line| line.starts_with(begin));
    let line = line.unwrap_or_else(|| panic!("no line begins with {begin:?}:\n{verdicts}"));
    for word in words {
        assert!(line.contains(word), "{line}\ndoes not say {word:?}");
    }
}

#[test]
fn the_dead_letter_file_is_checked_and_not_changed() {
    let good = gateway("");
    verdict(&good, 0, "ok    dead letters", &["can be written"]);
    assert!(!good.letters_path().exists(), "check makes no file");
    let left = || fs::read_dir(good.folder.path()).expect("a folder").count();
    let before = left();
    fs::write(good.letters_path(), "a letter\n").expect("a file");
    verdict(&good, 0, "ok    dead letters", &["can be written"]);
    assert_eq!(fs::read_to_string(good.letters_path()).expect("a file"), "a letter\n", "and changes none");
    assert_eq!(left(), before + 1, "nothing else is left");

    let missing = gateway("[dead_letter]\npath = \"no-such-folder/letters.ndjson\"\n");
    verdict(&missing, 3, "FAIL  dead letters", &["no-such-folder does not exist", "set dead_letter.path"]);
    let run = missing.run();
    assert_eq!(run.code, Some(2), "{}", run.log);
    assert!(run.log.contains("no-such-folder"), "{}", run.log);

    let folder = scratch("check");
    let text = folder.path().display().to_string();
    verdict(&gateway(&format!("[dead_letter]\npath = {text:?}\n")), 3, "FAIL  dead letters", &["cannot be written"]);
}

#[test]
fn a_read_only_folder_is_reported() {
    let folder = scratch("check");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).expect("one's own folder");
    // Root can write to every folder.
    if fs::write(folder.path().join("trial"), "").is_err() {
        let path = folder.path().join("letters.ndjson").display().to_string();
        let gateway = gateway(&format!("[dead_letter]\npath = {path:?}\n"));
        verdict(&gateway, 3, "FAIL  dead letters", &["cannot create a file", "set dead_letter.path"]);
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("one's own folder");
}

#[test]
#[ignore = "needs a Kafka: make test"]
fn the_dead_letter_topic_must_exist() {
    let kafka = Kafka::real();
    let topic = unique("letters");
    let gateway =
        gateway(&format!("[dead_letter]\nkind = \"kafka\"\nbrokers = {:?}\ntopic = {topic:?}\n", kafka.brokers));
    verdict(&gateway, 0, "note  dead letters", &["has no topic", &topic, "create it"]);
    // The check does not create it.
    verdict(&gateway, 0, "note  dead letters", &["has no topic"]);
    kafka.create(&topic, 1);
    verdict(&gateway, 0, "ok    dead letters", &[&topic]);
}

#[test]
fn an_unreachable_kafka_for_dead_letters_is_reported() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let gateway =
        gateway(&format!("[dead_letter]\nkind = \"kafka\"\nbrokers = \"127.0.0.1:{port}\"\ntopic = \"letters\"\n"));
    verdict(&gateway, 3, "FAIL  dead letters", &["no answer", &port.to_string(), "[dead_letter.properties]"]);
}

#[test]
fn the_http_address_is_checked() {
    verdict(&gateway("[http]\nlisten = \"127.0.0.1:0\"\n"), 0, "ok    http", &["free"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    // It closes every connection, which a gateway never does.
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let other = gateway(&format!("[http]\nlisten = \"{address}\"\n"));
    verdict(&other, 3, "FAIL  http", &[&address, "set http.listen"]);
    let run = other.run();
    assert_eq!(run.code, Some(1), "{}", run.log);
    assert!(run.log.contains("http.listen"), "{}", run.log);

    // An address that other machines can reach, with and without plugins.
    let others = "[http]\nlisten = \"0.0.0.0:0\"\n";
    let plugins = scratch("check-plugins");
    let with = format!("[plugins]\ndir = {:?}\n{others}", plugins.path().display().to_string());
    verdict(&gateway(&with), 0, "note  http", &["no token is set", "set http.token_file"]);
    let (_, said) = gateway(&format!("{with}token = \"one-word\"\n")).check();
    assert!(!said.contains("token"), "{said}");
    let (_, said) = gateway(others).check();
    assert!(!said.contains("token"), "{said}");

    // An address reserved for documentation, not of this machine.
    verdict(&gateway("[http]\nlisten = \"192.0.2.1:8088\"\n"), 3, "FAIL  http", &["192.0.2.1:8088"]);
}

/// A changed configuration is checked while the gateway runs: its own address in use is not a failure.
#[test]
fn a_running_gateway_is_recognized_by_its_health() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let gateway = Gateway::new("check", "");
    let pipe = gateway.folder.path().join("records");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success(), "a pipe is created");
    // Open for reading and writing, so that the gateway waits for records that never come.
    let _open = fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe can be opened");
    gateway.configure(&format!(
        "[source]\nkind = \"file\"\npath = {:?}\n[sink]\nkind = \"null\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
        pipe.display().to_string()
    ));
    let running = gateway.start(&[]);
    wait::until("it serves", Duration::from_secs(60), || running.log().contains("metrics on /metrics"));
    verdict(&gateway, 0, "note  http", &["a gateway already serves", "another http.listen"]);
}

/// Checks that `run` refuses it as a wrong configuration.
#[track_caller]
fn refused(sections: &str, words: &[&str]) {
    let run = gateway(sections).run();
    assert_eq!(run.code, Some(2), "{}", run.log);
    for word in words {
        assert!(run.log.contains(word), "{}\ndoes not say {word:?}", run.log);
    }
}

#[test]
fn bad_plugins_and_settings_are_configuration_errors() {
    let shaper = guests::shaper().display().to_string();
    let plugins = format!("[plugins]\ndir = {shaper:?}\n");
    refused(&format!("{plugins}[plugins.settings.shaper]\nkeeep = 1\n"), &["shaper.wasm", "keeep"]);
    refused(&format!("{plugins}[plugins.settings.shapr]\n"), &["plugins.settings names \"shapr\"", "shaper"]);
    refused("[plugins]\ndir = \"no-such-folder\"\n", &["no-such-folder", "set plugins.dir"]);
    let folder = scratch("check");
    fs::write(folder.path().join("x.wasm"), "no plugin").expect("a file");
    let text = folder.path().display().to_string();
    refused(&format!("[plugins]\ndir = {text:?}\n"), &["x.wasm", "not a WebAssembly file"]);
    refused(
        "[dead_letter]\nkind = \"kafka\"\nbrokers = \"127.0.0.1:9\"\ntopic = \"t\"\n[dead_letter.properties]\n\"lingr.ms\" = \"5\"\n",
        &["lingr.ms", "[dead_letter.properties]"],
    );
}

#[test]
fn an_invalid_log_filter_is_a_command_line_error() {
    let gateway = gateway("");
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(binary());
        command.args(["run", "-c"]).arg(gateway.folder.path().join("rowmill.toml")).args(arguments);
        command.env_remove("ROWMILL_LOG");
        command.envs(variable.map(|filter| ("ROWMILL_LOG", filter)));
        let output = command.output().expect("the gateway starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for filter in ["rowmill=loud", "rowmill=debug,,", "inof", "[", "=info"] {
        for (code, said) in [run(&["--log", filter], None), run(&[], Some(filter))] {
            assert_eq!(code, Some(2), "{filter}: {said}");
            assert!(said.contains(filter) && said.contains("rowmill=debug,rdkafka=warn"), "{said}");
        }
    }
    let (_, said) = run(&["--log", "inof"], None);
    assert!(said.contains("did you mean \"info\"?"), "{said}");
    assert!(run(&["--log", "inof"], Some("info")).1.contains("--log"), "the command line goes first");
    for filter in ["info", "WARN", "3", "rowmill=debug,rdkafka=warn", "rowmill", "info,rowmill::sink=trace"] {
        let (code, said) = run(&["--log", filter], None);
        assert_eq!(code, Some(0), "{filter}: {said}");
    }
    assert_eq!(run(&[], Some("")).0, Some(0), "an empty variable is none");
}
