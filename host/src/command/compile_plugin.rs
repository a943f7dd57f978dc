//! `rowmill compile-plugin`: the process in which a plugin is compiled, which limits itself before it reads anything.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rowmill_sandbox::{Limits, Sandbox};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

use crate::plugins::compile::child::answer;

#[derive(Args)]
pub(super) struct CompilePluginArgs {
    /// Address space, in bytes
    #[arg(long)]
    memory: u64,
    /// Time of a processor, in seconds; who started this looks after the clock's
    #[arg(long)]
    time: u64,
    /// Largest file, in bytes
    #[arg(long)]
    file_bytes: usize,
}

pub(super) fn compile_plugin(args: &CompilePluginArgs) -> anyhow::Result<ExitCode> {
    limit(args).context("cannot limit the process that compiles")?;
    let mut bytes = Vec::new();
    // One more tells a file that is too long, which is then refused.
    std::io::stdin().lock().take(args.file_bytes as u64 + 1).read_to_end(&mut bytes).context("cannot read the file")?;
    let sandbox = Sandbox::new(Limits { file_bytes: args.file_bytes, ..Limits::default() })?;
    let mut out = std::io::stdout().lock();
    answer(&sandbox.compile(&bytes), &mut out).and_then(|()| out.flush()).context("cannot answer")?;
    Ok(ExitCode::SUCCESS)
}

fn limit(args: &CompilePluginArgs) -> std::io::Result<()> {
    let at_most = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    at_most(Resource::As, args.memory)?;
    at_most(Resource::Core, 0)?;
    // The soft limit ends it with a signal of its own; the hard one would be a plain kill.
    setrlimit(Resource::Cpu, Rlimit { current: Some(args.time + 1), maximum: Some(args.time + 2) })?;
    // Absolute, for it begins with the priority of the thread that started it.
    setpriority_process(None, crate::plugins::VALIDATION_NICENESS)?;
    // Where the system itself lacks memory it is this process that ends, not the gateway. Elsewhere than on Linux there is
    // no such file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}
