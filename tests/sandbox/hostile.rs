//! No guest harms the host: every guest of `tests/guests/README.md` stays within its limits.
//!
//! A bad file is refused with a reason that helps, a bad row costs that row, an endless call ends at its limit, and the
//! sandbox serves the next guest as before.

mod cases;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::harness::{Doc, GENEROUS, HURRIED, Outcome, Row, Running};
use cases::{Case, Expect, Says};
use rowmill_sandbox::{CallError, Plugin, Sandbox};
use rowmill_tests::guests;

/// Rows of a batch; few, since a guest that fails each of them is asked twice for each.
const ROWS: u32 = 4;

/// The time that a call may exceed its limit on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

fn hostile(sandbox: &Arc<Sandbox>) -> Plugin {
    crate::harness::load(sandbox, &guests::built().hostile).expect("the hostile guest loads: its deeds come later")
}

static HOSTILE: LazyLock<Plugin> = LazyLock::new(|| hostile(&GENEROUS));
static HURRIED_HOSTILE: LazyLock<Plugin> = LazyLock::new(|| hostile(&HURRIED));

fn settings(deed: &str) -> String {
    format!("{{\"do\":\"{deed}\"}}")
}

/// Runs the guests of a table, and compares each outcome with it.
#[track_caller]
fn check_deeds(table: &[Case]) {
    let wrong = table.iter().filter_map(|case| {
        let plugin = if ends_at_a_limit(&case.expect) { &*HURRIED_HOSTILE } else { &*HOSTILE };
        let verdict =
            judge(case, crate::harness::timed(|| crate::harness::live(Ok(plugin), &settings(case.guest), ROWS)));
        assert_unharmed(plugin, case.guest);
        verdict.err()
    });
    assert_none(&wrong.collect::<Vec<_>>());
}

/// Loads the files of a table and passes them rows; compares each outcome with it.
#[track_caller]
fn check_files(table: &[Case], file: impl Fn(&str) -> std::path::PathBuf) {
    let wrong = table.iter().filter_map(|case| {
        let path = file(case.guest);
        let sandbox = if ends_at_a_limit(&case.expect) { &*HURRIED } else { &*GENEROUS };
        let run = || match crate::harness::load(sandbox, &path) {
            Ok(plugin) => crate::harness::live(Ok(&plugin), "{}", ROWS),
            Err(refusal) => crate::harness::live(Err(refusal), "{}", ROWS),
        };
        let verdict = judge(case, crate::harness::timed(run));
        assert_unharmed(&HOSTILE, case.guest);
        verdict.err()
    });
    assert_none(&wrong.collect::<Vec<_>>());
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} guests came out wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn ends_at_a_limit(expect: &Expect) -> bool {
    if matches!(expect, Expect::Survives | Expect::KeepsOrIsLate(_)) {
        return true;
    }
    let (Expect::CallsFail(reason) | Expect::Refused(_, reason) | Expect::FailsOnTable(reason)) = expect else {
        return false;
    };
    reason.starts_with("ran longer")
}

/// Checks a guest's outcome against the table; the error is the actual outcome.
fn judge(case: &Case, (outcome, took): (Outcome, Duration)) -> Result<(), String> {
    let guest = case.guest;
    let wrong = |what: &str| Err(format!("{guest}: {what}: {outcome:.400?}"));
    if took > SLACK {
        return wrong(&format!("took {took:?}"));
    }
    match (&case.expect, &outcome) {
        (Expect::Takes(says), Outcome::Rows { rows, faults: 0 }) => {
            let expected: Vec<Row> = (0..ROWS).map(|row| said(says, row)).collect();
            if *rows == expected { Ok(()) } else { wrong(&format!("should be {:.400?}", expected[0])) }
        }
        (Expect::Survives, Outcome::Rows { .. }) => Ok(()),
        (Expect::KeepsOrIsLate(_), Outcome::Rows { rows, faults: 0 }) if rows.iter().all(|row| *row == Row::Keep) => {
            Ok(())
        }
        (Expect::KeepsOrIsLate(step), Outcome::Refused(refusal)) if refusal.step == *step => {
            judge_reason(guest, &refusal.reason, "ran longer than the limit")
        }
        (Expect::RowsFail(reason), Outcome::Rows { rows, .. }) => rows.iter().try_for_each(|row| match row {
            Row::Fails(said) => judge_reason(guest, said, reason),
            _ => wrong("each row should fail, and no call"),
        }),
        (Expect::CallsFail(reason), Outcome::Rows { rows, faults }) => {
            // Halving shows each row alone; every call on the way spends an instance.
            if *faults != 2 * ROWS - 1 {
                return wrong(&format!("{faults} instances were spent"));
            }
            rows.iter().try_for_each(|row| match row {
                Row::CallFails(said) => judge_reason(guest, said, reason),
                _ => wrong("each call should fail"),
            })
        }
        (Expect::RefusesTable(reason), Outcome::Table(CallError::Refused(said)))
        | (Expect::FailsOnTable(reason), Outcome::Table(CallError::Trapped(said))) => judge_reason(guest, said, reason),
        (Expect::Refused(step, reason), Outcome::Refused(refusal)) if refusal.step == *step => {
            judge_reason(guest, &refusal.reason, reason)
        }
        _ => wrong("should come out otherwise"),
    }
}

