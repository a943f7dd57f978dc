//! The mapping of an index: which fields it has, of which types, and how it grows.

mod check;
mod date;
mod document;
mod dynamic;
mod field;
mod parse;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use self::date::parse_date;
pub(crate) use self::document::{Addition, DocumentContext, check_document};
pub(crate) use self::field::{FieldMapper, FieldType};
use crate::error::EsError;

/// What an object does with fields that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    True,
    False,
    Strict,
    Runtime,
}

impl Dynamic {
    fn name(self) -> &'static str {
        match self {
            Dynamic::True => "true",
            Dynamic::False => "false",
            Dynamic::Strict => "strict",
            Dynamic::Runtime => "runtime",
        }
    }
}

/// A field or an object of fields.
#[derive(Debug, Clone)]
pub(crate) enum Mapper {
    Object(ObjectMapper),
    Field(Arc<FieldMapper>),
}

/// An object in a mapping, and the root of it.
#[derive(Debug, Clone)]
pub(crate) struct ObjectMapper {
    pub(crate) dynamic: Option<Dynamic>,
    pub(crate) enabled: bool,
    nested: bool,
    /// Parameters that are only shown.
    shown: Map<String, Value>,
    pub(crate) properties: BTreeMap<String, Mapper>,
}

impl Default for ObjectMapper {
    fn default() -> ObjectMapper {
        ObjectMapper { dynamic: None, enabled: true, nested: false, shown: Map::new(), properties: BTreeMap::new() }
    }
}

/// The mapping of one index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub(crate) root: ObjectMapper,
    pub(crate) date_detection: Option<bool>,
    pub(crate) numeric_detection: bool,
}

/// Whether a merge may change what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeReason {
    /// An update of an index: types stay.
    Update,
    /// One template laid over another, or the request over the template: the later one wins.
    Compose,
}

impl Mapping {
    /// Reads a mapping as requests and templates give it.
    pub(crate) fn parse(body: &Value) -> Result<Mapping, EsError> {
        parse::mapping(body)
    }

    /// The mapping as Elasticsearch shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = Map::new();
        if let Some(dynamic) = self.root.dynamic {
            shown.insert("dynamic".into(), dynamic.name().into());
        }
        if let Some(detection) = self.date_detection {
            shown.insert("date_detection".into(), detection.into());
        }
        if self.numeric_detection {
            shown.insert("numeric_detection".into(), true.into());
        }
        if !self.root.enabled {
            shown.insert("enabled".into(), false.into());
        }
        shown.extend(self.root.shown.clone());
        if !self.root.properties.is_empty() {
            shown.insert("properties".into(), properties_json(&self.root));
        }
        Value::Object(shown)
    }

    /// Lays `other` over this mapping; nothing changes if that is refused.
    pub(crate) fn merge(&mut self, other: &Mapping, reason: MergeReason) -> Result<(), EsError> {
        let mut merged = self.clone();
        merge_object(&mut merged.root, &other.root, "", reason)?;
        merged.date_detection = other.date_detection.or(merged.date_detection);
        merged.numeric_detection |= other.numeric_detection;
        *self = merged;
        Ok(())
    }

    /// Takes over what a document has introduced.
    pub(crate) fn add(&mut self, additions: Vec<Addition>) {
        for addition in additions {
            let mut object = &mut self.root;
            let mut names = addition.path.split('.').peekable();
            while let Some(name) = names.next() {
                if names.peek().is_none() {
                    object.properties.entry(name.into()).or_insert(addition.mapper);
                    break;
                }
                let below = object.properties.entry(name.into());
                match below.or_insert_with(|| Mapper::Object(ObjectMapper::default())) {
                    Mapper::Object(below) => object = below,
                    Mapper::Field(_) => break,
                }
            }
        }
    }

    /// The field of this dotted name and the path under which documents hold it (for `name.keyword`, `name`).
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> Option<(&'a Arc<FieldMapper>, &'a str)> {
        match find(&self.root, name) {
            Some(Mapper::Field(field)) => Some((field, name)),
            Some(Mapper::Object(_)) => None,
            None => {
                let (parent, sub) = name.rsplit_once('.')?;
                match find(&self.root, parent)? {
                    Mapper::Field(field) => field.subfield(sub).map(|field| (field, parent)),
                    Mapper::Object(_) => None,
                }
            }
        }
    }

    /// Whether the dotted name is that of an object.
    pub(crate) fn is_object(&self, name: &str) -> bool {
        matches!(find(&self.root, name), Some(Mapper::Object(_)))
    }

    /// The number of fields that count against `index.mapping.total_fields.limit`.
    pub(crate) fn total_fields(&self) -> usize {
        count_fields(&self.root)
    }
}

