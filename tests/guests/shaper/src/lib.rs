//! A plugin that does what its settings say with a row: filters it, edits it, derives index and ID from its columns, builds several
//! documents, or contributes a part to a merged document.

use rowmill_sdk::{Description, Document, Fail, Out, Row, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct Shaper(Settings);

/// The settings; without settings, rows are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Keeps rows in which this column has this value.
    keep: Option<(String, String)>,
    /// The index is this text followed by the column's value.
    index: Option<(String, String)>,
    /// The id is the value of this column.
    id: Option<String>,
    /// The routing value is the value of this column; needs `id`.
    routing: Option<String>,
    /// Builds as many documents as this column says, with IDs that end in their number; needs `id`.
    copies: Option<String>,
    /// Prepends this text to this column.
    edit: Option<(String, String)>,
    /// The row is a part of the merged document with the ID in this column; the part has all other columns.
    merge: Option<String>,
    /// A row with the first of these columns is an item of the array `lines` in the merged document with the ID in that column; its
    /// key is the second column.
    item: Option<(String, String)>,
    /// Rows with this column fail.
    fail: Option<String>,
    /// Rows in which this column has this value fail.
    poison: Option<(String, String)>,
}

impl Transform for Shaper {
    const NAME: &'static str = "shaper";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn describe() -> Description {
        Description::default().index("shaped-*")
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let settings = &self.0;
        if let Some(column) = &settings.fail
            && row.scalar(column.as_str()).is_ok_and(|value| value.is_some())
        {
            return Err(Fail::new("told to fail"));
        }
        if let Some((column, value)) = &settings.poison
            && row.scalar(column.as_str())?.as_deref() == Some(value)
        {
            return Err(row.wrong(column.as_str(), "a poisonous value"));
        }
        if let Some((column, value)) = &settings.keep
            && row.scalar(column.as_str())?.as_deref() != Some(value)
        {
            out.drop();
            return Ok(());
        }
        if let Some((id, key)) = &settings.item
            && let Ok(Some(id_value)) = row.scalar(id.as_str())
        {
            out.put_item("lines", needed(row, key)?).id(id_value).all_except([id.as_str()]);
            return Ok(());
        }
        if let Some(id) = &settings.merge {
            let value = needed(row, id)?;
            out.merge().id(value).all_except([id.as_str()]);
            return Ok(());
        }
        if settings.index.is_none() && settings.id.is_none() {
            match &settings.edit {
                Some((column, text)) => {
                    let value = format!("{text}{}", needed(row, column)?);
                    out.edit().text(column.as_str(), &value);
                }
                None => out.keep(),
            }
            return Ok(());
        }
        let copies = match &settings.copies {
            Some(column) => needed(row, column)?.parse().map_err(|_| row.wrong(column.as_str(), "expected a count"))?,
            None => 1,
        };
        if copies == 0 {
            out.drop();
        }
        for number in 0..copies {
            self.shape(row, number, &mut out.document())?;
        }
        Ok(())
    }
}

impl Shaper {
    fn shape(&self, row: &Row<'_>, number: u32, document: &mut Document<'_, '_>) -> Result<(), Fail> {
        let settings = &self.0;
        if let Some((column, text)) = &settings.index {
            document.index(format_args!("{text}{}", needed(row, column)?));
        }
        if let Some(column) = &settings.id {
            let value = needed(row, column)?;
            match settings.copies {
                Some(_) => document.id(format_args!("{value}#{number}")),
                None => document.id(value),
            };
        }
        if let Some(column) = &settings.routing {
            document.routing(needed(row, column)?);
        }
        match &settings.edit {
            Some((column, text)) => {
                document.all_except([column.as_str()]).text(column, &format!("{text}{}", needed(row, column)?));
            }
            None => {
                document.all();
            }
        }
        Ok(())
    }
}

fn needed(row: &Row<'_>, column: &str) -> Result<String, Fail> {
    let value = row.scalar(column)?.ok_or_else(|| row.wrong(column, "expected a value"))?;
    Ok(value.into_owned())
}

rowmill_sdk::export!(Shaper);
