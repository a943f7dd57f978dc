//! The cache of compiled code: one file per engine and plugin in a private folder, verified before it is used.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::ensure;
use sha2::{Digest, Sha256};

use crate::plugins::private::PrivateFolder;

/// The start of each file; the number is the version of the format.
const MAGIC: &[u8; 16] = b"rowmill code 1\r\n";
/// The length of the code's hash, in bytes.
const DIGEST_BYTES: usize = 32;
/// The largest number of files.
const MAX_FILES: usize = 64;
/// The largest total size, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// The cache of compiled code.
pub(super) struct Cache {
    folder: PrivateFolder,
}

impl Cache {
    /// The cache in this folder.
    pub(super) fn new(folder: PrivateFolder) -> Self {
        Self { folder }
    }

    /// The code of the plugin with this hash for this engine, if the cache has it. A broken entry is logged and removed.
    pub(super) fn get(&self, engine_id: &str, hash: &str) -> Option<Vec<u8>> {
        let name = name(engine_id, hash);
        let checked = |entry: Vec<u8>| code(entry, engine_id, hash);
        match self.folder.read(&name).and_then(|entry| entry.map(checked).transpose()) {
            Ok(None) => None,
            Ok(Some(code)) => {
                // The time of last use, for eviction. Failing to set it does no harm.
                let used = File::options().append(true).open(self.folder.path().join(&name));
                let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
                Some(code)
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(file = name, %reason, "a file of the code cache is not used; compiling the plugin again");
                // Replace a file that others own or could have written; do not write into it.
                let _ = self.folder.remove(&name);
                None
            }
        }
    }

    /// Adds code to the cache, and evicts the least recently used files if it grows too large. A failure is only logged: the
    /// next start compiles again.
    pub(super) fn put(&self, engine_id: &str, hash: &str, code: &[u8]) {
        let entry = [&header(engine_id, hash)[..], &Sha256::digest(code), code].concat();
        if let Err(error) = self.folder.write(&name(engine_id, hash), &entry) {
            let reason = format!("{error:#}");
            tracing::warn!(%reason, "cannot cache compiled code; the next start compiles this plugin again");
        }
        self.shrink(MAX_FILES, MAX_BYTES);
    }

    /// Removes the least recently used files until at most `max_files` with at most `max_bytes` remain. Partial files left by
    /// a crash count as files.
    fn shrink(&self, max_files: usize, max_bytes: u64) {
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
            if n_files <= max_files && n_bytes <= max_bytes {
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

/// The code in a cache file, if its header and hash match.
fn code(mut entry: Vec<u8>, engine_id: &str, hash: &str) -> anyhow::Result<Vec<u8>> {
    let header = header(engine_id, hash);
    ensure!(entry.starts_with(&header), "it is for another engine or plugin, or is not compiled code");
    let rest = &entry[header.len()..];
    ensure!(rest.len() > DIGEST_BYTES, "it is truncated");
    let (digest, code) = rest.split_at(DIGEST_BYTES);
    ensure!(*digest == *Sha256::digest(code), "its bytes were modified");
    entry.drain(..header.len() + DIGEST_BYTES);
    Ok(entry)
}

#[cfg(test)]
mod tests;
