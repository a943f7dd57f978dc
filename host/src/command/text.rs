//! Formats numbers, tables and long lines for the terminal.

/// The largest line width: that of the terminal, or unlimited without a terminal, since programs read whole lines.
pub(super) fn width() -> usize {
    match terminal_size::terminal_size_of(std::io::stdout()) {
        Some((width, _)) => usize::from(width.0).max(60),
        None => usize::MAX,
    }
}

/// Parses a share: `0.1` or `10%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=unit).contains(&number) => Ok(number / unit),
        _ => Err("write a share like 0.1 or 10%".into()),
    }
}

/// Formats `1234567` as `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a number in few characters: below ten million in full, `12345678` as `12.3M`.
pub(super) fn compact(count: u64) -> String {
    match count {
        0..10_000_000 => number(count),
        10_000_000..1_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

/// Formats `0.125` as `12.5%`, with at most four decimals.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", (share * 1e6).round() / 1e4)
}

/// Formats microseconds with two decimals; `–` for `None`.
pub(super) fn micros(micros: Option<f64>) -> String {
    micros.map_or("–".into(), |micros| format!("{micros:.2}"))
}

/// The first 12 characters of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Cuts a text to `max` characters, of which the last is an ellipsis.
pub(super) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
        None => text.to_string(),
    }
}

/// Replaces control characters, which could control the terminal, in a text from a plugin or a file.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Wraps a text into lines of at most `width` characters, each after `indent`. Keeps existing line breaks.
pub(super) fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(indent.chars().count()).max(20);
    let mut out = String::new();
    for line in text.lines() {
        let mut used = 0;
        out.push_str(indent);
        for word in plain(line).split(' ').filter(|word| !word.is_empty()) {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                out.push('\n');
                out.push_str(indent);
                used = 0;
            }
            if used > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += length;
        }
        out.push('\n');
    }
    out
}

/// Formats rows of cells into lines. Each column is as wide as its widest cell; columns in `right` are right-aligned.
pub(super) fn table<const N: usize>(rows: &[[String; N]], right: [bool; N]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .zip(right)
            .map(|((cell, width), right)| if right { format!("{cell:>width$}") } else { format!("{cell:width$}") })
            .collect();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// Shortens two long values to the part around their first difference.
pub(super) fn around(old: &str, new: &str) -> (String, String) {
    const BEFORE: usize = 20;
    const SHOWN: usize = 100;
    let (old, new): (Vec<char>, Vec<char>) = (plain(old).chars().collect(), plain(new).chars().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let start = if old.len().max(new.len()) > SHOWN { same.saturating_sub(BEFORE) } else { 0 };
    let cut = |value: &[char]| {
        let middle: String = value.iter().skip(start).take(SHOWN).collect();
        let before = if start > 0 { "…" } else { "" };
        let after = if value.len() > start + SHOWN { "…" } else { "" };
        format!("{before}{middle}{after}")
    };
    (cut(&old), cut(&new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.001, 0.125, 1.0].map(percent), ["0%", "0.1%", "12.5%", "100%"]);
        assert_eq!([9_999_999, 12_345_678, 1_204_551_123].map(compact), ["9,999,999", "12.3M", "1.2G"]);
        assert_eq!([cut("abc", 3), cut("abcd", 3)], ["abc", "ab…"]);
        assert_eq!([None, Some(0.314)].map(micros), ["–", "0.31"]);
        assert_eq!(["0.1", "10%", "0", "100 %"].map(share), [Ok(0.1), Ok(0.1), Ok(0.0), Ok(1.0)]);
        for nonsense in ["", "%", "ten", "1.5", "101%", "-1", "NaN"] {
            assert!(share(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let text = "one two three four five six\nseven \u{1b}[31m";
        assert_eq!(wrapped(text, "  ", 22), "  one two three four\n  five six\n  seven [31m\n");
        assert_eq!(wrapped(text, "", usize::MAX), "one two three four five six\nseven [31m\n");
        // A word longer than a line is not broken, so that it can be copied.
        assert_eq!(wrapped(&"a".repeat(30), "", 20), format!("{}\n", "a".repeat(30)));
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["name".into(), "rows".into()], ["größer".into(), "1".into()], ["x".into(), "10,000".into()]];
        assert_eq!(table(&rows, [false, true]), ["name      rows", "größer       1", "x       10,000"]);
        assert_eq!(table(&[["a".into(), String::new()]], [false, false]), ["a"]);
    }

    #[test]
    fn long_values_are_cut_to_their_difference() {
        assert_eq!(around("1", "2"), ("1".into(), "2".into()));
        let (old, new) = (format!("{}old{}", "a".repeat(300), "b".repeat(300)), format!("{}new", "a".repeat(300)));
        let before = format!("…{}", "a".repeat(20));
        assert_eq!(around(&old, &new), (format!("{before}old{}…", "b".repeat(77)), format!("{before}new")));
    }
}
