//! Which letters have been replayed: a file beside them with one line for each, its ID and the time.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::LetterId;
use crate::dead_letter::letter_file::{HeldFile, LetterFile, open_to_read};

/// The letters that have been replayed.
#[derive(Debug)]
pub struct Replayed {
    path: PathBuf,
}

impl Replayed {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// The IDs of all letters that have been replayed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> anyhow::Result<HashSet<LetterId>> {
        let context = || format!("cannot read which dead letters have been replayed from {}", self.path.display());
        let file = match open_to_read(&self.path) {
            Ok(file) => file,
            Err(error)
                if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound) =>
            {
                return Ok(HashSet::new());
            }
            Err(error) => return Err(error.context(context())),
        };
        let mut ids = HashSet::new();
        for line in BufReader::new(file).lines() {
            let line = line.with_context(context)?;
            // A crash may leave a part of a line. The letter is then replayed again, which changes nothing.
            let id = line.split_once(' ').filter(|(id, _)| id.len() == 32);
            ids.extend(id.and_then(|(id, _)| id.parse::<LetterId>().ok()));
        }
        Ok(ids)
    }

    /// Reserves the notes for one replay, until the result is dropped: two at a time would replay the same letters twice.
    ///
    /// # Errors
    /// Another replay has reserved them, or the file cannot be opened.
    pub fn reserve(&self) -> anyhow::Result<ReplayNotes> {
        let file = LetterFile::new(&self.path, None);
        let context = || format!("cannot note which dead letters have been replayed in {}", self.path.display());
        // Beside a topic, the file is in the private folder by default, which may not exist yet.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(file.folder()).with_context(context)?;
        match file.hold().with_context(context)? {
            Some(file) => Ok(ReplayNotes(file)),
            None => anyhow::bail!(
                "another replay of these letters is running (it has locked {}); wait until it ends, or stop it",
                self.path.display()
            ),
        }
    }
}

/// The notes of the only replay of these letters.
#[derive(Debug)]
pub struct ReplayNotes(HeldFile);

impl ReplayNotes {
    /// Adds letters that are settled.
    ///
    /// # Errors
    /// They cannot be written. The next replay then replays these letters again, which changes nothing.
    pub fn add(&mut self, ids: impl Iterator<Item = LetterId>) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now();
        let mut lines = String::new();
        for id in ids {
            // Writing into a String cannot fail.
            let _ = writeln!(lines, "{id} {now:.0}");
        }
        self.0.append(lines.as_bytes()).context("cannot note which letters are replayed")
    }
}
