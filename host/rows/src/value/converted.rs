//! Types that all conversions share: the encodings in which values arrive, results and errors, and small helpers.

/// How a tool encodes `BIT` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    /// A decimal number.
    Digits,
    /// Base64 of the bytes in little-endian order (Debezium).
    LittleEndian,
}

/// Which decimal strings are base64 of a big-endian two's complement integer (Debezium's `precise`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecimalBytes {
    Never,
    /// All: the schema declares it, with this scale.
    Always {
        scale: u32,
    },
    /// Strings without a decimal point. Without a schema this is the only sign: a decimal with a scale has a point when
    /// it is written in digits, and base64 never has one.
    IfNoPoint,
}

/// The unit of a time that is sent as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// Why a conversion failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The value is not of the column's type; the text names what was expected.
    Expected(&'static str),
    /// The scratch arena is full.
    ArenaFull,
}

pub(super) type Result<T> = std::result::Result<T, Mismatch>;

/// Where the converted value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converted {
    /// The value needs no conversion.
    Unchanged,
    /// It is a slice of the value.
    Slice { start: usize, end: usize },
    /// It was appended to the scratch arena.
    Appended,
}

/// The text between the quotes, if the value is a string.
#[inline(always)]
pub(super) fn unquoted(raw: &[u8]) -> Option<&[u8]> {
    match raw {
        [b'"', inside @ .., b'"'] => Some(inside),
        _ => None,
    }
}

/// Appends a number in decimal, padded with zeros to `width` digits.
pub(super) fn push_digits(mut n: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while n > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}
