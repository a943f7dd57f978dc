//! A file of dead letters, one per line: opened without following links, repaired after a crash, rotated by size.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::OFlags;

/// What every line of a dead letter begins with: `error` is the first of its members.
const LINE_BEGIN: &[u8] = b"{\"error\":";

/// How much is read at a time while the begin of the last line is sought, in bytes.
const STEP: u64 = 64 << 10;

/// A file of dead letters. Several gateways on a machine may append to the same one.
#[derive(Clone, Debug)]
pub(super) struct LetterFile {
    path: PathBuf,
    /// The size in bytes from which the file is rotated; `None` for never.
    rotate_at: Option<u64>,
}

impl LetterFile {
    pub fn new(path: &Path, rotate_at: Option<u64>) -> Self {
        Self { path: path.into(), rotate_at }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Appends lines, each with its line break, and flushes them to the disk.
    ///
    /// The file is opened for each call: a run without letters leaves no empty file, and a file that was moved is created
    /// again.
    ///
    /// # Errors
    /// They cannot be written, or the path is a symbolic link.
    pub fn append(&self, lines: &[u8]) -> anyhow::Result<()> {
        self.try_append(lines).with_context(|| format!("cannot write dead letters to {}", self.path.display()))
    }

    fn try_append(&self, lines: &[u8]) -> anyhow::Result<()> {
        let mut file = self.open_locked()?;
        self.repair(&mut file)?;
        let length = file.metadata()?.len();
        if self.rotate_at.is_some_and(|limit| length > 0 && length + lines.len() as u64 > limit) {
            self.rotate()?;
            file = self.open_locked()?;
        }
        self.write(&mut file, lines)
    }

    /// Writes lines to the end of the locked file, and flushes them.
    fn write(&self, file: &mut File, lines: &[u8]) -> anyhow::Result<()> {
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(lines).and_then(|()| file.sync_data()) {
            // Best effort: what stays of a line is repaired by the next one who opens the file.
            let _ = file.set_len(length);
            return Err(error.into());
        }
        if length == 0 {
            // The entry of a new file must be on the disk too.
            File::open(self.folder())?.sync_all()?;
        }
        Ok(())
    }

    /// Opens or creates the file, and keeps it locked. Returns `None` if another program has locked it. A file system without
    /// locks excludes nobody.
    ///
    /// # Errors
    /// The file cannot be opened, or the path is a symbolic link.
    pub fn hold(&self) -> anyhow::Result<Option<HeldFile>> {
        let file = open(OpenOptions::new().create(true).read(true).append(true), &self.path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => {
                return Err(error).context("cannot lock it");
            }
            _ => {}
        }
        let mut held = HeldFile { file, place: self.clone() };
        self.repair(&mut held.file)?;
        Ok(Some(held))
    }

    /// Opens or creates the file, and locks it against other gateways and their rotations.
    fn open_locked(&self) -> anyhow::Result<File> {
        loop {
            let file = open(OpenOptions::new().create(true).read(true).append(true), &self.path)?;
            match file.lock() {
                // Some file systems have no locks. Then one gateway at a time may write to the file.
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error).context("cannot lock it"),
                _ => {}
            }
            let opened = file.metadata()?;
            match std::fs::symlink_metadata(&self.path) {
                Ok(found) if (found.dev(), found.ino()) == (opened.dev(), opened.ino()) => return Ok(file),
                // It was moved, or rotated by another gateway, before it was locked.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tests whether letters can be appended, without creating the file or writing to it: a gateway may be using it.
    ///
    /// # Errors
    /// They cannot; the message names the file or folder.
    pub fn can_append(&self) -> Result<(), String> {
        match open(OpenOptions::new().read(true).append(true), &self.path) {
            Ok(_) => return Ok(()),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(format!("{} cannot be written: {error:#}", self.path.display())),
        }
        let folder = self.folder();
        if !folder.is_dir() {
            return Err(format!("the folder {} does not exist", folder.display()));
        }
        // Only creating a file shows whether one can be created. The name is one that nothing else uses.
        let trial = folder.join(format!(".rowmill-check-{}", std::process::id()));
        let created = OpenOptions::new().write(true).create_new(true).open(&trial);
        created
            .and_then(|_| std::fs::remove_file(&trial))
            .map_err(|error| format!("cannot create a file in the folder {}: {error}", folder.display()))
    }

    /// Sees to it that the next letter starts on a line of its own. A line without an end is what a crash left: if it is whole,
    /// it gets its line break. If it is the begin of a letter, it is cut off: its record was not settled, so it is read again.
    fn repair(&self, file: &mut File) -> anyhow::Result<()> {
        let length = file.metadata()?.len();
        if length == 0 || !file.metadata()?.is_file() {
            return Ok(());
        }
        let tail = last_line(file, length)?;
        if tail.is_empty() {
            return Ok(());
        }
        let is_torn = serde_json::from_slice::<serde::de::IgnoredAny>(&tail).is_err()
            && (tail.starts_with(LINE_BEGIN) || LINE_BEGIN.starts_with(&tail));
        let path = self.path.display();
        if is_torn {
            file.set_len(length - tail.len() as u64)?;
            tracing::warn!(%path, bytes = tail.len(), "cut off the last line, a dead letter that was not written completely; its record is read again");
        } else {
            file.write_all(b"\n")?;
            tracing::warn!(%path, "completed the last line with a line break");
        }
        Ok(())
    }

    /// Moves the file, which is locked, to the next free number: `dead-letter.ndjson.1` is the oldest.
    fn rotate(&self) -> anyhow::Result<()> {
        let newest = rotated(&self.path)?.last().map_or(0, |(number, _)| *number);
        let target = numbered(&self.path, newest + 1);
        std::fs::rename(&self.path, &target).with_context(|| format!("cannot rotate it to {}", target.display()))?;
        tracing::info!(file = %target.display(), "rotated the dead letters");
        Ok(())
    }
}

/// A file that stays locked until this is dropped.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    place: LetterFile,
}

impl HeldFile {
    /// Appends lines, each with its line break, and flushes them to the disk.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        self.place
            .write(&mut self.file, lines)
            .with_context(|| format!("cannot write to {}", self.place.path.display()))
    }
}

/// Opens a file of letters for reading.
///
/// # Errors
/// It does not exist, cannot be read, or is a symbolic link.
pub(crate) fn open_to_read(path: &Path) -> anyhow::Result<File> {
    open(OpenOptions::new().read(true), path)
}

/// The rotated files of a path with their numbers, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn rotated(path: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))? {
        let name = entry?.file_name();
        let number = name.to_string_lossy().strip_prefix(&prefix).and_then(|number| number.parse().ok());
        files.extend(number.map(|number| (number, path.with_file_name(name))));
    }
    files.sort();
    Ok(files)
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".{number}"));
    path.with_file_name(name)
}

/// Opens a file, unless its path is a symbolic link: whoever may write to the folder could lead the letters, or Rowmill's
/// privilege to write, elsewhere. A new file can be read by its owner only, since letters contain rows.
fn open(options: &mut OpenOptions, path: &Path) -> anyhow::Result<File> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    match options.mode(0o600).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            anyhow::bail!(
                "it is a symbolic link, which Rowmill does not follow; set dead_letter.path to the file itself"
            )
        }
        result => Ok(result?),
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// What follows the last line break of a file of this length.
fn last_line(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut begin = length;
    let mut tail = Vec::new();
    while begin > 0 {
        // Nearly always the file ends with a line break, so one byte is enough.
        let size = if begin == length { 1 } else { STEP.min(begin) };
        begin -= size;
        let mut block = vec![0; size as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block)?;
        if let Some(place) = memchr::memrchr(b'\n', &block) {
            block.drain(..=place);
            begin = 0;
        }
        block.append(&mut tail);
        tail = block;
    }
    Ok(tail)
}

#[cfg(test)]
mod tests;
