//! `rowmill dev`: builds a plugin on every save, replays rows, and shows which documents changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use notify::Watcher;
use rowmill_harness::{Case, Input, Outcome, Settings, Sides, compare, summary};

use super::load::{load, reading, settings, subject};
use super::{DevArgs, project};
use crate::command::run::print_line;

/// The time without changes before a build, since editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// The polling interval, since not every file system sends events.
const POLL: Duration = Duration::from_secs(1);

pub(in crate::command) fn dev(args: &DevArgs) -> anyhow::Result<ExitCode> {
    // Fail now if there is no plugin source, which no save can fix.
    project::check(&args.dir)?;
    let mut replay = Replay { args, last: BTreeMap::new() };
    if args.once {
        replay.round()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (events, changes) = crossbeam_channel::unbounded();
    // Keep a sender here, so that the receiver blocks even without file events.
    let sender = events.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = sender.send(());
        }
    })
    .ok();
    // Events only speed things up: the files are also polled.
    for path in watched(args) {
        if let Some(watcher) = &mut watcher {
            let _ = watcher.watch(&path, notify::RecursiveMode::Recursive);
        }
    }
    loop {
        let seen = fingerprint(args);
        // The next save may fix the error.
        if let Err(error) = replay.round() {
            print_line(&format!("{error:#}"));
        }
        print_line(&format!("watching {}; press Ctrl-C to stop", args.dir.display()));
        while fingerprint(args) == seen {
            let _ = changes.recv_timeout(POLL);
            while changes.recv_timeout(DEBOUNCE).is_ok() {}
        }
        print_line("");
    }
}

/// Replays samples after each build, and keeps their last output.
struct Replay<'a> {
    args: &'a DevArgs,
    last: BTreeMap<String, Vec<Outcome>>,
}

/// Rows to replay.
struct Sample {
    name: String,
    input: Input,
    settings: Settings,
    expected: Option<Vec<Outcome>>,
}

impl Replay<'_> {
    fn round(&mut self) -> anyhow::Result<()> {
        let built = project::build(&self.args.dir)?;
        let plugin = load(&built.file)?;
        let subject = subject(&plugin);
        for sample in self.samples()? {
            let outcomes = subject.run(&sample.settings.0, &sample.input);
            let figures = subject.figures(&sample.settings.0, &sample.input);
            let figures = figures.map_or(String::new(), |figures| format!("; {}", figures.line()));
            print_line(&format!("{}: {}{figures}", sample.name, summary(&outcomes)));
            // The first run is compared with the case's expected output, later ones with the run before.
            let (sides, before) = match (self.last.get(&sample.name), &sample.expected) {
                (Some(last), _) => (Sides { before: "before", after: "now" }, Some(last)),
                (None, Some(expected)) => (Sides { before: "expected", after: "now" }, Some(expected)),
                (None, None) => (Sides { before: "before", after: "now" }, None),
            };
            match before.map(|before| compare(sides, before, &outcomes, &sample.input)) {
                Some(Some(difference)) => print_line(difference.trim_end()),
                Some(None) if self.last.contains_key(&sample.name) => {
                    print_line("  no differences from the previous run")
                }
                Some(None) => print_line("  no differences from the expected output"),
                None => {}
            }
            self.last.insert(sample.name, outcomes);
        }
        Ok(())
    }

    /// Reads the samples again each time, since rows and settings are edited too.
    fn samples(&self) -> anyhow::Result<Vec<Sample>> {
        if let Some(input) = &self.args.input {
            return Ok(vec![Sample {
                name: input.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                input: Input::read(input, &reading(None, self.args.types.as_deref())?)?,
                settings: settings(self.args.settings.as_deref())?,
                expected: None,
            }]);
        }
        let cases = Case::all(&self.args.dir.join("cases"))
            .context("no rows to replay; pass a file with --input, or add a case")?;
        let sample = |case: Case| {
            Ok(Sample { input: case.input()?, settings: case.settings()?, expected: case.expected()?, name: case.name })
        };
        cases.into_iter().map(sample).collect()
    }
}

fn watched(args: &DevArgs) -> Vec<PathBuf> {
    let cases = Some(args.dir.join("cases")).filter(|cases| cases.exists());
    project::sources(&args.dir)
        .into_iter()
        .chain(cases)
        .chain(args.input.clone())
        .chain(args.settings.clone())
        .collect()
}

/// The sizes and modification times of the watched files.
fn fingerprint(args: &DevArgs) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut files = BTreeMap::new();
    for path in watched(args) {
        add(&path, &mut files);
    }
    files
}

fn add(path: &Path, files: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    let Ok(about) = path.metadata() else { return };
    if about.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            add(&entry.path(), files);
        }
    } else {
        files.insert(path.to_path_buf(), (about.len(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
    }
}
