//! One field: its type, its parameters, and which values it takes.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::date::{default_date_format, parse_date};
use super::parse::java_number;
use crate::error::EsError;
use crate::json::{Event, java_double, token_name};

/// Lucene's longest term, in bytes.
const LONGEST_TERM: usize = 32_766;

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
    field_type: FieldType,
    /// As they were given, for showing.
    parameters: Map<String, Value>,
    subfields: Vec<(String, Arc<FieldMapper>)>,
    coerce: bool,
    ignore_malformed: Option<bool>,
    ignore_above: Option<u64>,
    format: String,
    indexed: bool,
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
        let format = parameters
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or(default_date_format())
            .into();
        FieldMapper {
            field_type,
            parameters,
            subfields,
            coerce,
            ignore_malformed,
            ignore_above,
            format,
            indexed,
        }
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
        self.subfields
            .iter()
            .find(|(subname, _)| subname == name)
            .map(|(_, field)| field)
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
            let fields = self
                .subfields
                .iter()
                .map(|(name, field)| (name.clone(), field.to_json()));
            shown.insert("fields".into(), Value::Object(fields.collect()));
        }
        Value::Object(shown)
    }

    /// Whether a value that does not fit is dropped instead of refused.
    pub(crate) fn ignores_malformed(&self, index_default: bool) -> bool {
        let can = !matches!(
            self.field_type,
            FieldType::Keyword
                | FieldType::Text
                | FieldType::Flattened
                | FieldType::Binary
                | FieldType::Other(_)
        );
        can && self.ignore_malformed.unwrap_or(index_default)
    }

    /// Refuses a scalar or the start of an object that does not fit; `at` and `behind` are its places.
    pub(crate) fn check(
        &self,
        path: &str,
        event: &Event<'_>,
        at: Place,
        behind: Place,
    ) -> Result<(), EsError> {
        match &self.field_type {
            FieldType::Long | FieldType::Integer | FieldType::Short | FieldType::Byte | FieldType::UnsignedLong => {
                self.check_whole(event, behind)
            }
            FieldType::Double | FieldType::Float | FieldType::HalfFloat => self.check_decimal(event, behind),
            FieldType::Boolean => match event {
                Event::Bool(_) => Ok(()),
                Event::Text(text) if matches!(text.as_ref(), "true" | "false" | "") => Ok(()),
                Event::Text(text) => Err(EsError::illegal_argument(format!(
                    "Failed to parse value [{text}] as only [true] or [false] are allowed."
                ))),
                other => Err(json_error(behind, &format!("Current token ({}) not of boolean type", numeric_token(other)))),
            },
            FieldType::Date => match event {
                Event::Text(text) => parse_date(&self.format, text).map(drop),
                Event::Number(text) => parse_date(&self.format, &java_number(text)).map(drop),
                Event::Bool(flag) => parse_date(&self.format, if *flag { "true" } else { "false" }).map(drop),
                other => Err(not_text(other, at)),
            },
            FieldType::Keyword | FieldType::Text => {
                match event {
                    Event::Text(text) => self.check_term(path, text)?,
                    Event::ObjectStart => return Err(not_text(event, at)),
                    _ => {}
                }
                self.subfields.iter().try_for_each(|(name, field)| match field.field_type {
                    FieldType::Keyword => field.check(&format!("{path}.{name}"), event, at, behind),
                    _ => Ok(()),
                })
            }
            FieldType::Flattened => match event {
                Event::ObjectStart => Ok(()),
                other => Err(EsError::new(
                    400,
                    "parsing_exception",
                    format!(
                        "Failed to parse object: expecting token of type [START_OBJECT] but found [{}]",
                        token_name(other)
                    ),
                )
                .with("line", at.0)
                .with("col", at.1)),
            },
            FieldType::Ip => match event {
                Event::Text(text) if text.parse::<IpAddr>().is_err() => {
                    Err(EsError::illegal_argument(format!("'{text}' is not an IP string literal.")))
                }
                Event::Text(_) => Ok(()),
                other => Err(not_text(other, at)),
            },
            FieldType::Binary | FieldType::Other(_) => Ok(()),
        }
    }

    fn check_term(&self, path: &str, text: &str) -> Result<(), EsError> {
        let skipped = self
            .ignore_above
            .is_some_and(|longest| text.chars().count() as u64 > longest);
        if self.field_type != FieldType::Keyword
            || !self.indexed
            || skipped
            || text.len() <= LONGEST_TERM
        {
            return Ok(());
        }
        let prefix: Vec<String> = text
            .bytes()
            .take(30)
            .map(|byte| byte.cast_signed().to_string())
            .collect();
        Err(EsError::illegal_argument(format!(
            "Document contains at least one immense term in field=\"{path}\" (whose UTF8 encoding is longer than the max \
             length 32766), all of which were skipped. Please correct the analyzer to not produce such terms. The prefix \
             of the first immense term is: '[{}]...'",
            prefix.join(", ")
        )))
    }

    fn check_whole(&self, event: &Event<'_>, behind: Place) -> Result<(), EsError> {
        let (least, most, noun, article, class) = match self.field_type {
            FieldType::Integer => (
                i128::from(i32::MIN),
                i128::from(i32::MAX),
                "int",
                "an integer",
                "Integer",
            ),
            FieldType::Short => (
                i128::from(i16::MIN),
                i128::from(i16::MAX),
                "short",
                "a short",
                "Short",
            ),
            FieldType::Byte => (
                i128::from(i8::MIN),
                i128::from(i8::MAX),
                "byte",
                "a byte",
                "Byte",
            ),
            FieldType::UnsignedLong => (
                0,
                i128::from(u64::MAX),
                "unsigned_long",
                "an unsigned long",
                "Long",
            ),
            _ => (
                i128::from(i64::MIN),
                i128::from(i64::MAX),
                "long",
                "a long",
                "Long",
            ),
        };
        let out_of_range = |text: &str| {
            EsError::illegal_argument(format!("Value [{text}] is out of range for {article}"))
        };
        match event {
            Event::Number(text) => {
                if !self.coerce
                    && text
                        .parse::<f64>()
                        .is_ok_and(|number| number.fract() != 0.0)
                {
                    return Err(EsError::illegal_argument(format!(
                        "{text} cannot be converted to {class} without data loss"
                    )));
                }
                match whole(text) {
                    Some(number) if (least..=most).contains(&number) => Ok(()),
                    // Bytes are read as shorts and looked at afterwards.
                    Some(_) if self.field_type == FieldType::Byte => Err(out_of_range(text)),
                    _ if self.field_type == FieldType::Short => Err(coercion_error(
                        behind,
                        &format!("Numeric value ({text}) out of range of Java short"),
                    )),
                    _ => Err(coercion_error(
                        behind,
                        &format!(
                            "Numeric value ({text}) out of range of {noun} ({least} - {most})"
                        ),
                    )),
                }
            }
            Event::Text(_) if !self.coerce => Err(EsError::illegal_argument(format!(
                "{class} value passed as String"
            ))),
            Event::Text(text) if text.is_empty() => Ok(()),
            Event::Text(text) => match whole(text.trim()) {
                Some(number) if (least..=most).contains(&number) => Ok(()),
                Some(_) => Err(out_of_range(text)),
                None => {
                    let kind = match noun {
                        "long" => "illegal_argument_exception",
                        _ => "number_format_exception",
                    };
                    Err(EsError::new(
                        400,
                        kind,
                        format!("For input string: \"{text}\""),
                    ))
                }
            },
            other => Err(not_a_number(other, behind)),
        }
    }

    fn check_decimal(&self, event: &Event<'_>, behind: Place) -> Result<(), EsError> {
        let text = match event {
            Event::Number(text) => *text,
            Event::Text(_) if !self.coerce => {
                let class = if self.field_type == FieldType::Double {
                    "Double"
                } else {
                    "Float"
                };
                return Err(EsError::illegal_argument(format!(
                    "{class} value passed as String"
                )));
            }
            Event::Text(text) if text.is_empty() => return Ok(()),
            Event::Text(text) => text.as_ref(),
            other => return Err(not_a_number(other, behind)),
        };
        let Some(number) = java_parse_double(text.trim()) else {
            return Err(EsError::new(
                400,
                "number_format_exception",
                format!("For input string: \"{text}\""),
            ));
        };
        let limit = match self.field_type {
            FieldType::Double => f64::MAX,
            FieldType::Float => f64::from(f32::MAX),
            _ => 65_519.996,
        };
        if number.abs() <= limit {
            return Ok(());
        }
        // A half float is named as it was given, the others as what they overflow to.
        let shown = match self.field_type {
            FieldType::HalfFloat => number,
            _ if number.is_nan() => number,
            _ => f64::INFINITY.copysign(number),
        };
        Err(EsError::illegal_argument(format!(
            "[{}] supports only finite values, but got [{}]",
            self.field_type.name(),
            java_double(shown)
        )))
    }

    /// The value as Elasticsearch's "preview" of what it could not parse shows it.
    pub(crate) fn preview(&self, event: &Event<'_>) -> String {
        match event {
            Event::Text(text) => text.clone().into_owned(),
            Event::Bool(flag) => flag.to_string(),
            Event::Number(text) => match (&self.field_type, text.parse::<f64>()) {
                (FieldType::Float, Ok(number))
                    if text.contains(['.', 'e', 'E']) && number.abs() > f64::from(f32::MAX) =>
                {
                    java_double(f64::INFINITY.copysign(number))
                }
                _ => java_number(text),
            },
            _ => String::from("null"),
        }
    }
}

