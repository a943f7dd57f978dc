//! Text, bytes, labels and embedded JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::number::digits_value;
use super::spelling::{Misfit, Result, Spelled, unquoted};
use crate::json::{Text, Walk, compact_tail, has_controls, push_string, unescape_into};

const BASE64: Misfit = Misfit::Not("base64 text");
const LATIN1: Misfit = Misfit::Not("bytes as Latin-1 text");
const ENUM: Misfit = Misfit::Not("a label, or the number of a label, of the ENUM");
const SET: Misfit = Misfit::Not("labels, or a bit mask of labels, of the SET");

const NO_BASE64: u8 = 1;
const URL_BASE64: u8 = 2;

/// What each byte is to base64: nothing special, of the URL alphabet, or none of it.
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

pub(super) fn string(raw: &[u8], expected: &'static str) -> Result<Spelled> {
    if raw[0] == b'"' { Ok(Spelled::Same) } else { Err(Misfit::Not(expected)) }
}

/// Base64 as most tools write bytes; the URL alphabet is made the standard one.
pub(super) fn base64(raw: &[u8], length: u32, out: &mut Vec<u8>) -> Result<Spelled> {
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
        return Ok(Spelled::Same);
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
        // A BINARY has at most 255 bytes.
        let mut bytes = [0; 258];
        STANDARD.decode_slice(&out[from + 1..], &mut bytes).map_err(|_| BASE64)?;
        out.truncate(from);
        out.extend_from_slice(&bytes[..length as usize]);
        encode_tail(from, out);
    } else {
        out.push(b'"');
    }
    Ok(Spelled::Anew)
}

/// Bytes as text with one letter a byte.
pub(super) fn latin1(raw: &[u8], length: u32, out: &mut Vec<u8>) -> Result<Spelled> {
    let inside = unquoted(raw).ok_or(LATIN1)?;
    let from = out.len();
    unescape_into(inside, out);
    // In place: a letter takes one byte or two, so the bytes never overtake the text.
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
    // The binlog leaves out the zeros that fill up a BINARY.
    out.truncate(write);
    out.resize(write.max(from + length as usize), 0);
    encode_tail(from, out);
    Ok(Spelled::Anew)
}

/// Makes the bytes at `out[from..]` base64 in a JSON string.
fn encode_tail(from: usize, out: &mut Vec<u8>) {
    let bytes_end = out.len();
    let encoded = (bytes_end - from).div_ceil(3) * 4;
    out.resize(bytes_end + encoded, 0);
    let (bytes, place) = out.split_at_mut(bytes_end);
    let written = STANDARD.encode_slice(&bytes[from..], place);
    debug_assert_eq!(written, Ok(encoded));
    // The text moves to where the bytes were, behind a quote.
    out.push(b'"');
    out.insert(from, b'"');
    out.drain(from + 1..bytes_end + 1);
}

/// Labels come as JSON strings.
pub(super) fn enum_index(raw: &[u8], labels: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<Spelled> {
    let text = unquoted(raw).unwrap_or(raw);
    let Some(index) = digits_value(text) else {
        return string(raw, "a label, or the number of a label, of the ENUM");
    };
    // Number 0 is what MySQL stores for a value that is none of the labels.
    let label = match usize::try_from(index).unwrap_or(usize::MAX) {
        0 => Some(&b"\"\""[..]),
        n => labels.get(n - 1).map(|l| &**l),
    };
    match label {
        Some(label) => {
            out.extend_from_slice(label);
            Ok(Spelled::Anew)
        }
        None if labels.iter().any(|l| **l == *raw) => Ok(Spelled::Same),
        None => Err(ENUM),
    }
}

/// Labels come as JSON strings.
pub(super) fn set_mask(raw: &[u8], labels: &[Box<[u8]>], out: &mut Vec<u8>) -> Result<Spelled> {
    let text = unquoted(raw).unwrap_or(raw);
    let Some(mask) = digits_value(text) else {
        return string(raw, "labels, or a bit mask of labels, of the SET");
    };
    if labels.len() < 64 && mask >> labels.len() != 0 {
        return if labels.iter().any(|l| **l == *raw) { Ok(Spelled::Same) } else { Err(SET) };
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
    Ok(Spelled::Anew)
}

/// Labels joined by commas, or an array of labels.
pub(super) fn set_labels(raw: &[u8], out: &mut Vec<u8>) -> Result<Spelled> {
    if raw[0] != b'[' {
        return string(raw, "the labels of a SET");
    }
    let from = out.len();
    join(raw, out).ok_or_else(|| {
        out.truncate(from);
        SET
    })
}

fn join(raw: &[u8], out: &mut Vec<u8>) -> Option<Spelled> {
    let mut walk = Walk::new(raw, 0, Text::Clean);
    walk.enter_array().ok()?;
    out.push(b'"');
    let (mut first, mut joined) = (true, false);
    while walk.element(&mut first).ok()? {
        let (start, end) = walk.value().ok()?;
        let label = unquoted(&raw[start..end])?;
        if std::mem::replace(&mut joined, true) {
            out.push(b',');
        }
        out.extend_from_slice(label);
    }
    out.push(b'"');
    Some(Spelled::Anew)
}

/// A JSON column: the value itself, be it sent as text or embedded.
pub(super) fn json(raw: &[u8], out: &mut Vec<u8>) -> Result<Spelled> {
    let Some(inside) = unquoted(raw) else {
        return Ok(Spelled::Same);
    };
    let from = out.len();
    unescape_into(inside, out);
    if !Walk::is_json(&out[from..]) {
        // Not what a JSON column holds, but nothing may be lost either.
        out.truncate(from);
        return Ok(Spelled::Same);
    }
    if has_controls(&out[from..]) {
        compact_tail(out, from);
    }
    let spaces = out[from..].iter().take_while(|&&b| b == b' ').count();
    out.drain(from..from + spaces);
    while out.last() == Some(&b' ') {
        out.pop();
    }
    Ok(Spelled::Anew)
}

/// A label as it stands in a document.
pub(super) fn spelled(label: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(label.len() + 2);
    push_string(label.as_bytes(), &mut out);
    out.into_boxed_slice()
}
