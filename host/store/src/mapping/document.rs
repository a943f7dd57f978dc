//! Holds a document against its mapping: refuses what Elasticsearch refuses and finds the fields that are new.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::check::Place;
use super::field::{FieldMapper, FieldType};
use super::parse::java_value;
use super::{Dynamic, Mapper, Mapping, ObjectMapper};
use crate::error::EsError;
use crate::json::{Cursor, Event};

/// How deep a document may nest, in Elasticsearch's parser.
const DEEPEST_DOCUMENT: usize = 1000;

/// Fields of a document's frame, which no document may bring along.
const METADATA: [&str; 10] = [
    "_id",
    "_index",
    "_source",
    "_routing",
    "_version",
    "_seq_no",
    "_field_names",
    "_ignored",
    "_nested_path",
    "_tier",
];

/// A field that a document introduces.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) path: String,
    pub(crate) mapper: Mapper,
}

/// What a check needs to know besides the mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentContext<'a> {
    /// The document's id, for the error texts.
    pub(crate) id: &'a str,
    /// `index.mapping.ignore_malformed`.
    pub(crate) ignore_malformed: bool,
    /// `index.mapping.total_fields.limit`.
    pub(crate) field_limit: usize,
}

/// Checks `source`, which has to be valid JSON, and returns what it adds to the mapping.
pub(crate) fn check_document(
    mapping: &Mapping,
    source: &str,
    context: DocumentContext<'_>,
) -> Result<Vec<Addition>, EsError> {
    let mut walk = Walk {
        mapping,
        context,
        cursor: Cursor::new(source),
        additions: Vec::new(),
        total_fields: None,
        conflict: None,
        depth: 1,
    };
    if walk.cursor.next() != Event::ObjectStart {
        return Err(EsError::new(400, "document_parsing_exception", "Malformed content, must start with an object"));
    }
    if mapping.root.enabled {
        let dynamic = mapping.root.dynamic.unwrap_or(Dynamic::True);
        walk.object(Some(&mapping.root), &mut String::new(), dynamic)?;
    }
    match walk.conflict {
        Some(conflict) => Err(conflict),
        None => Ok(walk.additions),
    }
}

/// `document_parsing_exception` with this reason behind the place.
fn parsing(place: Place, reason: &str) -> EsError {
    EsError::new(400, "document_parsing_exception", format!("[{}:{}] {reason}", place.0, place.1))
}

/// The same, for what went wrong below the document.
pub(super) fn failed(place: Place, cause: EsError) -> EsError {
    parsing(place, &format!("failed to parse: {}", cause.reason())).caused_by(cause)
}

pub(super) struct Walk<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) context: DocumentContext<'a>,
    pub(super) cursor: Cursor<'a>,
    pub(super) additions: Vec<Addition>,
    pub(super) total_fields: Option<usize>,
    /// Found while walking, told when all values have been parsed, as Elasticsearch merges mappings afterwards.
    pub(super) conflict: Option<EsError>,
    pub(super) depth: usize,
}

/// What is known of a name in an object.
enum Known<'a> {
    Object(Option<&'a ObjectMapper>, Dynamic),
    Field(Arc<FieldMapper>),
    Disabled,
    Nothing,
}

impl<'a> Walk<'a> {
    /// The members of an object whose start has been read.
    pub(super) fn object(
        &mut self,
        base: Option<&'a ObjectMapper>,
        path: &mut String,
        dynamic: Dynamic,
    ) -> Result<(), EsError> {
        self.enter()?;
        let mut seen: Keys<'a> = Keys::default();
        let mut value_place = self.cursor.token_place();
        loop {
            match self.cursor.next() {
                Event::Key(name) => {
                    let place = self.cursor.token_place();
                    if !seen.insert(name.clone()) {
                        let behind = self.cursor.place_behind();
                        let reason = format!("[{}:{}] Duplicate field '{name}'", behind.0, behind.1);
                        let cause = EsError::new(400, "x_content_parse_exception", reason).caused_by(EsError::new(
                            400,
                            "json_parse_exception",
                            format!("Duplicate field '{name}'"),
                        ));
                        return Err(failed(value_place, cause));
                    }
                    self.named(base, path, &name, dynamic, place)?;
                    value_place = self.cursor.token_place();
                }
                _ => {
                    self.depth -= 1;
                    return Ok(());
                }
            }
        }
    }

