//! All contents of the store: indices, aliases, scripts and scrolls, and the resolution of names.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use crate::error::EsError;
use crate::index::{Index, Write, WriteKind, Written};
use crate::mapping::parse_mapping;
use crate::names::{check_index_name, invalid_index_name, wildcard_matches};
use crate::script::Scripts;
use crate::search::{Scroll, View};
use crate::settings::{Changes, Settings};
use crate::update::{UpdateBody, update};

/// The length of generated IDs.
pub(crate) const ID_LENGTH: usize = 20;

/// All contents of the store.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) indices: BTreeMap<String, Index>,
    pub(crate) scripts: Scripts,
    pub(crate) scrolls: HashMap<String, Scroll>,
    /// Whether a write creates a missing index (`action.auto_create_index`).
    auto_create: bool,
    n_ids: u64,
}

/// The handling of names for which there is no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Refused,
    Ignored,
}

impl Cluster {
    pub(crate) fn new(auto_create: bool, scripts: Scripts) -> Cluster {
        Cluster { indices: BTreeMap::new(), scripts, scrolls: HashMap::new(), auto_create, n_ids: 0 }
    }

    /// Generates an ID that differs from all others of this store, as long as those of Elasticsearch.
    pub(crate) fn generate_id(&mut self) -> String {
        self.n_ids += 1;
        format!("embedded{:0width$}", self.n_ids, width = ID_LENGTH - "embedded".len())
    }

    /// Applies a write to the index or alias `target`.
    pub(crate) fn write(&mut self, target: &str, write: &Write<'_>, now: Duration) -> Result<Written, EsError> {
        // A delete creates the index only if it has a version to remember.
        let creates_index = !matches!(write.kind, WriteKind::Delete) || write.guard.is_versioned();
        let name = self.write_index(target, creates_index)?;
        let index = self.indices.get_mut(&name).ok_or_else(|| EsError::index_not_found(target))?;
        index.write(write, now)
    }

    /// Applies an update to a document of the index or alias `target`. The kind of `write` does not matter.
    pub(crate) fn update(
        &mut self,
        target: &str,
        write: &Write<'_>,
        body: &UpdateBody,
        now: Duration,
    ) -> Result<Written, EsError> {
        let name = self.write_index(target, true)?;
        let index = self.indices.get_mut(&name).ok_or_else(|| EsError::index_not_found(target))?;
        update(index, write, body, &self.scripts, now)
    }

    /// Returns the index to which writes to `target` go, and creates it if that is allowed.
    fn write_index(&mut self, target: &str, creates_index: bool) -> Result<String, EsError> {
        if self.indices.contains_key(target) {
            return Ok(target.into());
        }
        let is_write = |index: &Index| index.aliases.get(target)?.get("is_write_index").and_then(Value::as_bool);
        let aliased: Vec<&Index> = self.indices.values().filter(|index| index.aliases.contains_key(target)).collect();
        let chosen = aliased.iter().find(|index| is_write(index) == Some(true));
        match (chosen, aliased.as_slice()) {
            (Some(index), _) => return Ok(index.name.clone()),
            (None, [index]) if is_write(index) != Some(false) => return Ok(index.name.clone()),
            (None, []) => {}
            _ => {
                return Err(EsError::illegal_argument(format!("no write index is defined for alias [{target}]")));
            }
        }
        if !creates_index {
            return Err(EsError::index_not_found(target));
        }
        check_index_name(target)?;
        if !self.auto_create {
            let reason = format!("no such index [{target}] and [action.auto_create_index] is [false]");
            return Err(EsError::new(404, "index_not_found_exception", reason));
        }
        self.create_index(target, Changes::new(), &Value::Null, BTreeMap::new())?;
        Ok(target.into())
    }

    /// Creates an index.
    pub(crate) fn create_index(
        &mut self,
        name: &str,
        changes: Changes,
        mapping: &Value,
        aliases: BTreeMap<String, Value>,
    ) -> Result<(), EsError> {
        check_index_name(name)?;
        if self.indices.contains_key(name) {
            let reason = format!("index [{name}] already exists");
            return Err(EsError::new(400, "resource_already_exists_exception", reason));
        }
        if self.is_alias(name) {
            return Err(invalid_index_name(name, "already exists as alias"));
        }
        let mut settings = Settings::default();
        settings.apply(changes);
        self.indices.insert(name.into(), Index::new(name, settings, parse_mapping(mapping)?, aliases));
        Ok(())
    }

    /// Returns true if any index has this alias.
    pub(crate) fn is_alias(&self, name: &str) -> bool {
        self.indices.values().any(|index| index.aliases.contains_key(name))
    }

    /// Returns the names of the indices that an expression of names, aliases and wildcards means, each once.
    pub(crate) fn resolve(&self, expression: &str, missing: Missing) -> Result<Vec<String>, EsError> {
        let mut found: Vec<String> = Vec::new();
        for part in expression.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let pattern = if part == "_all" { "*" } else { part };
            if pattern.starts_with('_') {
                return Err(invalid_index_name(part, "must not start with '_'."));
            }
            let fits = |index: &&Index| {
                wildcard_matches(pattern, &index.name)
                    || index.aliases.keys().any(|alias| wildcard_matches(pattern, alias))
            };
            let names: Vec<&String> = self.indices.values().filter(fits).map(|index| &index.name).collect();
            if names.is_empty() && !pattern.contains('*') && missing == Missing::Refused {
                return Err(EsError::index_not_found(part));
            }
            for name in names {
                if !found.contains(name) {
                    found.push(name.clone());
                }
            }
        }
        Ok(found)
    }

    /// Returns the one index that a name or alias means.
    pub(crate) fn single(&self, name: &str) -> Result<&Index, EsError> {
        if let Some(index) = self.indices.get(name) {
            return Ok(index);
        }
        match self.resolve(name, Missing::Refused)?.as_slice() {
            [one] => self.indices.get(one).ok_or_else(|| EsError::index_not_found(name)),
            [] => Err(EsError::index_not_found(name)),
            _ => Err(EsError::illegal_argument(format!("alias [{name}] has more than one index"))),
        }
    }

    /// Calls `change` for each index of these names.
    pub(crate) fn each(&mut self, names: &[String], mut change: impl FnMut(&mut Index)) {
        for name in names {
            if let Some(index) = self.indices.get_mut(name) {
                change(index);
            }
        }
    }

    /// Returns the views of the indices that an expression means.
    pub(crate) fn views(&mut self, expression: &str, missing: Missing, now: Duration) -> Result<Vec<View>, EsError> {
        let names = self.resolve(expression, missing)?;
        let mut views = Vec::new();
        self.each(&names, |index| views.push(View::new(index, now)));
        Ok(views)
    }
}
