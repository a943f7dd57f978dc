//! Names with `*` in them.

/// A pattern for names, in which each `*` stands for any text.
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

    /// Whether no `*` is in it.
    pub fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }

    /// Whether `name` fits.
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

    /// Whether a table fits: `database.table` against a pattern with a point, else the table's name alone.
    pub fn matches_table(&self, database: &str, table: &str) -> bool {
        if !self.text.contains('.') {
            return self.matches(table);
        }
        if database.is_empty() {
            // The format does not tell the database: the table's part decides.
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
    fn stars_stand_for_any_text() {
        check("trade", &["trade"], &["trades", "a-trade", ""]);
        check("*", &["", "x"], &[]);
        check("orders-*", &["orders-", "orders-2026"], &["orders", "xorders-1"]);
        check("*-a-*-b", &["x-a-y-b", "-a--b"], &["x-a-b", "x-a-y-b-c"]);
        check("ab*ba", &["abba", "abxba"], &["aba"]);
    }

    #[test]
    fn a_table_is_matched_with_its_database_only_where_the_pattern_has_one() {
        assert!(Pattern::new("trade").matches_table("shop", "trade"));
        assert!(Pattern::new("*.trade").matches_table("shop", "trade"));
        assert!(Pattern::new("shop.*").matches_table("shop", "trade"));
        assert!(!Pattern::new("other.*").matches_table("shop", "trade"));
        assert!(Pattern::new("shop.trade").matches_table("", "trade"));
    }
}