    fn named(
        &mut self,
        base: Option<&'a ObjectMapper>,
        path: &mut String,
        name: &str,
        dynamic: Dynamic,
        place: Place,
    ) -> Result<(), EsError> {
        let illegal = |reason: String| Err(failed(place, EsError::illegal_argument(reason)));
        if name.is_empty() {
            return illegal("field name cannot be an empty string".into());
        }
        if name.trim().is_empty() {
            return Err(parsing(place, &format!("Field name cannot contain only whitespace: [{name}]")));
        }
        if path.is_empty() && METADATA.contains(&name) {
            return Err(self.metadata(name));
        }
        if !name.contains('.') {
            return self.member(base, path, name, &[], dynamic);
        }
        // Java's split drops empty parts at the end and keeps the others.
        let mut parts: Vec<&str> = name.split('.').collect();
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        match parts.split_first() {
            None => illegal("field name cannot contain only dots".into()),
            Some(_) if parts.iter().any(|part| part.trim().is_empty()) => {
                illegal(format!("field name cannot contain only whitespace: ['{name}']"))
            }
            Some((first, rest)) => self.member(base, path, first, rest, dynamic),
        }
    }

    fn metadata(&mut self, name: &str) -> EsError {
        let event = self.cursor.next();
        let inner_place = self.cursor.token_place();
        let text = self.cursor.value_text(&event);
        let place = match event {
            Event::ObjectStart => self.cursor.token_place(),
            _ => inner_place,
        };
        let preview = serde_json::from_str::<Value>(text).map_or_else(|_| text.into(), |value| java_value(&value));
        parsing(
            place,
            &format!(
                "failed to parse field [{name}] of type [{name}] in document with id '{}'. Preview of field's value: \
                 '{preview}'",
                self.context.id
            ),
        )
        .caused_by(parsing(
            inner_place,
            &format!(
                "Field [{name}] is a metadata field and cannot be added inside a document. Use the index API request \
                 parameters."
            ),
        ))
    }

    /// One member of an object; `rest` are the names below it that a dotted name still holds.
    fn member(
        &mut self,
        base: Option<&'a ObjectMapper>,
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
        let result = match rest.split_first() {
            None => {
                let event = self.cursor.next();
                self.value(base, path, name, dynamic, event)
            }
            Some((next, rest)) => match self.known(base, name, dynamic) {
                Known::Object(base, dynamic) => self.member(base, path, next, rest, dynamic),
                Known::Field(field) => self.leaf_in_dots(&field, path, next),
                Known::Disabled => {
                    self.skip_value();
                    Ok(())
                }
                Known::Nothing => match dynamic {
                    Dynamic::True => {
                        self.introduce(path, Mapper::Object(ObjectMapper::default()))?;
                        self.member(None, path, next, rest, dynamic)
                    }
                    Dynamic::Strict => {
                        self.cursor.next();
                        Err(self.strict(path))
                    }
                    Dynamic::False | Dynamic::Runtime => {
                        self.skip_value();
                        Ok(())
                    }
                },
            },
        };
        path.truncate(length);
        result
    }

    /// A value that begins with `event`.
    fn value(
        &mut self,
        base: Option<&'a ObjectMapper>,
        path: &mut String,
        name: &str,
        dynamic: Dynamic,
        event: Event<'a>,
    ) -> Result<(), EsError> {
        match self.known(base, name, dynamic) {
            Known::Field(field) => self.leaf(&field, path, event),
            Known::Object(object, dynamic) => self.object_value(object, path, dynamic, event, Some(name)),
            Known::Disabled => {
                self.cursor.skip(&event);
                Ok(())
            }
            Known::Nothing => match dynamic {
                Dynamic::Strict => Err(self.strict(path)),
                Dynamic::False | Dynamic::Runtime => {
                    self.cursor.skip(&event);
                    Ok(())
                }
                Dynamic::True => self.introduce_value(path, event),
            },
        }
    }

    fn object_value(
        &mut self,
        object: Option<&'a ObjectMapper>,
        path: &mut String,
        dynamic: Dynamic,
        event: Event<'a>,
        shown_name: Option<&str>,
    ) -> Result<(), EsError> {
        match event {
            Event::ObjectStart => self.object(object, path, dynamic),
            Event::ArrayStart => {
                self.enter()?;
                loop {
                    match self.cursor.next() {
                        Event::ArrayEnd | Event::End => break,
                        event => self.object_value(object, path, dynamic, event, None)?,
                    }
                }
                self.depth -= 1;
                Ok(())
            }
            Event::Null => Ok(()),
            _ => Err(parsing(
                self.cursor.token_place(),
                &format!(
                    "object mapping for [{path}] tried to parse field [{}] as object, but found a concrete value",
                    shown_name.unwrap_or("null")
                ),
            )),
        }
    }