/// Line and column.
pub(crate) type Place = (usize, usize);

/// A whole number from text as Elasticsearch coerces it: the fraction is cut off.
fn whole(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse::<i128>() {
        return Some(number);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit anywhere.
        return Some(if text.starts_with('-') {
            i128::MIN
        } else {
            i128::MAX
        });
    }
    let number = java_parse_double(text).filter(|number| number.is_finite())?;
    Some(number.trunc() as i128)
}

fn java_parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

fn not_text(event: &Event<'_>, at: Place) -> EsError {
    EsError::illegal_argument(format!(
        "Expected text at {}:{} but found {}",
        at.0,
        at.1,
        token_name(event)
    ))
}

fn not_a_number(event: &Event<'_>, behind: Place) -> EsError {
    match event {
        Event::ObjectStart => EsError::illegal_argument("Cannot parse object as number"),
        other => json_error(
            behind,
            &format!(
                "Current token ({}) not numeric, can not use numeric value accessors",
                token_name(other)
            ),
        ),
    }
}

fn numeric_token(event: &Event<'_>) -> &'static str {
    match event {
        Event::Number(text) if text.contains(['.', 'e', 'E']) => "VALUE_NUMBER_FLOAT",
        Event::Number(_) => "VALUE_NUMBER_INT",
        other => token_name(other),
    }
}

fn json_error(behind: Place, reason: &str) -> EsError {
    parser_error("json_parse_exception", behind, reason)
}

fn coercion_error(behind: Place, reason: &str) -> EsError {
    parser_error("input_coercion_exception", behind, reason)
}

fn parser_error(cause: &'static str, behind: Place, reason: &str) -> EsError {
    EsError::new(
        400,
        "x_content_parse_exception",
        format!("[{}:{}] {reason}", behind.0, behind.1),
    )
    .caused_by(EsError::new(400, cause, reason))
}
