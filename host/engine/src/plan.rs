//! Decisions that are made once per table version and chain: where the rows go, how IDs are made, which plugins see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowmill_rows::TableVersion;
use rowmill_sandbox::{ColumnNames, DefaultId, NameRules};

use crate::basis::PinnedBasis;
use crate::chain::ChainPlugin;
use crate::indices::Indices;
use crate::mapping;
use crate::operation::IndexNumber;
use crate::route::{Route, route_for, table_index};
use crate::version::VersionStrategy;

/// The decisions for one table version.
#[derive(Debug)]
pub struct TablePlan {
    /// The table version.
    pub table: Arc<TableVersion>,
    /// The table's full name, `database.table`.
    pub full_name: Arc<str>,
    /// The route of the table.
    pub route: Route,
    pub(crate) columns: ColumnNames,
    pub(crate) index: IndexNumber,
    /// The mapping derived from the columns' types, for an index that holds the columns themselves. It is registered with
    /// the first row that no plugin shapes, because a plugin's documents would not fit it.
    derived_mapping: Option<String>,
    mapping_registered: AtomicBool,
    /// Whether documents of the table's index consist of the row's columns: no plugin declares that it makes them.
    pub(crate) holds_columns: bool,
    /// How the default ID is made, or why there is none.
    pub(crate) id: Result<DefaultId, String>,
    pub(crate) version_column: Option<u32>,
    /// Of what `auto` makes the versions of the table.
    pub(crate) basis: PinnedBasis,
    /// The plugins of the chain that want this table, by their place in the chain.
    pub(crate) chain: Vec<usize>,
    /// Whether a plugin of the chain names indices of its own, so that an update without a before image can leave documents
    /// behind.
    pub names_indices: bool,
    /// Other indices in which the table's rows may have documents under their default ID. If a format sends no before image
    /// of an update, documents that the row no longer becomes are deleted in all of them.
    pub(crate) other_indices: Vec<IndexNumber>,
    /// The table's name as a member of a JSON object.
    pub(crate) table_mark: String,
    /// The patterns of all other indices that may hold documents of the table's rows, as a JSON list: a truncate searches
    /// them. Documents that a plugin in change mode writes into other indices record changes, and stay.
    pub(crate) other_patterns: String,
}

impl TablePlan {
    pub(crate) fn new<'a>(
        table: &Arc<TableVersion>,
        routes: &[Route],
        plugins: impl Iterator<Item = (usize, &'a ChainPlugin)>,
        indices: &Indices,
        rules: &NameRules,
    ) -> Self {
        let route = route_for(routes, &table.database, &table.name);
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
        let name = table_index(routes, &table.database, &table.name, rules);
        let index = indices.number(&name, mapping);
        let exact = chain.iter().flat_map(|(_, plugin)| {
            plugin.indices.iter().filter(|pattern| pattern.is_exact()).map(move |pattern| (plugin, pattern))
        });
        let other_indices = exact
            .map(|(plugin, pattern)| indices.number(pattern.as_str(), plugin.mapping_of(pattern.as_str())))
            .filter(|other| *other != index)
            .collect();
        let full_name: Arc<str> = table.full_name().into();
        Self {
            basis: indices.bases.of_table(&full_name, route.epoch),
            other_patterns: other_patterns(&chain, &name),
            table_mark: format!("\"table\":{}", serde_json::Value::from(table.full_name())),
            full_name,
            columns: ColumnNames::new(table.columns.iter().map(|column| &*column.name)),
            index,
            derived_mapping,
            holds_columns: written.is_empty(),
            mapping_registered: AtomicBool::new(false),
            id: DefaultId::new(
                &table.full_name(),
                table.columns.iter().map(|column| &*column.name),
                &table.key,
                route.id.as_deref(),
                rules,
            ),
            version_column: match &route.version {
                VersionStrategy::Column(name) => column(table, name),
                _ => None,
            },
            names_indices: chain.iter().any(|(_, plugin)| !plugin.indices.is_empty()),
            chain: chain.iter().map(|(place, _)| *place).collect(),
            other_indices,
            route,
            table: table.clone(),
        }
    }

    /// Registers the derived mapping. Call it before a document of the table's own columns is written or deleted, so that the
    /// index is created for them.
    pub(crate) fn register_mapping(&self, indices: &Indices) {
        if let Some(mapping) = &self.derived_mapping
            && !self.mapping_registered.swap(true, Ordering::Relaxed)
        {
            indices.number(&indices.name(self.index), Some(mapping));
        }
    }

    /// Appends the default ID of an image to `out`.
    ///
    /// # Errors
    /// The table has no key, a column of the ID is missing or NULL, or the ID is too long.
    pub(crate) fn write_id<'c>(&self, out: &mut Vec<u8>, cell: impl Fn(u32) -> &'c [u8]) -> Result<(), String> {
        self.id.as_ref().map_err(Clone::clone)?.write(out, cell)
    }
}

/// The patterns of all indices but the table's own that the chain may write images of rows into, as a JSON list.
fn other_patterns(chain: &[(usize, &ChainPlugin)], own: &str) -> String {
    let of_rows = chain.iter().filter(|(_, plugin)| !plugin.is_change_mode());
    let patterns = of_rows.flat_map(|(_, plugin)| plugin.indices.iter().map(|pattern| pattern.as_str()));
    serde_json::Value::from(patterns.filter(|pattern| *pattern != own).collect::<Vec<_>>()).to_string()
}

fn column(table: &TableVersion, name: &str) -> Option<u32> {
    table.columns.iter().position(|column| &*column.name == name).map(|place| place as u32)
}
