//! Dead letters in a file, one JSON object per line.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

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

    fn folder(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Tests whether letters can be appended, without creating the file or writing to it: a gateway may be using it.
    fn can_append(&self) -> Result<(), String> {
        match std::fs::OpenOptions::new().append(true).open(&self.path) {
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
        let mut lines = Vec::new();
        for letter in &letters {
            lines.extend_from_slice(letter.line().to_string().as_bytes());
            lines.push(b'\n');
        }
        append(&self.path, &lines).with_context(|| format!("cannot write dead letters to {}", self.path.display()))?;
        letters.into_iter().for_each(DeadLetter::settle);
        Ok(())
    }
}

fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(lines)?;
    file.sync_data()
}
