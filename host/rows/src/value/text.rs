//! Text, bytes, labels and embedded JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::converted::{Converted, Mismatch, Result, unquoted};
use super::number::digits_value;
use crate::json::{Cursor, Text, compact_tail, has_controls, push_string, unescape_into};

const BASE64: Mismatch = Mismatch::Expected("base64 text");
const LATIN1: Mismatch = Mismatch::Expected("bytes as Latin-1 text");
const ENUM: Mismatch = Mismatch::Expected("a label, or the number of a label, of the ENUM");
const SET: Mismatch = Mismatch::Expected("labels, or a bit mask of labels, of the SET");

const NO_BASE64: u8 = 1;
const URL_BASE64: u8 = 2;

/// The class of each byte in base64: standard alphabet (0), URL alphabet, or neither.
const BASE64_KINDS: [u8; 256] = {
    let mut kinds = [NO_BASE64; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        if letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/') {
            kinds[byte] = 0;
        } else if matches!(letter, b'-' | b'_') {
            kinds[byte] = URL_BASE64;
        }
        byte += 1;
    }
    kinds
};

pub(super) fn string(raw: &[u8], expected: &'static str) -> Result<Converted> {
    if raw[0] == b'"' { Ok(Converted::Unchanged) } else { Err(Mismatch::Expected(expected)) }
}

/// Converts base64, as most tools send bytes; the URL alphabet becomes the standard one.
pub(super) fn base64(raw: &[u8], length: u32, out: &mut Vec<u8>) -> Result<Converted> {
    let text = unquoted(raw).ok_or(BASE64)?;
    let digits = text.iter().rposition(|&b| b != b'=').map_or(0, |n| n + 1);
    let padding = text.len() - digits;
    let kinds = text[..digits].iter().fold(0, |kinds, &b| kinds | BASE64_KINDS[b as usize]);
    let is_cut = padding > 0 && !text.len().is_multiple_of(4);
    if is_cut || padding > 2 || digits % 4 == 1 || kinds & NO_BASE64 != 0 {
        return Err(BASE64);
    }
    let is_short = digits * 3 / 4 < length as usize;
    let is_standard = text.len().is_multiple_of(4) && kinds & URL_BASE64 == 0;
    if is_standard && !is_short {
        return Ok(Converted::Unchanged);
    }
    let from = out.len();
    out.push(b'"');
    out.extend(text[..digits].iter().map(|b| match b {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    }));
    out.resize(from + 1 + digits.next_multiple_of(4), b'=');
    if is_short {
        // BINARY has at most 255 bytes.
        let mut bytes = [0; 258];
        STANDARD.decode_slice(&out[from + 1..], &mut bytes).map_err(|_| BASE64)?;
        out.truncate(from);
        out.extend_from_slice(&bytes[..length as usize]);
        encode_tail(from, out);
    } else {
        out.push(b'"');
    }
    Ok(Converted::Appended)
}

/// Converts Latin-1 text, in which each character is one byte.
pub(super) fn latin1(raw: &[u8], length: u32, out: &mut Vec<u8>) -> Result<Converted> {
    let inside = unquoted(raw).ok_or(LATIN1)?;
    let from = out.len();
    unescape_into(inside, out);
    // In place: a character takes one or two bytes of UTF-8, so writing never overtakes reading.
    let (mut read, mut write) = (from, from);
    while let Some(&lead) = out.get(read) {
        let byte = match (lead, out.get(read + 1)) {
            (0..0x80, _) => lead,
            (0xC2 | 0xC3, Some(&next)) => {
                read += 1;
                lead << 6 | next & 0x3F
            }
            _ => {
                out.truncate(from);
                return Err(LATIN1);
            }
        };
        out[write] = byte;
        read += 1;
        write += 1;
    }
    // The binlog omits the trailing zeros of a BINARY.
    out.truncate(write);
    out.resize(write.max(from + length as usize), 0);
    encode_tail(from, out);
    Ok(Converted::Appended)
}

