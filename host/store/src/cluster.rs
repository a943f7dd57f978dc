//! All that the store holds: indices, aliases, templates and scripts, and how names find them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::error::EsError;
use crate::index::{Index, VersionType, Write, WriteKind, Written};
use crate::mapping::{Mapping, MergeReason};
use crate::names::{check_index_name, invalid_index_name, wildcard_matches};
use crate::script::Scripts;
use crate::search::Scroll;
use crate::settings::Settings;
use crate::template::Template;
use crate::update::{ScriptBook, UpdateBody, UpdateTarget, update};

/// Everything behind the store's lock.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) indices: BTreeMap<String, Index>,
    pub(crate) templates: BTreeMap<String, Template>,
    pub(crate) stored_scripts: BTreeMap<String, Value>,
    pub(crate) scripts: Scripts,
    pub(crate) scrolls: HashMap<String, Scroll>,
    /// `action.auto_create_index`: `true`, `false`, or patterns.
    pub(crate) auto_create: String,
    auto_create_default: String,
    pub(crate) uuid: String,
    ids: u64,
}

/// What one item of a bulk does.
#[derive(Debug, Clone)]
pub(crate) enum Action<'a> {
    Write(WriteKind<'a>),
    Update(&'a UpdateBody),
}

/// One operation on a document of a named index or alias.
#[derive(Debug, Clone)]
pub(crate) struct Operation<'a> {
    pub(crate) target: &'a str,
    pub(crate) id: &'a str,
    pub(crate) routing: Option<&'a str>,
    pub(crate) guard: crate::index::Guard,
    pub(crate) require_alias: bool,
    pub(crate) action: Action<'a>,
}

impl Cluster {
    /// An empty one.
    pub(crate) fn new(auto_create: bool, scripts: Scripts) -> Cluster {
        let mut cluster = Cluster {
            indices: BTreeMap::new(),
            templates: BTreeMap::new(),
            stored_scripts: BTreeMap::new(),
            scripts,
            scrolls: HashMap::new(),
            auto_create: auto_create.to_string(),
            auto_create_default: auto_create.to_string(),
            uuid: String::new(),
            ids: 0,
        };
        cluster.uuid = cluster.make_id();
        cluster
    }

    /// Sets `action.auto_create_index`; `None` is what the store was built with.
    pub(crate) fn set_auto_create(&mut self, value: Option<&str>) {
        self.auto_create = value.unwrap_or(&self.auto_create_default).to_owned();
    }

    /// An id in the form of Elasticsearch's own: unlike any other of this store.
    pub(crate) fn make_id(&mut self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        self.ids += 1;
        // An odd factor makes neighbours look unlike and maps no two numbers onto one.
        let mixed = u128::from(self.ids).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let mixed = mixed.wrapping_add(u128::from(Clock::wall_milliseconds()) << 84);
        (0..20).map(|place| char::from(LETTERS[((mixed >> (place * 6)) & 63) as usize])).collect()
    }

    /// Applies one operation to the index that its target names.
    pub(crate) fn apply(&mut self, operation: &Operation<'_>, now: Duration) -> Result<Written, EsError> {
        let creates = match &operation.action {
            // A delete makes the index only if it has a version to remember.
            Action::Write(WriteKind::Delete) => operation.guard.version_type != VersionType::Internal,
            _ => true,
        };
        let name = self.write_index(operation.target, operation.require_alias, creates)?;
        let Some(index) = self.indices.get_mut(&name) else {
            return Err(EsError::index_not_found(&name));
        };
        let (id, routing, guard) = (operation.id, operation.routing, operation.guard);
        match &operation.action {
            Action::Write(kind) => index.write(&Write { kind: *kind, id, routing, guard }, now),
            Action::Update(body) => {
                let scripts = ScriptBook { stored: &self.stored_scripts, native: &self.scripts };
                update(index, UpdateTarget { id, routing, guard }, body, scripts, now)
            }
        }
    }

    /// The index that writes to `target` go to; made if it may be.
    fn write_index(&mut self, target: &str, require_alias: bool, creates: bool) -> Result<String, EsError> {
        let aliased: Vec<(&String, &Value)> = self
            .indices
            .iter()
            .filter_map(|(name, index)| index.aliases.get(target).map(|alias| (name, alias)))
            .collect();
        if require_alias && aliased.is_empty() {
            let reason = format!(
                "no such index [{target}] and [require_alias] request flag is [true] and [{target}] is not an alias"
            );
            return Err(EsError::new(404, "index_not_found_exception", reason)
                .with("index_uuid", "_na_")
                .with("index", target));
        }
        if self.indices.contains_key(target) {
            return Ok(target.into());
        }
        let is_write = |alias: &Value| alias.get("is_write_index").and_then(Value::as_bool);
        if let Some((name, alias)) = aliased.first() {
            let chosen = aliased.iter().find(|(_, alias)| is_write(alias) == Some(true));
            return match chosen {
                Some((name, _)) => Ok((*name).clone()),
                None if aliased.len() == 1 && is_write(alias) != Some(false) => Ok((*name).clone()),
                None => Err(EsError::illegal_argument(format!(
                    "no write index is defined for alias [{target}]. The write index may be explicitly disabled using \
                     is_write_index=false or the alias points to multiple indices without one being designated as a \
                     write index"
                ))),
            };
        }
        if !creates {
            return Err(EsError::index_not_found(target));
        }
        check_index_name(target)?;
        self.may_auto_create(target)?;
        self.create_index(target, BTreeMap::new(), None, BTreeMap::new())?;
        Ok(target.into())
    }

