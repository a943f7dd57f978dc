//! A component that imports WASI is refused; where it is allowed, WASI does nothing: no files, environment, network, and
//! clock, the same random numbers each time, an output that goes to the log, and no way to wait.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{GENEROUS, HURRIED, Outcome, Row};
use rowmill_sandbox::{Plugin, Sandbox};
use rowmill_tests::gateway::{Gateway, binary};
use rowmill_tests::guests;

fn allowed(sandbox: &Arc<Sandbox>) -> Option<Plugin> {
    let bytes = std::fs::read(guests::wasi()?).expect("the guest can be read");
    let plugin = Plugin::load_with_wasi(sandbox, &bytes, |name| name == "wasi-guest").expect("it is allowed");
    assert!(plugin.imports_wasi());
    Some(plugin)
}

/// The text that an action writes into a row's note, in a separate instance.
#[track_caller]
fn note(plugin: &Plugin, deed: &str) -> String {
    match crate::harness::live(Ok(plugin), &format!("{{\"do\":\"{deed}\"}}"), 1) {
        Outcome::Rows { rows, faults: 0 } => match rows.first() {
            Some(Row::Edit(cells)) => cells[0].1.trim_matches('"').to_string(),
            other => panic!("{deed}: {other:?}"),
        },
        other => panic!("{deed}: {other:?}"),
    }
}

#[test]
fn it_is_refused_with_what_would_allow_it() {
    let Some(file) = guests::wasi() else { return };
    let bytes = std::fs::read(file).expect("the guest can be read");
    let refusal = Plugin::load(&GENEROUS, &bytes).expect_err("nothing allows it");
    assert_eq!(refusal.step, "imports");
    assert!(refusal.reason.starts_with("it imports `wasi:"), "{refusal}");
    assert!(refusal.reason.contains("there is no WASI in the sandbox"), "{refusal}");
    assert!(refusal.reason.contains("plugins.wasi = [\"wasi-guest\"]"), "{refusal}");
    // The permission of another plugin does not apply.
    assert_eq!(Plugin::load_with_wasi(&GENEROUS, &bytes, |name| name == "other").expect_err("not allowed"), refusal);
}

#[test]
fn wasi_provides_nothing() {
    let Some(plugin) = allowed(&GENEROUS) else { return };
    let check = |deed: &str, expected: &str| assert_eq!(note(&plugin, deed), expected, "{deed}");
    let files = note(&plugin, "files");
    assert!(!files.contains("done"), "{files}");
    check("environment", "0 variables, 0 arguments");
    let network = note(&plugin, "network");
    assert!(!network.contains("done"), "{network}");
    check("clock", "0ns, then 0ns later");
    check("input", "done, 0 bytes");
    let thread = note(&plugin, "thread");
    assert_ne!(thread, "done");
    assert_eq!(note(&plugin, "random"), note(&plugin, "random"), "two instances, the same numbers");
}

#[test]
fn its_output_goes_to_the_log_and_does_not_drown_it() {
    let Some(plugin) = allowed(&GENEROUS) else { return };
    let (said, lines) = crate::log::capture(|| note(&plugin, "output"));
    assert_eq!(said, "done, done");
    let logged: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once("rowmill::plugin: ").map(|at| at.1)).collect();
    let expected = ["row 0 plugin=wasi-guest", "and  [31mmore plugin=wasi-guest", "bad 0 plugin=wasi-guest"];
    assert_eq!(logged, [&expected[..], &["no end of line plugin=wasi-guest"]].concat(), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("bad 0")), "{lines:?}");

    let ((), lines) = crate::log::capture(|| drop(crate::harness::live(Ok(&plugin), "{\"do\":\"flood\"}", 1)));
    assert!(lines.len() < 100 && lines.iter().all(|line| line.len() < 4096), "{} lines", lines.len());
}

#[test]
fn it_cannot_wait() {
    let Some(plugin) = allowed(&HURRIED) else { return };
    let (outcome, took) = crate::harness::timed(|| crate::harness::live(Ok(&plugin), "{\"do\":\"sleep\"}", 4));
    let Outcome::Rows { rows, faults: 0 } = outcome else { panic!("{outcome:?}") };
    assert!(rows.iter().all(|row| matches!(row, Row::Edit(cells) if cells[0].1 == "\"slept\"")), "{rows:?}");
    assert!(took < Duration::from_secs(15), "an hour of sleep for each row took {took:?}");

    // The clock does not advance, so this runs until the time limit.
    let (outcome, took) =
        crate::harness::timed(|| crate::harness::live(Ok(&plugin), "{\"do\":\"wait-for-the-clock\"}", 1));
    let Outcome::Rows { rows, .. } = outcome else { panic!("{outcome:?}") };
    assert!(matches!(&rows[..], [Row::CallFails(reason)] if reason.contains("ran longer than the limit")), "{rows:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn unsupported_functions_end_the_call_and_are_named() {
    let Some(plugin) = allowed(&GENEROUS) else { return };
    let outcome = crate::harness::live(Ok(&plugin), "{\"do\":\"exit\"}", 1);
    let Outcome::Rows { rows, .. } = outcome else { panic!("{outcome:?}") };
    let [Row::CallFails(reason)] = &rows[..] else { panic!("{rows:?}") };
    assert!(reason.starts_with("it called `wasi:cli/exit@0.2."), "{reason}");
    assert!(reason.contains("the sandbox's WASI does nothing"), "{reason}");
}

#[test]
fn the_configuration_allows_it_by_name() {
    let Some(file) = guests::wasi() else { return };
    let configuration = |wasi: &str, folder: &std::path::Path| {
        format!(
            "[source]\nkind = \"file\"\npath = \"-\"\n[sink]\nkind = \"null\"\n[plugins]\ndir = {:?}\n{wasi}\n",
            folder.display().to_string()
        )
    };
    let check = |wasi: &str| {
        let folder = rowmill_tests::scratch("wasi");
        std::fs::copy(&file, folder.path().join("10-wasi.wasm")).expect("the guest can be copied");
        let gateway = Gateway::new("wasi", &configuration(wasi, folder.path()));
        let output = std::process::Command::new(binary())
            .args(["check", "-c"])
            .arg(gateway.folder.path().join("rowmill.toml"))
            .output()
            .expect("the gateway can be run");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check("");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("FAIL  plugin") && said.contains("plugins.wasi = [\"wasi-guest\"]"), "{said}");
    let (code, said) = check("wasi = [\"wasi-guest\"]");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok    plugin") && said.contains("wasi-guest"), "{said}");
    let (code, said) = check("wasi = [\"wasi-guest\", \"wasi-gast\"]");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("plugins.wasi names \"wasi-gast\""), "{said}");
}