/// Replaces the bytes at `out[from..]` by their base64 in a JSON string.
fn encode_tail(from: usize, out: &mut Vec<u8>) {
    let bytes_end = out.len();
    let encoded = (bytes_end - from).div_ceil(3) * 4;
    out.resize(bytes_end + encoded, 0);
    let (bytes, place) = out.split_at_mut(bytes_end);
    let written = STANDARD.encode_slice(&bytes[from..], place);
    debug_assert_eq!(written, Ok(encoded));
    // Move the text to where the bytes were, behind the opening quote.
    out.push(b'"');
    out.insert(from, b'"');
    out.drain(from + 1..bytes_end + 1);
}

/// Converts the number of an ENUM label. `labels` are JSON strings.
pub(super) fn enum_index(raw: &[u8], labels: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<Converted> {
    let text = unquoted(raw).unwrap_or(raw);
    let Some(index) = digits_value(text) else {
        return string(raw, "a label, or the number of a label, of the ENUM");
    };
    // MySQL stores 0 for a value that is not among the labels.
    let label = match usize::try_from(index).unwrap_or(usize::MAX) {
        0 => Some(&b"\"\""[..]),
        n => labels.get(n - 1).map(|l| &**l),
    };
    match label {
        Some(label) => {
            out.extend_from_slice(label);
            Ok(Converted::Appended)
        }
        None if labels.iter().any(|l| **l == *raw) => Ok(Converted::Unchanged),
        None => Err(ENUM),
    }
}

/// Converts the bit mask of SET labels. `labels` are JSON strings.
pub(super) fn set_mask(raw: &[u8], labels: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<Converted> {
    let text = unquoted(raw).unwrap_or(raw);
    let Some(mask) = digits_value(text) else {
        return string(raw, "labels, or a bit mask of labels, of the SET");
    };
    if labels.len() < 64 && mask >> labels.len() != 0 {
        return if labels.iter().any(|l| **l == *raw) { Ok(Converted::Unchanged) } else { Err(SET) };
    }
    out.push(b'"');
    let mut first = true;
    for (_, label) in labels.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(&label[1..label.len() - 1]);
    }
    out.push(b'"');
    Ok(Converted::Appended)
}

/// Converts SET labels: joined by commas, or an array of labels.
pub(super) fn set_labels(raw: &[u8], out: &mut Vec<u8>) -> Result<Converted> {
    if raw[0] != b'[' {
        return string(raw, "the labels of a SET");
    }
    let from = out.len();
    join(raw, out).ok_or_else(|| {
        out.truncate(from);
        SET
    })
}

fn join(raw: &[u8], out: &mut Vec<u8>) -> Option<Converted> {
    let mut cursor = Cursor::new(raw, 0, Text::Clean);
    cursor.enter_array().ok()?;
    out.push(b'"');
    let (mut first, mut joined) = (true, false);
    while cursor.next_element(&mut first).ok()? {
        let (start, end) = cursor.skip_value().ok()?;
        let label = unquoted(&raw[start..end])?;
        if std::mem::replace(&mut joined, true) {
            out.push(b',');
        }
        out.extend_from_slice(label);
    }
    out.push(b'"');
    Some(Converted::Appended)
}

/// Converts a JSON column, which is sent as a string or embedded.
pub(super) fn json(raw: &[u8], out: &mut Vec<u8>) -> Result<Converted> {
    let Some(inside) = unquoted(raw) else {
        return Ok(Converted::Unchanged);
    };
    let from = out.len();
    unescape_into(inside, out);
    if !Cursor::is_json(&out[from..]) {
        // A JSON column cannot hold this, but no data may be lost.
        out.truncate(from);
        return Ok(Converted::Unchanged);
    }
    if has_controls(&out[from..]) {
        compact_tail(out, from);
    }
    let spaces = out[from..].iter().take_while(|&&b| b == b' ').count();
    out.drain(from..from + spaces);
    while out.last() == Some(&b' ') {
        out.pop();
    }
    Ok(Converted::Appended)
}

/// A label as a JSON string.
pub(super) fn json_string(label: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(label.len() + 2);
    push_string(label.as_bytes(), &mut out);
    out.into_boxed_slice()
}
