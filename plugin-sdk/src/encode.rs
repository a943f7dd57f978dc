//! Writing JSON values on one line.

use serde::Serialize;

/// Any value that serde can write.
pub(crate) fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), serde_json::Error> {
    let start = out.len();
    serde_json::to_writer(&mut *out, value)?;
    one_line(&mut out[start..]);
    Ok(())
}

/// Replaces line breaks by spaces. Inside of strings JSON allows none, so the value stays the same.
pub(crate) fn one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A text as a JSON string.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            out.extend_from_slice(&bytes[written..i]);
            escape(out, byte);
            written = i + 1;
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
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
    out.extend_from_slice(&digits[at..]);
}