    /// A value, or an array of values, of a field.
    pub(super) fn leaf(&mut self, field: &FieldMapper, path: &str, event: Event<'a>) -> Result<(), EsError> {
        match event {
            Event::Null => return Ok(()),
            Event::ArrayStart if !matches!(field.field_type(), FieldType::Other(_)) => {
                self.enter()?;
                loop {
                    match self.cursor.next() {
                        Event::ArrayEnd | Event::End => break,
                        event => self.leaf(field, path, event)?,
                    }
                }
                self.depth -= 1;
                return Ok(());
            }
            _ => {}
        }
        let at = self.cursor.token_place();
        let checked = field.check(path, &event, at, self.cursor.place_behind());
        let Err(cause) = checked else {
            self.cursor.skip(&event);
            return Ok(());
        };
        let preview = match &event {
            Event::ObjectStart => {
                let text = self.cursor.value_text(&event);
                serde_json::from_str::<Value>(text).map_or_else(|_| text.into(), |value| java_value(&value))
            }
            // Numbers that do not fit and are ignored leave no trace.
            _ if field.ignores_malformed(self.context.ignore_malformed) => return Ok(()),
            scalar => field.preview(scalar),
        };
        Err(self.refused(field, path, &preview, cause))
    }

    fn leaf_in_dots(&mut self, field: &FieldMapper, path: &str, below: &str) -> Result<(), EsError> {
        if matches!(field.field_type(), FieldType::Other(_) | FieldType::Flattened) {
            self.skip_value();
            return Ok(());
        }
        let at = self.cursor.token_place();
        let event = self.cursor.next();
        let text = self.cursor.value_text(&event);
        let value = serde_json::from_str::<Value>(text).map_or_else(|_| text.into(), |value| java_value(&value));
        let kind = match field.field_type() {
            FieldType::Text | FieldType::Keyword | FieldType::Date | FieldType::Ip => EsError::new(
                400,
                "illegal_state_exception",
                format!("Can't get text on a START_OBJECT at {}:{}", at.0, at.1),
            ),
            _ => EsError::illegal_argument("Cannot parse object as number"),
        };
        Err(self.refused(field, path, &format!("{{{below}={value}}}"), kind))
    }

    fn refused(&self, field: &FieldMapper, path: &str, preview: &str, cause: EsError) -> EsError {
        parsing(
            self.cursor.token_place(),
            &format!(
                "failed to parse field [{path}] of type [{}] in document with id '{}'. Preview of field's value: \
                 '{preview}'",
                field.field_type().name(),
                self.context.id
            ),
        )
        .caused_by(cause)
    }

    fn strict(&self, path: &str) -> EsError {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("_doc", path));
        let (line, column) = self.cursor.token_place();
        EsError::new(
            400,
            "strict_dynamic_mapping_exception",
            format!(
                "[{line}:{column}] mapping set to strict, dynamic introduction of [{name}] within [{parent}] is not allowed"
            ),
        )
    }

    fn known(&self, base: Option<&'a ObjectMapper>, name: &str, dynamic: Dynamic) -> Known<'a> {
        match base.and_then(|base| base.properties.get(name)) {
            Some(Mapper::Object(object)) if !object.enabled => Known::Disabled,
            Some(Mapper::Object(object)) => Known::Object(Some(object), object.dynamic.unwrap_or(dynamic)),
            Some(Mapper::Field(field)) => Known::Field(Arc::clone(field)),
            // What this very document introduced counts as unknown still: see `introduce`.
            None => Known::Nothing,
        }
    }

    fn skip_value(&mut self) {
        let event = self.cursor.next();
        self.cursor.skip(&event);
    }

    pub(super) fn enter(&mut self) -> Result<(), EsError> {
        self.depth += 1;
        if self.depth <= DEEPEST_DOCUMENT + 1 {
            return Ok(());
        }
        let reason = format!(
            "Document nesting depth ({}) exceeds the maximum allowed ({DEEPEST_DOCUMENT}, from \
             `StreamReadConstraints.getMaxNestingDepth()`)",
            DEEPEST_DOCUMENT + 1
        );
        let cause = EsError::new(400, "x_content_parse_exception", reason.clone()).caused_by(EsError::new(
            400,
            "stream_constraints_exception",
            reason,
        ));
        Err(failed(self.cursor.token_place(), cause))
    }
}

/// The keys of one object so far; most objects are small.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<String>,
}

impl<'a> Keys<'a> {
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.many.is_empty() && self.few.len() < 16 {
            if self.few.contains(&key) {
                return false;
            }
            self.few.push(key);
            return true;
        }
        self.many.extend(self.few.drain(..).map(Cow::into_owned));
        self.many.insert(key.into_owned())
    }
}
