//! All of one plugin.

use super::list::{advice, candidate_state, found, mode, rows, state};
use super::text::{around, micros, number, percent, plain, short, table, wrapped};
use crate::config::{Rollout, RolloutMode};
use crate::plugins::status::{
    CandidateStatus, DocumentDifference, GenerationStatus, PluginEvent, PluginStatus, TrialStatus,
};

/// A plugin, in lines of at most `width` where that can be.
pub(super) fn render(plugin: &PluginStatus, width: usize) -> String {
    let mut page = Page { out: String::new(), width };
    page.title(&format!("{} {}, {}", plugin.name, plugin.running.version, state(plugin.state)));
    page.fact("file", &plugin.file.display().to_string());
    page.generation("generation", &plugin.running);
    match &plugin.last_good {
        Some(good) => page.generation("last good", good),
        None => page.fact("last good", "none in this run; a rollback brings back an earlier good file, if one is kept"),
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
    /// Begins a part of the page.
    fn title(&mut self, text: &str) {
        let before = if self.out.is_empty() { "" } else { "\n" };
        self.out += &format!("{before}{}\n", plain(text));
    }

    /// `  what        text`, with the text's further lines below its first.
    fn fact(&mut self, what: &str, text: &str) {
        let text = wrapped(text, &" ".repeat(14), self.width);
        self.out += &format!("  {what:12}{}", text.trim_start_matches(' '));
    }

    fn generation(&mut self, what: &str, of: &GenerationStatus) {
        self.fact(what, &format!("{}, version {}, SHA-256 {}", of.generation, of.version, of.hash));
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
            let what = if number == 0 { "to do" } else { "" };
            self.out += &format!("  {what:12}{line}\n");
        }
        if let Some(trial) = &candidate.trial {
            self.trial(trial);
        }
    }

    fn trial(&mut self, trial: &TrialStatus) {
        self.title(&format!("trial, {}", mode(trial.mode)));
        self.fact("rows", &rows(trial));
        for (what, text) in found(trial) {
            self.fact(what, &text);
        }
        if !trial.fields.is_empty() {
            self.title("documents in which a field differs");
            let counts: Vec<[String; 2]> =
                trial.fields.iter().map(|count| [number(count.documents), plain(&count.field)]).collect();
            for line in table(&counts, [true, false]) {
                self.out += &format!("  {line}\n");
            }
        }
        if !trial.examples.is_empty() {
            self.title("the first documents that differ");
            trial.examples.iter().for_each(|example| self.example(example));
        }
    }

    fn example(&mut self, example: &DocumentDifference) {
        let DocumentDifference { table: from, index, id, kind, fields } = example;
        self.out += &format!("  {}\n", plain(&format!("{kind} {index}/{id}, of {from}")));
        let values: Vec<[String; 2]> = fields
            .iter()
            .map(|field| {
                let none = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
                let (old, new) = around(&none(&field.old), &none(&field.new));
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
        (false, _) => "then held for a person".to_string(),
        (true, RolloutMode::Shadow) => {
            format!("then published if at most {} of the documents differ, else held", percent(max_changed))
        }
        (true, _) => "then published".to_string(),
    };
    match mode {
        RolloutMode::Direct => "direct: published once it is proven".into(),
        RolloutMode::Shadow => format!("shadow: {share} of the rows, until it saw {rows}; {then}"),
        RolloutMode::Canary => format!("canary: {share} of the document ids, until it saw {rows} rows; {then}"),
    }
}
