//! Formats the list of all plugins: one line per plugin, with remarks below it.

use super::text::{compact, cut, micros, number, percent, plain, short, table, wrapped};
use crate::config::RolloutMode;
use crate::plugins::status::{CandidateState, CandidateStatus, PluginState, PluginStatus, Status, TrialStatus};

const HEAD: [&str; 8] = ["plugin", "state", "gen.", "hash", "version", "rows", "failed", "µs/row"];
const RIGHT: [bool; 8] = [false, false, true, false, false, true, true, true];

/// Longer versions are cut, so that the table keeps its width.
const MAX_VERSION: usize = 12;

/// Formats the plugins of a gateway, in lines of at most `width` characters where possible.
pub(super) fn render(status: &Status, width: usize) -> String {
    let Some(folder) = &status.folder else {
        return wrapped(
            "This gateway runs without plugins: every row becomes a document of its columns. To use plugins, set plugins.dir to a folder of .wasm files.",
            "",
            width,
        );
    };
    let mut out = String::new();
    if status.plugins.is_empty() {
        let text = format!(
            "No plugin runs: no file in {} was accepted. Every row becomes a document of its columns.",
            folder.display()
        );
        out += &wrapped(&text, "", width);
    } else {
        let head = HEAD.map(str::to_string);
        let rows: Vec<[String; 8]> = std::iter::once(head).chain(status.plugins.iter().map(row)).collect();
        let mut lines = table(&rows, RIGHT).into_iter();
        let mut next = || lines.next().unwrap_or_default() + "\n";
        out += &next();
        for plugin in &status.plugins {
            out += &next();
            out += &remarks(plugin, width);
        }
    }
    if !status.refused.is_empty() {
        out += "\nrefused files\n";
        for file in &status.refused {
            out += &format!("  {}\n", plain(&file.file.display().to_string()));
            out += &wrapped(&file.reason, "    ", width);
        }
    }
    out
}

fn row(plugin: &PluginStatus) -> [String; 8] {
    let running = &plugin.running;
    [
        plain(&plugin.name),
        state(plugin.state).into(),
        running.generation.to_string(),
        short(&running.hash),
        cut(&plain(&running.version), MAX_VERSION),
        compact(running.rows),
        compact(running.failed),
        micros(running.us_per_row),
    ]
}

fn remarks(plugin: &PluginStatus, width: usize) -> String {
    let mut out = String::new();
    if let (PluginState::Probation, Some(good)) = (plugin.state, &plugin.last_good) {
        let text = format!(
            "on probation: if it fails, it is rolled back to generation {} ({}, {})",
            good.generation,
            good.version,
            short(&good.hash)
        );
        out += &wrapped(&text, "  ", width);
    }
    if let Some(candidate) = &plugin.candidate {
        out += &wrapped(&candidate_line(candidate), "  ", width);
        if let Some(trial) = &candidate.trial {
            for (name, text) in results(trial) {
                out += &wrapped(&format!("{name}: {text}"), "    ", width);
            }
        }
        if let Some(reason) = &candidate.reason {
            out += &wrapped(reason, "    ", width);
        }
        for line in advice(&plugin.name, candidate) {
            out += &format!("    {line}\n");
        }
    }
    out
}

/// `candidate 0123456789ab in shadow: 4,210 of 10,000 rows, 10 % of all`.
fn candidate_line(candidate: &CandidateStatus) -> String {
    let hash = short(&candidate.hash);
    let state = candidate_state(candidate.state);
    match &candidate.trial {
        Some(trial) => format!("candidate {hash} {state}: {}", rows(trial)),
        None => format!("candidate {hash} {state}"),
    }
}

pub(super) fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Running => "running",
        PluginState::Probation => "probation",
        PluginState::Disabled => "disabled",
    }
}

pub(super) fn candidate_state(state: CandidateState) -> &'static str {
    match state {
        CandidateState::Validating => "validating",
        CandidateState::Refused => "refused",
        CandidateState::Shadow => "in shadow",
        CandidateState::Canary => "in canary",
        CandidateState::Held => "held",
        CandidateState::RolledBack => "rolled back",
        CandidateState::Discarded => "discarded",
    }
}

pub(super) fn mode(mode: RolloutMode) -> &'static str {
    match mode {
        RolloutMode::Direct => "direct",
        RolloutMode::Shadow => "shadow",
        RolloutMode::Canary => "canary",
    }
}

/// The progress of a trial.
pub(super) fn rows(trial: &TrialStatus) -> String {
    let whole = match trial.mode {
        RolloutMode::Canary => "of the document IDs",
        RolloutMode::Shadow | RolloutMode::Direct => "of all rows",
    };
    // A trial ends with a whole batch, so it may have more rows than `of_rows`.
    let rows = match trial.rows < trial.of_rows {
        true => format!("{} of {}", number(trial.rows), number(trial.of_rows)),
        false => number(trial.rows),
    };
    format!("{rows} rows, {} {whole}", percent(trial.share))
}

/// The results of a trial as names and texts. A canary's documents are not compared: no other generation produces them.
pub(super) fn results(trial: &TrialStatus) -> Vec<(&'static str, String)> {
    let TrialStatus { equal, changed, added, missing, failed_old, failed_new, .. } = trial;
    let [equal, changed, added, missing, old, new] =
        [*equal, *changed, *added, *missing, *failed_old, *failed_new].map(number);
    let time = format!("µs/row {} → {}", micros(trial.us_per_row_old), micros(trial.us_per_row_new));
    if trial.mode == RolloutMode::Canary {
        return vec![("failed", format!("{new} rows")), ("old → new", time)];
    }
    vec![
        ("documents", format!("{equal} equal, {changed} changed, {added} added, {missing} missing")),
        ("old → new", format!("failed rows {old} → {new}, {time}")),
    ]
}

/// The commands for a candidate, one per line; none during validation or if the file is not a plugin. The lines are not
/// wrapped, so that they can be copied.
pub(super) fn advice(name: &str, candidate: &CandidateStatus) -> Vec<String> {
    if !candidate.promotable {
        return Vec::new();
    }
    let (promote, discard) = match candidate.state {
        CandidateState::Held => ("publishes it", Some("discards it")),
        CandidateState::Validating => ("publishes it now", Some("discards it")),
        CandidateState::Shadow | CandidateState::Canary => ("publishes it now", Some("ends the trial")),
        CandidateState::RolledBack => ("publishes it again", None),
        CandidateState::Refused => ("publishes it anyway", None),
        CandidateState::Discarded => ("publishes it anyway", None),
    };
    let line = |command: &str, effect: &str| format!("rowmill plugins {command} {}   {effect}", plain(name));
    std::iter::once(line("promote", promote)).chain(discard.map(|effect| line("discard", effect))).collect()
}
