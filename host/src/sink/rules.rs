//! Each sink's rules for document ids and index names.

use rowmill_sandbox::NameRules;

/// The rules of Elasticsearch, and so of the embedded store.
pub const fn elasticsearch() -> NameRules {
    NameRules {
        max_id_bytes: 512,
        max_routing_bytes: 512,
        max_index_bytes: 255,
        lower_case_indices: true,
        forbidden_in_index: &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'],
        forbidden_at_index_start: &['-', '_', '+'],
        reserved_indices: &[".", ".."],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Harnesses check against the default rules; what passes there must pass in the gateway.
    #[test]
    fn default_rules_are_as_strict_as_elasticsearch() {
        assert_eq!(NameRules::default(), elasticsearch());
    }
}
