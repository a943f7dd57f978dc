//! Writing JSON values on one line.

use serde::Serialize;

/// Any value that serde can write.
pub(crate) fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), serde_json::Error> {
    let start = out.len();
    serde_json::to_writer(&mut *out, value)?;
    one_line(&mut out[start..]);
    Ok(())
}

/// Replaces line breaks by spaces. JSON strings cannot contain line breaks, so the value does not change.
pub(crate) fn one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Appends bytes, usually few.
///
/// In WebAssembly, copying a length that is unknown at compile time is a call of a library function, which is too expensive
/// for short texts; so these are copied word by word.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if cfg!(not(target_arch = "wasm32")) || bytes.len() > 64 {
        out.extend_from_slice(bytes);
        return;
    }
    out.reserve(bytes.len());
    let mut rest = bytes;
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        out.extend_from_slice(word);
        rest = more;
    }
    if let Some((word, more)) = rest.split_first_chunk::<4>() {
        out.extend_from_slice(word);
        rest = more;
    }
    for &byte in rest {
        out.push(byte);
    }
}

/// A text as a JSON string.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        if is_plain(u64::from_le_bytes(*word)) {
            out.extend_from_slice(word);
        } else {
            word.iter().for_each(|&byte| one(out, byte));
        }
        rest = more;
    }
    rest.iter().for_each(|&byte| one(out, byte));
    out.push(b'"');
}

/// Whether none of eight bytes needs to be escaped.
#[inline]
fn is_plain(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    // The high bit of each byte that is below `limit` (up to 0x80), and maybe of some that follow one.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
    below(word, 0x20) | quotes | backslashes == 0
}

#[inline]
fn one(out: &mut Vec<u8>, byte: u8) {
    if byte < 0x20 || byte == b'"' || byte == b'\\' {
        escape(out, byte);
    } else {
        out.push(byte);
    }
}

#[cold]
fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        _ => {
            let hex = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend([hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', short]);
}

/// An integer in decimal digits.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, value: i128) {
    let mut digits = [0_u8; 40];
    let mut at = digits.len();
    let magnitude = value.unsigned_abs();
    if let Ok(mut small) = u64::try_from(magnitude) {
        while small >= 10 {
            at -= 1;
            digits[at] = b'0' + (small % 10) as u8;
            small /= 10;
        }
        at -= 1;
        digits[at] = b'0' + small as u8;
    } else {
        let mut large = magnitude;
        while large > 0 {
            at -= 1;
            digits[at] = b'0' + (large % 10) as u8;
            large /= 10;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    bytes(out, &digits[at..]);
}
