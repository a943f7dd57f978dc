//! Runs the golden cases embedded in a plugin's file in the sandbox, before the plugin is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rowmill_harness::{Case, Sides, Subject, compare, embedded};
use rowmill_sandbox::{Batch, CallError, Guest, Plugin, RawOutput, Refusal, Table};

/// The time limit for all cases together. The plugin's author decides how many there are.
const MAX_TIME: Duration = Duration::from_secs(30);
/// The limit for a plugin's output in all cases together, in bytes. Comparing it takes several times as much memory.
const MAX_BYTES: usize = 64 << 20;
/// The number of lines of a difference in a message.
const MAX_LINES: usize = 12;

/// Runs the cases embedded in a file (see [`embedded`]), each with its own settings. Returns the number of cases.
///
/// # Errors
/// A refusal of the step `cases`: a case fails (the message names the case, the row and the field), the cases take more
/// than 30 s or 64 MiB together, or their section is broken.
pub fn run(plugin: &Arc<Plugin>, wasm: &[u8]) -> Result<usize, Refusal> {
    run_within(plugin, wasm, Budget::new(MAX_TIME, MAX_BYTES))
}

/// The plugin as a subject for the harness.
pub fn subject(plugin: &Arc<Plugin>) -> Subject {
    let plugin = plugin.clone();
    let description = plugin.description().clone();
    Subject::new(description, Arc::new(move |settings: &str| instantiate(&plugin, settings)))
}

fn run_within(plugin: &Arc<Plugin>, wasm: &[u8], budget: Budget) -> Result<usize, Refusal> {
    let refuse = |reason: String| Refusal::new("cases", reason);
    let broken = |error: anyhow::Error| {
        refuse(format!("its embedded cases are broken: {error:#}; rebuild it with `rowmill plugin build`"))
    };
    let cases = embedded::cases(wasm).map_err(broken)?;
    let budget = Arc::new(budget);
    let make = {
        let (plugin, budget) = (plugin.clone(), budget.clone());
        move |settings: &str| {
            budget.check().map_err(|error| error.to_string())?;
            let guest = instantiate(&plugin, settings)?;
            Ok(Box::new(Bounded { guest, budget: budget.clone() }) as Box<dyn Guest>)
        }
    };
    let subject = Subject::new(plugin.description().clone(), Arc::new(make));
    for case in &cases {
        let difference =
            run_case(case, &subject).map_err(|error| broken(error.context(format!("case {}", case.name))))?;
        if budget.is_spent.load(Ordering::Relaxed) {
            return Err(refuse(format!(
                "its embedded cases exceed the limit of {} s or {} MiB of output in case {}; shorten them, or build it with --no-cases",
                MAX_TIME.as_secs(),
                MAX_BYTES >> 20,
                case.name
            )));
        }
        if let Some(difference) = difference {
            let lines: Vec<&str> = difference.lines().take(MAX_LINES).map(str::trim_end).collect();
            return Err(refuse(format!(
                "its embedded case {} fails; `rowmill plugin test FILE` shows the whole difference. If the new output is right, bless the case in the plugin's folder and rebuild. {}",
                case.name,
                lines.join(" | ")
            )));
        }
    }
    Ok(cases.len())
}

/// Runs a case. Returns the difference from its expected output; `None` if it passes.
fn run_case(case: &Case, subject: &Subject) -> anyhow::Result<Option<String>> {
    let (input, settings) = (case.input()?, case.settings()?);
    let expected = case.expected()?.unwrap_or_default();
    let outcomes = subject.run(&settings.0, &input);
    Ok(compare(Sides { before: "expected", after: "actual" }, &expected, &outcomes, &input))
}

