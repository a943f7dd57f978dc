//! `rowmill plugin test`: runs golden cases on a `.wasm` file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use rowmill_harness::{Case, CaseReport, Sides, Subject, compare, embedded, summary};

use super::load::{load_bytes, read, subject};
use super::{TestArgs, count_of_cases, project};
use crate::command::run::print_line;

pub(super) fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let (file, beside) = match args.plugin.is_dir() {
        true => (project::build(&args.plugin)?.file, args.plugin.join("cases")),
        false => (args.plugin.clone(), PathBuf::from("cases")),
    };
    let bytes = read(&file)?;
    let plugin = load_bytes(&file, &bytes)?;
    let subject = subject(&plugin);
    let folder = args.cases.as_ref().unwrap_or(&beside);
    let (cases, place) = match args.cases.is_some() || folder.is_dir() {
        true => (Case::all(folder)?, folder),
        false => (embedded::cases(&bytes).with_context(|| file.display().to_string())?, &file),
    };
    if cases.is_empty() {
        bail!(
            "{} has no embedded cases, and the folder {} does not exist; pass the folder of cases with --cases",
            file.display(),
            folder.display()
        );
    }
    if args.bless && place == &file {
        bail!("cases embedded in a .wasm file cannot be blessed; pass the folder of cases with --cases, and rebuild");
    }
    let mut failed = 0;
    for case in &cases {
        let result = run(case, &subject)
            .and_then(|(report, result)| match args.json {
                true => {
                    print_line(&serde_json::to_string(&report)?);
                    Ok(result)
                }
                false => show(case, &report, result, args.bless),
            })
            .with_context(|| format!("case {}", case.name))?;
        failed += usize::from(result != CaseResult::AsExpected);
    }
    if !args.json {
        print_line(&closing(cases.len(), failed, place));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CaseResult {
    AsExpected,
    NothingExpected,
    Differs(String),
}

fn run(case: &Case, subject: &Subject) -> anyhow::Result<(CaseReport, CaseResult)> {
    let input = case.input()?;
    let settings = case.settings()?;
    let outcomes = subject.run(&settings.0, &input);
    let sides = Sides { before: "expected", after: "actual" };
    let result = match case.expected()? {
        None => CaseResult::NothingExpected,
        Some(expected) => {
            compare(sides, &expected, &outcomes, &input).map_or(CaseResult::AsExpected, CaseResult::Differs)
        }
    };
    let figures = subject.figures(&settings.0, &input);
    Ok((CaseReport { case: case.name.clone(), outcomes, figures }, result))
}

/// Prints the result of a case, and blesses the case if `bless` is set. Returns the result after that.
fn show(case: &Case, report: &CaseReport, result: CaseResult, bless: bool) -> anyhow::Result<CaseResult> {
    let blessed = bless && case.bless(&report.outcomes)?;
    let word = match (&result, bless) {
        (_, true) if blessed => "bless",
        (CaseResult::AsExpected, _) | (_, true) => "ok",
        _ => "FAIL",
    };
    let figures = report.figures.as_ref().map_or(String::new(), |figures| format!("; {}", figures.line()));
    print_line(&format!("{word:5} {:20} {}{figures}", case.name, summary(&report.outcomes)));
    match &result {
        _ if bless => return Ok(CaseResult::AsExpected),
        CaseResult::AsExpected => {}
        CaseResult::NothingExpected => {
            print_line("expected.ndjson does not exist; create it with --bless and review it")
        }
        CaseResult::Differs(difference) => print_line(difference),
    }
    Ok(result)
}

fn closing(n_cases: usize, failed: usize, place: &Path) -> String {
    let cases = format!("{} in {}", count_of_cases(n_cases), place.display());
    match failed {
        0 => format!("{cases}, all passed"),
        _ if place.is_file() => format!("{cases}, {failed} failed"),
        _ => format!("{cases}, {failed} failed; --bless accepts the current output as expected"),
    }
}
