//! The kind of a WebAssembly file, read from its first bytes.

use crate::refusal::Refusal;

/// The kind of file that a plugin was loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A core module, which is converted to a component when it is loaded.
    CoreModule,
    /// A component.
    Component,
}

pub(crate) fn file_kind(bytes: &[u8]) -> Result<FileKind, Refusal> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(FileKind::CoreModule),
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(FileKind::Component),
        Some([0, b'a', b's', b'm', ..]) => Err(Refusal::new("format", "a WebAssembly file of an unsupported version")),
        _ if bytes.is_empty() => Err(Refusal::new("format", "the file is empty")),
        _ => Err(Refusal::new("format", "not a WebAssembly file: it does not begin with \\0asm")),
    }
}
