//! Runs the gateway like a user: the binary, a configuration file, an exit code and a line of JSON.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::elasticsearch::Elasticsearch;
use crate::wait;

/// How long a run until caught up may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The binary, which lies beside the tests' own.
///
/// # Panics
/// It is not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let binary = profile.join(format!("rowmill{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "there is no {}: build it with `cargo build --workspace` (with the tests' profile), or run `cargo test --workspace`",
        binary.display()
    );
    binary
}

/// A folder with a configuration in it.
#[derive(Debug)]
pub struct Gateway {
    /// The folder with the configuration, the output and the dead letters.
    pub folder: TempDir,
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The line on standard output.
    pub summary: Value,
    /// The log.
    pub log: String,
}

impl Run {
    /// The run, if it ended in order.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    #[must_use]
    pub fn ended_well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.log);
        self
    }

    /// A number of the summary.
    ///
    /// # Panics
    /// There is no number with that name.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let pointer = format!("/{}", name.replace('.', "/"));
        self.summary
            .pointer(&pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no {name} in {}", self.summary))
    }
}

/// What a command printed.
#[derive(Debug)]
#[allow(missing_docs, reason = "a process's own words")]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output, if the command succeeded.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    #[must_use]
    pub fn ended_well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// The lines of standard output, as JSON.
    ///
    /// # Panics
    /// A line is no JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let value = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(value).collect()
    }
}

/// A running gateway; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Gateway {
    /// A gateway with this configuration. Dead letters go to a file in its folder unless the configuration has a
    /// section for them.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn new(name: &str, configuration: &str) -> Self {
        let folder = crate::scratch(name);
        let gateway = Self { folder };
        gateway.configure(configuration);
        gateway
    }

    /// Replaces the configuration.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn configure(&self, configuration: &str) {
        let mut text = configuration.to_string();
        if !text.contains("\nstate =") {
            // A separate private folder, since tests run in parallel in one folder.
            let state = format!("[plugins]\nstate = {:?}\n", self.folder.path().join("state").display().to_string());
            text = text.replacen("[plugins]\n", &state, 1);
        }
        if !text.contains("[dead_letter]") {
            text +=
                &format!("\n[dead_letter]\nkind = \"file\"\npath = {:?}\n", self.letters_path().display().to_string());
        }
        std::fs::write(self.folder.path().join("rowmill.toml"), text).expect("the configuration can be written");
    }

    /// The file of dead letters.
    pub fn letters_path(&self) -> PathBuf {
        self.folder.path().join("dead-letter.ndjson")
    }

    /// The dead letters, as JSON objects.
    ///
    /// # Panics
    /// A line is no JSON.
    pub fn letters(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.letters_path()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a letter is a line of JSON")).collect()
    }

    /// Starts `rowmill run` with these further arguments.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Running {
        let folder = self.folder.path();
        let file = |name: &str| Stdio::from(File::create(folder.join(name)).expect("a file for what it says"));
        let child = Command::new(binary())
            .args(["run", "-c"])
            .arg(folder.join("rowmill.toml"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .env_remove("ROWMILL_LOG")
            .spawn()
            .expect("the gateway starts");
        Running { child, folder: folder.into() }
    }

    /// Runs until caught up.
    #[track_caller]
    pub fn run(&self) -> Run {
        self.start(&["--until-caught-up"]).wait()
    }

    /// Runs a command of `rowmill` with these arguments and this configuration.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("-c").arg(self.folder.path().join("rowmill.toml")).env_remove("ROWMILL_LOG");
        let output = command.output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs `rowmill check`; returns its exit code and its verdicts.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn check(&self) -> (Option<i32>, String) {
        let mut command = Command::new(binary());
        command.args(["check", "-c"]).arg(self.folder.path().join("rowmill.toml")).env_remove("ROWMILL_LOG");
        let output = command.output().expect("the gateway starts");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    }
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in minutes.
    #[track_caller]
    pub fn wait(mut self) -> Run {
        let child = &mut self.child;
        let end = wait::within(PATIENCE, || child.try_wait().expect("its state is known"));
        let Some(status) = end else { panic!("it does not end; it says:\n{}", self.log()) };
        self.told(status.code())
    }

    fn told(&self, code: Option<i32>) -> Run {
        let out = read(&self.folder, "stdout");
        let line = out.lines().last().unwrap_or_default();
        Run { code, summary: serde_json::from_str(line).unwrap_or_default(), log: self.log() }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        read(&self.folder, "stderr")
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// Its state cannot be asked.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state is known").is_none()
    }

    /// Sends it a signal: `STOP` halts it, `CONT` lets it continue.
    ///
    /// # Panics
    /// It cannot be sent.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be sent signals");
    }

    /// Kills it when called, from any thread.
    pub fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let id = Pid::from_child(&self.child);
        move || {
            // It may be dead already.
            let _ = kill_process(id, Signal::KILL);
        }
    }

    /// Whether it has ended, without collecting its exit code.
    pub fn is_dead(&self) -> bool {
        // A process that ended and was not waited for is a zombie.
        self.status("State:").is_none_or(|state| state.starts_with('Z'))
    }

    /// The most memory that it has used, in bytes; `None` if it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let kibibytes = self.status("VmHWM:")?;
        kibibytes.split_whitespace().next()?.parse::<u64>().ok().map(|number| number * 1024)
    }

    /// A line of what Linux says about the process.
    fn status(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_string()))
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// It does not end in minutes, or it reports a failure.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let _ = self.wait().ended_well();
    }

    /// Its HTTP server, once the log names the address.
    ///
    /// # Panics
    /// It does not start, or `http.listen` is not set.
    #[track_caller]
    pub fn http(&self) -> Elasticsearch {
        let address = wait::value("the address of its HTTP server", PATIENCE, || {
            let log = self.log();
            let (_, rest) = log.split_once("address=")?;
            Some(rest.split_whitespace().next()?.to_string())
        });
        Elasticsearch::at(&format!("http://{address}"))
    }

    /// Kills it, like a power failure.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("one's own child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, or about to be; either is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(folder: &Path, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap_or_default()).into_owned()
}
