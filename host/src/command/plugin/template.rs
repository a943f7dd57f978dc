//! The embedded template files of a new plugin, with `{{name}}` placeholders.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// A template: paths and texts, both with `{{name}}` placeholders.
pub(super) type Template = &'static [(&'static str, &'static str)];

/// A plugin in Rust.
pub(super) const RUST: Template = &[
    ("Cargo.toml", include_str!("../../../templates/rust/Cargo.toml")),
    ("src/lib.rs", include_str!("../../../templates/rust/src/lib.rs")),
    ("tests/cases.rs", include_str!("../../../templates/rust/tests/cases.rs")),
    ("cases/first/input.ndjson", include_str!("../../../templates/rust/cases/first/input.ndjson")),
    ("cases/first/expected.ndjson", include_str!("../../../templates/rust/cases/first/expected.ndjson")),
    ("README.md", include_str!("../../../templates/rust/README.md")),
    (".gitignore", include_str!("../../../templates/rust/gitignore")),
];

/// A plugin in JavaScript.
pub(super) const JAVASCRIPT: Template = &[
    ("package.json", include_str!("../../../templates/js/package.json")),
    (".npmrc", include_str!("../../../templates/js/npmrc")),
    ("jsconfig.json", include_str!("../../../templates/js/jsconfig.json")),
    ("plugin.js", include_str!("../../../templates/js/plugin.js")),
    ("plugin.test.js", include_str!("../../../templates/js/plugin.test.js")),
    ("cases/first/input.ndjson", include_str!("../../../templates/js/cases/first/input.ndjson")),
    ("cases/first/expected.ndjson", include_str!("../../../templates/js/cases/first/expected.ndjson")),
    ("README.md", include_str!("../../../templates/js/README.md")),
    (".gitignore", include_str!("../../../templates/js/gitignore")),
];

/// Creates a folder and writes a template's files into it.
pub(super) fn write(template: Template, folder: &Path, values: &[(&str, &str)]) -> anyhow::Result<()> {
    for (path, text) in template {
        let path = folder.join(fill(path, values));
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot create the folder {}", parent.display()))?;
        fs::write(&path, fill(text, values)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_string(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_has_a_value() {
        let values = [("name", "x"), ("crate", "x"), ("type", "X"), ("sdk", "{}"), ("sdk_harness", "{}")];
        for (path, text) in RUST.iter().chain(JAVASCRIPT) {
            let filled = fill(text, &values);
            // Rust's format strings also contain `{{`, but never before a lower-case letter.
            let left =
                filled.match_indices("{{").find(|(at, _)| filled[at + 2..].starts_with(|c: char| c.is_lowercase()));
            assert_eq!(left.map(|(at, _)| filled[at..].lines().next().unwrap_or_default()), None, "{path}");
        }
    }
}
