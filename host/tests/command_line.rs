//! The command line answers without a configuration. That this test is here also makes `cargo test --workspace` build
//! the binary, which the tests in `tests/` run.

use std::process::Command;

#[test]
fn help_tells_the_exit_codes() {
    let output = Command::new(env!("CARGO_BIN_EXE_rowmill")).arg("--help").output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Exit codes:") && text.contains("check"), "{text}");
}

#[test]
fn an_unknown_command_is_a_wrong_command_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_rowmill")).arg("runn").output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("run"), "{text}");
}