    fn may_auto_create(&self, target: &str) -> Result<(), EsError> {
        let refused = |why: String| {
            Err(EsError::new(404, "index_not_found_exception", format!("no such index [{target}] and {why}"))
                .with("index_uuid", "_na_")
                .with("index", target))
        };
        match self.auto_create.as_str() {
            "true" => return Ok(()),
            "false" => return refused("[action.auto_create_index] is [false]".into()),
            _ => {}
        }
        for pattern in self.auto_create.split(',').map(str::trim) {
            let (allows, expression) = match pattern.strip_prefix('-') {
                Some(rest) => (false, rest),
                None => (true, pattern.trim_start_matches('+')),
            };
            if wildcard_matches(expression, target) {
                return match allows {
                    true => Ok(()),
                    false => refused(format!(
                        "[action.auto_create_index] contains [{pattern}] which forbids automatic creation of the index"
                    )),
                };
            }
        }
        refused(format!("[action.auto_create_index] ([{}]) doesn't match", self.auto_create))
    }

    /// Makes an index from a request and from the template that fits its name.
    pub(crate) fn create_index(
        &mut self,
        name: &str,
        requested: BTreeMap<String, Option<String>>,
        mapping: Option<&Value>,
        aliases: BTreeMap<String, Value>,
    ) -> Result<(), EsError> {
        check_index_name(name)?;
        if let Some(index) = self.indices.get(name) {
            let reason = format!("index [{name}/{}] already exists", index.uuid);
            return Err(EsError::new(400, "resource_already_exists_exception", reason)
                .with("index_uuid", index.uuid.as_str())
                .with("index", name));
        }
        if self.indices.values().any(|index| index.aliases.contains_key(name)) {
            return Err(invalid_index_name(name, "already exists as alias"));
        }
        let template =
            self.templates.values().filter(|template| template.fits(name)).max_by_key(|template| template.priority);
        let mut settings = Settings::default();
        let mut merged = Mapping::default();
        let mut all_aliases = BTreeMap::new();
        if let Some(template) = template {
            settings.apply(template.settings.clone());
            merged.merge(&template.mapping, MergeReason::Compose)?;
            all_aliases.extend(template.aliases.clone());
        }
        settings.apply(requested);
        if let Some(mapping) = mapping {
            merged.merge(&Mapping::parse(mapping)?, MergeReason::Compose)?;
        }
        all_aliases.extend(aliases);
        let uuid = self.make_id();
        settings.set_default("index.number_of_shards", "1");
        settings.set_default("index.number_of_replicas", "1");
        settings.set_default("index.routing.allocation.include._tier_preference", "data_content");
        settings.set("index.provided_name", name);
        settings.set("index.creation_date", Clock::wall_milliseconds().to_string());
        settings.set("index.uuid", uuid.as_str());
        settings.set("index.version.created", "8537000");
        let mut index = Index::new(name, uuid, settings, merged);
        index.aliases = all_aliases;
        self.indices.insert(name.into(), index);
        Ok(())
    }

    /// The indices that an expression of names, aliases and wildcards means, in order and each once.
    pub(crate) fn resolve(&self, expression: &str, missing: Missing) -> Result<Vec<String>, EsError> {
        let mut found: Vec<String> = Vec::new();
        let mut add = |name: &String| {
            if !found.contains(name) {
                found.push(name.clone());
            }
        };
        for part in expression.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "_all" || part.contains('*') {
                let pattern = if part == "_all" { "*" } else { part };
                for (name, index) in &self.indices {
                    if wildcard_matches(pattern, name)
                        || index.aliases.keys().any(|alias| wildcard_matches(pattern, alias))
                    {
                        add(name);
                    }
                }
                continue;
            }
            if self.indices.contains_key(part) {
                add(&part.to_owned());
                continue;
            }
            let mut aliased = self.indices.values().filter(|index| index.aliases.contains_key(part)).peekable();
            if aliased.peek().is_some() {
                aliased.for_each(|index| add(&index.name));
            } else if part.starts_with('_') {
                return Err(invalid_index_name(part, "must not start with '_'."));
            } else if missing == Missing::Refused {
                return Err(EsError::index_not_found(part));
            }
        }
        Ok(found)
    }

    /// The one index that an expression means.
    pub(crate) fn single(&self, name: &str) -> Result<&Index, EsError> {
        if let Some(index) = self.indices.get(name) {
            return Ok(index);
        }
        let names = self.resolve(name, Missing::Refused)?;
        match names.as_slice() {
            [one] => self.indices.get(one).ok_or_else(|| EsError::index_not_found(name)),
            [] => Err(EsError::index_not_found(name)),
            several => Err(EsError::illegal_argument(format!(
                "alias [{name}] has more than one index associated with it [{}], can't execute a single index op",
                several.join(", ")
            ))),
        }
    }

    /// The indices of these names, to change.
    pub(crate) fn each(&mut self, names: &[String], mut change: impl FnMut(&mut Index)) {
        for name in names {
            if let Some(index) = self.indices.get_mut(name) {
                change(index);
            }
        }
    }

    /// Replaces an index's mapping by one that has `addition` laid over it.
    pub(crate) fn put_mapping(&mut self, names: &[String], addition: &Mapping) -> Result<(), EsError> {
        let mut merged = Vec::new();
        for name in names {
            if let Some(index) = self.indices.get(name) {
                let mut mapping = (*index.mapping).clone();
                mapping.merge(addition, MergeReason::Update)?;
                merged.push((name, mapping));
            }
        }
        for (name, mapping) in merged {
            if let Some(index) = self.indices.get_mut(name) {
                index.mapping = Arc::new(mapping);
            }
        }
        Ok(())
    }
}

/// What becomes of names that no index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Refused,
    Skipped,
}
