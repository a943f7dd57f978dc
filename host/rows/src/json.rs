//! A cursor over JSON text that finds members and ends of values without building a tree.
//!
//! The cursor rejects the same input as `serde_json`: wrong numbers, literals and escapes (lone surrogates too), control
//! characters in strings, more than 127 levels of nesting, and bytes after the value. Callers handle repeated members: the
//! last one counts in an envelope, and a repeated column in a row is an error.

#[cfg(test)]
mod tests;
mod text;

use memchr::memchr2;

pub(crate) use text::{compact_tail, push_string, unescape_into};

/// Deepest nesting, the same as `serde_json`'s.
const MAX_DEPTH: u32 = 127;

/// A syntax error: what was expected, and where, in bytes from the start of the cursor's slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub at: usize,
    pub expected: &'static str,
}

/// Whether a text has control characters. It is checked once per message, so that strings need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// No control characters: every value is on one line.
    Clean,
    /// Some control characters. Between tokens they may be whitespace.
    HasControls,
}

impl Text {
    /// Checks a message; `None` if it is not UTF-8.
    pub fn check(bytes: &[u8]) -> Option<Self> {
        simdutf8::basic::from_utf8(bytes).ok()?;
        Some(if has_controls(bytes) { Self::HasControls } else { Self::Clean })
    }
}

/// Whether `bytes` contains a control character. Written so that the compiler vectorises it.
pub(crate) fn has_controls(bytes: &[u8]) -> bool {
    bytes.chunks(256).any(|chunk| chunk.iter().fold(false, |any, &b| any | (b < b' ')))
}

/// A position in JSON text. The text must be valid UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    text: Text,
}

type Result<T> = std::result::Result<T, JsonError>;

impl<'a> Cursor<'a> {
    /// A cursor over `bytes`, starting at `at`. Positions count from the start of `bytes`.
    pub fn new(bytes: &'a [u8], at: usize, text: Text) -> Self {
        Self { bytes, at, depth: 0, text }
    }

    /// Whether `bytes`, which must be UTF-8, is exactly one JSON value.
    pub fn is_json(bytes: &[u8]) -> bool {
        let text = if has_controls(bytes) { Text::HasControls } else { Text::Clean };
        let mut cursor = Cursor::new(bytes, 0, text);
        cursor.skip_whitespace();
        cursor.skip_value().is_ok() && cursor.expect_end().is_ok()
    }

    /// The position, in bytes from the start of [`Cursor::bytes`].
    pub fn position(&self) -> usize {
        self.at
    }

    /// Moves to a position at the same depth.
    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// Whether the text has no control characters, so that every value is on one line.
    pub fn is_clean(&self) -> bool {
        self.text == Text::Clean
    }

