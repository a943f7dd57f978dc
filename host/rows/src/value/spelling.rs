//! What the conversions of one type share: how values arrive, how a conversion ends, and helpers for JSON text.

/// How a tool writes `BIT` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    /// A decimal number.
    Digits,
    /// Base64 of the bytes, little end first (Debezium).
    LittleEndian,
}

/// Which texts of a decimal are base64 of its digits in two's complement, big end first (Debezium's `precise`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecimalBytes {
    Never,
    /// The schema says so and has this scale.
    Always {
        scale: u32,
    },
    /// No schema tells. As text, a decimal with a scale has its point, which base64 never has.
    IfNoPoint,
}

/// What a time that is a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// Why a conversion failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The value is not what the type wants.
    Not(&'static str),
    /// The scratch arena is full.
    Full,
}

pub(super) type Result<T> = std::result::Result<T, Misfit>;

/// Where the final spelling is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelled {
    /// The value already is as it shall be.
    Same,
    /// A part of the value is.
    Part { start: usize, end: usize },
    /// It was appended to the scratch arena.
    Anew,
}

/// What is between the quotes, if the value is a string.
#[inline(always)]
pub(super) fn unquoted(raw: &[u8]) -> Option<&[u8]> {
    match raw {
        [b'"', inside @ .., b'"'] => Some(inside),
        _ => None,
    }
}

/// Appends a number's digits, at least `width` of them.
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
