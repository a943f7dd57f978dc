//! Reads a mapping from the JSON of a request.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::field::{FieldMapper, FieldType};
use super::model::{Dynamic, Mapper, Mapping, ObjectMapper};
use crate::error::EsError;

/// The parameters that the root of a mapping may have.
const ROOT_PARAMETERS: &str = "properties dynamic enabled date_detection numeric_detection _meta _source _routing \
    dynamic_templates dynamic_date_formats runtime subobjects";

/// The parameters that an object may have.
const OBJECT_PARAMETERS: &str =
    "type properties dynamic enabled subobjects include_in_parent include_in_root synthetic_source_keep";

/// The parameters that a field may have, whatever its type.
const FIELD_PARAMETERS: &str = "type index store doc_values fields copy_to null_value ignore_above ignore_malformed \
    coerce format locale norms analyzer search_analyzer search_quote_analyzer normalizer similarity boost \
    eager_global_ordinals index_options index_prefixes index_phrases meta term_vector position_increment_gap fielddata \
    fielddata_frequency_filter split_queries_on_whitespace depth_limit time_series_dimension time_series_metric script \
    on_script_error scaling_factor dims value path synthetic_source_keep element_type max_input_length \
    preserve_separators preserve_position_increments relations ignore_z_value orientation metrics default_metric";

/// The deepest nesting of objects. Elasticsearch's default is 20.
const MAX_DEPTH: usize = 100;

/// Reads the mapping of a new index.
pub(crate) fn parse_mapping(body: &Value) -> Result<Mapping, EsError> {
    let mut mapping = Mapping::default();
    if let Value::Object(definition) = body {
        check_parameters("the mapping", definition, ROOT_PARAMETERS)?;
        mapping.root = object(definition, 0)?;
        if let Some(value) = definition.get("date_detection") {
            mapping.date_detection = !is_false(value);
        }
    }
    Ok(mapping)
}

fn object(definition: &Map<String, Value>, depth: usize) -> Result<ObjectMapper, EsError> {
    let mut object = ObjectMapper { parameters: definition.clone(), ..ObjectMapper::default() };
    object.parameters.remove("properties");
    if let Some(value) = definition.get("dynamic") {
        let (dynamic, name) = dynamic(value)?;
        object.dynamic = Some(dynamic);
        object.parameters.insert("dynamic".into(), name.into());
    }
    if let Some(value) = definition.get("enabled") {
        object.enabled = !is_false(value);
    }
    if let Some(value) = definition.get("properties") {
        properties(value, &mut object, depth)?;
    }
    Ok(object)
}

fn properties(body: &Value, into: &mut ObjectMapper, depth: usize) -> Result<(), EsError> {
    let Value::Object(body) = body else {
        return Err(refused("[properties] has to be an object"));
    };
    if depth > MAX_DEPTH {
        return Err(refused("the mapping is nested too deep"));
    }
    for (name, value) in body {
        let Value::Object(definition) = value else {
            return Err(refused(format!("the definition of [{name}] has to be an object")));
        };
        // `a.b` is `b` inside `a`.
        if let Some((first, rest)) = name.split_once('.') {
            let below = into.properties.entry(first.into());
            if let Mapper::Object(below) = below.or_insert_with(|| Mapper::Object(ObjectMapper::default())) {
                let inner = Map::from_iter([(rest.to_owned(), value.clone())]);
                properties(&Value::Object(inner), below, depth + 1)?;
            }
        } else {
            into.properties.insert(name.clone(), mapper(name, definition, depth)?);
        }
    }
    Ok(())
}

fn mapper(name: &str, definition: &Map<String, Value>, depth: usize) -> Result<Mapper, EsError> {
    let is_object = || ["properties", "dynamic", "enabled"].iter().any(|key| definition.contains_key(*key));
    let type_name = match definition.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => return Err(refused(format!("[{other}] of field [{name}] is no type"))),
        None if is_object() => "object",
        None => return Err(refused(format!("No type specified for field [{name}]"))),
    };
    if matches!(type_name, "object" | "nested") {
        check_parameters(name, definition, OBJECT_PARAMETERS)?;
        return object(definition, depth + 1).map(Mapper::Object);
    }
    let Some(field_type) = FieldType::of(type_name) else {
        return Err(refused(format!("The mapper type [{type_name}] declared on field [{name}] does not exist")));
    };
    check_parameters(name, definition, FIELD_PARAMETERS)?;
    let mut subfields = Vec::new();
    for (subname, subfield) in definition.get("fields").and_then(Value::as_object).into_iter().flatten() {
        if let Value::Object(subfield) = subfield
            && let Mapper::Field(field) = mapper(subname, subfield, depth + 1)?
        {
            subfields.push((subname.clone(), field));
        }
    }
    Ok(Mapper::Field(Arc::new(FieldMapper::new(field_type, definition.clone(), subfields))))
}

/// Returns the rule and the name by which Elasticsearch shows it.
fn dynamic(value: &Value) -> Result<(Dynamic, &str), EsError> {
    let name = match value {
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        value => value.as_str().unwrap_or_default(),
    };
    match name {
        "true" => Ok((Dynamic::Added, name)),
        "false" | "runtime" => Ok((Dynamic::Ignored, name)),
        "strict" => Ok((Dynamic::Refused, name)),
        other => Err(refused(format!("[dynamic] has to be true, false, strict or runtime and is [{other}]"))),
    }
}

fn check_parameters(owner: &str, definition: &Map<String, Value>, known: &str) -> Result<(), EsError> {
    match definition.keys().find(|name| !known.split(' ').any(|known| known == *name)) {
        Some(name) => Err(refused(format!("unknown parameter [{name}] on [{owner}]"))),
        None => Ok(()),
    }
}

fn is_false(value: &Value) -> bool {
    matches!(value, Value::Bool(false)) || value.as_str() == Some("false")
}

fn refused(reason: impl Into<String>) -> EsError {
    EsError::new(400, "mapper_parsing_exception", format!("Failed to parse mapping: {}", reason.into()))
}
