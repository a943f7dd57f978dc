//! The process that compiles, from both sides: what it is told, what it answers, and what its end means to a person.
//!
//! It answers with one frame: a status byte, the length of the rest in eight bytes (the low ones first), and the compiled
//! code, or step and reason of a refusal as JSON.

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

/// The subcommand of the program that compiles.
pub(crate) const COMMAND: &str = "compile-plugin";

const COMPILED: u8 = 0;
const REFUSED: u8 = 1;
const HEADER: usize = 1 + size_of::<u64>();

/// Compiled code may be so many times as large as the file. Usual files come to 3 to 6 times.
const BYTES_PER_FILE_BYTE: usize = 64;
/// What any file's code may have: a small file carries the same fixed parts.
const LEAST_BYTES: usize = 16 << 20;
/// What no file's code may have.
const MAX_BYTES: usize = 1 << 30;
/// How much longer than its time on a processor it may take by the clock. It runs with a low priority, so where the stream
/// takes all processors it gets a tenth of one.
const PATIENCE: u32 = 3;
/// What is read of its words. They are for people; a crash says what matters first.
const WORDS: u64 = 4096;
/// How often a process that has closed its output is looked at for its end, which follows at once.
const REAP_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Serialize, Deserialize)]
struct Reason {
    step: String,
    reason: String,
}

/// Writes the answer of the process that compiles.
pub(crate) fn answer(result: &Result<Vec<u8>, Refusal>, to: &mut impl Write) -> io::Result<()> {
    let refused;
    let (status, rest) = match result {
        Ok(compiled) => (COMPILED, compiled),
        Err(Refusal { step, reason }) => {
            refused = serde_json::to_vec(&Reason { step: (*step).into(), reason: reason.clone() })?;
            (REFUSED, &refused)
        }
    };
    to.write_all(&[status])?;
    to.write_all(&(rest.len() as u64).to_le_bytes())?;
    to.write_all(rest)?;
    to.flush()
}

/// What the process answered; `None` if it is not one whole answer.
fn understand(mut frame: Vec<u8>) -> Option<Result<Vec<u8>, Refusal>> {
    let status = *frame.first()?;
    let length = u64::from_le_bytes(frame.get(1..HEADER)?.try_into().ok()?);
    if length != (frame.len() - HEADER) as u64 {
        return None;
    }
    frame.drain(..HEADER);
    match status {
        COMPILED => Some(Ok(frame)),
        REFUSED => {
            let Reason { step, reason } = serde_json::from_slice(&frame).ok()?;
            let step = ["read", "format", "imports", "exports"].into_iter().find(|known| *known == step);
            Some(Err(Refusal::new(step.unwrap_or("compile"), reason)))
        }
        _ => None,
    }
}

/// Compiles a file's bytes in a process of their own.
pub(super) fn compile(
    program: &Path,
    config: &CompileConfig,
    file_bytes: usize,
    bytes: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let deadline = Instant::now() + config.time * PATIENCE;
    let most = bytes.len().saturating_mul(BYTES_PER_FILE_BYTE).clamp(LEAST_BYTES, MAX_BYTES);
    let broken =
        |error: io::Error| Refusal::new("compile", format!("the process that compiles cannot be used: {error}"));
    let mut process = Process::start(program, config, file_bytes)?;
    let pipes = (process.0.stdin.take(), process.0.stdout.take(), process.0.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else { unreachable!("all three are piped") };
    thread::scope(|scope| {
        let name = |name: &str| thread::Builder::new().name(name.into());
        // When the process is gone the pipes are closed, and these threads end.
        let mut process = process;
        let threads = || -> io::Result<_> {
            name("compile-in").spawn_scoped(scope, move || stdin.write_all(bytes))?;
            let (done, frame) = bounded(1);
            name("compile-out").spawn_scoped(scope, move || done.send(read(stdout, HEADER + most)))?;
            let words = name("compile-words").spawn_scoped(scope, move || words(stderr))?;
            Ok((frame, words))
        };
        let (frame, words) = threads().map_err(broken)?;
        let Ok(frame) = frame.recv_deadline(deadline) else {
            return Err(Refusal::new("compile", took_too_long(config.time * PATIENCE, "")));
        };
        let frame = frame.map_err(broken)?;
        if frame.len() > HEADER + most {
            return Err(Refusal::new(
                "compile",
                format!(
                    "its compiled code has more than {most} bytes, out of all proportion to the file's {}; it is made to do harm, or by a tool gone wrong",
                    bytes.len()
                ),
            ));
        }
        understand(frame).unwrap_or_else(|| {
            let status = process.end(deadline).map_err(broken)?;
            let words = words.join().unwrap_or_default();
            Err(Refusal::new("compile", told(status, &words, config, program)))
        })
    })
}

/// The process, which is killed and reaped when this is dropped.
struct Process(Child);

impl Process {
    fn start(program: &Path, config: &CompileConfig, file_bytes: usize) -> Result<Self, Refusal> {
        let mut command = Command::new(program);
        // It reads what nobody trusts yet, so it gets nothing that it could tell: no secrets of the environment.
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
                format!("the process that compiles, {}, cannot be started: {error}; is the program still there, and are there processes left?", program.display()),
            )
        })
    }

    /// Waits for its end, and kills it if that does not come in time.
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
        // By its handle: it is not reaped before, so the number is still its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more tells what is too long from what just fits.
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn words(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut from).take(WORDS).read_to_end(&mut bytes);
    // Read on: a full pipe would stop it in the middle of its words.
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&bytes).trim().to_string()
}

