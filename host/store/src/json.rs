//! Reads JSON token by token, and the few conversions of JSON values that several parts need.
//!
//! Checking a document against its mapping needs what a parsed tree has lost: duplicate keys and numbers as they were
//! written. A [`Cursor`] keeps both, and allocates only for strings with escapes.

use std::borrow::Cow;

use serde_json::{Number, Value};

/// One token of a JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event<'a> {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Key(Cow<'a, str>),
    Text(Cow<'a, str>),
    Number(&'a str),
    Bool(bool),
    Null,
    /// The end of the text, also of one that is not valid JSON.
    End,
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Where the last token began.
    start: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `text`. The tokens make sense only if `text` is valid JSON.
    pub(crate) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0, start: 0 }
    }

    /// Returns the next token.
    pub(crate) fn next(&mut self) -> Event<'a> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')) {
            self.at += 1;
        }
        self.start = self.at;
        let Some(byte) = bytes.get(self.at) else {
            return Event::End;
        };
        self.at += 1;
        match byte {
            b'{' => Event::ObjectStart,
            b'}' => Event::ObjectEnd,
            b'[' => Event::ArrayStart,
            b']' => Event::ArrayEnd,
            b'"' => self.string(),
            b't' => self.literal(3, Event::Bool(true)),
            b'f' => self.literal(4, Event::Bool(false)),
            b'n' => self.literal(3, Event::Null),
            _ => {
                let rest = &bytes[self.at..];
                let length =
                    rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
                self.at += length.unwrap_or(rest.len());
                Event::Number(self.text.get(self.start..self.at).unwrap_or_default())
            }
        }
    }

    /// Moves to the end of the value whose first token was `first`.
    pub(crate) fn skip(&mut self, first: &Event<'_>) {
        let mut depth = usize::from(matches!(first, Event::ObjectStart | Event::ArrayStart));
        while depth > 0 {
            match self.next() {
                Event::ObjectStart | Event::ArrayStart => depth += 1,
                Event::ObjectEnd | Event::ArrayEnd => depth -= 1,
                Event::End => return,
                _ => {}
            }
        }
    }

    /// Moves to the end of the next value.
    pub(crate) fn skip_value(&mut self) {
        let first = self.next();
        self.skip(&first);
    }

    /// Reads the next value and returns its text.
    pub(crate) fn value_text(&mut self) -> &'a str {
        let first = self.next();
        let start = self.start;
        self.skip(&first);
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn literal(&mut self, rest: usize, event: Event<'a>) -> Event<'a> {
        self.at = (self.at + rest).min(self.text.len());
        event
    }

    fn string(&mut self) -> Event<'a> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Event::End,
            }
        }
        self.at += 1;
        let quoted = self.text.get(self.start..self.at).unwrap_or_default();
        let text = match escaped {
            true => Cow::Owned(serde_json::from_str(quoted).unwrap_or_default()),
            false => Cow::Borrowed(quoted.get(1..quoted.len() - 1).unwrap_or_default()),
        };
        let next = bytes[self.at..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        match next {
            Some(b':') => Event::Key(text),
            _ => Event::Text(text),
        }
    }
}

/// Returns a string, number or boolean as text, and `None` for anything else.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Returns the values of an array; a value that is no array counts as an array of one, `null` as an empty one.
pub(crate) fn as_list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        value => std::slice::from_ref(value),
    }
}

/// Rounds decimals to doubles, as Elasticsearch does when it updates a document or filters its source. Whole numbers
/// keep all digits.
pub(crate) fn round_decimals(value: &mut Value) {
    match value {
        Value::Object(object) => object.values_mut().for_each(round_decimals),
        Value::Array(array) => array.iter_mut().for_each(round_decimals),
        Value::Number(number) => {
            let text = number.to_string();
            if text.contains(['.', 'e', 'E'])
                && let Some(double) = text.parse().ok().and_then(Number::from_f64)
            {
                *number = double;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_returns_the_tokens_in_order() {
        let mut cursor = Cursor::new("{\"a\" : [1.50, \"x\\n\"],\n \"b\":null}");
        let mut seen = Vec::new();
        while seen.last() != Some(&Event::End) {
            seen.push(cursor.next());
        }
        assert_eq!(
            seen,
            [
                Event::ObjectStart,
                Event::Key("a".into()),
                Event::ArrayStart,
                Event::Number("1.50"),
                Event::Text("x\n".into()),
                Event::ArrayEnd,
                Event::Key("b".into()),
                Event::Null,
                Event::ObjectEnd,
                Event::End,
            ]
        );
    }
}
