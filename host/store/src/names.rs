//! The rules for names: of indices, and the wildcards that stand for them.

use crate::error::EsError;

const FORBIDDEN: [char; 10] = [' ', '"', '*', ',', '/', '<', '>', '?', '\\', '|'];

/// Refuses what Elasticsearch refuses as the name of an index.
pub(crate) fn check_index_name(name: &str) -> Result<(), EsError> {
    let complaint = if name.contains(FORBIDDEN) {
        let quoted: Vec<String> = FORBIDDEN.iter().map(|forbidden| format!("'{forbidden}'")).collect();
        format!("must not contain the following characters [{}]", quoted.join(","))
    } else if name.is_empty() {
        "must not be empty".into()
    } else if name.contains('#') {
        "must not contain '#'".into()
    } else if name.contains(':') {
        "must not contain ':'".into()
    } else if name.starts_with(['_', '-', '+']) {
        "must not start with '_', '-', or '+'".into()
    } else if name.len() > 255 {
        format!("index name is too long, ({} > 255)", name.len())
    } else if name == "." || name == ".." {
        "must not be '.' or '..'".into()
    } else if name.to_lowercase() != name {
        "must be lowercase".into()
    } else {
        return Ok(());
    };
    Err(invalid_index_name(name, &complaint))
}

/// `invalid_index_name_exception` with this complaint.
pub(crate) fn invalid_index_name(name: &str, complaint: &str) -> EsError {
    EsError::new(400, "invalid_index_name_exception", format!("Invalid index name [{name}], {complaint}"))
        .with("index_uuid", "_na_")
        .with("index", name)
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
pub(crate) fn wildcard_matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(position) => rest = &rest[position + part.len()..],
            None => return false,
        }
    }
    true
}

/// Whether some name could fit both patterns.
pub(crate) fn patterns_overlap(one: &str, other: &str) -> bool {
    fn overlap(one: &[char], other: &[char]) -> bool {
        match (one, other) {
            ([], rest) | (rest, []) => rest.iter().all(|character| *character == '*'),
            (['*', one_rest @ ..], _) => overlap(one_rest, other) || overlap(one, &other[1..]),
            (_, ['*', other_rest @ ..]) => overlap(one, other_rest) || overlap(&one[1..], other),
            ([one_first, one_rest @ ..], [other_first, other_rest @ ..]) => {
                one_first == other_first && overlap(one_rest, other_rest)
            }
        }
    }
    // Patterns are short; the cap keeps a hostile one from costing exponential time.
    let one: Vec<char> = one.chars().take(64).collect();
    let other: Vec<char> = other.chars().take(64).collect();
    let stars = |pattern: &[char]| pattern.iter().filter(|character| **character == '*').count();
    match stars(&one) + stars(&other) > 8 {
        true => false,
        false => overlap(&one, &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(wildcard_matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn overlapping_patterns() {
        assert!(patterns_overlap("s-tem*", "s-tempo*"));
        assert!(patterns_overlap("*b", "a*"));
        assert!(!patterns_overlap("a*", "b*"));
        assert!(!patterns_overlap("a", "ab"));
    }
}