fn instantiate(plugin: &Plugin, settings: &str) -> Result<Box<dyn Guest>, String> {
    match plugin.instantiate(settings) {
        Ok(instance) => Ok(Box::new(instance)),
        // Only the plugin's message: the context shows that the settings were refused.
        Err(refusal) if refusal.step == "configure" => Err(refusal.reason),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// The remaining time and bytes for all cases.
struct Budget {
    deadline: Instant,
    bytes: AtomicUsize,
    is_spent: AtomicBool,
}

impl Budget {
    fn new(time: Duration, bytes: usize) -> Self {
        Self { deadline: Instant::now() + time, bytes: AtomicUsize::new(bytes), is_spent: AtomicBool::new(false) }
    }

    fn check(&self) -> Result<(), CallError> {
        if Instant::now() >= self.deadline {
            self.is_spent.store(true, Ordering::Relaxed);
        }
        if self.is_spent.load(Ordering::Relaxed) {
            return Err(CallError::Trapped("the budget of the cases is spent".into()));
        }
        Ok(())
    }

    fn take(&self, bytes: usize) -> Result<(), CallError> {
        match self.bytes.load(Ordering::Relaxed).checked_sub(bytes) {
            Some(left) => self.bytes.store(left, Ordering::Relaxed),
            None => self.is_spent.store(true, Ordering::Relaxed),
        }
        self.check()
    }
}

/// A guest whose calls fail once the budget is spent, so that a run over many rows ends soon.
struct Bounded {
    guest: Box<dyn Guest>,
    budget: Arc<Budget>,
}

impl Guest for Bounded {
    fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, CallError> {
        self.budget.check()?;
        self.guest.define_table(table)
    }

    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError> {
        self.budget.check()?;
        let output = self.guest.transform(batch)?;
        self.budget.take(output.bytes.len() + size_of::<u32>() * (output.verdicts.len() + output.names.len()))?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use rowmill_sandbox::{Limits, Sandbox};

    use super::*;

    const ROWS: &str = "{\"table\": \"t\", \"columns\": {\"id\": \"int\"}}\n{\"id\": 1}\n{\"id\": 2}\n";
    const KEPT: &str = "{\"row\":1,\"operation\":\"keep\",\"index\":\"t\",\"id\":\"1\",\"body\":{\"id\":1}}
{\"row\":2,\"operation\":\"keep\",\"index\":\"t\",\"id\":\"2\",\"body\":{\"id\":2}}
";

    /// A plugin that keeps every row, with one case that consists of these files.
    fn file(files: &[(&str, &str)]) -> Vec<u8> {
        let wat = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/wat/keep.wat");
        let folder = tempfile::tempdir().unwrap();
        let case = folder.path().join("first");
        std::fs::create_dir(&case).unwrap();
        for (name, text) in files {
            std::fs::write(case.join(name), text).unwrap();
        }
        embedded::embed(&wat::parse_file(wat).unwrap(), folder.path()).unwrap()
    }

    fn plugin(wasm: &[u8]) -> Arc<Plugin> {
        Arc::new(Plugin::load(&Arc::new(Sandbox::new(Limits::default()).unwrap()), wasm).unwrap())
    }

    #[track_caller]
    fn refused(wasm: &[u8], budget: Budget, words: &[&str]) {
        let refusal = run_within(&plugin(wasm), wasm, budget).unwrap_err();
        assert_eq!(refusal.step, "cases");
        for words in words {
            assert!(refusal.reason.contains(words), "{words:?} is not in {refusal}");
        }
    }

    fn enough() -> Budget {
        Budget::new(MAX_TIME, MAX_BYTES)
    }

    #[test]
    fn passing_cases_are_counted() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", KEPT)]);
        assert_eq!(run(&plugin(&wasm), &wasm).unwrap(), 1);
        let bare = embedded::without_cases(&wasm).unwrap();
        assert_eq!(run(&plugin(&bare), &bare).unwrap(), 0);
    }

    #[test]
    fn a_failing_case_is_reported_by_row_and_field() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", &KEPT.replace("{\"id\":2}", "{\"id\":3}"))]);
        refused(&wasm, enough(), &["case first", "row 2 (line 3, Insert of t id 2): body.id", "bless"]);
    }

    #[test]
    fn an_unreadable_case_is_reported() {
        let wasm = file(&[("input.ndjson", "one"), ("expected.ndjson", KEPT)]);
        refused(&wasm, enough(), &["broken: case first", "rebuild it"]);
    }

    #[test]
    fn time_and_output_are_limited() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", KEPT)]);
        refused(&wasm, Budget::new(Duration::ZERO, MAX_BYTES), &["the limit of 30 s", "case first", "--no-cases"]);
        refused(&wasm, Budget::new(MAX_TIME, 3), &["64 MiB"]);
    }
}
