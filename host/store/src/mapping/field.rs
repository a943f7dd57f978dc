//! One field: its type and its parameters.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::date::default_date_format;

/// The types that the store tells apart; the others take any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldType {
    Long,
    Integer,
    Short,
    Byte,
    UnsignedLong,
    Double,
    Float,
    HalfFloat,
    Boolean,
    Date,
    Keyword,
    Text,
    Flattened,
    Binary,
    Ip,
    /// A type that is known by name only.
    Other(&'static str),
}

const OTHER_TYPES: [&str; 31] = [
    "scaled_float",
    "date_nanos",
    "constant_keyword",
    "wildcard",
    "match_only_text",
    "search_as_you_type",
    "completion",
    "token_count",
    "geo_point",
    "geo_shape",
    "point",
    "shape",
    "integer_range",
    "float_range",
    "long_range",
    "double_range",
    "date_range",
    "ip_range",
    "join",
    "percolator",
    "dense_vector",
    "sparse_vector",
    "rank_feature",
    "rank_features",
    "version",
    "alias",
    "histogram",
    "annotated_text",
    "murmur3",
    "semantic_text",
    "aggregate_metric_double",
];

impl FieldType {
    /// The type of this name.
    pub(crate) fn of(name: &str) -> Option<FieldType> {
        Some(match name {
            "long" => FieldType::Long,
            "integer" => FieldType::Integer,
            "short" => FieldType::Short,
            "byte" => FieldType::Byte,
            "unsigned_long" => FieldType::UnsignedLong,
            "double" => FieldType::Double,
            "float" => FieldType::Float,
            "half_float" => FieldType::HalfFloat,
            "boolean" => FieldType::Boolean,
            "date" => FieldType::Date,
            "keyword" => FieldType::Keyword,
            "text" => FieldType::Text,
            "flattened" => FieldType::Flattened,
            "binary" => FieldType::Binary,
            "ip" => FieldType::Ip,
            other => FieldType::Other(OTHER_TYPES.iter().find(|name| **name == other)?),
        })
    }

    /// The type's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            FieldType::Long => "long",
            FieldType::Integer => "integer",
            FieldType::Short => "short",
            FieldType::Byte => "byte",
            FieldType::UnsignedLong => "unsigned_long",
            FieldType::Double => "double",
            FieldType::Float => "float",
            FieldType::HalfFloat => "half_float",
            FieldType::Boolean => "boolean",
            FieldType::Date => "date",
            FieldType::Keyword => "keyword",
            FieldType::Text => "text",
            FieldType::Flattened => "flattened",
            FieldType::Binary => "binary",
            FieldType::Ip => "ip",
            FieldType::Other(name) => name,
        }
    }
}

/// One field of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct FieldMapper {
    pub(super) field_type: FieldType,
    /// As they were given, for showing.
    parameters: Map<String, Value>,
    pub(super) subfields: Vec<(String, Arc<FieldMapper>)>,
    pub(super) coerce: bool,
    pub(super) ignore_malformed: Option<bool>,
    pub(super) ignore_above: Option<u64>,
    pub(super) format: String,
    pub(super) indexed: bool,
}

impl FieldMapper {
    /// A field of this type with these parameters and multi-fields.
    pub(crate) fn new(
        field_type: FieldType,
        parameters: Map<String, Value>,
        subfields: Vec<(String, Arc<FieldMapper>)>,
    ) -> FieldMapper {
        let flag = |name: &str| match parameters.get(name) {
            Some(Value::Bool(flag)) => Some(*flag),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let coerce = flag("coerce").unwrap_or(true);
        let ignore_malformed = flag("ignore_malformed");
        let indexed = flag("index").unwrap_or(true) || flag("doc_values").unwrap_or(true);
        let ignore_above = parameters.get("ignore_above").and_then(Value::as_u64);
        let format = parameters.get("format").and_then(Value::as_str).unwrap_or(default_date_format()).into();
        FieldMapper { field_type, parameters, subfields, coerce, ignore_malformed, ignore_above, format, indexed }
    }

    /// A field as dynamic mapping makes it.
    pub(crate) fn dynamic(field_type: FieldType, format: Option<&str>) -> FieldMapper {
        let mut parameters = Map::new();
        parameters.insert("type".into(), field_type.name().into());
        let mut subfields = Vec::new();
        if field_type == FieldType::Text {
            let mut keyword = Map::new();
            keyword.insert("type".into(), "keyword".into());
            keyword.insert("ignore_above".into(), 256.into());
            let field = FieldMapper::new(FieldType::Keyword, keyword, Vec::new());
            subfields.push(("keyword".into(), Arc::new(field)));
        }
        if let Some(format) = format {
            parameters.insert("format".into(), format.into());
            parameters.insert("locale".into(), "".into());
        }
        FieldMapper::new(field_type, parameters, subfields)
    }

    /// The field's type.
    pub(crate) fn field_type(&self) -> &FieldType {
        &self.field_type
    }

    /// The date format, in Elasticsearch's notation.
    pub(crate) fn format(&self) -> &str {
        &self.format
    }

    /// The longest keyword that is indexed, in characters.
    pub(crate) fn ignore_above(&self) -> Option<u64> {
        self.ignore_above
    }

    /// The multi-field of this name.
    pub(crate) fn subfield(&self, name: &str) -> Option<&Arc<FieldMapper>> {
        self.subfields.iter().find(|(subname, _)| subname == name).map(|(_, field)| field)
    }

    /// What the field counts against the limit of fields.
    pub(crate) fn weight(&self) -> usize {
        1 + self.subfields.len()
    }

    /// The field with the parameters and multi-fields of `other` laid over.
    pub(crate) fn merged_with(&self, other: &FieldMapper) -> FieldMapper {
        let mut subfields = self.subfields.clone();
        for (name, field) in &other.subfields {
            subfields.retain(|(existing, _)| existing != name);
            subfields.push((name.clone(), Arc::clone(field)));
        }
        FieldMapper::new(self.field_type.clone(), other.parameters.clone(), subfields)
    }

    /// The field as Elasticsearch shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = self.parameters.clone();
        shown.remove("fields");
        if !self.subfields.is_empty() {
            let fields = self.subfields.iter().map(|(name, field)| (name.clone(), field.to_json()));
            shown.insert("fields".into(), Value::Object(fields.collect()));
        }
        Value::Object(shown)
    }
}
