//! `rowmill plugin test`: golden cases on a `.wasm` file.

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
            "{} has no cases inside, and there is no folder {}; name the folder of cases with --cases",
            file.display(),
            folder.display()
        );
    }
    if args.bless && place == &file {
        bail!("cases inside of a .wasm file cannot be blessed; name the folder of cases with --cases, and build again");
    }
    let mut wrong = 0;
    for case in &cases {
        let verdict = run(case, &subject)
            .and_then(|(report, verdict)| match args.json {
                true => {
                    print_line(&serde_json::to_string(&report)?);
                    Ok(verdict)
                }
                false => show(case, &report, verdict, args.bless),
            })
            .with_context(|| format!("case {}", case.name))?;
        wrong += usize::from(verdict != Verdict::AsExpected);
    }
    if !args.json {
        print_line(&closing(cases.len(), wrong, place));
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    AsExpected,
    NothingExpected,
    Differs(String),
}

fn run(case: &Case, subject: &Subject) -> anyhow::Result<(CaseReport, Verdict)> {
    let input = case.input()?;
    let settings = case.settings()?;
    let outcomes = subject.run(&settings.0, &input);
    let sides = Sides { before: "expected", after: "what comes out" };
    let verdict = match case.expected()? {
        None => Verdict::NothingExpected,
        Some(expected) => compare(sides, &expected, &outcomes, &input).map_or(Verdict::AsExpected, Verdict::Differs),
    };
    let figures = subject.figures(&settings.0, &input);
    Ok((CaseReport { case: case.name.clone(), outcomes, figures }, verdict))
}

/// Shows the case's line, and blesses it where that is asked for; gives what is left wrong.
fn show(case: &Case, report: &CaseReport, verdict: Verdict, bless: bool) -> anyhow::Result<Verdict> {
    let blessed = bless && case.bless(&report.outcomes)?;
    let word = match (&verdict, bless) {
        (_, true) if blessed => "bless",
        (Verdict::AsExpected, _) | (_, true) => "ok",
        _ => "FAIL",
    };
    let figures = report.figures.as_ref().map_or(String::new(), |figures| format!("; {}", figures.line()));
    print_line(&format!("{word:5} {:20} {}{figures}", case.name, summary(&report.outcomes)));
    match &verdict {
        _ if bless => return Ok(Verdict::AsExpected),
        Verdict::AsExpected => {}
        Verdict::NothingExpected => {
            print_line("there is no expected.ndjson yet; write it with --bless, and look at it")
        }
        Verdict::Differs(difference) => print_line(difference),
    }
    Ok(verdict)
}

fn closing(n_cases: usize, wrong: usize, place: &Path) -> String {
    let cases = format!("{} in {}", count_of_cases(n_cases), place.display());
    match wrong {
        0 => format!("{cases}, all as expected"),
        _ if place.is_file() => format!("{cases}, {wrong} not as expected"),
        _ => format!("{cases}, {wrong} not as expected; --bless makes what comes out now the expected"),
    }
}
