//! Writes rows of the `trade` table into one index per month: `trade-2026-03`.
//!
//! The index depends on the row alone, so the host handles the rest: when the month of a row changes, the before image produces
//! a document in the old index and the after image one in the new index, and the host deletes the old one.

use rowmill_sdk::{Columns, Description, Fail, Out, Row, Table, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct MonthIndex {
    settings: Settings,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The column whose month determines the index.
    column: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { column: "created_at".to_owned() }
    }
}

impl Transform for MonthIndex {
    const NAME: &'static str = "month-index";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().tables(["trade"]).index_with_mapping("trade-*", include_str!("mapping.json"))
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    fn columns(&self, _: &Table) -> Result<Columns, String> {
        // Only this column is copied into the sandbox. A table without it is refused, with the name of the column.
        Ok(Columns::none().read(&self.settings.column))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let time = row.datetime(self.settings.column.as_str())?;
        let mut document = out.document();
        match time.filter(|time| time.is_valid()) {
            Some(time) => document.index(format_args!("trade-{:04}-{:02}", time.date.year, time.date.month)),
            // NULL, or MySQL's zero date.
            None => document.index("trade-undated"),
        };
        document.all();
        Ok(())
    }
}

rowmill_sdk::export!(MonthIndex);
