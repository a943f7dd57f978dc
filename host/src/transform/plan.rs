//! What is decided once per table version and chain: where its rows go, how ids are made, which plugins see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowmill_rows::TableVersion;
use rowmill_sandbox::{ColumnNames, DefaultId};

use super::chain::ChainPlugin;
use super::mapping;
use crate::config::{Route, route_of};
use crate::indices::Indices;
use crate::operation::IndexNumber;
use crate::sink::rules::elasticsearch;
use crate::version::VersionStrategy;

/// The decisions for one table version.
pub(super) struct TablePlan {
    pub table: Arc<TableVersion>,
    pub full_name: Arc<str>,
    pub columns: ColumnNames,
    pub route: Route,
    pub index: IndexNumber,
    /// The mapping of the columns' types, for an index that holds them; told with the first row that comes through the
    /// chain as it is, since a plugin's documents would not fit it.
    derived_mapping: Option<String>,
    mapping_told: AtomicBool,
    /// How the usual id is made, or why it cannot be.
    pub id: Result<DefaultId, String>,
    pub version_column: Option<u32>,
    /// The plugins of the chain that want this table, by their place in the chain.
    pub chain: Vec<usize>,
    /// Other indices in which the table's rows may have documents under their usual id: where a format tells no image
    /// before an update, a document that no longer comes out of the row is deleted in all of them.
    pub other_indices: Vec<IndexNumber>,
    /// Whose row a document is, as a member of a JSON object.
    pub table_mark: String,
    /// The patterns of all other indices that may hold documents of the table's rows, a JSON list: where a truncate
    /// looks. What a plugin of the mode `change` writes into other indices tells of changes, and stays.
    pub other_patterns: String,
}

impl TablePlan {
    pub fn new<'a>(
        table: &Arc<TableVersion>,
        routes: &[Route],
        plugins: impl Iterator<Item = (usize, &'a ChainPlugin)>,
        indices: &Indices,
    ) -> Self {
        let route = route_of(routes, &table.database, &table.name);
        let chain: Vec<(usize, &ChainPlugin)> = plugins.filter(|(_, plugin)| plugin.wants(table)).collect();
        let written: Vec<Option<&str>> =
            chain.iter().filter_map(|(_, plugin)| plugin.mapping_of_route_index()).collect();
        let mut derived_mapping = None;
        let mapping = match (&route.mapping, written.iter().flatten().next()) {
            (Some(mapping), _) => Some(mapping.as_str()),
            (None, Some(mapping)) => Some(*mapping),
            (None, None) => {
                derived_mapping = Some(mapping::of_table(table));
                None
            }
        };
        let name = own_index(routes, &table.database, &table.name);
        let index = indices.number(&name, mapping);
        let exact = chain.iter().flat_map(|(_, plugin)| {
            plugin.indices.iter().filter(|pattern| pattern.is_exact()).map(move |pattern| (plugin, pattern))
        });
        let other_indices = exact
            .map(|(plugin, pattern)| indices.number(pattern.as_str(), plugin.mapping_of(pattern.as_str())))
            .filter(|other| *other != index)
            .collect();
        let patterns: Vec<&str> = chain
            .iter()
            .filter(|(_, plugin)| !plugin.is_change_mode())
            .flat_map(|(_, plugin)| plugin.indices.iter().map(|pattern| pattern.as_str()))
            .filter(|pattern| *pattern != name)
            .collect();
        Self {
            other_patterns: serde_json::Value::from(patterns).to_string(),
            table_mark: format!("\"table\":{}", serde_json::Value::from(table.full_name())),
            full_name: table.full_name().into(),
            columns: ColumnNames::new(table.columns.iter().map(|column| &*column.name)),
            index,
            derived_mapping,
            mapping_told: AtomicBool::new(false),
            id: DefaultId::new(
                &table.full_name(),
                table.columns.iter().map(|column| &*column.name),
                &table.key,
                route.id.as_deref(),
                &elasticsearch(),
            ),
            version_column: match &route.version {
                VersionStrategy::Column(name) => column(table, name),
                _ => None,
            },
            chain: chain.iter().map(|(place, _)| *place).collect(),
            other_indices,
            route,
            table: table.clone(),
        }
    }

    /// To be called before a document of the table's own columns is written or deleted: the index is created for them.
    pub fn tell_mapping(&self, indices: &Indices) {
        if let Some(mapping) = &self.derived_mapping
            && !self.mapping_told.swap(true, Ordering::Relaxed)
        {
            indices.number(&indices.name(self.index), Some(mapping));
        }
    }

    /// Appends the usual id of an image to `out`.
    ///
    /// # Errors
    /// The table has no key, or a column of the id is missing or NULL, or the id is too long.
    pub fn write_id<'c>(&self, out: &mut Vec<u8>, cell: impl Fn(u32) -> &'c [u8]) -> Result<(), String> {
        self.id.as_ref().map_err(Clone::clone)?.write(out, cell)
    }
}

fn column(table: &TableVersion, name: &str) -> Option<u32> {
    table.columns.iter().position(|column| &*column.name == name).map(|place| place as u32)
}

/// The index of a table's own: where its rows go without a plugin's word.
pub(crate) fn own_index(routes: &[Route], database: &str, table: &str) -> String {
    route_of(routes, database, table).index.unwrap_or_else(|| elasticsearch().index_of_table(table))
}
