//! The sink's rules for document ids, routing values and index names, as plain data.

/// Rules for the names in a plugin's answer. The sink that will store the documents sets them.
///
/// The limits are read for every document, so the rules are plain `Copy` data without allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Longest document id, in bytes. The shortest has one byte.
    pub max_id_bytes: usize,
    /// Longest routing value, in bytes. The shortest has one byte.
    pub max_routing_bytes: usize,
    /// Longest index name, in bytes. The shortest has one byte.
    pub max_index_bytes: usize,
    /// Whether index names must not contain upper-case letters.
    pub lower_case_indices: bool,
    /// Characters that an index name must not contain, besides control characters.
    pub forbidden_in_index: &'static [char],
    /// Characters that an index name must not begin with.
    pub forbidden_at_index_start: &'static [char],
    /// Whole names that no index may have.
    pub reserved_indices: &'static [&'static str],
}

impl NameRules {
    /// The strictest rules of all supported sinks, for callers that have no sink: test harnesses and benchmarks. Names
    /// that pass here are accepted by every sink.
    pub const STRICTEST: Self = Self {
        max_id_bytes: 512,
        max_routing_bytes: 512,
        max_index_bytes: 255,
        lower_case_indices: true,
        forbidden_in_index: &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'],
        forbidden_at_index_start: &['-', '_', '+'],
        reserved_indices: &[".", ".."],
    };

    /// Whether a new index can have this name.
    pub fn is_index_name(&self, name: &str) -> bool {
        (1..=self.max_index_bytes).contains(&name.len())
            && !name.starts_with(self.forbidden_at_index_start)
            && !self.reserved_indices.contains(&name)
            && !name.chars().any(|c| {
                c.is_control() || (self.lower_case_indices && c.is_uppercase()) || self.forbidden_in_index.contains(&c)
            })
    }

    /// Whether `pattern`, in which `*` matches any text, can match the name of an index.
    pub fn is_index_pattern(&self, pattern: &str) -> bool {
        self.is_index_name(&pattern.replace('*', "x"))
    }

    /// The default index of a table: its name, in lower case if the rules require that, with `-` for every character
    /// that they forbid.
    pub fn index_of_table(&self, table: &str) -> String {
        let table = if self.lower_case_indices { table.to_lowercase() } else { table.to_string() };
        let allowed = |c: char| self.is_index_name(&format!("x{c}"));
        let name: String = table.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
        if self.is_index_name(&name) { name } else { format!("table-{name}") }
    }
}

impl Default for NameRules {
    /// [`NameRules::STRICTEST`].
    fn default() -> Self {
        Self::STRICTEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_table_replaces_forbidden_characters() {
        let rules = NameRules::default();
        assert_eq!(rules.index_of_table("trade"), "trade");
        assert_eq!(rules.index_of_table("Order Items"), "order-items");
        assert_eq!(rules.index_of_table("_t"), "table-_t");
        let relaxed = NameRules { lower_case_indices: false, forbidden_in_index: &['/'], ..rules };
        assert_eq!(relaxed.index_of_table("Order Items/2"), "Order Items-2");
    }

    #[test]
    fn each_rule_forbids_names() {
        let rules = NameRules::default();
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        for name in ["a", "orders-2026", ".a", longest.as_str()] {
            assert!(rules.is_index_name(name), "{name}");
        }
        for name in ["", ".", "..", "-a", "_a", "+a", "A", "a b", "a\n", "a*", too_long.as_str()] {
            assert!(!rules.is_index_name(name), "{name:?}");
        }
        assert!(rules.is_index_pattern("orders-*") && !rules.is_index_pattern("Orders-*"));
    }
}
