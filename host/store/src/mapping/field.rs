//! One field of a mapping: its type and its parameters.

use std::sync::Arc;

use serde_json::{Map, Value, json};

/// The format of date fields whose mapping names none.
pub(crate) const DEFAULT_DATE_FORMAT: &str = "strict_date_optional_time||epoch_millis";

/// Types that the store knows by name only; their fields accept any value.
const OTHER_TYPES: &str = "binary flattened ip scaled_float date_nanos constant_keyword wildcard match_only_text search_as_you_type \
    completion token_count geo_point geo_shape point shape integer_range float_range long_range double_range date_range \
    ip_range join percolator dense_vector sparse_vector rank_feature rank_features version alias histogram \
    annotated_text murmur3 semantic_text aggregate_metric_double";

/// The types that differ in the values that they accept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FieldType {
    /// Whole numbers from `least` to `most`.
    Whole {
        least: i128,
        most: i128,
    },
    /// Numbers of at most this magnitude.
    Decimal {
        most: f64,
    },
    Boolean,
    Date,
    Keyword,
    Text,
    /// Accepts any value.
    Other,
}

impl FieldType {
    /// Returns the type of this name; `None` if Elasticsearch has no such type.
    pub(crate) fn of(name: &str) -> Option<FieldType> {
        let whole = |least: i64, most: i64| FieldType::Whole { least: least.into(), most: most.into() };
        Some(match name {
            "long" => whole(i64::MIN, i64::MAX),
            "integer" => whole(i32::MIN.into(), i32::MAX.into()),
            "short" => whole(i16::MIN.into(), i16::MAX.into()),
            "byte" => whole(i8::MIN.into(), i8::MAX.into()),
            "unsigned_long" => FieldType::Whole { least: 0, most: u64::MAX.into() },
            "double" => FieldType::Decimal { most: f64::MAX },
            "float" => FieldType::Decimal { most: f32::MAX.into() },
            // The largest number that rounds to the largest finite half float.
            "half_float" => FieldType::Decimal { most: 65_519.996 },
            "boolean" => FieldType::Boolean,
            "date" => FieldType::Date,
            "keyword" => FieldType::Keyword,
            "text" => FieldType::Text,
            other if OTHER_TYPES.split(' ').any(|known| known == other) => FieldType::Other,
            _ => return None,
        })
    }
}

/// One field of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct FieldMapper {
    pub(crate) field_type: FieldType,
    /// All parameters but `fields`, as they were given.
    parameters: Map<String, Value>,
    pub(crate) subfields: Vec<(String, Arc<FieldMapper>)>,
    pub(crate) ignore_malformed: Option<bool>,
    /// The longest keyword that is indexed, in characters.
    pub(crate) ignore_above: Option<u64>,
    pub(crate) format: String,
}

impl FieldMapper {
    /// Makes a field of this type with these parameters and multi-fields.
    pub(crate) fn new(
        field_type: FieldType,
        mut parameters: Map<String, Value>,
        subfields: Vec<(String, Arc<FieldMapper>)>,
    ) -> FieldMapper {
        parameters.remove("fields");
        let ignore_malformed = parameters.get("ignore_malformed").and_then(Value::as_bool);
        let ignore_above = parameters.get("ignore_above").and_then(Value::as_u64);
        let format = parameters.get("format").and_then(Value::as_str).unwrap_or(DEFAULT_DATE_FORMAT).into();
        FieldMapper { field_type, parameters, subfields, ignore_malformed, ignore_above, format }
    }

    /// Makes a field as dynamic mapping does.
    pub(crate) fn dynamic(type_name: &str) -> FieldMapper {
        let plain = |definition: Value, subfields| {
            let field_type = definition["type"].as_str().and_then(FieldType::of).unwrap_or(FieldType::Other);
            let parameters = definition.as_object().cloned().unwrap_or_default();
            FieldMapper::new(field_type, parameters, subfields)
        };
        let keyword = || plain(json!({ "type": "keyword", "ignore_above": 256 }), Vec::new());
        let subfields = match type_name {
            "text" => vec![("keyword".into(), Arc::new(keyword()))],
            _ => Vec::new(),
        };
        plain(json!({ "type": type_name }), subfields)
    }

    /// The name of the field's type.
    pub(crate) fn type_name(&self) -> &str {
        self.parameters.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The multi-field of this name.
    pub(crate) fn subfield(&self, name: &str) -> Option<&FieldMapper> {
        self.subfields.iter().find(|(subname, _)| subname == name).map(|(_, field)| &**field)
    }

    /// The field as Elasticsearch shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = self.parameters.clone();
        if !self.subfields.is_empty() {
            let fields = self.subfields.iter().map(|(name, field)| (name.clone(), field.to_json()));
            shown.insert("fields".into(), Value::Object(fields.collect()));
        }
        Value::Object(shown)
    }
}
