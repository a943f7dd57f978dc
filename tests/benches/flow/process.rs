//! The gateway and the raw consumer as child processes: their summary, CPU time and peak memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rowmill_tests::{TempDir, guests, scratch};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde_json::Value;

/// How often the memory of a child is read.
const INTERVAL: Duration = Duration::from_millis(10);
/// Longer than any run.
const PATIENCE: Duration = Duration::from_secs(900);

/// A folder in which gateways run, one after the other. They share their state, so that only the first one compiles the plugin.
pub struct Folder {
    folder: TempDir,
    /// The gateway.
    binary: PathBuf,
    plugins: PathBuf,
    brokers: String,
    /// `KEY=VALUE` settings that replace defaults in every gateway.
    set: Vec<String>,
}

/// The configuration of a gateway, apart from its defaults.
pub struct Configuration<'a> {
    /// The topics that it reads.
    pub topics: &'a [&'a str],
    /// The address of the bulk server.
    pub url: &'a str,
    /// Further lines of `[sink]`.
    pub sink: &'a str,
    /// The index that it writes to.
    pub index: &'a str,
    /// The template of the documents' IDs.
    pub id: &'a str,
}

impl Default for Configuration<'_> {
    fn default() -> Self {
        Self { topics: &[], url: "", sink: "", index: INDEX, id: "{id}" }
    }
}

/// A finished run.
pub struct Run {
    /// The line of JSON that the process printed; `null` if it was stopped.
    pub summary: Value,
    /// The end of its log.
    pub log: String,
    /// How many lines its log has.
    pub log_lines: usize,
    /// The duration that the summary reports.
    pub seconds: f64,
    /// User and system time of all threads, in seconds. Processes that it started do not count.
    pub cpu: f64,
    /// Peak memory.
    pub peak_mib: f64,
}

/// A running process; killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Folder {
    /// A folder for gateways that read from these brokers. The settings `set`, each `KEY=VALUE`, replace their defaults. It has
    /// a copy of `binary`, so that a build during the benchmark does not replace it.
    ///
    /// # Errors
    /// The binary cannot be copied.
    pub fn new(binary: &Path, brokers: &str, set: Vec<String>) -> anyhow::Result<Self> {
        let folder = scratch("flow");
        let copy = folder.path().join("rowmill");
        std::fs::copy(binary, &copy).with_context(|| binary.display().to_string())?;
        Ok(Self { folder, binary: copy, plugins: guests::bench_shape(), brokers: brokers.into(), set })
    }

    /// The file of the dead letters of all gateways.
    pub fn letters(&self) -> PathBuf {
        self.folder.path().join("dead-letter.ndjson")
    }

    /// The files of dead letters that exist, with those that were rotated.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn letter_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let files: Result<Vec<_>, _> = std::fs::read_dir(self.folder.path())?.collect();
        let is_letters = |name: &str| {
            let end = name.strip_prefix("dead-letter.ndjson")?;
            (end.is_empty() || end[1..].parse::<u32>().is_ok()).then_some(())
        };
        let paths = files?.into_iter().filter(|file| is_letters(&file.file_name().to_string_lossy()).is_some());
        Ok(paths.map(|file| file.path()).collect())
    }

    /// Starts a gateway in a group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn gateway(&self, configuration: &Configuration<'_>, arguments: &[&str]) -> anyhow::Result<Process> {
        self.start(configuration, &["run", "--log", "warn"], arguments)
    }

    /// Starts a replay of the dead letters, which may run beside a gateway.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn replay(&self, configuration: &Configuration<'_>, arguments: &[&str]) -> anyhow::Result<Process> {
        self.start(configuration, &["dead-letters", "replay", "--json"], arguments)
    }

    fn start(
        &self,
        configuration: &Configuration<'_>,
        command: &[&str],
        arguments: &[&str],
    ) -> anyhow::Result<Process> {
        let Configuration { topics, url, sink, index, id } = configuration;
        let (folder, brokers) = (self.folder.path(), &self.brokers);
        let (plugins, group) = (self.plugins.display(), rowmill_tests::unique("flow"));
        let text = format!(
            "[source]\nbrokers = \"{brokers}\"\ntopics = {topics:?}\ngroup = \"{group}\"\n\
             [plugins]\ndir = \"{plugins}\"\nstate = \"{}\"\n\
             [[routes]]\ntable = \"shop.trade\"\nindex = \"{index}\"\nid = \"{id}\"\n\
             [sink]\nurls = [\"{url}\"]\n{sink}\n\
             [dead_letter]\npath = \"{}\"\n",
            folder.join("state").display(),
            self.letters().display(),
        );
        let own = folder.join(command[0]);
        std::fs::create_dir_all(&own)?;
        let file = own.join("rowmill.toml");
        std::fs::write(&file, text).context("the configuration")?;
        let mut program = Command::new(&self.binary);
        program.args(command).arg("-c").arg(file).args(arguments).env_remove("ROWMILL_LOG");
        program.args(self.set.iter().flat_map(|setting| ["--set", setting]));
        Process::start(program, &own)
    }

    /// Starts a raw consumer, which is this program with other arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn consumer(&self, topic: &str, events: u64) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([crate::CONSUME, &self.brokers, topic, &events.to_string()]);
        Process::start(command, self.folder.path())
    }
}

/// The index that gateways write to.
pub const INDEX: &str = "trade";

impl Process {
    fn start(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child =
            command.spawn().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        Ok(Self { child, stdout, stderr })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It fails, or does not end.
    pub fn wait(mut self) -> anyhow::Result<Run> {
        let peak_mib = self.wait_for_exit()?;
        // The process is not reaped yet, so that its account is still there.
        let cpu = cpu_seconds(self.child.id());
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.last_log());
        let output = std::fs::read_to_string(&self.stdout)?;
        let summary: Value = output.lines().last().map(serde_json::from_str).transpose()?.unwrap_or_default();
        let seconds = summary["seconds"].as_f64().unwrap_or_default();
        let log_lines = std::fs::read_to_string(&self.stderr)?.lines().count();
        Ok(Run { summary, log: self.last_log(), log_lines, seconds, cpu, peak_mib })
    }

    /// Stops the gateway like a service manager does, and waits for its end.
    ///
    /// # Errors
    /// It fails, or does not end.
    pub fn stop(self) -> anyhow::Result<Run> {
        rustix::process::kill_process(self.pid()?, Signal::TERM)?;
        self.wait()
    }

    /// Fails if the process has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the gateway ended too early, {status}: {}", self.last_log()),
            None => Ok(()),
        }
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process ID")
    }

    /// Waits for the process to exit without reaping it. Returns its peak memory, which is at most [`INTERVAL`] old.
    fn wait_for_exit(&self) -> anyhow::Result<f64> {
        let (pid, begin, mut peak) = (self.pid()?, Instant::now(), 0.0_f64);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            peak = peak.max(peak_mib(self.child.id()));
            if rustix::process::waitid(WaitId::Pid(pid), options)?.is_some() {
                return Ok(peak);
            }
            ensure!(begin.elapsed() < PATIENCE, "it does not end: {}", self.last_log());
            std::thread::sleep(INTERVAL);
        }
    }

    fn last_log(&self) -> String {
        let log = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or about to be; either is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process, from the kernel's own account, in ticks of 10 ms.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
