//! Checks a file's imports and exports against the contract, with errors that say what to do.

use crate::contract::CONTRACT_VERSION;
use crate::refusal::Refusal;
use crate::wasi;

const GUEST: &str = "rowmill:plugin/guest@";
const PACKAGE: &str = "rowmill:plugin/";

/// Checks a component's imports and exports by name. Returns the first import of WASI.
pub(crate) fn check_component<'a>(
    imports: impl Iterator<Item = &'a str>,
    exports: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, Refusal> {
    let mut wasi_import = None;
    for import in imports {
        if import.starts_with(wasi::WASI) {
            check_wasi_version(import)?;
            wasi_import.get_or_insert(import.to_string());
        } else {
            check_import(import, None)?;
        }
    }
    check_exports(exports)?;
    Ok(wasi_import)
}

fn check_wasi_version(import: &str) -> Result<(), Refusal> {
    match import.split_once('@') {
        Some((_, version)) if version.starts_with("0.2.") => Ok(()),
        _ => Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, but the sandbox supports only WASI 0.2: build it with a toolchain for that version"
            ),
        )),
    }
}

pub(crate) fn refused_wasi(import: &str, name: &str) -> Refusal {
    Refusal::new(
        "imports",
        format!(
            "it imports `{import}`, but there is no WASI in the sandbox: no files, clock, network or environment. A plugin in Rust is built for wasm32-unknown-unknown. If its toolchain always imports WASI, allow it with plugins.wasi = [\"{name}\"]: it then gets a WASI that does nothing"
        ),
    )
}

pub(crate) fn check_import(module: &str, name: Option<&str>) -> Result<(), Refusal> {
    let import = name.map_or(module.to_string(), |name| format!("{module}.{name}"));
    if module.starts_with("wasi") {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, but there is no WASI in the sandbox: no files, clock, network or environment. Build for wasm32-unknown-unknown and avoid std::time, std::fs, std::env and println!; or build a component, for wasm32-wasip2 say, which plugins.wasi can allow"
            ),
        ));
    }
    let Some(rest) = module.strip_prefix(PACKAGE) else {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, which is not part of the contract; a plugin may import only what wit/rowmill-plugin.wit offers"
            ),
        ));
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    if !matches!(interface, "log" | "types") {
        return Err(Refusal::new(
            "imports",
            format!(
                "it imports `{import}`, which contract {CONTRACT_VERSION} does not have; it was built for a newer one"
            ),
        ));
    }
    check_version(version, &import)
}

pub(crate) fn check_exports<'a>(exports: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut guest = None;
    let mut seen = Vec::new();
    for export in exports {
        match export.strip_prefix(GUEST) {
            Some(version) => guest = Some(version),
            None if seen.len() < 5 && !seen.contains(&export) => seen.push(export),
            None => {}
        }
    }
    match guest {
        Some(version) => check_version(version, &format!("{GUEST}{version}")),
        None => Err(Refusal::new(
            "exports",
            format!(
                "it does not export `{GUEST}{CONTRACT_VERSION}` (it exports {}); a Rust plugin does so by `rowmill_sdk::export!(MyPlugin)` in a crate with crate-type = [\"cdylib\"]",
                if seen.is_empty() { "nothing".to_string() } else { seen.join(", ") }
            ),
        )),
    }
}

fn check_version(version: &str, what: &str) -> Result<(), Refusal> {
    let number = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let ours = number(CONTRACT_VERSION).unwrap_or_default();
    match number(version) {
        Some((major, minor)) if major == ours.0 && minor <= ours.1 => Ok(()),
        Some((major, minor)) => Err(Refusal::new(
            "exports",
            format!(
                "built for contract {major}.{minor} (`{what}`), but this host supports {CONTRACT_VERSION}: {}",
                if (major, minor) > ours {
                    "use a newer Rowmill, or an older SDK"
                } else {
                    "build it with the current SDK"
                }
            ),
        )),
        None => Err(Refusal::new("exports", format!("`{what}` does not name a contract version"))),
    }
}