/// Checks that a reason contains the expected text, in a single line without control characters.
fn judge_reason(guest: &str, said: &str, expected: &str) -> Result<(), String> {
    if !said.contains(expected) {
        return Err(format!("{guest}: the reason should say {expected:?}: {said:.400}"));
    }
    if said.len() > 4096 || said.chars().any(char::is_control) {
        return Err(format!("{guest}: a reason of {} bytes, or with control characters: {said:.400?}", said.len()));
    }
    Ok(())
}

#[track_caller]
fn assert_reason(guest: &str, said: &str, expected: &str) {
    assert_eq!(judge_reason(guest, said, expected), Ok(()));
}

fn said(says: &Says, row: u32) -> Row {
    let owned = |text: &Option<&str>| text.map(str::to_string);
    match says {
        Says::Keep => Row::Keep,
        Says::Drop => Row::Drop,
        Says::Edit(values) => Row::Edit(values.iter().map(|value| (0, value.to_string())).collect()),
        Says::NoDocument => Row::Documents(Vec::new()),
        Says::Document(index, id, routing, body) => Row::Documents(vec![Doc {
            index: owned(index),
            id: owned(id),
            routing: owned(routing),
            body: body.replace("{mark}", &format!("\"row {row}\"")),
        }]),
    }
}

/// Whatever a guest did, the next one is served.
#[track_caller]
fn assert_unharmed(plugin: &Plugin, after: &str) {
    let Outcome::Rows { rows, faults: 0 } = crate::harness::live(Ok(plugin), &settings("drop"), 2) else {
        panic!("a harmless guest should be served as before {after}")
    };
    assert_eq!(rows, [Row::Drop, Row::Drop]);
}

#[test]
fn strange_and_harmless_answers_are_taken() {
    check_deeds(cases::TAKEN);
}

#[test]
fn a_bad_row_fails_alone() {
    check_deeds(cases::BAD_ROWS);
}

#[test]
fn an_answer_that_cannot_be_read_fails_the_call() {
    check_deeds(cases::UNREADABLE);
}

#[test]
fn traps_and_limits_end_a_call() {
    check_deeds(cases::TRAPS);
}

#[test]
fn errors_before_the_first_row_are_reported() {
    check_deeds(cases::BEFORE_ROWS);
}

#[test]
fn a_wrong_description_is_refused() {
    check_files(cases::DESCRIBES, guests::hostile_describing);
}

#[test]
fn guests_written_by_hand() {
    check_files(cases::WAT, |name| guests::sources().join(format!("wat/{name}.wat")));
}

#[test]
fn files_that_are_no_plugin_are_refused() {
    check_files(cases::NOT_WASM, |name| guests::sources().join(format!("not-wasm/{name}.wasm")));
}

/// Runs a deed on a batch in which some rows are marked.
fn marked(plugin: &Plugin, deed: &str, rows: u32, marked: &[u32]) -> (Vec<Row>, u32) {
    let mut running = Running::start(plugin, &settings(deed)).expect("it starts");
    running.transform(rows, marked)
}

#[test]
fn one_trap_in_512_rows_costs_one_row() {
    let (rows, faults) = marked(&HOSTILE, "trap-on-marker", 512, &[200]);
    for (n, row) in rows.iter().enumerate() {
        match row {
            Row::CallFails(reason) if n == 200 => assert_reason("trap-on-marker", reason, "panicked or aborted"),
            row => assert_eq!((n, row), (n, &Row::Keep)),
        }
    }
    // The whole batch, then a half each time: 512 is 2 to the 9th.
    assert_eq!(faults, 10);
}

#[test]
fn several_traps_cost_as_many_rows() {
    let bad = [0, 1, 63, 64, 255];
    let (rows, _) = marked(&HOSTILE, "trap-on-marker", 256, &bad);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(matches!(row, Row::CallFails(_)), bad.contains(&(n as u32)), "row {n}: {row:?}");
    }
}

#[test]
fn one_endless_row_costs_one_row() {
    let (rows, faults) = marked(&HURRIED_HOSTILE, "loop-on-marker", 8, &[5]);
    for (n, row) in rows.iter().enumerate() {
        match row {
            Row::CallFails(reason) if n == 5 => assert_reason("loop-on-marker", reason, "ran longer than the limit"),
            row => assert_eq!((n, row), (n, &Row::Keep)),
        }
    }
    assert_eq!(faults, 4);
}

