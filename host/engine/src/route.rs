//! Routes: the index, document ID and version of a table's rows, and what deletes and truncates do.

use rowmill_sandbox::{NameRules, Pattern};

use crate::version::VersionStrategy;

/// Where a table's rows go, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The tables that the route applies to.
    pub table: Pattern,
    /// The index; `None` for one named after the table.
    pub index: Option<String>,
    /// The document ID, with columns in braces: `{order_id}-{line_no}`; `None` for the primary key.
    pub id: Option<String>,
    /// How versions are made.
    pub version: VersionStrategy,
    /// The highest bits of every version, 0 to [`crate::version::MAX_EPOCH`].
    pub epoch: u64,
    /// What a truncate does.
    pub truncate: TruncatePolicy,
    /// What a delete does.
    pub delete: DeletePolicy,
    /// The mapping of the index, a JSON object.
    pub mapping: Option<String>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            table: Pattern::new("*"),
            index: None,
            id: None,
            version: VersionStrategy::Auto,
            epoch: 0,
            truncate: TruncatePolicy::Ignore,
            delete: DeletePolicy::Hard,
            mapping: None,
        }
    }
}

/// What a truncate of a table does to its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncatePolicy {
    /// Nothing: the truncate is counted, and a warning is logged.
    Ignore,
    /// Documents of rows older than the truncate are deleted, newer ones stay.
    Apply,
}

/// What a delete does to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletePolicy {
    /// The document is removed.
    Hard,
    /// The document stays, with `"is_deleted": true`.
    Soft,
}

/// The route of a table: the first matching route, or the default if none matches.
pub fn route_for(routes: &[Route], database: &str, table: &str) -> Route {
    routes.iter().find(|route| route.table.matches_table(database, table)).cloned().unwrap_or_default()
}

/// The index that a table's rows go to unless a plugin names another.
pub fn table_index(routes: &[Route], database: &str, table: &str, rules: &NameRules) -> String {
    route_for(routes, database, table).index.unwrap_or_else(|| rules.index_of_table(table))
}
