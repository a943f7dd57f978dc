//! Masks personal data and passes the row on, so that neither the index nor later plugins contain the original values.
//!
//! The settings name the columns for each kind of masking. Columns added to the table later pass unmasked, unless `only` names
//! the columns that may pass.

use rowmill_sdk::{Columns, Fail, Out, Row, Table, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct MaskPersonal {
    rules: Vec<Rule>,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    rules: Vec<Rule>,
}

/// The masking of one table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// `database.table` or `table`, where `*` matches any text.
    table: String,
    /// Columns that keep the last four characters: `*******4321`.
    last_four: Vec<String>,
    /// Columns that keep the first letter: `王*`.
    first_letter: Vec<String>,
    /// Columns with e-mail addresses, which keep the first letter and the domain: `u***@example.test`.
    email: Vec<String>,
    /// Columns that are removed.
    remove: Vec<String>,
    /// If set, all columns that the rule does not name are removed too.
    only: Option<Vec<String>>,
}

impl Rule {
    fn masked(&self) -> impl Iterator<Item = &String> {
        self.last_four.iter().chain(&self.first_letter).chain(&self.email)
    }
}

impl Transform for MaskPersonal {
    const NAME: &'static str = "mask-personal";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        match settings.rules.iter().find(|rule| rule.table.is_empty()) {
            Some(_) => Err("settings: a rule without 'table'".to_owned()),
            None => Ok(Self { rules: settings.rules }),
        }
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        let rules = || self.rules.iter().filter(|rule| table.matches(&rule.table));
        // A table without a column to be masked is refused: a renamed column would leak.
        let columns = Columns::of(rules().flat_map(Rule::masked));
        Ok(rules().flat_map(|rule| &rule.remove).fold(columns, |columns, name| columns.pass(name)))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let mut edit = out.edit();
        for rule in self.rules.iter().filter(|rule| row.is_of(&rule.table)) {
            for column in &rule.last_four {
                if let Some(text) = row.scalar(column.as_str())? {
                    edit.text(column.as_str(), &last_four(&text));
                }
            }
            for column in &rule.first_letter {
                if let Some(text) = row.scalar(column.as_str())? {
                    edit.text(column.as_str(), &first_letter(&text));
                }
            }
            for column in &rule.email {
                if let Some(text) = row.scalar(column.as_str())? {
                    edit.text(column.as_str(), &email(&text));
                }
            }
            for column in &rule.remove {
                edit.absent(column.as_str());
            }
            if let Some(only) = &rule.only {
                let named = |name: &str| rule.masked().chain(&rule.remove).chain(only).any(|column| column == name);
                for name in row.columns().filter(|name| !named(name)) {
                    edit.absent(name);
                }
            }
        }
        Ok(())
    }
}

fn last_four(text: &str) -> String {
    let count = text.chars().count();
    // Short texts are masked completely: showing four of five characters would not mask anything.
    let keep = if count >= 8 { 4 } else { 0 };
    text.chars().enumerate().map(|(place, letter)| if place + keep < count { '*' } else { letter }).collect()
}

fn first_letter(text: &str) -> String {
    text.chars().enumerate().map(|(place, letter)| if place == 0 { letter } else { '*' }).collect()
}

fn email(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((name, domain)) => format!("{}***@{domain}", name.chars().next().unwrap_or('*')),
        None => first_letter(text),
    }
}

rowmill_sdk::export!(MaskPersonal);
