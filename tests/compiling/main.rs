//! Compiling a plugin does not burden the gateway: a separate process does it, within limits, and once.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rowmill::config::CompileConfig;
use rowmill::plugins::compile::Compiler;
use rowmill::plugins::private::PrivateFolder;
use rowmill_sandbox::{Limits, Plugin, Refusal, Sandbox};
use rowmill_tests::gateway::binary;
use rowmill_tests::{bombs, guests, scratch};

static SANDBOX: LazyLock<Arc<Sandbox>> = LazyLock::new(|| {
    // Enough time for a busy machine, but limited.
    let limits = Limits { setup_time: Duration::from_secs(2), ..Limits::default() };
    Arc::new(Sandbox::new(limits).expect("this machine can run the engine"))
});

fn guest() -> Vec<u8> {
    fs::read(&guests::built().trade_document).expect("it was built")
}

fn config() -> CompileConfig {
    CompileConfig { program: Some(binary()), ..CompileConfig::default() }
}

fn load(config: CompileConfig, bytes: &[u8]) -> Result<Plugin, Refusal> {
    Compiler::new(config, None, SANDBOX.clone()).load(bytes, "the-hash", |_| false)
}

#[track_caller]
fn refused(config: CompileConfig, bytes: &[u8], words: &[&str]) {
    let refusal = load(config, bytes).expect_err("this file does harm");
    assert_eq!(refusal.step, "compile", "{refusal}");
    for words in words {
        assert!(refusal.reason.contains(words), "{words:?} is not in {refusal}");
    }
}

/// The peak memory of this process so far, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line of the peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[test]
fn a_plugin_is_compiled_elsewhere_and_runs_here() {
    let bytes = guest();
    let plugin = load(config(), &bytes).expect("a plugin that is in order");
    assert_eq!(plugin.description().name, "trade-document");
    assert_eq!(plugin.hash(), Plugin::load(&SANDBOX, &bytes).expect("here too").hash());
    plugin.instantiate("{}").expect("it runs");
    // A refusal by the other process is the same as in this process.
    for file in [&b"<html>"[..], b"", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"] {
        let elsewhere = load(config(), file).expect_err("no plugin");
        assert_eq!(elsewhere, Plugin::load(&SANDBOX, file).expect_err("no plugin"));
    }
}

#[test]
fn cached_code_is_not_compiled_again() {
    let folder = scratch("code");
    let kept = PrivateFolder::open(folder.path()).expect("a folder of our own");
    let bytes = guest();
    let load = |program: PathBuf| {
        let config = CompileConfig { program: Some(program), ..config() };
        Compiler::new(config, Some(kept.clone()), SANDBOX.clone()).load(&bytes, "the-hash", |_| false)
    };
    load(binary()).expect("compiled by the program");
    load("/no/such/program".into()).expect("no program is started").instantiate("{}").expect("it runs");
}

/// In one test, since the peak of memory is of the whole process; what the others here take is far less than the bomb.
#[cfg(target_os = "linux")]
#[test]
fn a_compile_bomb_is_refused_within_its_limits() {
    let bomb = bombs::compile_bomb(&guest());
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    // The memory that this process needs for a good plugin.
    load(config(), &guest()).expect("a plugin that is in order");
    let before = peak();

    let memory = CompileConfig { memory: 192 << 20, ..config() };
    refused(memory, &bomb, &["192 MiB", "plugins.compile_memory"]);

    let begin = Instant::now();
    let time = CompileConfig { memory: 8 << 30, time: Duration::from_secs(1), ..config() };
    refused(time, &bomb, &["took more than", "plugins.compile_time"]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());

    let grown = peak() - before;
    assert!(grown < 64 << 20, "this process grew by {grown} bytes");
    // The next good file is compiled as before.
    load(config(), &guest()).expect("a plugin that is in order");
}

#[test]
fn a_hanging_start_function_is_stopped() {
    let refusal = load(config(), &bombs::hanging_start(&guest())).expect_err("it never starts");
    assert_eq!(refusal.step, "instantiate");
    assert!(refusal.reason.contains("ran longer than the limit"), "{refusal}");
}

#[test]
fn a_program_that_cannot_compile_is_named() {
    let with = |program: &str| CompileConfig { program: Some(program.into()), ..config() };
    refused(with("/no/such/program"), &guest(), &["/no/such/program", "cannot start the compiling process"]);
    // Exits successfully without an answer.
    refused(with("true"), &guest(), &["the compiling process failed"]);
    refused(with("false"), &guest(), &["the compiling process failed"]);
}
