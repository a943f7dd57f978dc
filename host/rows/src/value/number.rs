//! Integers, bits, floats and decimals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::converted::{Bits, Converted, DecimalBytes, Mismatch, Result, push_digits, unquoted};
use crate::json::number_end;

const INTEGER: Mismatch = Mismatch::Expected("an integer in its type's range");
const BIT: Mismatch = Mismatch::Expected("the number of a BIT");
const BOOLEAN: Mismatch = Mismatch::Expected("a boolean (true, false or a number)");
const FLOAT: Mismatch = Mismatch::Expected("a number");
const DECIMAL: Mismatch = Mismatch::Expected("a decimal number");

/// More digits than any DECIMAL has (65), with room for padding.
const MAX_DECIMAL: usize = 128;

pub(super) fn integer(raw: &[u8], unsigned: bool, is_bigint: bool, out: &mut Vec<u8>) -> Result<Converted> {
    let (digits, quote) = match unquoted(raw) {
        Some(inside) => (inside, 1),
        None => (raw, 0),
    };
    let (negative, magnitude) = match digits {
        [b'-', magnitude @ ..] => (true, magnitude),
        _ => (false, digits),
    };
    if magnitude.is_empty() || !magnitude.iter().all(u8::is_ascii_digit) {
        return match raw {
            b"true" => Ok(append(b"1", out)),
            b"false" => Ok(append(b"0", out)),
            _ => Err(INTEGER),
        };
    }
    // The common case: short, positive, without leading zeros. No arithmetic is needed.
    let is_plain = magnitude[0] != b'0' || magnitude.len() == 1;
    if is_plain && magnitude.len() <= 18 && !(negative && (unsigned || magnitude[0] == b'0')) {
        return Ok(if quote == 0 { Converted::Unchanged } else { Converted::Slice { start: 1, end: raw.len() - 1 } });
    }
    let value = magnitude.iter().try_fold(0u64, |n, &b| n.checked_mul(10)?.checked_add(u64::from(b - b'0')));
    let value = value.ok_or(INTEGER)?;
    if negative && unsigned {
        if value == 0 {
            return Ok(append(b"0", out));
        }
        // The highest bit of a BIGINT UNSIGNED was read as the sign.
        if !is_bigint || value > 1 << 63 {
            return Err(INTEGER);
        }
        push_digits(value.wrapping_neg(), 1, out);
        return Ok(Converted::Appended);
    }
    let limit = if unsigned { u64::MAX } else { i64::MAX as u64 + u64::from(negative) };
    if value > limit {
        return Err(INTEGER);
    }
    if negative && value > 0 {
        out.push(b'-');
    }
    push_digits(value, 1, out);
    Ok(Converted::Appended)
}

/// The number that a BIT value encodes.
fn bit_value(raw: &[u8], bits: Bits) -> Option<u64> {
    match (raw, unquoted(raw)) {
        (b"true", _) => Some(1),
        (b"false", _) => Some(0),
        (_, Some(text)) if bits == Bits::LittleEndian => {
            let mut bytes = [0; 12];
            let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
            let bytes = &bytes[..length];
            if bytes.iter().skip(8).any(|&b| b != 0) {
                return None;
            }
            Some(bytes.iter().take(8).rev().fold(0, |n, &b| n << 8 | u64::from(b)))
        }
        (_, Some(text)) => digits_value(text),
        (_, None) => digits_value(raw),
    }
}

