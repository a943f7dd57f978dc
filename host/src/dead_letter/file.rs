//! Dead letters in a file, one JSON object per line.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::OFlags;

use super::{DeadLetter, DeadLetterWriter};
use crate::config::ConfigError;
use crate::report::Report;
use crate::shutdown::Shutdown;

/// Appends letters to a file.
pub(super) struct FileWriter {
    path: PathBuf,
}

impl FileWriter {
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// Appends letters, and settles each once it is stored.
    pub fn append(&self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for letter in &letters {
            lines.extend_from_slice(letter.line().to_string().as_bytes());
            lines.push(b'\n');
        }
        append(&self.path, &lines).with_context(|| format!("cannot write dead letters to {}", self.path.display()))?;
        letters.into_iter().for_each(DeadLetter::settle);
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Tests whether letters can be appended, without creating the file or writing to it: a gateway may be using it.
    fn can_append(&self) -> Result<(), String> {
        match open_for_appending(&self.path, false) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{} cannot be written: {error}", self.path.display())),
        }
        let folder = self.folder();
        if !folder.is_dir() {
            return Err(format!("the folder {} does not exist", folder.display()));
        }
        // Only creating a file shows whether one can be created. The name is one that nothing else uses.
        let trial = folder.join(format!(".rowmill-check-{}", std::process::id()));
        let created = std::fs::OpenOptions::new().write(true).create_new(true).open(&trial);
        created
            .and_then(|_| std::fs::remove_file(&trial))
            .map_err(|error| format!("cannot create a file in the folder {}: {error}", folder.display()))
    }
}

impl DeadLetterWriter for FileWriter {
    fn check(&self, report: &mut Report) {
        match self.can_append() {
            Ok(()) => report.ok("dead letters", &format!("{} can be written", self.path.display())),
            Err(problem) => report.fail(
                "dead letters",
                &format!("{problem}; set dead_letter.path to a file in a folder that Rowmill may write to"),
            ),
        }
    }

    /// The file itself is opened for each write: a run without letters leaves no empty file, and a file that was moved is
    /// created again. A wrong path is reported here, at start.
    fn open(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        let folder = self.folder();
        anyhow::ensure!(
            folder.is_dir(),
            ConfigError(format!("the folder of dead_letter.path, {}, does not exist; create it", folder.display()))
        );
        Ok(())
    }

    fn write(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        self.append(letters)
    }
}

/// Opens the file for appending. Only its owner may read it, since it contains rows. A symbolic link is refused: whoever may
/// write to the folder could otherwise have Rowmill write to any other file.
fn open_for_appending(path: &Path, create: bool) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).create(create).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            std::io::Error::other("it is a symbolic link, which is not followed; name the file itself")
        }
        _ => error,
    })
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = open_for_appending(path, true)?;
    if ends_within_a_line(&mut file)? {
        tracing::warn!(
            path = %path.display(),
            "the last dead letter in the file is incomplete: an earlier run ended while it wrote it; its record was read again"
        );
        file.write_all(b"\n")?;
    }
    file.write_all(lines)?;
    file.sync_data()
}

fn ends_within_a_line(file: &mut File) -> std::io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_incomplete_line_does_not_spoil_the_next_letter() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("letters");
        append(&path, b"{\"a\":1}\n").expect("written");
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::OpenOptions::new().append(true).open(&path).expect("the file").write_all(b"{\"b\":").expect("written");
        append(&path, b"{\"c\":3}\n").expect("written");
        append(&path, b"{\"d\":4}\n").expect("written");
        let lines = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(lines, "{\"a\":1}\n{\"b\":\n{\"c\":3}\n{\"d\":4}\n");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, b"").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        let error = append(&link, b"x\n").expect_err("refused").to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(std::fs::read(&target).expect("the target"), b"");
    }
}
