//! Formats one plugin in detail.

use super::list::{advice, candidate_state, mode, results, rows, state};
use super::text::{around, micros, number, percent, plain, short, table, wrapped};
use crate::config::{Rollout, RolloutMode};
use crate::plugins::status::{
    CandidateStatus, DocumentDifference, GenerationStatus, PluginEvent, PluginStatus, TrialStatus,
};

/// Formats a plugin, in lines of at most `width` characters where possible.
pub(super) fn render(plugin: &PluginStatus, width: usize) -> String {
    let mut page = Page { out: String::new(), width };
    page.title(&format!("{} {}, {}", plugin.name, plugin.running.version, state(plugin.state)));
    page.fact("file", &plugin.file.display().to_string());
    page.generation("generation", &plugin.running);
    match &plugin.last_good {
        Some(good) => page.generation("last good", good),
        None => page.fact("last good", "none in this run; a rollback restores an earlier saved file, if there is one"),
    }
    page.fact("next file", &next_file(&plugin.rollout));
    if let Some(candidate) = &plugin.candidate {
        page.candidate(&plugin.name, candidate);
    }
    page.history(&plugin.history);
    page.out
}

struct Page {
    out: String,
    width: usize,
}

impl Page {
    /// Starts a section of the page.
    fn title(&mut self, text: &str) {
        let before = if self.out.is_empty() { "" } else { "\n" };
        self.out += &format!("{before}{}\n", plain(text));
    }

    /// Adds `  name        text`; further lines of the text are indented below the first.
    fn fact(&mut self, name: &str, text: &str) {
        let text = wrapped(text, &" ".repeat(14), self.width);
        self.out += &format!("  {name:12}{}", text.trim_start_matches(' '));
    }

    fn generation(&mut self, name: &str, of: &GenerationStatus) {
        self.fact(name, &format!("{}, version {}, SHA-256 {}", of.generation, of.version, of.hash));
        let (images, failed, faults) = (number(of.rows), number(of.failed), number(of.faults));
        let time = of.us_per_row.map_or(String::new(), |_| format!(", {} µs each", micros(of.us_per_row)));
        self.fact("", &format!("{images} row images, failed {failed}, faults {faults}{time}"));
    }

    fn candidate(&mut self, name: &str, candidate: &CandidateStatus) {
        self.title(&format!("candidate, {}", candidate_state(candidate.state)));
        self.fact("SHA-256", &candidate.hash);
        if let Some(reason) = &candidate.reason {
            self.fact("reason", reason);
        }
        for (number, line) in advice(name, candidate).iter().enumerate() {
            let label = if number == 0 { "to do" } else { "" };
            self.out += &format!("  {label:12}{line}\n");
        }
        if let Some(trial) = &candidate.trial {
            self.trial(trial);
        }
    }

    fn trial(&mut self, trial: &TrialStatus) {
        self.title(&format!("trial, {}", mode(trial.mode)));
        self.fact("rows", &rows(trial));
        for (name, text) in results(trial) {
            self.fact(name, &text);
        }
        if !trial.fields.is_empty() {
            self.title("differing documents by field");
            let counts: Vec<[String; 2]> =
                trial.fields.iter().map(|count| [number(count.documents), plain(&count.field)]).collect();
            for line in table(&counts, [true, false]) {
                self.out += &format!("  {line}\n");
            }
        }
        if !trial.examples.is_empty() {
            self.title("first differing documents");
            trial.examples.iter().for_each(|example| self.example(example));
        }
    }

    fn example(&mut self, example: &DocumentDifference) {
        let DocumentDifference { table: from, index, id, kind, fields } = example;
        self.out += &format!("  {}\n", plain(&format!("{kind} {index}/{id}, table {from}")));
        let values: Vec<[String; 2]> = fields
            .iter()
            .map(|field| {
                let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
                let (old, new) = around(&or_none(&field.old), &or_none(&field.new));
                [plain(&field.field), format!("{old} → {new}")]
            })
            .collect();
        for line in table(&values, [false, false]) {
            self.out += &format!("    {line}\n");
        }
    }

    fn history(&mut self, events: &[PluginEvent]) {
        if events.is_empty() {
            return;
        }
        self.title("history");
        let rows: Vec<[String; 4]> = events
            .iter()
            .map(|event| {
                let generation = event.generation.map_or("–".into(), |generation| generation.to_string());
                [plain(&event.at), generation, short(&event.hash), plain(&event.what)]
            })
            .collect();
        for (line, event) in table(&rows, [false, true, false, false]).iter().zip(events) {
            self.out += &format!("  {line}\n");
            self.out += &wrapped(&event.detail, "      ", self.width);
        }
    }
}

fn next_file(rollout: &Rollout) -> String {
    let Rollout { mode, rows, share, publish, max_changed } = *rollout;
    let (rows, share) = (number(rows), percent(share));
    let then = match (publish, mode) {
        (false, _) => "then held for an operator".to_string(),
        (true, RolloutMode::Shadow) => {
            format!("then published if at most {} of the documents differ, else held", percent(max_changed))
        }
        (true, _) => "then published".to_string(),
    };
    match mode {
        RolloutMode::Direct => "direct: published once it is validated".into(),
        RolloutMode::Shadow => format!("shadow for {rows} rows with {share} of all rows, {then}"),
        RolloutMode::Canary => format!("canary for {rows} rows with {share} of the document IDs, {then}"),
    }
}
