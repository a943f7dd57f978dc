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

/// How long the source must be quiet: an editor writes in pieces.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often it is looked at without an event, since not every file system sends them.
const POLL: Duration = Duration::from_secs(1);

pub(in crate::command) fn dev(args: &DevArgs) -> anyhow::Result<ExitCode> {
    // What no save can mend is told at once.
    project::check(&args.dir)?;
    let mut replay = Replay { args, known: BTreeMap::new() };
    if args.once {
        replay.round()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (events, changes) = crossbeam_channel::unbounded();
    // One sender stays here: without file events, too, waiting has to wait.
    let sender = events.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = sender.send(());
        }
    })
    .ok();
    // Files are looked at as well: events only make it quick.
    for path in watched(args) {
        if let Some(watcher) = &mut watcher {
            let _ = watcher.watch(&path, notify::RecursiveMode::Recursive);
        }
    }
    loop {
        let seen = fingerprint(args);
        // What is wrong now is mended by the next save.
        if let Err(error) = replay.round() {
            print_line(&format!("{error:#}"));
        }
        print_line(&format!("watching {}; Ctrl-C ends", args.dir.display()));
        while fingerprint(args) == seen {
            let _ = changes.recv_timeout(POLL);
            while changes.recv_timeout(DEBOUNCE).is_ok() {}
        }
        print_line("");
    }
}

/// What is replayed after each build, and what came out of it the last time.
struct Replay<'a> {
    args: &'a DevArgs,
    known: BTreeMap<String, Vec<Outcome>>,
}

/// Rows that are replayed.
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
            // The first time the documents are compared with those that the case expects.
            let (sides, before) = match (self.known.get(&sample.name), &sample.expected) {
                (Some(known), _) => (Sides { before: "before", after: "now" }, Some(known)),
                (None, Some(expected)) => (Sides { before: "expected", after: "now" }, Some(expected)),
                (None, None) => (Sides { before: "before", after: "now" }, None),
            };
            match before.map(|before| compare(sides, before, &outcomes, &sample.input)) {
                Some(Some(difference)) => print_line(difference.trim_end()),
                Some(None) => print_line(&format!("  nothing differs from what was {}", sides.before)),
                None => {}
            }
            self.known.insert(sample.name, outcomes);
        }
        Ok(())
    }

    /// Read anew each time: rows and settings are edited too.
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
            .context("no rows to replay; name a file with --input, or make a case")?;
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

/// The files that matter, with their sizes and times.
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
