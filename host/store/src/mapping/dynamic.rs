//! Fields that a document introduces: of which type they are, and where they clash.

use std::sync::Arc;

use super::date::parse_date;
use super::document::{Addition, Walk, failed};
use super::field::{FieldMapper, FieldType};
use super::{Dynamic, Mapper, ObjectMapper, object_conflict, type_change};
use crate::error::EsError;
use crate::json::Event;

/// How deep objects may lie in a mapping, Elasticsearch's own default.
const DEEPEST_MAPPING: usize = 20;

/// What dynamic mapping tries on strings that may be dates, and the format that it gives such a field.
const DATE_DETECTION: [(&str, Option<&str>); 2] = [
    ("strict_date_optional_time", None),
    ("yyyy/MM/dd HH:mm:ss||yyyy/MM/dd", Some("yyyy/MM/dd HH:mm:ss||yyyy/MM/dd||epoch_millis")),
];

impl<'a> Walk<'a> {
    /// A value of a field that no mapping knows, under `dynamic: true`.
    pub(super) fn introduce_value(&mut self, path: &mut String, event: Event<'a>) -> Result<(), EsError> {
        let field = match &event {
            Event::ObjectStart => {
                self.introduce(path, Mapper::Object(ObjectMapper::default()))?;
                return self.object(None, path, Dynamic::True);
            }
            Event::ArrayStart => {
                self.enter()?;
                loop {
                    match self.cursor.next() {
                        Event::ArrayEnd | Event::End => break,
                        event => self.introduce_value(path, event)?,
                    }
                }
                self.depth -= 1;
                return Ok(());
            }
            Event::Number(text) if text.contains(['.', 'e', 'E']) => FieldMapper::dynamic(FieldType::Float, None),
            Event::Number(_) => FieldMapper::dynamic(FieldType::Long, None),
            Event::Bool(_) => FieldMapper::dynamic(FieldType::Boolean, None),
            Event::Text(text) => self.detect(text),
            _ => return Ok(()),
        };
        let field = Arc::new(field);
        self.introduce(path, Mapper::Field(Arc::clone(&field)))?;
        self.leaf(&field, path, event)
    }

    fn detect(&self, text: &str) -> FieldMapper {
        if self.mapping.numeric_detection {
            if text.parse::<i64>().is_ok() {
                return FieldMapper::dynamic(FieldType::Long, None);
            }
            if text.parse::<f64>().is_ok_and(f64::is_finite) {
                return FieldMapper::dynamic(FieldType::Float, None);
            }
        }
        if self.mapping.date_detection.unwrap_or(true) && looks_like_date(text) {
            for (pattern, format) in DATE_DETECTION {
                if parse_date(pattern, text).is_ok() {
                    return FieldMapper::dynamic(FieldType::Date, format);
                }
            }
        }
        FieldMapper::dynamic(FieldType::Text, None)
    }

    fn added(&self, path: &str) -> Option<&Mapper> {
        self.additions.iter().find(|addition| addition.path == path).map(|addition| &addition.mapper)
    }

    /// Notes a new field. The same path may come again in the document and then has to be of the same type.
    pub(super) fn introduce(&mut self, path: &str, mapper: Mapper) -> Result<(), EsError> {
        let conflict = match (self.added(path), &mapper) {
            (Some(Mapper::Field(existing)), Mapper::Field(field)) if existing.field_type() != field.field_type() => {
                Some(type_change(path, existing.field_type().name(), field.field_type().name()))
            }
            (Some(Mapper::Field(existing)), Mapper::Object(_)) => {
                Some(type_change(path, existing.field_type().name(), "ObjectMapper"))
            }
            (Some(Mapper::Object(_)), Mapper::Field(_)) => Some(object_conflict(path)),
            (Some(_), _) => None,
            (None, mapper) => {
                let weight = match mapper {
                    Mapper::Object(_) => 1,
                    Mapper::Field(field) => field.weight(),
                };
                if path.split('.').count() >= DEEPEST_MAPPING && matches!(mapper, Mapper::Object(_)) {
                    return Err(failed(
                        self.cursor.token_place(),
                        EsError::illegal_argument(format!(
                            "Limit of mapping depth [{DEEPEST_MAPPING}] has been exceeded due to object field [{path}]"
                        )),
                    ));
                }
                let total = self.total_fields.unwrap_or_else(|| self.mapping.total_fields()) + weight;
                if total > self.context.field_limit {
                    return Err(failed(
                        self.cursor.token_place(),
                        EsError::illegal_argument(format!(
                            "Limit of total fields [{}] has been exceeded while adding new fields [{weight}]",
                            self.context.field_limit
                        )),
                    ));
                }
                self.total_fields = Some(total);
                // An object that clashes with a field is called so only once it has a field itself.
                if let (Some(_), Some((parent, _))) = (&self.conflict, path.rsplit_once('.'))
                    && matches!(self.added(parent), Some(Mapper::Field(_)))
                {
                    self.conflict = Some(object_conflict(parent));
                }
                self.additions.push(Addition { path: path.into(), mapper: mapper.clone() });
                None
            }
        };
        if self.conflict.is_none() {
            self.conflict = conflict;
        }
        Ok(())
    }
}

/// Plain numbers are too often no dates: without one of these signs nothing is tried.
fn looks_like_date(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) && text.contains([':', '-', '/'])
}
