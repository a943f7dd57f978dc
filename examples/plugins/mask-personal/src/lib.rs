//! Masks personal data in place, and passes the row on: what is masked here is in no index, and in no later plugin.
//!
//! The settings name the columns by how they are masked. A column that the table gets later passes as it is, unless `only`
//! names what may pass.

use rowmill_sdk::{Columns, Fail, Out, Row, Table, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct MaskPersonal {
    rules: Vec<Rule>,
}

/// What can be set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    rules: Vec<Rule>,
}

/// What is masked in one table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// `database.table` or `table`, `*` for any text.
    table: String,
    /// Columns of which the last four characters stay: `*******4321`.
    last_four: Vec<String>,
    /// Columns of which the first letter stays: `王*`.
    first_letter: Vec<String>,
    /// Columns of e-mail addresses, of which the first letter and the domain stay: `u***@example.test`.
    email: Vec<String>,
    /// Columns that are left out.
    remove: Vec<String>,
    /// If it is given, all columns that are named nowhere in the rule are left out too.
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
        // A column that is to be masked must be there: a renamed one would leak.
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
    // Of a short text nothing stays: four of five characters are no mask.
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
