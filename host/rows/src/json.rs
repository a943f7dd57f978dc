//! A walk over JSON text that finds members and ends of values without building anything.
//!
//! The walk refuses what `serde_json` refuses: it knows the grammar of numbers, literals and escapes (lone surrogates
//! too), control characters in strings, nesting of 128 and deeper, and bytes after the value. Members that are
//! repeated are the caller's: of an envelope the last one counts, of a row a repeated column is refused.

#[cfg(test)]
mod tests;
mod text;

use memchr::memchr2;

pub(crate) use text::{compact_tail, push_string, unescape_into};

/// One more open container than this is refused, as `serde_json` does.
const MAX_DEPTH: u32 = 127;

/// What is wrong, and where: bytes from the start of the walked slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub at: usize,
    pub expected: &'static str,
}

/// Whether text is UTF-8 and has no control character: what holds for a whole message is checked once for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// No control character at all: no string needs to be searched for one, and every value is on one line.
    Clean,
    /// There are some; between tokens they may be white space.
    HasControls,
}

impl Text {
    /// Checks the bytes; `None` if they are not UTF-8.
    pub fn check(bytes: &[u8]) -> Option<Self> {
        simdutf8::basic::from_utf8(bytes).ok()?;
        Some(if has_controls(bytes) { Self::HasControls } else { Self::Clean })
    }
}

/// Whether a byte below the space is in `bytes`. Written so that the compiler makes vector code of it.
pub(crate) fn has_controls(bytes: &[u8]) -> bool {
    bytes.chunks(256).any(|chunk| chunk.iter().fold(false, |any, &b| any | (b < b' ')))
}

/// A position in JSON text. The text must have been checked to be UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    text: Text,
}

type Result<T> = std::result::Result<T, JsonError>;

impl<'a> Walk<'a> {
    /// A walk over `bytes` from `at`; positions count from the start of `bytes`.
    pub fn new(bytes: &'a [u8], at: usize, text: Text) -> Self {
        Self { bytes, at, depth: 0, text }
    }

    /// Whether a whole text, which must be UTF-8, is one JSON value.
    pub fn is_json(bytes: &[u8]) -> bool {
        let text = if has_controls(bytes) { Text::HasControls } else { Text::Clean };
        let mut walk = Walk::new(bytes, 0, text);
        walk.white();
        walk.value().is_ok() && walk.end().is_ok()
    }

    /// Where the walk stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The same walk elsewhere, at the same depth.
    pub fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Whether every string and every value is known to be on one line.
    pub fn is_clean(&self) -> bool {
        self.text == Text::Clean
    }

    /// The bytes that are walked.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The byte ahead; 0, which no token begins with, at the end.
    #[inline(always)]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Steps over white space.
    #[inline(always)]
    pub fn white(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over `literal` if it is ahead.
    #[inline(always)]
    pub fn take(&mut self, literal: &[u8]) -> bool {
        let found = begins_with(&self.bytes[self.at..], literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    /// Steps over a comma, which is ahead, and `literal` if that follows.
    #[inline(always)]
    pub fn take_behind_comma(&mut self, literal: &[u8]) -> bool {
        let found = begins_with(&self.bytes[self.at + 1..], literal);
        if found {
            self.at += 1 + literal.len();
        }
        found
    }

    /// An error here.
    pub fn fail<T>(&self, expected: &'static str) -> Result<T> {
        Err(JsonError { at: self.at, expected })
    }

    /// Only white space may be left.
    pub fn end(&mut self) -> Result<()> {
        self.white();
        if self.at == self.bytes.len() { Ok(()) } else { self.fail("the end of the message") }
    }

    /// Steps over `{`. The members follow by [`Walk::member`].
    #[inline]
    pub fn enter_object(&mut self) -> Result<()> {
        if self.peek() != b'{' {
            return self.fail("an object");
        }
        self.open()
    }

    /// Steps over `[`. The elements follow by [`Walk::element`].
    pub fn enter_array(&mut self) -> Result<()> {
        if self.peek() != b'[' {
            return self.fail("an array");
        }
        self.open()
    }

    /// The next member's name (without its quotes), with the walk at the value; `None` behind the object's end.
    #[inline]
    pub fn member(&mut self, first: &mut bool) -> Result<Option<(usize, usize)>> {
        self.white();
        if self.peek() == b'}' {
            self.close();
            return Ok(None);
        }
        if !std::mem::take(first) {
            self.comma("`,` or `}`")?;
        }
        self.name().map(Some)
    }

    /// Whether there is a next element, with the walk at it; else the walk is behind the array's end.
    #[inline]
    pub fn element(&mut self, first: &mut bool) -> Result<bool> {
        self.white();
        if self.peek() == b']' {
            self.close();
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.comma("`,` or `]`")?;
        }
        Ok(true)
    }

    /// Steps over a value that begins here and tells where it begins and ends.
    #[inline(always)]
    pub fn value(&mut self) -> Result<(usize, usize)> {
        let start = self.at;
        match self.peek() {
            b'{' | b'[' => self.container()?,
            _ => self.scalar()?,
        }
        Ok((start, self.at))
    }

    /// Steps over the rest of an object of which a member's value has just been passed, or nothing yet if `first`.
    pub fn rest_of_object(&mut self, mut first: bool) -> Result<()> {
        while self.member(&mut first)?.is_some() {
            self.value()?;
        }
        Ok(())
    }

    /// Goes on inside an object whose beginning was recognised by its bytes.
    pub fn go_into(&mut self, at: usize) {
        self.at = at;
        self.depth += 1;
    }

    /// Leaves the container that is open, whose last byte is ahead.
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
        self.white();
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
        self.white();
        if self.peek() != b':' {
            return self.fail("`:`");
        }
        self.at += 1;
        self.white();
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
        if self.take(literal) { Ok(()) } else { self.fail("a value") }
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

    /// Checks the escape whose backslash is at `at`; where the text goes on.
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

    /// Steps over an object or array with all that is in it.
    fn container(&mut self) -> Result<()> {
        let outside = self.depth;
        // What is open, innermost in the lowest bit: 1 is an object. At most 127 are.
        let mut objects: u128 = 0;
        loop {
            // At a value: open containers until there is a scalar or an empty container.
            let opened = match self.peek() {
                byte @ (b'{' | b'[') => {
                    self.open()?;
                    objects = objects << 1 | u128::from(byte == b'{');
                    self.white();
                    let empty = self.peek() == byte + 2; // `}` and `]` stand two after `{` and `[`
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
            // Behind a value, or at the end of an empty container: close what ends here.
            loop {
                self.white();
                let object = objects & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.white();
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

/// The next quote or backslash. Names and most values are short, and text with escapes comes in short pieces: some
/// words are searched here before a call of `memchr2` pays.
#[inline(always)]
fn quote_or_backslash(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    // The lowest bit that is set marks the first byte that is zero; bits above may be wrong.
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

/// Whether `bytes` begins with `literal`, without a call for the short literals that names are.
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

/// Where the number at `at` ends, or where a digit is missing.
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
