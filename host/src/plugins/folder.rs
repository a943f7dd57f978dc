//! What lies in the folder of plugins, once it is settled.
//!
//! A file is handed on when two readings, [`SETTLE`] apart, found the same bytes, and those bytes are what is hashed and
//! handed on: nothing reads it again. A file that is gone, and a link that leads nowhere, has [`GRACE`] to come back. A
//! folder that is away says nothing about its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// How far apart the two readings are that must find the same bytes.
pub const SETTLE: Duration = Duration::from_millis(300);
/// How long a file may be away: an editor deletes and creates, and so does who makes the folder again.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long a file that was seen to change is not read for: it is being written.
const CALM: Duration = Duration::from_millis(100);
/// How long a file may change until that is said.
const RESTLESS: Duration = Duration::from_secs(10);
/// A file is read again after so many looks, though its times and size are as they were.
const LOOKS: u32 = 15;
/// Bytes of a signature file.
const MAX_SIGNATURE: usize = 4 << 10;

/// The folder of plugins, as far as it was seen.
pub struct Folder {
    dir: PathBuf,
    max_bytes: usize,
    entries: BTreeMap<PathBuf, Entry>,
    is_away: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Look {
    /// What changed, by path.
    pub changes: Vec<FileChange>,
    /// Look again after this, though nothing happens.
    pub again: Option<Duration>,
    /// What a person should know; said once, when it begins.
    pub trouble: Option<String>,
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It is new, or its bytes or its signature are others.
    Put(PluginFile),
    /// It is no longer there.
    Gone(PathBuf),
    /// It cannot be taken. What it was before counts as it did.
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// A file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFile {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Their SHA-256, in lower-case hexadecimal.
    pub hash: String,
    /// What lies in `NAME.wasm.sig` beside it; one of more than 4 KiB is none.
    pub signature: Option<Vec<u8>>,
}

#[derive(Default)]
struct Entry {
    /// What was handed on last.
    known: Option<Known>,
    /// What is not settled.
    pending: Option<Pending>,
    missing_since: Option<Instant>,
    /// Looks since it was read.
    looks: u32,
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
    is_told: bool,
}

/// What tells that a file may have changed without reading it: of the file and of its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(Option<FileStamp>, Option<FileStamp>);

/// Device, inode, size, and the times of the last change of data and of metadata in nanoseconds.
type FileStamp = (u64, u64, u64, i128, i128);

/// What two readings are compared by.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    File { hash: String, signature: Option<Vec<u8>> },
    Refused(String),
}

impl Folder {
    /// A folder of which nothing was seen. Files of more than `max_bytes` bytes are refused.
    pub fn new(dir: PathBuf, max_bytes: usize) -> Self {
        Self { dir, max_bytes, entries: BTreeMap::new(), is_away: false }
    }

    /// At start: what lies there is taken as it is.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn first_look(&mut self) -> anyhow::Result<Vec<FileChange>> {
        let dir = self.dir.display();
        let paths = list(&self.dir).with_context(|| {
            format!("cannot read the plugin folder {dir}; create the folder, or set plugins.dir to another one")
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

    /// What changed since the look before.
    pub fn look(&mut self, now: Instant) -> Look {
        let mut look = Look::default();
        let present = match list(&self.dir) {
            Ok(present) => present,
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    look.trouble = Some(format!(
                        "the plugin folder {} cannot be read ({error}): the running plugins stay until it is back",
                        self.dir.display()
                    ));
                }
                for entry in self.entries.values_mut() {
                    (entry.missing_since, entry.pending) = (None, None);
                }
                return look;
            }
        };
        self.is_away = false;
        let mut entries = std::mem::take(&mut self.entries);
        for path in &present {
            let entry = entries.entry(path.clone()).or_default();
            entry.missing_since = None;
            self.look_at(path, entry, now, &mut look);
        }
        entries.retain(|path, entry| present.contains(path) || is_kept(path, entry, now, &mut look));
        self.entries = entries;
        look
    }

