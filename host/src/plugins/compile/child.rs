//! Both sides of the compiling process: its arguments, its answer, and what its exit status means.
//!
//! It answers with one frame: a status byte, the length of the rest as eight little-endian bytes, and either the compiled
//! code or the step and reason of a refusal as JSON.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rowmill_sandbox::{Refusal, single_line};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::config::CompileConfig;

/// The subcommand that compiles.
pub(crate) const COMMAND: &str = "compile-plugin";

const COMPILED: u8 = 0;
const REFUSED: u8 = 1;
const HEADER: usize = 1 + size_of::<u64>();

/// Limit of the compiled code's size, as a multiple of the file's. The usual factor is 3 to 6.
const MAX_EXPANSION: usize = 64;
/// Any file's code may have this many bytes, since some parts of it have a fixed size.
const ALWAYS_ALLOWED_BYTES: usize = 16 << 20;
/// No file's code may have more bytes than this.
const MAX_BYTES: usize = 1 << 30;
/// Limit of its wall time, as a multiple of the limit of its CPU time. It has a low priority, so it may get only a tenth of a
/// core while workers use them all.
const WALL_TIME_FACTOR: u32 = 3;
/// Bytes read from its standard error. A crash reports the important part first.
const MAX_STDERR: u64 = 4096;
/// How often a process that closed its output is polled for its exit, which follows at once.
const REAP_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Serialize, Deserialize)]
struct RefusalFrame {
    step: String,
    reason: String,
}

/// Writes the answer of the compiling process.
pub(crate) fn answer(result: &Result<Vec<u8>, Refusal>, to: &mut impl Write) -> io::Result<()> {
    let refused;
    let (status, rest) = match result {
        Ok(compiled) => (COMPILED, compiled),
        Err(Refusal { step, reason }) => {
            refused = serde_json::to_vec(&RefusalFrame { step: (*step).into(), reason: reason.clone() })?;
            (REFUSED, &refused)
        }
    };
    to.write_all(&[status])?;
    to.write_all(&(rest.len() as u64).to_le_bytes())?;
    to.write_all(rest)?;
    to.flush()
}

/// Parses the answer of the process; `None` if it is not exactly one frame.
fn parse_answer(mut frame: Vec<u8>) -> Option<Result<Vec<u8>, Refusal>> {
    let status = *frame.first()?;
    let length = u64::from_le_bytes(frame.get(1..HEADER)?.try_into().ok()?);
    if length != (frame.len() - HEADER) as u64 {
        return None;
    }
    frame.drain(..HEADER);
    match status {
        COMPILED => Some(Ok(frame)),
        REFUSED => {
            let RefusalFrame { step, reason } = serde_json::from_slice(&frame).ok()?;
            let step = ["read", "format", "imports", "exports"].into_iter().find(|known| *known == step);
            Some(Err(Refusal::new(step.unwrap_or("compile"), reason)))
        }
        _ => None,
    }
}

