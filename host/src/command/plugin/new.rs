//! `rowmill plugin new`: creates a plugin project that builds without edits.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use rowmill_harness::checkout;

use super::{Language, NewArgs, template};
use crate::command::Usage;
use crate::command::run::print_line;

pub(super) fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.name;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    check_name(&name).map_err(Usage)?;
    if folder.exists() {
        return Err(Usage(format!("{} already exists; choose another name", folder.display())).into());
    }
    let test = match args.language {
        Language::Rust => {
            new_rust(folder, &name)?;
            "cargo test              runs the cases, natively and in the sandbox"
        }
        Language::Js => {
            new_javascript(folder, &name)?;
            "rowmill plugin test     builds the plugin with npm, and runs the cases in the sandbox"
        }
    };
    let folder = folder.display();
    print_line(&format!(
        "created {folder}/, a plugin with a test and a case. Next:\n\n  cd {folder}\n  {test}\n  rowmill plugin build    builds the .wasm file\n  rowmill dev             rebuilds on every save, and shows which documents changed"
    ));
    Ok(ExitCode::SUCCESS)
}

fn new_javascript(folder: &Path, name: &str) -> anyhow::Result<()> {
    // npm requires package names in lower case.
    let package = name.to_ascii_lowercase();
    let sdk = match checkout::find() {
        Some(root) => format!("file:{}", root.join("plugin-sdk/js").display()),
        None => env!("CARGO_PKG_VERSION").to_string(),
    };
    template::write(template::JAVASCRIPT, folder, &[("name", &package), ("sdk", &sdk)])
}

fn new_rust(folder: &Path, name: &str) -> anyhow::Result<()> {
    let root = checkout::find();
    // The SDK of the checkout that this program was built from, or else the published one.
    let source = match &root {
        Some(root) => {
            let path = toml::Value::from(root.join("plugin-sdk").display().to_string());
            format!("path = {path}")
        }
        None => format!("version = {:?}", env!("CARGO_PKG_VERSION")),
    };
    let values = [
        ("name", name),
        ("crate", &name.replace('-', "_")),
        ("type", &type_name(name)),
        ("sdk", &format!("{{ {source} }}")),
        ("sdk_harness", &format!("{{ {source}, features = [\"harness\"] }}")),
    ];
    template::write(template::RUST, folder, &values)?;
    // The dependency versions that the SDK was tested with; cargo removes entries that the plugin does not need.
    if let Some(lock) = root.map(|root| root.join("Cargo.lock")).filter(|lock| lock.is_file()) {
        fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    }
    Ok(())
}

/// Names that a crate cannot have: Rust keywords, and the crates that a plugin uses.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "rowmill_sdk",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Checks that a name is valid for both a crate and a plugin.
fn check_name(name: &str) -> Result<(), String> {
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !fits {
        return Err(format!(
            "{name:?} is not a valid plugin name; use up to 64 letters, digits, `-` and `_`, starting with a letter, for example order-document"
        ));
    }
    if RESERVED.contains(&name.replace('-', "_").as_str()) {
        return Err(format!(
            "{name:?} is not a valid plugin name because it is reserved in Rust; use for example my-{name}"
        ));
    }
    Ok(())
}

/// Converts `order-document` to `OrderDocument`.
fn type_name(name: &str) -> String {
    let mut out = String::new();
    for part in name.split(['-', '_']) {
        let mut letters = part.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["hello", "order-document", "a", "Trade_2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "2fast", "-x", "a b", "ä", "a.b", "fn", "rowmill-sdk", "test", &"x".repeat(65)] {
            assert!(check_name(name).is_err_and(|reason| reason.contains("is not a valid plugin name")), "{name}");
        }
        assert_eq!(type_name("order-document_2"), "OrderDocument2");
    }
}