#[test]
fn a_leak_costs_an_instance_now_and_then_and_no_row() {
    let mut running = Running::start(&HOSTILE, &settings("leak-64-kib-a-call")).expect("it starts");
    let mut spent = 0;
    for call in 0..2_500 {
        let (rows, faults) = running.transform(2, &[]);
        assert_eq!(rows, [Row::Keep, Row::Keep], "call {call}");
        spent += faults;
    }
    // 64 MiB hold not quite 1024 calls.
    assert_eq!(spent, 2);
}

#[test]
fn slow_is_fine_within_the_limit_and_ended_beyond_it() {
    let (rows, faults) = marked(&HOSTILE, "slow", 4, &[]);
    assert_eq!((rows, faults), (vec![Row::Keep; 4], 0));
    let (rows, _) = marked(&HURRIED_HOSTILE, "slow", 4096, &[]);
    assert_eq!(rows.len(), 4096, "every row is answered for, in time or not");
}

#[test]
fn a_guest_that_contradicts_itself_harms_nobody() {
    for deed in ["counter", "first-call-only"] {
        let mut running = Running::start(&HOSTILE, &settings(deed)).expect("it starts");
        for _ in 0..3 {
            let (rows, faults) = running.transform(5, &[]);
            assert!(rows.iter().all(|row| matches!(row, Row::Keep | Row::Drop)), "{deed}: {rows:?}");
            assert_eq!(faults, 0, "{deed}");
        }
    }
}

#[test]
fn excessive_use_fails_by_a_limit() {
    for (deed, part) in [("literal-64-mb", "limit"), ("many-documents", "limit")] {
        let (rows, _) = marked(&HOSTILE, deed, 1, &[]);
        let [Row::Fails(reason) | Row::CallFails(reason)] = &rows[..] else { panic!("{deed}: {rows:.600?}") };
        assert_reason(deed, reason, part);
    }
}

#[test]
fn a_flood_of_messages_is_a_few_lines_and_a_count() {
    let (rows, lines) = crate::log::capture(|| marked(&HURRIED_HOSTILE, "log-flood", 1, &[]).0);
    assert!(matches!(&rows[..], [Row::Keep | Row::CallFails(_)]), "{rows:?}");
    assert!((2..=40).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines[0].contains("message 0"), "{}", lines[0]);
    let last = lines.last().expect("a line");
    assert!(last.contains("more log messages"), "the rest is counted: {last}");
}

#[test]
fn a_long_message_is_cut_or_refused_and_never_raw() {
    let (rows, lines) = crate::log::capture(|| marked(&HOSTILE, "log-a-long-message", 1, &[]).0);
    assert!(matches!(&rows[..], [Row::Keep | Row::CallFails(_)]), "{rows:.600?}");
    for line in lines {
        assert!(line.len() < 2048, "{} bytes", line.len());
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn every_guest_of_the_readme_has_a_case() {
    let names = |tables: &[&[Case]]| -> BTreeSet<String> {
        tables.iter().flat_map(|table| table.iter()).map(|case| case.guest.to_string()).collect()
    };
    let mut deeds = names(&[cases::TAKEN, cases::BAD_ROWS, cases::UNREADABLE, cases::TRAPS, cases::BEFORE_ROWS]);
    deeds.extend(cases::OWN_TEST.iter().map(|deed| deed.to_string()));
    assert_eq!(deeds, listed("`hostile/`"));
    assert_eq!(names(&[cases::WAT]), listed("`wat/`"));

    let readme = readme();
    let describes = section(&readme, "`hostile/`").split("`HOSTILE_DESCRIBE`: ").nth(1).expect("the list of variants");
    let described: BTreeSet<String> = quoted(describes.split(". ").next().unwrap_or(describes));
    assert_eq!(names(&[cases::DESCRIBES]), described);
    let not_wasm = section(&readme, "`not-wasm/`").split_once("\n\n").expect("a paragraph").1;
    assert_eq!(names(&[cases::NOT_WASM]), quoted(not_wasm));
}

fn readme() -> String {
    std::fs::read_to_string(guests::sources().join("README.md")).expect("the guests' README")
}

fn section<'a>(readme: &'a str, title: &str) -> &'a str {
    readme.split("\n## ").find(|section| section.starts_with(title)).expect("the section")
}

/// The text in backquotes in the first cells of a section's table.
fn listed(title: &str) -> BTreeSet<String> {
    let readme = readme();
    let rows = section(&readme, title).lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| quoted(&format!("`{}", row.split(" | ").next().unwrap_or_default()))).collect()
}

fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}
