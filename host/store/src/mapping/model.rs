//! The tree of objects and fields that a mapping consists of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::field::FieldMapper;

/// What happens to fields that an object's mapping does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    /// They are added to the mapping.
    Added,
    /// They are accepted and not indexed.
    Ignored,
    /// They are refused.
    Refused,
}

/// An object or a field.
#[derive(Debug, Clone)]
pub(crate) enum Mapper {
    Object(ObjectMapper),
    Field(Arc<FieldMapper>),
}

impl Mapper {
    /// The number of fields that this counts for in `index.mapping.total_fields.limit`.
    pub(crate) fn total_fields(&self) -> usize {
        match self {
            Mapper::Object(object) => 1 + object.total_fields(),
            Mapper::Field(field) => 1 + field.subfields.len(),
        }
    }

    /// The type by the name that users know.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Mapper::Object(_) => "object",
            Mapper::Field(field) => field.type_name(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Mapper::Object(object) => {
                let mut shown = object.to_json();
                if object.properties.is_empty() {
                    shown.entry("type").or_insert("object".into());
                }
                Value::Object(shown)
            }
            Mapper::Field(field) => field.to_json(),
        }
    }
}

/// An object in a mapping.
#[derive(Debug, Clone)]
pub(crate) struct ObjectMapper {
    /// `None` inherits the parent's rule.
    pub(crate) dynamic: Option<Dynamic>,
    pub(crate) enabled: bool,
    /// All parameters but `properties`, as they were given.
    pub(crate) parameters: Map<String, Value>,
    pub(crate) properties: BTreeMap<String, Mapper>,
}

impl Default for ObjectMapper {
    fn default() -> ObjectMapper {
        ObjectMapper { dynamic: None, enabled: true, parameters: Map::new(), properties: BTreeMap::new() }
    }
}

impl ObjectMapper {
    fn total_fields(&self) -> usize {
        self.properties.values().map(Mapper::total_fields).sum()
    }

    fn to_json(&self) -> Map<String, Value> {
        let mut shown = self.parameters.clone();
        if !self.properties.is_empty() {
            let properties = self.properties.iter().map(|(name, mapper)| (name.clone(), mapper.to_json()));
            shown.insert("properties".into(), Value::Object(properties.collect()));
        }
        shown
    }

    fn find<'a>(&'a self, name: &str) -> Option<&'a Mapper> {
        if let Some(mapper) = self.properties.get(name) {
            return Some(mapper);
        }
        let (first, rest) = name.split_once('.')?;
        match self.properties.get(first)? {
            Mapper::Object(object) => object.find(rest),
            Mapper::Field(_) => None,
        }
    }
}

/// A field that a document adds to the mapping.
#[derive(Debug)]
pub(crate) struct Addition {
    /// Its dotted name.
    pub(crate) path: String,
    pub(crate) mapper: Mapper,
}

/// The mapping of one index.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) root: ObjectMapper,
    /// Whether new strings that look like dates become date fields.
    pub(crate) date_detection: bool,
}

impl Default for Mapping {
    fn default() -> Mapping {
        Mapping { root: ObjectMapper::default(), date_detection: true }
    }
}

impl Mapping {
    /// The mapping as Elasticsearch shows it.
    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.root.to_json())
    }

    /// Adds the fields that a document introduced.
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

    /// Returns the field of a dotted name and the path to its values in a document, which for the multi-field
    /// `name.keyword` is `name`.
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> Option<(&'a FieldMapper, &'a str)> {
        match self.root.find(name) {
            Some(Mapper::Field(field)) => Some((field, name)),
            Some(Mapper::Object(_)) => None,
            None => {
                let (parent, subname) = name.rsplit_once('.')?;
                match self.root.find(parent)? {
                    Mapper::Field(field) => field.subfield(subname).map(|field| (field, parent)),
                    Mapper::Object(_) => None,
                }
            }
        }
    }

    /// The number of fields that count in `index.mapping.total_fields.limit`.
    pub(crate) fn total_fields(&self) -> usize {
        self.root.total_fields()
    }
}