    /// The text, from its start.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte; at the end 0, which no token begins with.
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Skips whitespace.
    #[inline(always)]
    pub fn skip_whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Skips `literal` if it is next. Returns whether it was.
    #[inline(always)]
    pub fn skip_literal(&mut self, literal: &[u8]) -> bool {
        let found = begins_with(&self.bytes[self.at..], literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    /// Skips the next byte, a comma, together with `literal` if that follows. Returns whether it did.
    #[inline(always)]
    pub fn skip_comma_and_literal(&mut self, literal: &[u8]) -> bool {
        let found = begins_with(&self.bytes[self.at + 1..], literal);
        if found {
            self.at += 1 + literal.len();
        }
        found
    }

    /// An error at this position.
    pub fn fail<T>(&self, expected: &'static str) -> Result<T> {
        Err(JsonError { at: self.at, expected })
    }

    /// Fails unless only whitespace is left.
    pub fn expect_end(&mut self) -> Result<()> {
        self.skip_whitespace();
        if self.at == self.bytes.len() { Ok(()) } else { self.fail("the end of the message") }
    }

    /// Skips `{`; [`Cursor::next_member`] then reads the members.
    #[inline]
    pub fn enter_object(&mut self) -> Result<()> {
        if self.peek() != b'{' {
            return self.fail("an object");
        }
        self.open()
    }

    /// Skips `[`; [`Cursor::next_element`] then reads the elements.
    pub fn enter_array(&mut self) -> Result<()> {
        if self.peek() != b'[' {
            return self.fail("an array");
        }
        self.open()
    }

    /// The range of the next member's name, without its quotes. Leaves the cursor at the value, or returns `None` and leaves
    /// it behind the object.
    #[inline]
    pub fn next_member(&mut self, first: &mut bool) -> Result<Option<(usize, usize)>> {
        self.skip_whitespace();
        if self.peek() == b'}' {
            self.close();
            return Ok(None);
        }
        if !std::mem::take(first) {
            self.comma("`,` or `}`")?;
        }
        self.name().map(Some)
    }

    /// Whether there is a next element. Leaves the cursor at it, or behind the array.
    #[inline]
    pub fn next_element(&mut self, first: &mut bool) -> Result<bool> {
        self.skip_whitespace();
        if self.peek() == b']' {
            self.close();
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.comma("`,` or `]`")?;
        }
        Ok(true)
    }

    /// Skips the value that begins here and returns its range.
    #[inline(always)]
    pub fn skip_value(&mut self) -> Result<(usize, usize)> {
        let start = self.at;
        match self.peek() {
            b'{' | b'[' => self.container()?,
            _ => self.scalar()?,
        }
        Ok((start, self.at))
    }

    /// Skips the rest of the open object. The cursor must be behind a member's value, or behind `{` if `first`.
    pub fn skip_rest_of_object(&mut self, mut first: bool) -> Result<()> {
        while self.next_member(&mut first)?.is_some() {
            self.skip_value()?;
        }
        Ok(())
    }

    /// Moves into an object whose beginning was recognised by comparing bytes.
    pub fn enter_at(&mut self, at: usize) {
        self.at = at;
        self.depth += 1;
    }

    /// Leaves the open container; its last byte is next.
    #[inline(always)]
    pub fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    #[inline(always)]
    fn open(&mut self) -> Result<()> {
        if self.depth == MAX_DEPTH {
            return self.fail("less nesting (at most 127 levels)");
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    #[inline(always)]
    fn comma(&mut self, expected: &'static str) -> Result<()> {
        if self.peek() != b',' {
            return self.fail(expected);
        }
        self.at += 1;
        self.skip_whitespace();
        Ok(())
    }

    #[inline(always)]
    fn name(&mut self) -> Result<(usize, usize)> {
        if self.peek() != b'"' {
            return self.fail("a name in quotes");
        }
        let start = self.at + 1;
        self.string()?;
        let end = self.at - 1;
        self.skip_whitespace();
        if self.peek() != b':' {
            return self.fail("`:`");
        }
        self.at += 1;
        self.skip_whitespace();
        Ok((start, end))
    }

    #[inline(always)]
    fn scalar(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.literal(b"null"),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            _ => self.fail("a value"),
        }
    }

    #[inline(always)]
    fn literal(&mut self, literal: &'static [u8]) -> Result<()> {
        if self.skip_literal(literal) { Ok(()) } else { self.fail("a value") }
    }

    #[inline(always)]
    fn string(&mut self) -> Result<()> {
        let start = self.at + 1;
        let mut from = start;
        loop {
            match quote_or_backslash(self.bytes, from) {
                Some(at) if self.bytes[at] == b'"' => {
                    self.at = at + 1;
                    break;
                }
                Some(at) => {
                    from = match self.bytes.get(at + 1) {
                        Some(b'n' | b'"' | b'\\') => at + 2,
                        _ => self.escape(at)?,
                    }
                }
                None => {
                    self.at = self.bytes.len();
                    return self.fail("the end of a string");
                }
            }
        }
        if self.text == Text::HasControls {
            let inside = &self.bytes[start..self.at - 1];
            if let Some(n) = inside.iter().position(|&b| b < b' ') {
                self.at = start + n;
                return self.fail("no control character in a string");
            }
        }
        Ok(())
    }

    /// Checks the escape whose backslash is at `at` and returns the position behind it.
    fn escape(&self, at: usize) -> Result<usize> {
        let wrong = |expected| Err(JsonError { at, expected });
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match hex4(self.bytes, at + 2) {
                Some(0xDC00..=0xDFFF) => wrong("no lone surrogate"),
                Some(0xD800..=0xDBFF) => {
                    if self.bytes.get(at + 6..at + 8) == Some(b"\\u")
                        && matches!(hex4(self.bytes, at + 8), Some(0xDC00..=0xDFFF))
                    {
                        Ok(at + 12)
                    } else {
                        wrong("no lone surrogate")
                    }
                }
                Some(_) => Ok(at + 6),
                None => wrong("four hexadecimal digits"),
            },
            _ => wrong("an escape that JSON knows"),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<()> {
        match number_end(self.bytes, self.at) {
            Ok(end) => {
                self.at = end;
                Ok(())
            }
            Err(at) => Err(JsonError { at, expected: "a digit" }),
        }
    }

    /// Skips an object or array with its contents.
    fn container(&mut self) -> Result<()> {
        let outside = self.depth;
        // The open containers, innermost in the lowest bit; 1 is an object. There are at most 127.
        let mut objects: u128 = 0;
        loop {
            // At a value: open containers until a scalar or an empty container comes.
            let opened = match self.peek() {
                byte @ (b'{' | b'[') => {
                    self.open()?;
                    objects = objects << 1 | u128::from(byte == b'{');
                    self.skip_whitespace();
                    let empty = self.peek() == byte + 2; // `}` and `]` are two after `{` and `[` in ASCII
                    !empty
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if opened {
                if objects & 1 == 1 {
                    self.name()?;
                }
                continue;
            }
            // Behind a value, or in an empty container: close the containers that end here.
            loop {
                self.skip_whitespace();
                let object = objects & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.skip_whitespace();
                        if object {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if object => self.close(),
                    b']' if !object => self.close(),
                    _ => return self.fail(if object { "`,` or `}`" } else { "`,` or `]`" }),
                }
                objects >>= 1;
                if self.depth == outside {
                    return Ok(());
                }
            }
        }
    }
}

/// The position of the next quote or backslash. Most names and values are short, so a few words are searched here before a
/// call of `memchr2` pays off.
#[inline(always)]
fn quote_or_backslash(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    // The lowest set bit marks the first zero byte; the bits above it may be wrong.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = from;
    for _ in 0..4 {
        let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            break;
        };
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', &bytes[at..]).map(|n| at + n)
}

/// Whether `bytes` begins with `literal`. Short literals, such as names, need no call of `memcmp`.
#[inline(always)]
fn begins_with(bytes: &[u8], literal: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..literal.len()) else {
        return false;
    };
    match (bytes.first_chunk::<8>(), literal.first_chunk::<8>()) {
        (Some(a), Some(b)) if literal.len() <= 16 => {
            let last = |bytes: &[u8]| bytes.last_chunk::<8>().copied();
            a == b && last(bytes) == last(literal)
        }
        (Some(_), _) => bytes == literal,
        _ => bytes.iter().zip(literal).all(|(a, b)| a == b),
    }
}

/// The end of the number at `at`, or the position at which a digit is missing.
#[inline(always)]
pub(crate) fn number_end(bytes: &[u8], at: usize) -> std::result::Result<usize, usize> {
    let byte = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let digits = |mut i: usize| {
        if !byte(i).is_ascii_digit() {
            return Err(i);
        }
        while byte(i).is_ascii_digit() {
            i += 1;
        }
        Ok(i)
    };
    let mut i = at + usize::from(byte(at) == b'-');
    i = if byte(i) == b'0' { i + 1 } else { digits(i)? };
    if byte(i) == b'.' {
        i = digits(i + 1)?;
    }
    if matches!(byte(i), b'e' | b'E') {
        i += 1;
        i = digits(i + usize::from(matches!(byte(i), b'+' | b'-')))?;
    }
    Ok(i)
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |n, &b| {
        let digit = (b as char).to_digit(16)?;
        Some(n << 4 | digit)
    })
}
