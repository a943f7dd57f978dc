//! Reads a mapping from the JSON of a request or a template.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::field::{FieldMapper, FieldType};
use super::{Dynamic, Mapper, Mapping, ObjectMapper};
use crate::error::EsError;

/// Parameters that a field may have, whatever its type.
const FIELD_PARAMETERS: [&str; 48] = [
    "type",
    "index",
    "store",
    "doc_values",
    "fields",
    "copy_to",
    "null_value",
    "ignore_above",
    "ignore_malformed",
    "coerce",
    "format",
    "locale",
    "norms",
    "analyzer",
    "search_analyzer",
    "search_quote_analyzer",
    "normalizer",
    "similarity",
    "boost",
    "eager_global_ordinals",
    "index_options",
    "index_prefixes",
    "index_phrases",
    "meta",
    "term_vector",
    "position_increment_gap",
    "fielddata",
    "fielddata_frequency_filter",
    "split_queries_on_whitespace",
    "depth_limit",
    "time_series_dimension",
    "time_series_metric",
    "script",
    "on_script_error",
    "scaling_factor",
    "dims",
    "value",
    "path",
    "synthetic_source_keep",
    "element_type",
    "max_input_length",
    "preserve_separators",
    "preserve_position_increments",
    "relations",
    "ignore_z_value",
    "orientation",
    "metrics",
    "default_metric",
];

/// How deep objects may lie in a mapping that is given, well above Elasticsearch's own 20.
const DEEPEST: usize = 100;

pub(super) fn mapping(body: &Value) -> Result<Mapping, EsError> {
    let mut mapping = Mapping::default();
    let Value::Object(body) = body else {
        return Ok(mapping);
    };
    // `{"_doc": {...}}` is how older clients wrap it.
    let body = match body.get("_doc") {
        Some(Value::Object(inner)) if body.len() == 1 => inner,
        _ => body,
    };
    let mut unknown = Vec::new();
    for (name, value) in body {
        match name.as_str() {
            "properties" => properties(value, &mut mapping.root, "", 0)?,
            "dynamic" => mapping.root.dynamic = Some(dynamic(value)?),
            "enabled" => mapping.root.enabled = !is_false(value),
            "date_detection" => mapping.date_detection = Some(!is_false(value)),
            "numeric_detection" => mapping.numeric_detection = !is_false(value),
            "_meta"
            | "_source"
            | "_routing"
            | "_size"
            | "_data_stream_timestamp"
            | "runtime"
            | "dynamic_templates"
            | "dynamic_date_formats"
            | "subobjects" => {
                mapping.root.shown.insert(name.clone(), value.clone());
            }
            _ => unknown.push(format!("[{name} : {}]", java_value(value))),
        }
    }
    match unknown.is_empty() {
        true => Ok(mapping),
        false => Err(failed(mapper_parsing(format!(
            "Root mapping definition has unsupported parameters:  {}",
            unknown.join(" ")
        )))),
    }
}

fn properties(body: &Value, into: &mut ObjectMapper, path: &str, depth: usize) -> Result<(), EsError> {
    let Value::Object(body) = body else {
        return Err(failed(mapper_parsing(
            "Expected map for property [properties] but got a class java.lang.String".into(),
        )));
    };
    if depth > DEEPEST {
        return Err(failed(EsError::illegal_argument("Limit of mapping depth has been exceeded")));
    }
    for (name, value) in body {
        let Value::Object(definition) = value else {
            return Err(failed(mapper_parsing(format!(
                "Expected map for property [fields] on field [{name}] but got a class java.lang.String"
            ))));
        };
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match name.split_once('.') {
            // `a.b` is `b` inside of `a`.
            Some((first, rest)) => {
                let below = into.properties.entry(first.into());
                if let Mapper::Object(below) = below.or_insert_with(|| Mapper::Object(ObjectMapper::default())) {
                    let mut inner = Map::new();
                    inner.insert(rest.into(), value.clone());
                    properties(&Value::Object(inner), below, &full, depth + 1)?;
                }
            }
            None => {
                let mapper = mapper(name, definition, &full, depth)?;
                into.properties.insert(name.clone(), mapper);
            }
        }
    }
    Ok(())
}