fn took_too_long(time: Duration, of_processor: &str) -> String {
    format!(
        "compiling took more than {} s{of_processor}; a plugin in Rust takes less than one. If the file is to be trusted, raise plugins.compile_time",
        time.as_secs_f64()
    )
}

/// What the end of a process that did not answer means.
fn told(status: ExitStatus, words: &str, config: &CompileConfig, program: &Path) -> String {
    let signal = status.signal().and_then(Signal::from_named_raw);
    // Words of the standard library's, when an allocation fails.
    if words.contains("memory allocation of") {
        return format!(
            "compiling needs more memory than {} MiB; if the file is to be trusted, raise plugins.compile_memory",
            config.memory >> 20
        );
    }
    let said = if words.is_empty() { String::new() } else { format!(": {}", single_line(words)) };
    match (signal, status.code()) {
        (Some(Signal::XCPU), _) => took_too_long(config.time, " of a processor"),
        (Some(Signal::KILL), _) => {
            "the process that compiles was killed, maybe by the system for lack of memory; free some, or lower plugins.compile_memory so that it ends before".into()
        }
        (Some(signal), _) => format!(
            "the compiler crashed by signal {}{said}; if the file is to be trusted, more plugins.compile_memory may help",
            signal.as_raw()
        ),
        // What clap ends with.
        (None, Some(2)) => format!("{} does not compile plugins; is it the same Rowmill?{said}", program.display()),
        (None, _) => format!("the process that compiles gave up{said}; if memory is what it lacks, raise plugins.compile_memory"),
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
            assert_eq!(understand(frame[..end].to_vec()), None, "cut at {end}");
        }
        assert_eq!(understand([&frame[..], b"x"].concat()), None);
        assert_eq!(understand(frame), Some(result));
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        check(Ok(b"code".to_vec()));
        check(Err(Refusal::new("imports", "it imports `env.x`")));
        check(Err(Refusal::new("compile", "no")));
        assert_eq!(understand(vec![7, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn an_end_is_told_with_the_key_that_helps() {
        let config = CompileConfig::default();
        let told =
            |status: i32, words: &str| told(ExitStatus::from_raw(status), words, &config, Path::new("/bin/rowmill"));
        let words = "memory allocation of 4096 bytes failed";
        assert!(told(Signal::ABORT.as_raw(), words).contains("plugins.compile_memory"));
        assert!(told(Signal::XCPU.as_raw(), "").contains("plugins.compile_time"));
        assert!(told(Signal::KILL.as_raw(), "").contains("killed"));
        assert!(told(Signal::SEGV.as_raw(), "").contains("signal 11"));
        assert!(told(2 << 8, "unrecognized subcommand").contains("/bin/rowmill does not compile plugins"));
        assert!(told(1 << 8, "no thread").contains("no thread"));
    }
}
