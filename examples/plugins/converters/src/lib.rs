//! Converts column values as configured, and passes the row on to the next plugin, or to the index.

use rowmill_sdk::{Columns, Fail, Out, Row, Table, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct Converters {
    rules: Vec<Rule>,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    rules: Vec<Rule>,
}

/// The conversions of one column of one table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `database.table` or `table`, where `*` matches any text.
    table: String,
    column: String,
    /// The conversions, in order.
    #[serde(rename = "do")]
    steps: Vec<Step>,
}

/// A conversion. NULL stays NULL.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Removes white space from both ends.
    Trim,
    /// Converts to upper case.
    UpperCase,
    /// Converts to lower case.
    LowerCase,
    /// Converts an empty string to NULL.
    EmptyToNull,
    /// Converts a date and time, or an epoch in seconds, milliseconds or microseconds, to ISO-8601 in UTC.
    Iso8601,
    /// Converts an amount to an integer number of cents.
    Cents,
}

impl Transform for Converters {
    const NAME: &'static str = "converters";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        for rule in &settings.rules {
            let last = rule.steps.iter().position(|step| matches!(step, Step::Iso8601 | Step::Cents));
            if rule.steps.is_empty() || last.is_some_and(|at| at + 1 != rule.steps.len()) {
                return Err(format!(
                    "settings: column '{}' of {}: 'do' needs at least one step, and iso8601 or cents only as the last",
                    rule.column, rule.table
                ));
            }
        }
        Ok(Self { rules: settings.rules })
    }

    fn columns(&self, table: &Table) -> Result<Columns, String> {
        // A table without a column of a rule is refused, with the name of the column.
        Ok(Columns::of(self.rules.iter().filter(|rule| table.matches(&rule.table)).map(|rule| &rule.column)))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let mut edit = out.edit();
        for rule in self.rules.iter().filter(|rule| row.is_of(&rule.table)) {
            let column = rule.column.as_str();
            let Some(value) = row.scalar(column)? else { continue };
            let mut text = value.into_owned();
            for step in &rule.steps {
                match step {
                    Step::Trim => text = text.trim().to_owned(),
                    Step::UpperCase => text = text.to_uppercase(),
                    Step::LowerCase => text = text.to_lowercase(),
                    Step::EmptyToNull if text.is_empty() => {
                        edit.null(column);
                        break;
                    }
                    Step::EmptyToNull => {}
                    Step::Iso8601 => {
                        // MySQL's zero date is not a time.
                        match row.datetime(column)?.filter(|time| time.is_valid()) {
                            Some(time) => edit.text(column, &format!("{time}Z")),
                            None => edit.null(column),
                        };
                    }
                    Step::Cents => {
                        let cents = row.decimal(column)?.and_then(|amount| amount.to_cents());
                        let cents = cents.ok_or_else(|| row.wrong(column, "is not a whole number of cents"))?;
                        edit.set(column, &cents);
                    }
                }
            }
            let is_text =
                |step: &Step| matches!(step, Step::Trim | Step::UpperCase | Step::LowerCase | Step::EmptyToNull);
            if rule.steps.iter().all(is_text) && !(text.is_empty() && rule.steps.contains(&Step::EmptyToNull)) {
                edit.text(column, &text);
            }
        }
        Ok(())
    }
}

rowmill_sdk::export!(Converters);
