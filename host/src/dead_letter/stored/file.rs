//! Reads the letters of a file and of its rotated predecessors.

use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use anyhow::Context;
use rowmill_rows::capture::{CaptureErrorKind, Captures};

use super::StoredLetter;
use crate::dead_letter::letter_file::{open_to_read, rotated};

/// Passes on the letters that the files have now; returns false once `each` does. A file that does not exist is an error
/// unless `may_be_missing`.
pub(super) fn read(
    path: &Path,
    may_be_missing: bool,
    each: &mut impl FnMut(StoredLetter) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files: Vec<_> = match folder.is_dir() {
        true => rotated(path)?.into_iter().map(|(_, path)| path).collect(),
        false => Vec::new(),
    };
    let may_be_missing = may_be_missing || !files.is_empty();
    files.push(path.into());
    for file in files {
        match read_one(&file, each) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if may_be_missing && is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn read_one(path: &Path, each: &mut impl FnMut(StoredLetter) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let context = || format!("cannot read the dead letters in {}", path.display());
    let file = open_to_read(path).with_context(context)?;
    // A gateway may be appending: what comes later belongs to the next call.
    let length = file.metadata().with_context(context)?.len();
    let mut others = 0_u64;
    let mut captures = Captures::new(BufReader::with_capacity(1 << 20, file.take(length)), "file");
    while let Some(record) = captures.next() {
        let line = captures.line();
        match record {
            Ok(record) if record.error.is_empty() => others += 1,
            Ok(record) => {
                if !each(StoredLetter::new(record, format!("{}:{line}", path.display())))? {
                    return Ok(false);
                }
            }
            Err(error) => match error.kind {
                CaptureErrorKind::Io(error) => return Err(error).with_context(context),
                kind => tracing::warn!(path = %path.display(), line, "a damaged dead letter is skipped: {kind}"),
            },
        }
    }
    if others > 0 {
        tracing::warn!(path = %path.display(), lines = others, "lines that are no dead letters are skipped");
    }
    Ok(true)
}
