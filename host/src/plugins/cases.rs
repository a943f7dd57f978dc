//! A plugin's own golden cases, run in the sandbox before it is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rowmill_harness::{Case, Sides, Subject, compare, embedded};
use rowmill_sandbox::{Batch, CallError, Guest, Plugin, RawOutput, Refusal, Table};

/// How long all cases may take together: they are the plugin's own, and so is their number.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Bytes that a plugin may answer in all cases together; what is compared takes several times as much memory.
const MAX_BYTES: usize = 64 << 20;
/// Lines of a difference that are told.
const LINES: usize = 12;

/// Runs the cases that a file brings along (see [`embedded`]), each with its own settings; tells how many there are.
///
/// # Errors
/// A case comes out otherwise than it expects, they take more than 30 s or 64 MiB together, or their section is broken:
/// a refusal of the step `cases`, which names the case, the row and the field.
pub fn run(plugin: &Arc<Plugin>, wasm: &[u8]) -> Result<usize, Refusal> {
    run_within(plugin, wasm, Budget::new(MAX_TIME, MAX_BYTES))
}

/// The plugin as the harness runs it.
pub fn subject(plugin: &Arc<Plugin>) -> Subject {
    let plugin = plugin.clone();
    let description = plugin.description().clone();
    Subject::new(description, Arc::new(move |settings: &str| instantiate(&plugin, settings)))
}

fn run_within(plugin: &Arc<Plugin>, wasm: &[u8], budget: Budget) -> Result<usize, Refusal> {
    let refuse = |what: String| Refusal::new("cases", what);
    let broken = |error: anyhow::Error| {
        refuse(format!("its embedded cases are broken: {error:#}; build it again with `rowmill plugin build`"))
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
            differs(case, &subject).map_err(|error| broken(error.context(format!("case {}", case.name))))?;
        if budget.is_spent.load(Ordering::Relaxed) {
            return Err(refuse(format!(
                "its embedded cases take more than {} s, or answer more than {} MiB, at case {}; shorten them, or build it with --no-cases",
                MAX_TIME.as_secs(),
                MAX_BYTES >> 20,
                case.name
            )));
        }
        if let Some(difference) = difference {
            let lines: Vec<&str> = difference.lines().take(LINES).map(str::trim_end).collect();
            return Err(refuse(format!(
                "its embedded case {} comes out otherwise than it expects; `rowmill plugin test FILE` shows it whole. If what comes out is right, bless the case in the plugin's folder and build again. {}",
                case.name,
                lines.join(" | ")
            )));
        }
    }
    Ok(cases.len())
}

/// How a case comes out otherwise than it expects; `None` if it does not.
fn differs(case: &Case, subject: &Subject) -> anyhow::Result<Option<String>> {
    let (input, settings) = (case.input()?, case.settings()?);
    let expected = case.expected()?.unwrap_or_default();
    let outcomes = subject.run(&settings.0, &input);
    Ok(compare(Sides { before: "expected", after: "what comes out" }, &expected, &outcomes, &input))
}

fn instantiate(plugin: &Plugin, settings: &str) -> Result<Box<dyn Guest>, String> {
    match plugin.instantiate(settings) {
        Ok(instance) => Ok(Box::new(instance)),
        // The plugin's own words: what refused it is clear from where they are shown.
        Err(refusal) if refusal.step == "configure" => Err(refusal.reason),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// What is left of time and bytes for all cases.
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
            return Err(CallError::Trapped("the cases may take no more".into()));
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

/// A guest whose calls fail at once when the budget is spent, so that a run over many rows ends soon.
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

    /// A file that keeps every row, with a case of these files.
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
    fn cases_that_hold_are_counted() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", KEPT)]);
        assert_eq!(run(&plugin(&wasm), &wasm).unwrap(), 1);
        let bare = embedded::without_cases(&wasm).unwrap();
        assert_eq!(run(&plugin(&bare), &bare).unwrap(), 0);
    }

    #[test]
    fn a_case_that_does_not_hold_is_told_by_row_and_field() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", &KEPT.replace("{\"id\":2}", "{\"id\":3}"))]);
        refused(&wasm, enough(), &["case first", "row 2 (line 3, Insert of t id 2): body.id", "bless"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let wasm = file(&[("input.ndjson", "one"), ("expected.ndjson", KEPT)]);
        refused(&wasm, enough(), &["broken: case first", "build it again"]);
    }

    #[test]
    fn time_and_answers_are_limited() {
        let wasm = file(&[("input.ndjson", ROWS), ("expected.ndjson", KEPT)]);
        refused(&wasm, Budget::new(Duration::ZERO, MAX_BYTES), &["take more than 30 s", "case first", "--no-cases"]);
        refused(&wasm, Budget::new(MAX_TIME, 3), &["64 MiB"]);
    }
}
