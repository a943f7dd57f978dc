//! Texts of a guest that a person will read: in a log, on a terminal, in a dead letter.

/// Longest text of a guest that is shown, in bytes.
pub(crate) const SHOWN: usize = 1024;

/// The text on one line and at most 1024 bytes long: line breaks could forge lines of a log, and escape sequences
/// command a terminal.
pub fn readable(text: &str) -> String {
    cut(text, SHOWN).replace(char::is_control, " ")
}

/// The beginning of a text: at most `limit` bytes, and whole characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit { text } else { &text[..text.floor_char_boundary(limit)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(readable(text), expected);
    }

    #[test]
    fn one_line_of_whole_characters() {
        check("", "");
        check("as it is: 中", "as it is: 中");
        check("a\n\u{1b}[31mb\u{85}", "a  [31mb ");
        check(&"中".repeat(400), &"中".repeat(341));
    }
}
