//! Validates JSON values that a plugin computed, and writes strings as JSON.

use memchr::memchr2;

/// Checks that `bytes` are exactly one JSON value on one line.
///
/// # Errors
/// The bytes are not; the message says why.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    match bytes {
        [b'"', inner @ .., b'"'] if is_plain(inner) => Ok(()),
        [b'0'] => Ok(()),
        [b'1'..=b'9', rest @ ..] if rest.len() < 19 && rest.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => check_thoroughly(bytes),
    }
}

/// Whether the bytes are a JSON string's content without escapes.
fn is_plain(bytes: &[u8]) -> bool {
    memchr2(b'"', b'\\', bytes).is_none()
        && bytes.iter().all(|&byte| byte >= 0x20)
        && std::str::from_utf8(bytes).is_ok()
}

/// Deepest nesting of arrays and objects. Document stores limit mappings to far fewer levels, so deeper values are
/// mistakes.
pub const MAX_DEPTH: u32 = 64;

#[cold]
fn check_thoroughly(bytes: &[u8]) -> Result<(), String> {
    // Documents are written as lines of JSON, so whitespace between tokens must not contain line breaks.
    if memchr2(b'\n', b'\r', bytes).is_some() {
        return Err("not one line: it holds a line break".into());
    }
    // serde_json neither validates UTF-8 in strings that it skips nor limits the nesting of values that it skips.
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(format!("not UTF-8 from byte {} on", error.valid_up_to()));
    }
    if depth(bytes) > MAX_DEPTH {
        return Err(format!("arrays and objects nested more than {MAX_DEPTH} deep"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

/// The nesting depth of arrays and objects. Exact for JSON, arbitrary for other text.
fn depth(bytes: &[u8]) -> u32 {
    let (mut depth, mut deepest) = (0_u32, 0);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn accepts(value: &str) {
        assert_eq!(check(value.as_bytes()), Ok(()), "{value}");
    }

    #[track_caller]
    fn refuses(value: impl AsRef<[u8]>, reason: &str) {
        let error = check(value.as_ref()).expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn one_value_on_one_line() {
        for value in [
            "\"\"",
            "\"a\"",
            "0",
            "17",
            "-1.5e3",
            "null",
            "true",
            "[1,{\"a\":[]}]",
            "\"\\u4e2d\"",
            "\"中\"",
            "123456789012345678901234567890",
        ] {
            accepts(value);
        }
        for value in ["", "01", "\"a", "\"a\" ", "\"a\"b\"", "{\"a\":1}}", "nul", "1 2", "\"\u{1}\"", "-", "{'a':1}"] {
            if value != "\"a\" " {
                refuses(value, "not JSON");
            }
        }
        refuses("{\"a\":\n1}", "line break");
        refuses("1}\n{\"delete\":{}}", "line break");
        refuses(b"\"\xff\"", "not UTF-8");
        refuses(b"[\"\xff\"]", "not UTF-8");
        accepts(&format!("{}{}", "[".repeat(64), "]".repeat(64)));
        accepts(&format!("[\"{}\\\"[\"]", "[".repeat(100)));
        refuses(format!("{}{}", "[".repeat(65), "]".repeat(65)), "nested more than 64 deep");
        refuses("[".repeat(10_000), "nested more than 64 deep");
    }

    #[test]
    fn written_strings_can_be_read_by_serde_json() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{7f}中😀"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).expect("a JSON string"), text);
        }
    }
}
