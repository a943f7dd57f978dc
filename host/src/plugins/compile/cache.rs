//! Compiled code that is kept: a file for each engine and plugin, in a private folder, checked before it is trusted.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::ensure;
use sha2::{Digest, Sha256};

use crate::plugins::private::PrivateFolder;

/// What a file begins with; its number changes with what follows.
const MAGIC: &[u8; 16] = b"rowmill code 1\r\n";
/// The hash of the code, as bytes.
const DIGEST: usize = 32;
/// So many files are kept.
const MAX_FILES: usize = 64;
/// So many bytes.
const MAX_BYTES: u64 = 512 << 20;

/// The compiled code that is kept.
pub(super) struct Cache {
    folder: PrivateFolder,
}

impl Cache {
    /// What is kept in this folder.
    pub(super) fn new(folder: PrivateFolder) -> Self {
        Self { folder }
    }

    /// The code of the file with this hash for this engine, if it is kept and whole. What is not is told once and
    /// overwritten by what is compiled next.
    pub(super) fn get(&self, engine_id: &str, hash: &str) -> Option<Vec<u8>> {
        let name = name(engine_id, hash);
        let checked = |entry: Vec<u8>| code(entry, engine_id, hash);
        match self.folder.read(&name).and_then(|entry| entry.map(checked).transpose()) {
            Ok(None) => None,
            Ok(Some(code)) => {
                // The time tells which was used longest ago. It is no harm if it cannot be set.
                let used = File::options().append(true).open(self.folder.path().join(&name));
                let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
                Some(code)
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(file = name, %reason, "the compiled code that was kept is not used; it is compiled anew");
                // What others own or could have written is replaced, not written into.
                let _ = self.folder.remove(&name);
                None
            }
        }
    }

    /// Keeps code, and drops what was used longest ago where there is too much. That it cannot be kept is told, and
    /// costs a compilation later.
    pub(super) fn put(&self, engine_id: &str, hash: &str, code: &[u8]) {
        let entry = [&header(engine_id, hash)[..], &Sha256::digest(code), code].concat();
        if let Err(error) = self.folder.write(&name(engine_id, hash), &entry) {
            let reason = format!("{error:#}");
            tracing::warn!(%reason, "compiled code cannot be kept; the next start compiles this plugin again");
        }
        self.shrink(MAX_FILES, MAX_BYTES);
    }

    /// Removes files, those used longest ago first, until there are no more than so many of so many bytes together. Halves
    /// of files that a crash left count as files.
    fn shrink(&self, most_files: usize, most_bytes: u64) {
        let entries = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| Some((entry.metadata().ok().filter(fs::Metadata::is_file)?, entry.path())))
            .map(|(about, path)| (about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path))
            .collect();
        files.sort();
        let mut n_files = files.len();
        let mut n_bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        // The newest stays whatever its size: it was just written.
        for (_, bytes, path) in files.iter().take(files.len().saturating_sub(1)) {
            if n_files <= most_files && n_bytes <= most_bytes {
                break;
            }
            if fs::remove_file(path).is_ok() {
                n_files -= 1;
                n_bytes -= bytes;
            }
        }
    }
}

fn name(engine_id: &str, hash: &str) -> String {
    format!("{engine_id}-{hash}")
}

fn header(engine_id: &str, hash: &str) -> Vec<u8> {
    [&MAGIC[..], engine_id.as_bytes(), hash.as_bytes()].concat()
}

/// The code of a kept file, if it is what its header says.
fn code(mut entry: Vec<u8>, engine_id: &str, hash: &str) -> anyhow::Result<Vec<u8>> {
    let header = header(engine_id, hash);
    ensure!(entry.starts_with(&header), "it is of another engine, of another plugin, or no compiled code");
    let rest = &entry[header.len()..];
    ensure!(rest.len() > DIGEST, "it is cut off");
    let (digest, code) = rest.split_at(DIGEST);
    ensure!(*digest == *Sha256::digest(code), "its bytes were changed");
    entry.drain(..header.len() + DIGEST);
    Ok(entry)
}

#[cfg(test)]
mod tests;
