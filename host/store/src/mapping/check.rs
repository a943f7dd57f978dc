//! The values that each type of field accepts.

use super::date::parse_date;
use super::field::{FieldMapper, FieldType};
use crate::json::Event;

/// Lucene's longest term, in bytes.
const LONGEST_TERM: usize = 32_766;

impl FieldMapper {
    /// Returns true if the field drops values that do not fit instead of refusing their document.
    pub(crate) fn ignores_malformed(&self, index_default: bool) -> bool {
        let can_ignore = matches!(
            self.field_type,
            FieldType::Whole { .. } | FieldType::Decimal { .. } | FieldType::Boolean | FieldType::Date
        );
        can_ignore && self.ignore_malformed.unwrap_or(index_default)
    }

    /// Checks a scalar or the start of an object; the error says why the field refuses it.
    pub(crate) fn check(&self, event: &Event<'_>) -> Result<(), String> {
        match self.field_type {
            FieldType::Whole { least, most } => check_number(event, |text| match whole(text) {
                Some(number) if (least..=most).contains(&number) => Ok(()),
                Some(_) => Err(format!("Value [{text}] is out of range")),
                None => Err(format!("For input string: \"{text}\"")),
            }),
            FieldType::Decimal { most } => check_number(event, |text| match decimal(text) {
                Some(number) if number.abs() <= most => Ok(()),
                Some(_) => Err(format!("only finite values are supported, but got [{text}]")),
                None => Err(format!("For input string: \"{text}\"")),
            }),
            FieldType::Boolean => match event {
                Event::Bool(_) => Ok(()),
                Event::Text(text) if matches!(text.as_ref(), "true" | "false" | "") => Ok(()),
                _ => Err("only [true] or [false] are allowed".into()),
            },
            FieldType::Date => match event {
                Event::Text(text) => self.check_date(text),
                Event::Number(text) => self.check_date(text),
                _ => Err("Expected text or a number".into()),
            },
            FieldType::Keyword | FieldType::Text => {
                match event {
                    Event::Text(text) => self.check_term(text)?,
                    Event::ObjectStart => return Err("Expected text but found an object".into()),
                    _ => {}
                }
                let mut keywords = self.subfields.iter().filter(|(_, field)| field.field_type == FieldType::Keyword);
                keywords.try_for_each(|(_, field)| field.check(event))
            }
            FieldType::Other => Ok(()),
        }
    }

    fn check_date(&self, text: &str) -> Result<(), String> {
        match parse_date(&self.format, text) {
            Some(_) => Ok(()),
            None => Err(format!("failed to parse date field [{text}] with format [{}]", self.format)),
        }
    }

    fn check_term(&self, text: &str) -> Result<(), String> {
        let is_skipped = self.ignore_above.is_some_and(|longest| text.chars().count() as u64 > longest);
        if self.field_type != FieldType::Keyword || is_skipped || text.len() <= LONGEST_TERM {
            return Ok(());
        }
        Err(format!("Document contains at least one immense term (longer than the max length {LONGEST_TERM})"))
    }
}

fn check_number(event: &Event<'_>, check: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    match event {
        Event::Number(text) => check(text),
        Event::Text(text) if text.is_empty() => Ok(()),
        Event::Text(text) => check(text.trim()),
        _ => Err("Expected a number".into()),
    }
}

/// Reads a whole number as Elasticsearch coerces it: it cuts off the fraction. Numbers with more digits than any type
/// holds become the least or the greatest one.
pub(crate) fn whole(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse::<i128>() {
        return Some(number);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(if text.starts_with('-') { i128::MIN } else { i128::MAX });
    }
    decimal(text).filter(|number| number.is_finite()).map(|number| number.trunc() as i128)
}

/// Reads a number in decimal notation; its magnitude may be too large for a double and is infinite then.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let is_numeric = |byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    text.parse().ok().filter(|_| text.bytes().all(is_numeric))
}