/// Parses decimal digits; `None` if there are other bytes, no digits, or more than 64 bits.
pub(super) fn digits_value(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

pub(super) fn bit(raw: &[u8], bits: Bits, out: &mut Vec<u8>) -> Result<Converted> {
    push_digits(bit_value(raw, bits).ok_or(BIT)?, 1, out);
    Ok(Converted::Appended)
}

pub(super) fn boolean(raw: &[u8], bits: Bits, out: &mut Vec<u8>) -> Result<Converted> {
    if matches!(raw, b"true" | b"false") {
        return Ok(Converted::Unchanged);
    }
    // A TINYINT may hold -1; anything but 0 is true.
    let digits = unquoted(raw).unwrap_or(raw);
    let value = match digits.strip_prefix(b"-") {
        Some(magnitude) => digits_value(magnitude),
        None => digits_value(digits).or_else(|| bit_value(raw, bits)),
    };
    Ok(append(if value.ok_or(BOOLEAN)? == 0 { b"false" } else { b"true" }, out))
}

pub(super) fn float(raw: &[u8]) -> Result<Converted> {
    match unquoted(raw) {
        Some(inside) if number_end(inside, 0) == Ok(inside.len()) => {
            Ok(Converted::Slice { start: 1, end: raw.len() - 1 })
        }
        None if matches!(raw[0], b'-' | b'0'..=b'9') => Ok(Converted::Unchanged),
        _ => Err(FLOAT),
    }
}

pub(super) fn decimal(raw: &[u8], scale: Option<u32>, bytes: DecimalBytes, out: &mut Vec<u8>) -> Result<Converted> {
    let Some(text) = unquoted(raw) else {
        return decimal_text(raw, raw, scale, out);
    };
    match bytes {
        DecimalBytes::Always { scale: message_scale } => decimal_bytes(text, message_scale, scale, out),
        DecimalBytes::IfNoPoint
            if !text.contains(&b'.') && (scale.unwrap_or(0) > 0 || number_end(text, 0) != Ok(text.len())) =>
        {
            decimal_bytes(text, scale.unwrap_or(0), scale, out)
        }
        _ => decimal_text(raw, text, scale, out),
    }
}

/// Converts a decimal in digits, which may have an exponent (Java's `BigDecimal` writes `1E-10`).
fn decimal_text(raw: &[u8], text: &[u8], scale: Option<u32>, out: &mut Vec<u8>) -> Result<Converted> {
    let negative = text.first() == Some(&b'-');
    let unsigned = &text[usize::from(negative)..];
    let mantissa_end = unsigned.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at(mantissa_end);
    let point = mantissa.iter().position(|&b| b == b'.').unwrap_or(mantissa.len());
    let (whole, fraction) = (&mantissa[..point], mantissa.get(point + 1..).unwrap_or_default());
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if whole.is_empty() || !all_digits || (fraction.is_empty() && point < mantissa.len()) {
        return Err(DECIMAL);
    }
    // Already final: a string with the right number of fraction digits.
    let is_plain = exponent.is_empty() && (whole[0] != b'0' || whole.len() == 1);
    if raw.len() != text.len() && is_plain && scale.is_none_or(|s| s as usize == fraction.len()) {
        return Ok(Converted::Unchanged);
    }
    let exponent = match exponent {
        [] => 0,
        [_, digits @ ..] => {
            let digits = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<i64>().ok());
            digits.filter(|e| e.unsigned_abs() <= MAX_DECIMAL as u64).ok_or(DECIMAL)?
        }
    };
    if whole.len() + fraction.len() > MAX_DECIMAL {
        return Err(DECIMAL);
    }
    let mut digits = [b'0'; 3 * MAX_DECIMAL];
    // The digits are placed in the middle of zeros, so that an exponent can move the point either way.
    let middle = MAX_DECIMAL;
    digits[middle..middle + whole.len()].copy_from_slice(whole);
    digits[middle + whole.len()..][..fraction.len()].copy_from_slice(fraction);
    let point = (middle + whole.len()) as i64 + exponent;
    let point = usize::try_from(point).map_err(|_| DECIMAL)?.min(digits.len());
    let end = middle + whole.len() + fraction.len();
    push_decimal(negative, &digits[..point], digits.get(point..end).unwrap_or_default(), scale, out);
    Ok(Converted::Appended)
}

/// Converts a decimal sent as base64 of a big-endian two's complement integer.
fn decimal_bytes(text: &[u8], message_scale: u32, scale: Option<u32>, out: &mut Vec<u8>) -> Result<Converted> {
    let mut bytes = [0u8; 48];
    let length = STANDARD.decode_slice(text, &mut bytes).map_err(|_| DECIMAL)?;
    let bytes = &mut bytes[..length];
    let negative = bytes.first().is_some_and(|&b| b >= 0x80);
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    // From the last digits to the first, nine per step, by long division.
    let mut digits = [b'0'; MAX_DECIMAL];
    let mut at = digits.len();
    let mut rest = &mut bytes[..];
    while let Some(start) = rest.iter().position(|&b| b != 0) {
        rest = &mut rest[start..];
        let mut remainder = 0u64;
        for byte in rest.iter_mut() {
            let value = remainder << 8 | u64::from(*byte);
            *byte = (value / 1_000_000_000) as u8;
            remainder = value % 1_000_000_000;
        }
        for _ in 0..9 {
            at -= 1;
            digits[at] = b'0' + (remainder % 10) as u8;
            remainder /= 10;
        }
    }
    let point = digits.len().saturating_sub(message_scale as usize);
    push_decimal(negative, &digits[..point], &digits[point..], scale, out);
    Ok(Converted::Appended)
}

/// Appends a decimal as a JSON string, without leading zeros and with the fraction padded to the scale. Zeros beyond the
/// scale are removed, other digits are kept: nothing is rounded.
fn push_decimal(negative: bool, whole: &[u8], fraction: &[u8], scale: Option<u32>, out: &mut Vec<u8>) {
    let start = whole.iter().position(|&b| b != b'0').unwrap_or(whole.len());
    let scale = scale.map_or(fraction.len(), |s| s as usize);
    let mut kept = fraction.len();
    while kept > scale && fraction[kept - 1] == b'0' {
        kept -= 1;
    }
    out.push(b'"');
    if negative && whole.iter().chain(fraction).any(|&b| b != b'0') {
        out.push(b'-');
    }
    out.extend_from_slice(if start == whole.len() { b"0" } else { &whole[start..] });
    if scale > 0 || kept > 0 {
        out.push(b'.');
        out.extend_from_slice(&fraction[..kept]);
        out.resize(out.len() + scale.saturating_sub(kept), b'0');
    }
    out.push(b'"');
}

fn append(text: &[u8], out: &mut Vec<u8>) -> Converted {
    out.extend_from_slice(text);
    Converted::Appended
}
