//! A walk over the text of a JSON value that is known to be valid, event by event, with the place of each token.
//!
//! The mapping's checks need what a tree has lost: duplicate keys, numbers as they were written, and line and column
//! for the error texts. Nothing here allocates but strings with escapes.

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
    /// The text is at its end (or was not valid after all).
    End,
}

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    start: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `text`, which has to be one valid JSON value.
    pub(crate) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0, start: 0 }
    }

    /// Line and column (in bytes, from 1) at which the last token began.
    pub(crate) fn token_place(&self) -> (usize, usize) {
        self.place(self.start)
    }

    /// Line and column (in bytes, from 1) just behind the last token.
    pub(crate) fn place_behind(&self) -> (usize, usize) {
        self.place(self.at)
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        (line, before.len() - line_start + 1)
    }

    /// The next token.
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

    /// Reads on to the end of the value whose first token was `first`.
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

    /// The text from the last token's first byte to the end of the value that it begins; the cursor is behind it then.
    pub(crate) fn value_text(&mut self, first: &Event<'_>) -> &'a str {
        let start = self.start;
        self.skip(first);
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
        let behind = bytes[self.at..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        match behind {
            Some(b':') => Event::Key(text),
            _ => Event::Text(text),
        }
    }
}

/// The name that Elasticsearch's parser gives a token.
pub(crate) fn token_name(event: &Event<'_>) -> &'static str {
    match event {
        Event::ObjectStart => "START_OBJECT",
        Event::ObjectEnd => "END_OBJECT",
        Event::ArrayStart => "START_ARRAY",
        Event::ArrayEnd => "END_ARRAY",
        Event::Key(_) => "FIELD_NAME",
        Event::Text(_) => "VALUE_STRING",
        Event::Number(_) => "VALUE_NUMBER",
        Event::Bool(true) => "VALUE_TRUE",
        Event::Bool(false) => "VALUE_FALSE",
        Event::Null => "VALUE_NULL",
        Event::End => "null",
    }
}

/// A double as Java prints it, which is how Elasticsearch writes decimals that went through a map.
pub(crate) fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{number:?}");
    }
    let scientific = format!("{number:e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!("{mantissa}E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => scientific,
    }
}

/// Turns a value into what is left of it once Elasticsearch has had it in a map, as updates and filters of the source
/// do: whole numbers keep all digits, decimals become doubles.
pub(crate) fn as_java_holds_it(value: &mut Value) {
    match value {
        Value::Object(object) => object.values_mut().for_each(as_java_holds_it),
        Value::Array(array) => array.iter_mut().for_each(as_java_holds_it),
        Value::Number(number) => {
            let text = number.to_string();
            if text.contains(['.', 'e', 'E'])
                && let Ok(double) = text.parse::<f64>()
                && double.is_finite()
                && let Ok(double) = java_double(double).parse::<Number>()
            {
                *number = double;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_in_order_with_their_places() {
        let mut cursor = Cursor::new("{\"a\" : [1, \"x\\n\"],\n \"b\":null}");
        let mut seen = Vec::new();
        loop {
            let event = cursor.next();
            if event == Event::End {
                break;
            }
            seen.push((event, cursor.token_place()));
        }
        assert_eq!(seen[1], (Event::Key("a".into()), (1, 2)));
        assert_eq!(seen[3], (Event::Number("1"), (1, 9)));
        assert_eq!(seen[4].0, Event::Text("x\n".into()));
        assert_eq!(seen[6], (Event::Key("b".into()), (2, 2)));
        assert_eq!(seen.last().unwrap().0, Event::ObjectEnd);
    }

    #[test]
    fn doubles_print_as_in_java() {
        for (number, text) in
            [(1.1, "1.1"), (1000.0, "1000.0"), (1e8, "1.0E8"), (1.25e-5, "1.25E-5"), (-0.0, "-0.0"), (1e30, "1.0E30")]
        {
            assert_eq!(java_double(number), text);
        }
    }
}
