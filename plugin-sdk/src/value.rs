//! Reading one cell: JSON strings, numbers and booleans, without a tree.

use std::borrow::Cow;

/// An error about a cell, as text that follows "column 'x' of table y: ".
pub(crate) type Wrong = &'static str;

/// The kind of a cell's value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The source did not send it.
    Absent,
    Null,
    Boolean(bool),
    Number,
    String,
    /// An object or an array.
    Tree,
}

/// Determines the kind of a cell's value.
#[inline]
pub(crate) fn shape(cell: &[u8]) -> Shape {
    match cell.first() {
        None => Shape::Absent,
        Some(b'"') => Shape::String,
        Some(b'n') => Shape::Null,
        Some(b't') => Shape::Boolean(true),
        Some(b'f') => Shape::Boolean(false),
        Some(b'{' | b'[') => Shape::Tree,
        Some(_) => Shape::Number,
    }
}

/// The content of a JSON string; borrowed where it has no escape.
#[inline]
pub(crate) fn string(cell: &[u8]) -> Result<Cow<'_, str>, Wrong> {
    match inside(cell) {
        Some(inner) if !inner.contains(&b'\\') => plain(inner).map(Cow::Borrowed),
        Some(inner) => unescape(inner).map(Cow::Owned),
        None => Err("expected a text"),
    }
}

/// The content of a JSON string without escapes, or the text of a number.
#[inline]
pub(crate) fn token(cell: &[u8]) -> Result<&str, Wrong> {
    plain(inside(cell).unwrap_or(cell))
}

/// The text between the quotes of a JSON string.
#[inline]
pub(crate) fn inside(cell: &[u8]) -> Option<&[u8]> {
    cell.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

#[inline]
fn plain(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8")
}

/// Resolves escapes. A lone surrogate, which no text can hold, becomes U+FFFD.
#[cold]
fn unescape(inner: &[u8]) -> Result<String, Wrong> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (&escaped, after) = rest[at + 1..].split_first().ok_or("a broken escape")?;
        rest = after;
        let plain = match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'"' | b'\\' | b'/' => escaped,
            b'u' => {
                let (character, after) = unicode_escape(rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            _ => return Err("a broken escape"),
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
    String::from_utf8(out).map_err(|_| "not UTF-8")
}

fn unicode_escape(rest: &[u8]) -> Result<(char, &[u8]), Wrong> {
    let (first, rest) = four_digits(rest).ok_or("a broken escape")?;
    if (0xD800..0xDC00).contains(&first)
        && let Some((second, after)) = rest.strip_prefix(b"\\u").and_then(four_digits)
        && (0xDC00..0xE000).contains(&second)
    {
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), after));
    }
    Ok((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

fn four_digits(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(4)?;
    let mut code = 0;
    for &digit in digits {
        code = code << 4 | char::from(digit).to_digit(16)?;
    }
    Some((code, rest))
}

/// An integer, written as a JSON number or, by sources that do not type their values, as a text.
#[inline]
pub(crate) fn integer(cell: &[u8]) -> Result<i128, Wrong> {
    let digits = inside(cell).unwrap_or(cell);
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(if matches!(shape(cell), Shape::Number) {
            "expected an integer, got a number with a fraction or an exponent"
        } else {
            "expected an integer"
        });
    }
    let value = if digits.len() <= 18 {
        i128::from(digits.iter().fold(0_u64, |sum, d| sum * 10 + u64::from(d - b'0')))
    } else {
        let digit = |sum: Option<i128>, d: &u8| sum?.checked_mul(10)?.checked_add(i128::from(d - b'0'));
        digits.iter().fold(Some(0), digit).ok_or("the integer is too large")?
    };
    Ok(if negative { -value } else { value })
}

/// `true`, `false`, or 0 and 1 as a number or a text.
#[inline]
pub(crate) fn boolean(cell: &[u8]) -> Result<bool, Wrong> {
    match inside(cell).unwrap_or(cell) {
        b"true" | b"1" => Ok(true),
        b"false" | b"0" => Ok(false),
        _ => Err("expected true, false, 0 or 1"),
    }
}

/// A floating-point number, written as a JSON number or a text.
pub(crate) fn float(cell: &[u8]) -> Result<f64, Wrong> {
    let text = token(cell)?;
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let value: f64 = text.parse().ok().filter(|_| is_number).ok_or("expected a number")?;
    if value.is_finite() { Ok(value) } else { Err("the number is too large for a double") }
}
