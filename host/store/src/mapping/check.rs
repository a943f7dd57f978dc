//! Which values a field takes, and in which words Elasticsearch refuses the others.

use std::net::IpAddr;

use super::date::parse_date;
use super::field::{FieldMapper, FieldType};
use super::parse::java_number;
use crate::error::EsError;
use crate::json::{Event, java_double, token_name};

/// Lucene's longest term, in bytes.
const LONGEST_TERM: usize = 32_766;

impl FieldMapper {
    /// Whether a value that does not fit is dropped instead of refused.
    pub(crate) fn ignores_malformed(&self, index_default: bool) -> bool {
        let can = !matches!(
            self.field_type,
            FieldType::Keyword | FieldType::Text | FieldType::Flattened | FieldType::Binary | FieldType::Other(_)
        );
        can && self.ignore_malformed.unwrap_or(index_default)
    }

    /// Refuses a scalar or the start of an object that does not fit; `at` and `behind` are its places.
    pub(crate) fn check(&self, path: &str, event: &Event<'_>, at: Place, behind: Place) -> Result<(), EsError> {
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
                other => {
                    Err(json_error(behind, &format!("Current token ({}) not of boolean type", numeric_token(other))))
                }
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
        let skipped = self.ignore_above.is_some_and(|longest| text.chars().count() as u64 > longest);
        if self.field_type != FieldType::Keyword || !self.indexed || skipped || text.len() <= LONGEST_TERM {
            return Ok(());
        }
        let prefix: Vec<String> = text.bytes().take(30).map(|byte| byte.cast_signed().to_string()).collect();
        Err(EsError::illegal_argument(format!(
            "Document contains at least one immense term in field=\"{path}\" (whose UTF8 encoding is longer than the max \
             length 32766), all of which were skipped. Please correct the analyzer to not produce such terms. The prefix \
             of the first immense term is: '[{}]...'",
            prefix.join(", ")
        )))
    }

    fn check_whole(&self, event: &Event<'_>, behind: Place) -> Result<(), EsError> {
        let (least, most, noun, article, class) = match self.field_type {
            FieldType::Integer => (i128::from(i32::MIN), i128::from(i32::MAX), "int", "an integer", "Integer"),
            FieldType::Short => (i128::from(i16::MIN), i128::from(i16::MAX), "short", "a short", "Short"),
            FieldType::Byte => (i128::from(i8::MIN), i128::from(i8::MAX), "byte", "a byte", "Byte"),
            FieldType::UnsignedLong => (0, i128::from(u64::MAX), "unsigned_long", "an unsigned long", "Long"),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX), "long", "a long", "Long"),
        };
        let out_of_range =
            |text: &str| EsError::illegal_argument(format!("Value [{text}] is out of range for {article}"));
        match event {
            Event::Number(text) => {
                if !self.coerce && text.parse::<f64>().is_ok_and(|number| number.fract() != 0.0) {
                    return Err(EsError::illegal_argument(format!(
                        "{text} cannot be converted to {class} without data loss"
                    )));
                }
                match whole(text) {
                    Some(number) if (least..=most).contains(&number) => Ok(()),
                    // Bytes are read as shorts and looked at afterwards.
                    Some(_) if self.field_type == FieldType::Byte => Err(out_of_range(text)),
                    _ if self.field_type == FieldType::Short => {
                        Err(coercion_error(behind, &format!("Numeric value ({text}) out of range of Java short")))
                    }
                    _ => Err(coercion_error(
                        behind,
                        &format!("Numeric value ({text}) out of range of {noun} ({least} - {most})"),
                    )),
                }
            }
            Event::Text(_) if !self.coerce => Err(EsError::illegal_argument(format!("{class} value passed as String"))),
            Event::Text(text) if text.is_empty() => Ok(()),
            Event::Text(text) => match whole(text.trim()) {
                Some(number) if (least..=most).contains(&number) => Ok(()),
                Some(_) => Err(out_of_range(text)),
                None => {
                    let kind = match noun {
                        "long" => "illegal_argument_exception",
                        _ => "number_format_exception",
                    };
                    Err(EsError::new(400, kind, format!("For input string: \"{text}\"")))
                }
            },
            other => Err(not_a_number(other, behind)),
        }
    }

    fn check_decimal(&self, event: &Event<'_>, behind: Place) -> Result<(), EsError> {
        let text = match event {
            Event::Number(text) => *text,
            Event::Text(_) if !self.coerce => {
                let class = if self.field_type == FieldType::Double { "Double" } else { "Float" };
                return Err(EsError::illegal_argument(format!("{class} value passed as String")));
            }
            Event::Text(text) if text.is_empty() => return Ok(()),
            Event::Text(text) => text.as_ref(),
            other => return Err(not_a_number(other, behind)),
        };
        let Some(number) = java_parse_double(text.trim()) else {
            return Err(EsError::new(400, "number_format_exception", format!("For input string: \"{text}\"")));
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
        return Some(if text.starts_with('-') { i128::MIN } else { i128::MAX });
    }
    let number = java_parse_double(text).filter(|number| number.is_finite())?;
    Some(number.trunc() as i128)
}

fn java_parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

fn not_text(event: &Event<'_>, at: Place) -> EsError {
    EsError::illegal_argument(format!("Expected text at {}:{} but found {}", at.0, at.1, token_name(event)))
}

fn not_a_number(event: &Event<'_>, behind: Place) -> EsError {
    match event {
        Event::ObjectStart => EsError::illegal_argument("Cannot parse object as number"),
        other => json_error(
            behind,
            &format!("Current token ({}) not numeric, can not use numeric value accessors", token_name(other)),
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
    EsError::new(400, "x_content_parse_exception", format!("[{}:{}] {reason}", behind.0, behind.1))
        .caused_by(EsError::new(400, cause, reason))
}
