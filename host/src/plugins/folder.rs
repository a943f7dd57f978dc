//! Scans the plugin folder and reports files whose content has settled.
//!
//! A file is reported when two reads, [`SETTLE`] apart, returned the same bytes. Exactly those bytes are hashed and passed
//! on; nothing reads the file again. A file that disappeared, or a dangling link, is reported after [`GRACE`]. If the folder
//! itself cannot be read, its files count as unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// The time between the two reads that must return the same bytes.
pub const SETTLE: Duration = Duration::from_millis(300);
/// How long a file may be missing before it counts as removed. Editors and deployments often delete and recreate files.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long a file must be unchanged before it is read: it may still be written to.
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// How long a file may keep changing before a warning is logged.
const WARN_AFTER: Duration = Duration::from_secs(10);
/// A file is read again after this many scans even if its times and size are unchanged.
const REREAD_AFTER_SCANS: u32 = 15;
/// The largest signature file, in bytes.
const MAX_SIGNATURE: usize = 4 << 10;

/// The plugin folder and its files as last seen.
pub struct Folder {
    dir: PathBuf,
    max_bytes: usize,
    entries: BTreeMap<PathBuf, Entry>,
    is_unreadable: bool,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Scan {
    /// The changes, by path.
    pub changes: Vec<FileChange>,
    /// Scan again after this time, even without an event.
    pub again: Option<Duration>,
    /// A warning for the operator; returned once when the problem begins.
    pub warning: Option<String>,
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It is new, or its bytes or signature changed.
    Put(PluginFile),
    /// It was removed.
    Gone(PathBuf),
    /// It cannot be read. Its plugin keeps running with the previous bytes.
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A file and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFile {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Their SHA-256, in lower-case hexadecimal.
    pub hash: String,
    /// The content of `NAME.wasm.sig` beside it; ignored if larger than 4 KiB.
    pub signature: Option<Vec<u8>>,
}

#[derive(Default)]
struct Entry {
    /// What was reported last.
    known: Option<Known>,
    /// A change that has not settled.
    pending: Option<Pending>,
    missing_since: Option<Instant>,
    /// Scans since it was last read.
    scans: u32,
}

struct Known {
    stamp: Stamp,
    content: Content,
}

struct Pending {
    stamp: Stamp,
    began: Instant,
    changed: Instant,
    read: Option<(Instant, Content)>,
    is_warned: bool,
}

/// Metadata of the file and of its signature, which shows that either may have changed without reading them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(Option<FileStamp>, Option<FileStamp>);

/// Device, inode, size, and the times of the last change of data and of metadata in nanoseconds.
type FileStamp = (u64, u64, u64, i128, i128);

/// The content of a file, as compared between two reads.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    File { hash: String, signature: Option<Vec<u8>> },
    Refused(String),
}

impl Folder {
    /// A folder that is not scanned yet. Files larger than `max_bytes` bytes are refused.
    pub fn new(dir: PathBuf, max_bytes: usize) -> Self {
        Self { dir, max_bytes, entries: BTreeMap::new(), is_unreadable: false }
    }

    /// Reads all files at start, without waiting for them to settle.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn initial_scan(&mut self) -> anyhow::Result<Vec<FileChange>> {
        let dir = self.dir.display();
        let paths = list(&self.dir).with_context(|| {
            format!("cannot read the plugin folder {dir}; create it, or set plugins.dir to another folder")
        })?;
        let mut changes = Vec::new();
        for path in paths {
            let stamp = stamp(&path);
            let (content, change) = self.read(&path);
            changes.push(change);
            let known = Some(Known { stamp, content });
            self.entries.insert(path, Entry { known, ..Entry::default() });
        }
        Ok(changes)
    }