/// Compiles a file's bytes in a separate process.
pub(super) fn compile(
    program: &Path,
    config: &CompileConfig,
    file_bytes: usize,
    bytes: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let deadline = Instant::now() + config.time * WALL_TIME_FACTOR;
    let max = bytes.len().saturating_mul(MAX_EXPANSION).clamp(ALWAYS_ALLOWED_BYTES, MAX_BYTES);
    let broken =
        |error: io::Error| Refusal::new("compile", format!("cannot communicate with the compiling process: {error}"));
    let mut process = Process::start(program, config, file_bytes)?;
    let pipes = (process.0.stdin.take(), process.0.stdout.take(), process.0.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else { unreachable!("all three are piped") };
    thread::scope(|scope| {
        let name = |name: &str| thread::Builder::new().name(name.into());
        // These threads end when the process ends and its pipes close.
        let mut process = process;
        let threads = || -> io::Result<_> {
            name("compile-in").spawn_scoped(scope, move || stdin.write_all(bytes))?;
            let (done, frame) = bounded(1);
            name("compile-out").spawn_scoped(scope, move || done.send(read(stdout, HEADER + max)))?;
            let words = name("compile-err").spawn_scoped(scope, move || read_stderr(stderr))?;
            Ok((frame, words))
        };
        let (frame, words) = threads().map_err(broken)?;
        let Ok(frame) = frame.recv_deadline(deadline) else {
            return Err(Refusal::new("compile", took_too_long(config.time * WALL_TIME_FACTOR, "")));
        };
        let frame = frame.map_err(broken)?;
        if frame.len() > HEADER + max {
            return Err(Refusal::new(
                "compile",
                format!(
                    "its compiled code is larger than {max} bytes, far too large for a file of {} bytes; the file is malicious or comes from a broken tool",
                    bytes.len()
                ),
            ));
        }
        parse_answer(frame).unwrap_or_else(|| {
            let status = process.end(deadline).map_err(broken)?;
            let words = words.join().unwrap_or_default();
            Err(Refusal::new("compile", explain_exit(status, &words, config, program)))
        })
    })
}

/// The compiling process; killed and reaped on drop.
struct Process(Child);

impl Process {
    fn start(program: &Path, config: &CompileConfig, file_bytes: usize) -> Result<Self, Refusal> {
        let mut command = Command::new(program);
        // It reads untrusted input, so it must not see secrets in the environment.
        command.env_clear();
        if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let seconds = config.time.as_millis().div_ceil(1000);
        command
            .arg(COMMAND)
            .args(["--memory", &config.memory.to_string()])
            .args(["--time", &seconds.to_string()])
            .args(["--file-bytes", &file_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map(Self).map_err(|error| {
            Refusal::new(
                "compile",
                format!("cannot start the compiling process {}: {error}; check that the program exists and that the process limit is not reached", program.display()),
            )
        })
    }

    /// Waits for it to exit, and kills it at the deadline.
    fn end(&mut self, deadline: Instant) -> io::Result<ExitStatus> {
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(REAP_INTERVAL);
        }
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Safe: it was not reaped yet, so its process ID was not reused.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(from: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more byte, to detect an answer that is too long.
    from.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_stderr(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut from).take(MAX_STDERR).read_to_end(&mut bytes);
    // Keep reading: a full pipe would block the process.
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&bytes).trim().to_string()
}

fn took_too_long(time: Duration, of_cpu_time: &str) -> String {
    format!(
        "compiling took more than {} s{of_cpu_time}, and a usual plugin takes less than one; if you trust the file, raise plugins.compile_time",
        time.as_secs_f64()
    )
}

/// Explains the exit of a process that did not answer.
fn explain_exit(status: ExitStatus, words: &str, config: &CompileConfig, program: &Path) -> String {
    let signal = status.signal().and_then(Signal::from_named_raw);
    // The standard library's message when an allocation fails.
    if words.contains("memory allocation of") {
        return format!(
            "compiling needs more than {} MiB of memory; if you trust the file, raise plugins.compile_memory",
            config.memory >> 20
        );
    }
    let stderr = if words.is_empty() { String::new() } else { format!(": {}", single_line(words)) };
    match (signal, status.code()) {
        (Some(Signal::XCPU), _) => took_too_long(config.time, " of CPU time"),
        (Some(Signal::KILL), _) => {
            "the compiling process was killed, possibly by the system for lack of memory; free memory, or lower plugins.compile_memory".into()
        }
        (Some(signal), _) => format!(
            "the compiler crashed with signal {}{stderr}; if you trust the file, try a higher plugins.compile_memory",
            signal.as_raw()
        ),
        // The exit code of clap.
        (None, Some(2)) => format!("{} does not compile plugins; it may be another version of Rowmill{stderr}", program.display()),
        (None, _) => format!("the compiling process failed{stderr}; if it lacked memory, raise plugins.compile_memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(result: Result<Vec<u8>, Refusal>) {
        let mut frame = Vec::new();
        answer(&result, &mut frame).unwrap();
        for end in 0..frame.len() {
            assert_eq!(parse_answer(frame[..end].to_vec()), None, "cut at {end}");
        }
        assert_eq!(parse_answer([&frame[..], b"x"].concat()), None);
        assert_eq!(parse_answer(frame), Some(result));
    }

    #[test]
    fn a_partial_answer_is_not_accepted() {
        check(Ok(b"code".to_vec()));
        check(Err(Refusal::new("imports", "it imports `env.x`")));
        check(Err(Refusal::new("compile", "no")));
        assert_eq!(parse_answer(vec![7, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn an_exit_is_explained_with_the_key_to_change() {
        let config = CompileConfig::default();
        let explain = |status: i32, words: &str| {
            explain_exit(ExitStatus::from_raw(status), words, &config, Path::new("/bin/rowmill"))
        };
        let words = "memory allocation of 4096 bytes failed";
        assert!(explain(Signal::ABORT.as_raw(), words).contains("plugins.compile_memory"));
        assert!(explain(Signal::XCPU.as_raw(), "").contains("plugins.compile_time"));
        assert!(explain(Signal::KILL.as_raw(), "").contains("killed"));
        assert!(explain(Signal::SEGV.as_raw(), "").contains("signal 11"));
        assert!(explain(2 << 8, "unrecognized subcommand").contains("/bin/rowmill does not compile plugins"));
        assert!(explain(1 << 8, "no thread").contains("no thread"));
    }
}