    fn look_at(&self, path: &Path, entry: &mut Entry, now: Instant, look: &mut Look) {
        let stamp = stamp(path);
        if entry.pending.is_none() {
            entry.looks += 1;
            if entry.known.as_ref().is_some_and(|known| known.stamp == stamp) && entry.looks < LOOKS {
                return;
            }
            entry.looks = 0;
            let (content, _) = self.read(path);
            if let Some(known) = entry.known.as_mut().filter(|known| known.content == content) {
                known.stamp = stamp;
                return;
            }
            entry.pending =
                Some(Pending { stamp, began: now, changed: now, read: Some((now, content)), is_told: false });
        }
        let Some(pending) = &mut entry.pending else { return };
        if pending.stamp != stamp {
            (pending.stamp, pending.changed, pending.read) = (stamp, now, None);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        let again = match &pending.read {
            None if since(pending.changed) < CALM => CALM - since(pending.changed),
            None => {
                pending.read = Some((now, self.read(path).0));
                SETTLE
            }
            Some((at, before)) => {
                let settle = if *before == nowhere() { GRACE } else { SETTLE };
                if since(*at) < settle {
                    settle - since(*at)
                } else {
                    let (content, change) = self.read(path);
                    if content == *before {
                        let is_known = entry.known.as_ref().is_some_and(|known| known.content == content);
                        if !is_known {
                            look.changes.push(change);
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
        if since(pending.began) >= RESTLESS && !std::mem::replace(&mut pending.is_told, true) {
            let told = format!(
                "{} has been changing for {} s: it is not loaded until it is quiet; write a file of another name and rename it",
                path.display(),
                since(pending.began).as_secs()
            );
            look.trouble = Some(look.trouble.take().map_or(told.clone(), |others| format!("{others}; {told}")));
        }
        look_again(look, again);
    }

    /// Reads a file once: what it is compared by, and what is handed on.
    fn read(&self, path: &Path) -> (Content, FileChange) {
        let refused =
            |reason: String| (Content::Refused(reason.clone()), FileChange::Refused { path: path.into(), reason });
        let bytes = match read_plain(path, self.max_bytes) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return refused(format!(
                    "it has more than {} bytes; make it smaller, or raise limits.plugin_file",
                    self.max_bytes
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (nowhere(), FileChange::Refused { path: path.into(), reason: NOWHERE.into() });
            }
            Err(error) => return refused(format!("it cannot be read: {error}; replace it by a plain file that can")),
        };
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        // One that cannot be read is none: the file is then refused where a signature is asked for.
        let signature = read_plain(&signature_path(path), MAX_SIGNATURE).ok().flatten();
        let content = Content::File { hash: hash.clone(), signature: signature.clone() };
        (content, FileChange::Put(PluginFile { path: path.into(), bytes: bytes.into(), hash, signature }))
    }
}

const NOWHERE: &str = "it is a link that leads nowhere; let it lead to a file, or remove it";

fn nowhere() -> Content {
    Content::Refused(NOWHERE.into())
}

/// Whether an entry whose file is not there is kept; if not, it is told as gone.
fn is_kept(path: &Path, entry: &mut Entry, now: Instant, look: &mut Look) -> bool {
    entry.pending = None;
    if entry.known.is_none() {
        return false;
    }
    let gone = now.saturating_duration_since(*entry.missing_since.get_or_insert(now));
    if gone < GRACE {
        look_again(look, GRACE - gone);
        return true;
    }
    look.changes.push(FileChange::Gone(path.into()));
    false
}

fn look_again(look: &mut Look, after: Duration) {
    look.again = Some(look.again.map_or(after, |other| other.min(after)));
}

/// The plugin files by name, whatever they are.
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

/// A plain file's bytes; `None` if there are more than `max`. Never waits: what is no plain file is not even opened,
/// since opening a FIFO wakes its writer, and one that was put in its place meanwhile is opened without waiting.
pub(crate) fn read_plain(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    plain(&fs::metadata(path)?)?;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    plain(&found)?;
    if found.len() > max as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then_some(bytes))
}

fn plain(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {kind}, not a plain file")))
}

#[cfg(test)]
mod tests;