fn mapper(name: &str, definition: &Map<String, Value>, path: &str, depth: usize) -> Result<Mapper, EsError> {
    let type_name = match definition.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => return Err(failed(unknown_type(&other.to_string(), name))),
        None if definition.contains_key("properties") || definition.contains_key("dynamic") => "object",
        None if definition.contains_key("enabled") => "object",
        None => {
            return Err(failed(mapper_parsing(format!("No type specified for field [{name}]"))));
        }
    };
    if matches!(type_name, "object" | "nested") {
        return object(type_name == "nested", definition, path, depth).map(Mapper::Object);
    }
    let Some(field_type) = FieldType::of(type_name) else {
        return Err(failed(unknown_type(type_name, name)));
    };
    if let Some(unknown) = definition.keys().find(|key| !FIELD_PARAMETERS.contains(&key.as_str())) {
        return Err(failed(mapper_parsing(format!(
            "unknown parameter [{unknown}] on mapper [{name}] of type [{type_name}]"
        ))));
    }
    let mut fields = Vec::new();
    if let Some(Value::Object(subfields)) = definition.get("fields") {
        for (subname, subfield) in subfields {
            let Value::Object(subfield) = subfield else {
                continue;
            };
            if let Mapper::Field(field) = mapper(subname, subfield, &format!("{path}.{subname}"), depth + 1)? {
                fields.push((subname.clone(), field));
            }
        }
    }
    Ok(Mapper::Field(Arc::new(FieldMapper::new(field_type, definition.clone(), fields))))
}

fn object(nested: bool, definition: &Map<String, Value>, path: &str, depth: usize) -> Result<ObjectMapper, EsError> {
    let mut object = ObjectMapper { nested, ..ObjectMapper::default() };
    for (name, value) in definition {
        match name.as_str() {
            "type" => {}
            "properties" => properties(value, &mut object, path, depth + 1)?,
            "dynamic" => object.dynamic = Some(dynamic(value)?),
            "enabled" => object.enabled = !is_false(value),
            "include_in_parent" | "include_in_root" | "subobjects" | "synthetic_source_keep" => {
                object.shown.insert(name.clone(), value.clone());
            }
            _ => {
                return Err(failed(mapper_parsing(format!(
                    "unknown parameter [{name}] on mapper [{}] of type [{}]",
                    path.rsplit('.').next().unwrap_or(path),
                    if nested { "nested" } else { "object" }
                ))));
            }
        }
    }
    Ok(object)
}

fn dynamic(value: &Value) -> Result<Dynamic, EsError> {
    let text = match value {
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::String(text) => text.as_str(),
        _ => "",
    };
    match text {
        "true" => Ok(Dynamic::True),
        "false" => Ok(Dynamic::False),
        "strict" => Ok(Dynamic::Strict),
        "runtime" => Ok(Dynamic::Runtime),
        other => {
            let reason = "Could not convert [dynamic.dynamic] to boolean";
            let cause = EsError::illegal_argument(reason).caused_by(EsError::illegal_argument(format!(
                "Failed to parse value [{other}] as only [true] or [false] are allowed."
            )));
            Err(mapper_parsing(format!("Failed to parse mapping: {reason}")).caused_by(cause))
        }
    }
}

fn is_false(value: &Value) -> bool {
    matches!(value, Value::Bool(false)) || value.as_str() == Some("false")
}

fn unknown_type(type_name: &str, field: &str) -> EsError {
    mapper_parsing(format!(
        "The mapper type [{type_name}] declared on field [{field}] does not exist. It might have been created within a \
         future version or requires a plugin to be installed. Check the documentation."
    ))
}

fn mapper_parsing(reason: String) -> EsError {
    EsError::new(400, "mapper_parsing_exception", reason)
}

/// Elasticsearch wraps what is wrong with a mapping once more.
fn failed(cause: EsError) -> EsError {
    mapper_parsing(format!("Failed to parse mapping: {}", cause.reason())).rooted_in(cause)
}

/// A value as Java prints it.
pub(super) fn java_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => {
            let entries: Vec<String> =
                object.iter().map(|(name, value)| format!("{name}={}", java_value(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(array) => {
            let items: Vec<String> = array.iter().map(java_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Number(number) => java_number(&number.to_string()),
        other => other.to_string(),
    }
}

/// A number as Java prints it once it is parsed: decimals as doubles, whole numbers as they are.
pub(super) fn java_number(text: &str) -> String {
    match text.contains(['.', 'e', 'E']) {
        true => text.parse().map_or_else(|_| text.into(), crate::json::java_double),
        false => text.into(),
    }
}
