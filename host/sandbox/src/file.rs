//! The kind of a WebAssembly file, read from its first bytes.

use crate::refusal::Refusal;

/// What sort of file a plugin came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A core module; the component was made of it in process.
    CoreModule,
    /// A component.
    Component,
}

pub(crate) fn file_kind(bytes: &[u8]) -> Result<FileKind, Refusal> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(FileKind::CoreModule),
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(FileKind::Component),
        Some([0, b'a', b's', b'm', ..]) => {
            Err(Refusal::new("format", "a WebAssembly file of a version that this host does not know"))
        }
        _ if bytes.is_empty() => Err(Refusal::new("format", "the file is empty")),
        _ => Err(Refusal::new("format", "not a WebAssembly file: it does not begin with \\0asm")),
    }
}