fn count_fields(object: &ObjectMapper) -> usize {
    let count = |mapper: &Mapper| match mapper {
        Mapper::Object(object) => 1 + count_fields(object),
        Mapper::Field(field) => field.weight(),
    };
    object.properties.values().map(count).sum()
}

fn find<'a>(object: &'a ObjectMapper, name: &str) -> Option<&'a Mapper> {
    if let Some(mapper) = object.properties.get(name) {
        return Some(mapper);
    }
    let (first, rest) = name.split_once('.')?;
    match object.properties.get(first)? {
        Mapper::Object(object) => find(object, rest),
        Mapper::Field(_) => None,
    }
}

fn merge_object(into: &mut ObjectMapper, from: &ObjectMapper, path: &str, reason: MergeReason) -> Result<(), EsError> {
    into.dynamic = from.dynamic.or(into.dynamic);
    into.enabled = from.enabled;
    into.nested |= from.nested;
    into.shown.extend(from.shown.clone());
    for (name, mapper) in &from.properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (into.properties.get_mut(name), mapper) {
            (Some(Mapper::Object(into)), Mapper::Object(from)) => merge_object(into, from, &path, reason)?,
            (Some(existing), mapper) if reason == MergeReason::Compose => *existing = mapper.clone(),
            (Some(Mapper::Field(existing)), Mapper::Field(field)) => {
                if existing.field_type() != field.field_type() {
                    return Err(type_change(&path, existing.field_type().name(), field.field_type().name()));
                }
                *existing = Arc::new(existing.merged_with(field));
            }
            (Some(_), _) => return Err(object_conflict(&path)),
            (None, mapper) => drop(into.properties.insert(name.clone(), mapper.clone())),
        }
    }
    Ok(())
}

fn type_change(path: &str, from: &str, to: &str) -> EsError {
    EsError::illegal_argument(format!("mapper [{path}] cannot be changed from type [{from}] to [{to}]"))
}

fn object_conflict(path: &str) -> EsError {
    EsError::illegal_argument(format!("can't merge a non object mapping [{path}] with an object mapping"))
}

fn properties_json(object: &ObjectMapper) -> Value {
    let shown = object.properties.iter().map(|(name, mapper)| (name.clone(), mapper_json(mapper)));
    Value::Object(shown.collect())
}

fn mapper_json(mapper: &Mapper) -> Value {
    let object = match mapper {
        Mapper::Field(field) => return field.to_json(),
        Mapper::Object(object) => object,
    };
    let mut shown = Map::new();
    if object.nested {
        shown.insert("type".into(), "nested".into());
    } else if object.properties.is_empty() {
        shown.insert("type".into(), "object".into());
    }
    if let Some(dynamic) = object.dynamic {
        shown.insert("dynamic".into(), dynamic.name().into());
    }
    if !object.enabled {
        shown.insert("enabled".into(), false.into());
    }
    shown.extend(object.shown.clone());
    if !object.properties.is_empty() {
        shown.insert("properties".into(), properties_json(object));
    }
    Value::Object(shown)
}
