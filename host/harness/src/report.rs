//! The report of a case: for users, and as a line of JSON from the program `rowmill` to a plugin's tests.

use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::input::count;
use crate::outcome::Outcome;

/// A case that ran in the sandbox. `rowmill plugin test --json` prints one per line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// The case's name.
    pub case: String,
    /// The outcomes of its rows.
    pub outcomes: Vec<Outcome>,
    /// The cost of its rows, if the plugin accepted them.
    pub figures: Option<Figures>,
}

/// Outcomes in numbers: `3 documents, 1 delete, 1 dropped`.
pub fn summary(outcomes: &[Outcome]) -> String {
    let n = |operations: &[&str]| outcomes.iter().filter(|o| operations.contains(&o.operation.as_str())).count();
    let deletes = n(&["delete", "merge-remove", "remove-item"]);
    let written = outcomes.iter().filter(|outcome| outcome.is_document()).count() - deletes;
    let mut parts = Vec::new();
    let mut add = |number: usize, text: String| {
        if number > 0 {
            parts.push(text);
        }
    };
    add(written, count(written, "document"));
    add(deletes, count(deletes, "delete"));
    for (operation, word) in [("keep", "kept"), ("drop", "dropped"), ("fail", "failed"), ("undecodable", "undecodable")]
    {
        let number = n(&[operation]);
        add(number, format!("{number} {word}"));
    }
    add(n(&["refused"]), "settings refused".to_string());
    if parts.is_empty() { "nothing".to_string() } else { parts.join(", ") }
}
