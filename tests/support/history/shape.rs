//! What the plugin `tests/guests/shaper` is instructed to do with rows, and the documents that it must build from them, by an
//! independent model.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Row;

/// Documents by index and ID.
pub type Documents = BTreeMap<(String, String), Value>;

/// The index of documents that several tables build together.
pub const MERGED: &str = "merged";

/// An instruction to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`settings` says it")]
pub enum Shape {
    Keep,
    Filter,
    Edit,
    Index,
    Id,
    Copies,
    FilterAndIndexAndId,
    /// Rows without a parent are a part of the merged document with their ID; rows with one are items of their parent's.
    Merge,
}

impl Shape {
    /// All instructions that make documents of one row each.
    pub const ROWS: [Self; 7] =
        [Self::Keep, Self::Filter, Self::Edit, Self::Index, Self::Id, Self::Copies, Self::FilterAndIndexAndId];

    /// The plugin's settings.
    pub fn settings(self) -> Value {
        match self {
            Self::Keep => json!({}),
            Self::Filter => json!({ "keep": ["kind", "a"] }),
            Self::Edit => json!({ "edit": ["name", "edited "] }),
            Self::Index => json!({ "index": ["kind", "shaped-"] }),
            // Unique, as an id must be: it depends on the whole row.
            Self::Id => json!({ "id": "id", "index": ["count", "shaped-"], "edit": ["name", "edited "] }),
            Self::Copies => json!({ "id": "id", "copies": "count" }),
            Self::FilterAndIndexAndId => json!({ "keep": ["kind", "a"], "index": ["name", "shaped-"], "id": "id" }),
            Self::Merge => json!({ "merge": "id", "item": ["parent", "id"] }),
        }
    }

    /// The settings as lines of TOML.
    pub fn settings_text(self) -> String {
        let settings = self.settings();
        settings.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// The documents of these rows. With `names_tables`, documents outside of the table's own index name the table, where a
    /// TRUNCATE has to find them.
    pub fn documents<'a>(
        self,
        rows: impl IntoIterator<Item = (&'static str, &'a Row)>,
        names_tables: bool,
    ) -> Documents {
        let mut documents = Documents::new();
        for (table, row) in rows {
            match self {
                Self::Merge => merge(&mut documents, row),
                _ => documents.extend(self.documents_of(table, row, names_tables)),
            }
        }
        documents
    }

    fn documents_of(self, table: &str, row: &Row, names_tables: bool) -> Vec<((String, String), Value)> {
        let id = row.id.to_string();
        let one = |index: &str, mut source: Value| {
            if index != table && names_tables {
                source["_rowmill"] = json!({ "table": format!("shop.{table}") });
            }
            vec![((index.to_string(), id.clone()), source)]
        };
        let mut edited = row.cells();
        edited["name"] = format!("edited {}", row.name).into();
        match self {
            Self::Keep | Self::Merge => one(table, row.cells()),
            Self::Filter | Self::FilterAndIndexAndId if row.kind != "a" => Vec::new(),
            Self::Filter => one(table, row.cells()),
            Self::Edit => one(table, edited),
            Self::Index => one(&format!("shaped-{}", row.kind), row.cells()),
            Self::Id => one(&format!("shaped-{}", row.count), edited),
            Self::Copies => {
                let document = |number| ((table.to_string(), format!("{id}#{number}")), row.cells());
                (0..row.count).map(document).collect()
            }
            Self::FilterAndIndexAndId => one(&format!("shaped-{}", row.name), row.cells()),
        }
    }
}

fn merge(documents: &mut Documents, row: &Row) {
    let id = row.parent.unwrap_or(row.id).to_string();
    let document = documents.entry((MERGED.into(), id)).or_insert_with(|| json!({}));
    let mut cells = row.cells();
    let Some(fields) = cells.as_object_mut() else { unreachable!("cells are an object") };
    if row.parent.is_none() {
        fields.remove("id");
        document.as_object_mut().unwrap_or(&mut Map::new()).append(fields);
        return;
    }
    fields.remove("parent");
    if !document["lines"].is_array() {
        document["lines"] = json!([]);
    }
    let lines = document["lines"].as_array_mut().expect("an array");
    let place = lines.partition_point(|line| line["id"].as_u64() < Some(row.id.into()));
    lines.insert(place, cells);
}
