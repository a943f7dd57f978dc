//! JSON strings and whitespace: unescaping, escaping, and removing line breaks.

use memchr::memchr;

/// Appends the unescaped text of a JSON string. `inside` is the checked text between its quotes.
pub(crate) fn unescape_into(inside: &[u8], out: &mut Vec<u8>) {
    let mut rest = inside;
    while let Some(n) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..n]);
        rest = &rest[n + 1..];
        let Some((&escape, behind)) = rest.split_first() else {
            return;
        };
        rest = behind;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let mut unit = hex4(rest);
                rest = rest.get(4..).unwrap_or_default();
                if (0xD800..0xDC00).contains(&unit) {
                    let low = hex4(rest.get(2..).unwrap_or_default());
                    rest = rest.get(6..).unwrap_or_default();
                    unit = 0x10000 + ((unit - 0xD800) << 10 | low.wrapping_sub(0xDC00) & 0x3FF);
                }
                let letter = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

fn hex4(bytes: &[u8]) -> u32 {
    let digits = bytes.iter().take(4);
    digits.fold(0, |n, &b| n << 4 | (b as char).to_digit(16).unwrap_or(0))
}

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    for (i, &byte) in text.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[from..i]);
        from = i + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |n: u8| b"0123456789abcdef"[n as usize & 15];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
            }
        }
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}

/// Removes the whitespace between the tokens of the JSON text at `bytes[from..]`.
pub(crate) fn compact_tail(bytes: &mut Vec<u8>, from: usize) {
    let (mut to, mut in_string, mut escaped) = (from, false, false);
    for i in from..bytes.len() {
        let byte = bytes[i];
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        bytes[to] = byte;
        to += 1;
    }
    bytes.truncate(to);
}
