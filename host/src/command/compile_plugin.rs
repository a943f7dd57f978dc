//! `rowmill compile-plugin`: the process that compiles a plugin. It limits its own resources before it reads any input.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rowmill_sandbox::{Limits, Sandbox};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

use crate::plugins::compile::child::answer;

#[derive(Args)]
pub(super) struct CompilePluginArgs {
    /// Limit of the address space, in bytes
    #[arg(long)]
    memory: u64,
    /// Limit of the CPU time, in seconds; the parent process limits the wall time
    #[arg(long)]
    time: u64,
    /// Largest file, in bytes
    #[arg(long)]
    file_bytes: usize,
}

pub(super) fn compile_plugin(args: &CompilePluginArgs) -> anyhow::Result<ExitCode> {
    limit(args).context("cannot limit the compiling process")?;
    let mut bytes = Vec::new();
    // One more byte, to detect a file that is too large. The sandbox refuses it.
    std::io::stdin().lock().take(args.file_bytes as u64 + 1).read_to_end(&mut bytes).context("cannot read the file")?;
    let sandbox = Sandbox::new(Limits { file_bytes: args.file_bytes, ..Limits::default() })?;
    let mut out = std::io::stdout().lock();
    answer(&sandbox.compile(&bytes), &mut out).and_then(|()| out.flush()).context("cannot write the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn limit(args: &CompilePluginArgs) -> std::io::Result<()> {
    let at_most = |resource, max: u64| setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) });
    at_most(Resource::As, args.memory)?;
    at_most(Resource::Core, 0)?;
    // The soft limit sends SIGXCPU, which the parent can recognise; the hard limit sends SIGKILL.
    setrlimit(Resource::Cpu, Rlimit { current: Some(args.time + 1), maximum: Some(args.time + 2) })?;
    // An absolute value: the process inherits the priority of the parent's thread.
    setpriority_process(None, crate::plugins::VALIDATION_NICENESS)?;
    // If the system runs out of memory, it should kill this process and not the gateway. The file exists only on Linux.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}
