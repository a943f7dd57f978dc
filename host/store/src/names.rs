//! The rules for index names, and wildcards in names.

use crate::error::EsError;

/// Refuses the index names that Elasticsearch refuses.
pub(crate) fn check_index_name(name: &str) -> Result<(), EsError> {
    let problem = if name.contains([' ', '"', '*', ',', '/', '<', '>', '?', '\\', '|', '#', ':']) {
        "must not contain spaces or any of \" * , / < > ? \\ | # :"
    } else if name.is_empty() {
        "must not be empty"
    } else if name.starts_with(['_', '-', '+']) {
        "must not start with '_', '-', or '+'"
    } else if name.len() > 255 {
        "must not be longer than 255 bytes"
    } else if name == "." || name == ".." {
        "must not be '.' or '..'"
    } else if name.to_lowercase() != name {
        "must be lowercase"
    } else {
        return Ok(());
    };
    Err(invalid_index_name(name, problem))
}

/// `invalid_index_name_exception`, status 400.
pub(crate) fn invalid_index_name(name: &str, problem: &str) -> EsError {
    EsError::new(400, "invalid_index_name_exception", format!("Invalid index name [{name}], {problem}"))
}

/// Returns true if `name` matches `pattern`, in which each `*` stands for any number of characters.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, matches) in [
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
            assert_eq!(wildcard_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}
