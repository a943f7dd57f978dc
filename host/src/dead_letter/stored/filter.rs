//! Which letters a command is about.

use std::str::FromStr;

use rowmill_sandbox::Pattern;

use super::{LetterId, StoredLetter};

/// Selects letters: those that all given conditions are true of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LetterFilter {
    /// The stage that rejected the record.
    pub stage: Option<String>,
    /// The plugin.
    pub plugin: Option<Pattern>,
    /// The table, `database.table`; a pattern without a dot is that of the table's own name.
    pub table: Option<Pattern>,
    /// The index.
    pub index: Option<Pattern>,
    /// The time that the letter is not older than.
    pub since: Option<jiff::Timestamp>,
    /// Further conditions.
    pub conditions: Vec<Condition>,
    /// The begin of the letter's ID.
    pub id: Option<String>,
}

/// A condition on a field of a letter: `reason~text`, `reason!~text`, `id=text`, `id!=text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    field: String,
    text: String,
    /// Whether a part of the field is enough.
    is_part: bool,
    is_negated: bool,
}

/// The fields that a condition may name.
const FIELDS: [&str; 15] = [
    "stage",
    "reason",
    "table",
    "plugin",
    "generation",
    "index",
    "id",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "attempt",
    "time",
    "key",
    "value",
];

impl LetterFilter {
    /// Whether the letter is selected.
    pub fn selects(&self, letter: &StoredLetter) -> bool {
        let matches = |pattern: &Option<Pattern>, field: &str| {
            // A letter without a plugin or an index is of none, also not of any (`*`).
            let field = letter.field(field);
            pattern.as_ref().is_none_or(|pattern| !field.is_empty() && pattern.matches(&field))
        };
        self.stage.as_ref().is_none_or(|stage| *stage == letter.field("stage"))
            && matches(&self.plugin, "plugin")
            && matches(&self.index, "index")
            && self.table.as_ref().is_none_or(|pattern| is_of_table(pattern, &letter.field("table")))
            // A letter without a time is selected rather than overlooked.
            && self.since.is_none_or(|since| letter.time().is_none_or(|time| time >= since))
            && self.conditions.iter().all(|condition| condition.is_true_of(letter))
            && self.id.as_ref().is_none_or(|id| is_id(letter.id, id))
    }
}

fn is_of_table(pattern: &Pattern, name: &str) -> bool {
    let (database, table) = name.rsplit_once('.').unwrap_or(("", name));
    !name.is_empty() && pattern.matches_table(database, table)
}

fn is_id(id: LetterId, begin: &str) -> bool {
    id.to_string().starts_with(&begin.to_lowercase())
}

impl Condition {
    fn is_true_of(&self, letter: &StoredLetter) -> bool {
        let field = letter.field(&self.field);
        let is_true = if self.is_part { field.contains(&self.text) } else { field == self.text };
        is_true != self.is_negated
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write a condition as FIELD~TEXT (contains), FIELD=TEXT (is), FIELD!~TEXT or FIELD!=TEXT";
        let place = text.find(['~', '=']).ok_or(form)?;
        let (field, is_negated) = match text[..place].strip_suffix('!') {
            Some(field) => (field, true),
            None => (&text[..place], false),
        };
        if !FIELDS.contains(&field) {
            return Err(format!("{field:?} is not a field of dead letters; the fields are {}", FIELDS.join(", ")));
        }
        let is_part = text[place..].starts_with('~');
        Ok(Self { field: field.into(), text: text[place + 1..].into(), is_part, is_negated })
    }
}
