//! Checks a document against a mapping: refuses what Elasticsearch refuses, and finds the fields that are new.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::date::parse_date;
use super::field::{FieldMapper, FieldType};
use super::model::{Addition, Dynamic, Mapper, Mapping, ObjectMapper};
use crate::error::EsError;
use crate::json::{Cursor, Event};

/// The deepest nesting of a document that Elasticsearch's parser accepts.
const MAX_DOCUMENT_DEPTH: usize = 1000;

/// The deepest nesting of objects in a mapping; Elasticsearch's default.
const MAX_MAPPING_DEPTH: usize = 20;

/// Names that Elasticsearch keeps for the metadata of a document, and refuses at the top of one.
const METADATA: &str = "_id _index _source _routing _version _seq_no _field_names _ignored _nested_path _tier";

/// The index settings that a check depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentLimits {
    pub(crate) ignore_malformed: bool,
    pub(crate) max_fields: usize,
}

/// Checks `source`, which has to be valid JSON, and returns the fields to add to the mapping.
pub(crate) fn check_document(
    mapping: &Mapping,
    source: &str,
    limits: DocumentLimits,
) -> Result<Vec<Addition>, EsError> {
    let mut walk = Walk {
        mapping,
        limits,
        cursor: Cursor::new(source),
        additions: Vec::new(),
        total_fields: None,
        conflict: None,
        depth: 1,
    };
    if walk.cursor.next() != Event::ObjectStart {
        return Err(parsing("Malformed content, must start with an object"));
    }
    if mapping.root.enabled {
        walk.object(Some(&mapping.root), &mut String::new(), mapping.root.dynamic.unwrap_or(Dynamic::Added))?;
    }
    match walk.conflict {
        Some(conflict) => Err(conflict),
        None => Ok(walk.additions),
    }
}

fn parsing(reason: impl Into<String>) -> EsError {
    EsError::new(400, "document_parsing_exception", reason)
}

struct Walk<'a> {
    mapping: &'a Mapping,
    limits: DocumentLimits,
    cursor: Cursor<'a>,
    additions: Vec<Addition>,
    total_fields: Option<usize>,
    /// Elasticsearch merges mappings after it has parsed all values, so a value that does not parse is reported first.
    conflict: Option<EsError>,
    depth: usize,
}

