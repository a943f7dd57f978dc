//! Sanitizes texts of a guest that appear in logs, on terminals and in dead letters.

/// Longest text of a guest that is shown, in bytes.
pub(crate) const SHOWN: usize = 1024;

/// Puts a text on one line of at most 1024 bytes: line breaks could forge log lines, and escape sequences could control a
/// terminal.
pub fn single_line(text: &str) -> String {
    cut(text, SHOWN).replace(char::is_control, " ")
}

/// The beginning of a text: at most `limit` bytes, without cutting a character.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit { text } else { &text[..text.floor_char_boundary(limit)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(single_line(text), expected);
    }

    #[test]
    fn one_line_of_whole_characters() {
        check("", "");
        check("unchanged: 中", "unchanged: 中");
        check("a\n\u{1b}[31mb\u{85}", "a  [31mb ");
        check(&"中".repeat(400), &"中".repeat(341));
    }
}
