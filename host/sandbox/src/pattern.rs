//! Patterns for table and index names.

/// A pattern for names, in which each `*` matches any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_string() }
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no `*`, so that it matches one name.
    pub fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    /// Whether it matches `name`.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.text.split('*');
        let Some(first) = pieces.next() else { return false };
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let pieces: Vec<&str> = pieces.collect();
        let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
        for piece in middle {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// Whether it matches a table: a pattern with a dot is matched against `database.table`, others against the table's name.
    pub fn matches_table(&self, database: &str, table: &str) -> bool {
        if !self.text.contains('.') {
            return self.matches(table);
        }
        if database.is_empty() {
            // The format does not report the database; match the table's part only.
            return Self::new(self.text.rsplit('.').next().unwrap_or_default()).matches(table);
        }
        self.matches(&format!("{database}.{table}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], others: &[&str]) {
        let pattern = Pattern::new(pattern);
        for name in fits {
            assert!(pattern.matches(name), "{pattern:?} should match {name}");
        }
        for name in others {
            assert!(!pattern.matches(name), "{pattern:?} should not match {name}");
        }
    }

    #[test]
    fn stars_match_any_text() {
        check("trade", &["trade"], &["trades", "a-trade", ""]);
        check("*", &["", "x"], &[]);
        check("orders-*", &["orders-", "orders-2026"], &["orders", "xorders-1"]);
        check("*-a-*-b", &["x-a-y-b", "-a--b"], &["x-a-b", "x-a-y-b-c"]);
        check("ab*ba", &["abba", "abxba"], &["aba"]);
    }

    #[test]
    fn patterns_with_a_dot_match_the_database_too() {
        assert!(Pattern::new("trade").matches_table("shop", "trade"));
        assert!(Pattern::new("*.trade").matches_table("shop", "trade"));
        assert!(Pattern::new("shop.*").matches_table("shop", "trade"));
        assert!(!Pattern::new("other.*").matches_table("shop", "trade"));
        assert!(Pattern::new("shop.trade").matches_table("", "trade"));
    }
}
