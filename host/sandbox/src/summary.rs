//! Summary of a WebAssembly file without compiling it: imports, exports and contract version.

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use crate::file::FileKind;

/// The imports, exports and contract version of a WebAssembly file, whether or not it is a valid plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// A core module or a component.
    pub kind: FileKind,
    /// Its imports, sorted and without duplicates.
    pub imports: Vec<String>,
    /// Its exports, in the file's order.
    pub exports: Vec<String>,
    /// The contract version that it was built for; `None` if it does not export the contract's `guest`.
    pub contract: Option<String>,
}

impl FileSummary {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// The bytes are not WebAssembly; the message says why.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let broken = |error: BinaryReaderError| format!("broken WebAssembly: {error}");
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let (mut kind, mut depth) = (None, 0_usize);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::Version { encoding, .. } if kind.is_none() => {
                    kind = Some(match encoding {
                        Encoding::Module => FileKind::CoreModule,
                        Encoding::Component => FileKind::Component,
                    });
                }
                // Skip the modules and components inside of a component.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(section) if depth == 0 => {
                    for import in section.into_imports() {
                        let import = import.map_err(broken)?;
                        imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.push(export.map_err(broken)?.name.to_string());
                    }
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        imports.push(import.map_err(broken)?.name.name.to_string());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.push(export.map_err(broken)?.name.name.to_string());
                    }
                }
                _ => {}
            }
        }
        imports.sort();
        imports.dedup();
        let version = |name: &String| {
            let version = name.strip_prefix("rowmill:plugin/guest@")?;
            Some(version.split('#').next().unwrap_or(version).to_string())
        };
        let kind = kind.ok_or("not a WebAssembly file")?;
        Ok(Self { kind, imports, contract: exports.iter().find_map(version), exports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_modules_and_components_without_inner_imports() {
        let module = wat::parse_str(
            r#"(module (import "rowmill:plugin/log@1.0.0" "log" (func (param i32 i32 i32)))
                (func (export "rowmill:plugin/guest@1.2.0#describe")))"#,
        )
        .unwrap();
        let summary = FileSummary::read(&module).unwrap();
        assert_eq!(summary.kind, FileKind::CoreModule);
        assert_eq!(summary.imports, ["rowmill:plugin/log@1.0.0.log"]);
        assert_eq!(summary.contract.as_deref(), Some("1.2.0"));

        let component = wat::parse_str(
            r#"(component (import "wasi:io/poll@0.2.0" (instance)) (core module (import "x" "y" (func))))"#,
        );
        let summary = FileSummary::read(&component.unwrap()).unwrap();
        assert_eq!((summary.kind, summary.contract), (FileKind::Component, None));
        assert_eq!(summary.imports, ["wasi:io/poll@0.2.0"]);

        assert!(FileSummary::read(b"<html>").is_err());
    }
}