    /// Returns what changed since the previous scan.
    pub fn scan(&mut self, now: Instant) -> Scan {
        let mut scan = Scan::default();
        let present = match list(&self.dir) {
            Ok(present) => present,
            Err(error) => {
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    scan.warning = Some(format!(
                        "cannot read the plugin folder {} ({error}); the running plugins keep running",
                        self.dir.display()
                    ));
                }
                for entry in self.entries.values_mut() {
                    (entry.missing_since, entry.pending) = (None, None);
                }
                return scan;
            }
        };
        self.is_unreadable = false;
        let mut entries = std::mem::take(&mut self.entries);
        for path in &present {
            let entry = entries.entry(path.clone()).or_default();
            entry.missing_since = None;
            self.scan_file(path, entry, now, &mut scan);
        }
        entries.retain(|path, entry| present.contains(path) || is_kept(path, entry, now, &mut scan));
        self.entries = entries;
        scan
    }

    fn scan_file(&self, path: &Path, entry: &mut Entry, now: Instant, scan: &mut Scan) {
        let stamp = stamp(path);
        if entry.pending.is_none() {
            entry.scans += 1;
            if entry.known.as_ref().is_some_and(|known| known.stamp == stamp) && entry.scans < REREAD_AFTER_SCANS {
                return;
            }
            entry.scans = 0;
            let (content, _) = self.read(path);
            if let Some(known) = entry.known.as_mut().filter(|known| known.content == content) {
                known.stamp = stamp;
                return;
            }
            entry.pending =
                Some(Pending { stamp, began: now, changed: now, read: Some((now, content)), is_warned: false });
        }
        let Some(pending) = &mut entry.pending else { return };
        if pending.stamp != stamp {
            (pending.stamp, pending.changed, pending.read) = (stamp, now, None);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let again = match &pending.read {
            None if since(pending.changed) < WRITE_PAUSE => WRITE_PAUSE - since(pending.changed),
            None => {
                pending.read = Some((now, self.read(path).0));
                SETTLE
            }
            Some((at, before)) => {
                let settle = if *before == dangling_link() { GRACE } else { SETTLE };
                if since(*at) < settle {
                    settle - since(*at)
                } else {
                    let (content, change) = self.read(path);
                    if content == *before {
                        let is_known = entry.known.as_ref().is_some_and(|known| known.content == content);
                        if !is_known {
                            scan.changes.push(change);
                        }
                        entry.known = Some(Known { stamp, content });
                        entry.pending = None;
                        return;
                    }
                    pending.read = Some((now, content));
                    SETTLE
                }
            }
        };
        if since(pending.began) >= WARN_AFTER && !std::mem::replace(&mut pending.is_warned, true) {
            scan.warn(format!(
                "{} has been changing for {} s and is not loaded until it settles; write to another file name and rename the file",
                path.display(),
                since(pending.began).as_secs()
            ));
        }
        scan.repeat_after(again);
    }

    /// Reads a file once. Returns its content for comparison, and the change to report.
    fn read(&self, path: &Path) -> (Content, FileChange) {
        let refused =
            |reason: String| (Content::Refused(reason.clone()), FileChange::Refused { path: path.into(), reason });
        let bytes = match read_regular(path, self.max_bytes) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return refused(format!(
                    "it is larger than {} bytes; make it smaller, or raise limits.plugin_file",
                    self.max_bytes
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (dangling_link(), FileChange::Refused { path: path.into(), reason: DANGLING_LINK.into() });
            }
            Err(error) => {
                return refused(format!("it cannot be read: {error}; replace it with a readable regular file"));
            }
        };
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        // An unreadable signature counts as missing: the file is refused if a signature is required.
        let signature = read_regular(&signature_path(path), MAX_SIGNATURE).ok().flatten();
        let content = Content::File { hash: hash.clone(), signature: signature.clone() };
        (content, FileChange::Put(PluginFile { path: path.into(), bytes: bytes.into(), hash, signature }))
    }
}

const DANGLING_LINK: &str = "it is a dangling link; point it to a file, or remove it";

fn dangling_link() -> Content {
    Content::Refused(DANGLING_LINK.into())
}

/// Decides whether the entry of a missing file is kept. If not, reports the file as gone.
fn is_kept(path: &Path, entry: &mut Entry, now: Instant, scan: &mut Scan) -> bool {
    entry.pending = None;
    if entry.known.is_none() {
        return false;
    }
    let gone = now.saturating_duration_since(*entry.missing_since.get_or_insert(now));
    if gone < GRACE {
        scan.repeat_after(GRACE - gone);
        return true;
    }
    scan.changes.push(FileChange::Gone(path.into()));
    false
}

impl Scan {
    fn repeat_after(&mut self, time: Duration) {
        self.again = Some(self.again.map_or(time, |other| other.min(time)));
    }

    fn warn(&mut self, warning: String) {
        match &mut self.warning {
            Some(warnings) => *warnings += &format!("; {warning}"),
            none => *none = Some(warning),
        }
    }
}

/// The names of all plugin files, whatever kind of file they are.
fn list(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = dir.join(entry?.file_name());
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "wasm") && !is_hidden {
            paths.insert(path);
        }
    }
    Ok(paths)
}

fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn stamp(path: &Path) -> Stamp {
    let of = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let data = nanoseconds(found.mtime(), found.mtime_nsec());
        Some((found.dev(), found.ino(), found.size(), data, nanoseconds(found.ctime(), found.ctime_nsec())))
    };
    Stamp(of(path), of(&signature_path(path)))
}

/// The bytes of a regular file; `None` if it is larger than `max`. Never blocks. Other files are not even opened, since
/// opening a FIFO wakes its writer; one that replaces the file meanwhile is opened without blocking.
pub(crate) fn read_regular(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    check_is_regular(&fs::metadata(path)?)?;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    check_is_regular(&found)?;
    if found.len() > max as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then_some(bytes))
}

fn check_is_regular(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {kind}, not a regular file")))
}

#[cfg(test)]
mod tests;