impl<'a> Walk<'a> {
    /// Checks the members of an object whose start has been read. `parent` is its mapping, `None` for a new object.
    fn object(&mut self, parent: Option<&'a ObjectMapper>, path: &mut String, dynamic: Dynamic) -> Result<(), EsError> {
        self.enter()?;
        let mut seen: HashSet<Cow<'a, str>> = HashSet::new();
        while let Event::Key(name) = self.cursor.next() {
            if !seen.insert(name.clone()) {
                return Err(parsing(format!("failed to parse: Duplicate field '{name}'")));
            }
            if path.is_empty() && METADATA.split(' ').any(|metadata| metadata == name) {
                return Err(parsing(format!("Field [{name}] is a metadata field and cannot be in a document")));
            }
            // Java's split, which Elasticsearch uses, drops empty parts at the end and keeps the others.
            let parts: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            match parts.split_first() {
                Some((first, rest)) if parts.iter().all(|part| !part.trim().is_empty()) => {
                    self.member(parent, path, first, rest, dynamic)?;
                }
                _ => return Err(parsing(format!("failed to parse: '{name}' is not a valid field name"))),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks one member of an object. `rest` are the further names of a dotted name.
    fn member(
        &mut self,
        parent: Option<&'a ObjectMapper>,
        path: &mut String,
        name: &str,
        rest: &[&str],
        dynamic: Dynamic,
    ) -> Result<(), EsError> {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        // A name that this document introduced before is unknown here; `introduce` compares the types.
        match (parent.and_then(|parent| parent.properties.get(name)), rest.split_first()) {
            (Some(Mapper::Object(object)), _) if !object.enabled => self.cursor.skip_value(),
            (Some(Mapper::Object(object)), Some((next, rest))) => {
                self.member(Some(object), path, next, rest, object.dynamic.unwrap_or(dynamic))?;
            }
            (Some(Mapper::Object(object)), None) => {
                let event = self.cursor.next();
                self.object_value(object, path, object.dynamic.unwrap_or(dynamic), event)?;
            }
            (Some(Mapper::Field(field)), Some(_)) if field.field_type == FieldType::Other => {
                self.cursor.skip_value();
            }
            (Some(Mapper::Field(field)), Some(_)) => return Err(refused(field, path, "it is not an object")),
            (Some(Mapper::Field(field)), None) => {
                let event = self.cursor.next();
                self.field_value(field, path, event)?;
            }
            (None, _) if dynamic == Dynamic::Refused => {
                let reason = format!("mapping set to strict, dynamic introduction of [{path}] is not allowed");
                return Err(EsError::new(400, "strict_dynamic_mapping_exception", reason));
            }
            (None, Some((next, rest))) if dynamic == Dynamic::Added => {
                self.introduce(path, Mapper::Object(ObjectMapper::default()))?;
                self.member(None, path, next, rest, dynamic)?;
            }
            (None, None) if dynamic == Dynamic::Added => {
                let event = self.cursor.next();
                self.new_value(path, event)?;
            }
            (None, _) => self.cursor.skip_value(),
        }
        path.truncate(length);
        Ok(())
    }

    /// Calls `check` for each value of an array whose start has been read.
    fn array(&mut self, mut check: impl FnMut(&mut Self, Event<'a>) -> Result<(), EsError>) -> Result<(), EsError> {
        self.enter()?;
        loop {
            match self.cursor.next() {
                Event::ArrayEnd | Event::End => break,
                event => check(self, event)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Checks the value of an object that the mapping knows.
    fn object_value(
        &mut self,
        object: &'a ObjectMapper,
        path: &mut String,
        dynamic: Dynamic,
        event: Event<'a>,
    ) -> Result<(), EsError> {
        match event {
            Event::ObjectStart => self.object(Some(object), path, dynamic),
            Event::ArrayStart => self.array(|walk, event| walk.object_value(object, path, dynamic, event)),
            Event::Null => Ok(()),
            _ => Err(parsing(format!("object mapping for [{path}] tried to parse a value that is not an object"))),
        }
    }

    /// Checks the value, or array of values, of a field that the mapping knows.
    fn field_value(&mut self, field: &FieldMapper, path: &str, event: Event<'a>) -> Result<(), EsError> {
        match event {
            Event::Null => return Ok(()),
            Event::ArrayStart if field.field_type != FieldType::Other => {
                return self.array(|walk, event| walk.field_value(field, path, event));
            }
            _ => {}
        }
        let is_object = event == Event::ObjectStart;
        match field.check(&event) {
            Err(reason) if is_object || !field.ignores_malformed(self.limits.ignore_malformed) => {
                Err(refused(field, path, &reason))
            }
            _ => {
                self.cursor.skip(&event);
                Ok(())
            }
        }
    }

    /// Checks a value whose field is new, and adds the field.
    fn new_value(&mut self, path: &mut String, event: Event<'a>) -> Result<(), EsError> {
        let type_name = match &event {
            Event::ObjectStart => {
                self.introduce(path, Mapper::Object(ObjectMapper::default()))?;
                return self.object(None, path, Dynamic::Added);
            }
            Event::ArrayStart => return self.array(|walk, event| walk.new_value(path, event)),
            Event::Number(text) if text.contains(['.', 'e', 'E']) => "float",
            Event::Number(_) => "long",
            Event::Bool(_) => "boolean",
            Event::Text(text) if self.mapping.date_detection && looks_like_date(text) => "date",
            Event::Text(_) => "text",
            _ => return Ok(()),
        };
        let field = Arc::new(FieldMapper::dynamic(type_name));
        self.introduce(path, Mapper::Field(Arc::clone(&field)))?;
        self.field_value(&field, path, event)
    }

    /// Adds a new field. A document may name one several times, with values of the same type.
    fn introduce(&mut self, path: &str, mapper: Mapper) -> Result<(), EsError> {
        if let Some(existing) = self.additions.iter().find(|addition| addition.path == path) {
            let (before, now) = (existing.mapper.type_name(), mapper.type_name());
            if before != now && self.conflict.is_none() {
                let reason = format!("mapper [{path}] cannot be changed from type [{before}] to [{now}]");
                self.conflict = Some(EsError::illegal_argument(reason));
            }
            return Ok(());
        }
        if path.split('.').count() >= MAX_MAPPING_DEPTH && matches!(mapper, Mapper::Object(_)) {
            let reason = format!("Limit of mapping depth [{MAX_MAPPING_DEPTH}] has been exceeded by [{path}]");
            return Err(parsing(reason));
        }
        let total = self.total_fields.unwrap_or_else(|| self.mapping.total_fields()) + mapper.total_fields();
        if total > self.limits.max_fields {
            let reason = format!("Limit of total fields [{}] has been exceeded by [{path}]", self.limits.max_fields);
            return Err(parsing(reason));
        }
        self.total_fields = Some(total);
        self.additions.push(Addition { path: path.into(), mapper });
        Ok(())
    }

    fn enter(&mut self) -> Result<(), EsError> {
        self.depth += 1;
        if self.depth <= MAX_DOCUMENT_DEPTH + 1 {
            return Ok(());
        }
        Err(parsing(format!("Document nesting depth exceeds the maximum allowed ({MAX_DOCUMENT_DEPTH})")))
    }
}

fn refused(field: &FieldMapper, path: &str, reason: &str) -> EsError {
    parsing(format!("failed to parse field [{path}] of type [{}]: {reason}", field.type_name()))
}

/// Returns true if dynamic mapping makes a date field of this text. Plain numbers, which may be years, never are dates.
fn looks_like_date(text: &str) -> bool {
    text.contains([':', '-']) && parse_date("strict_date_optional_time", text).is_some()
}
