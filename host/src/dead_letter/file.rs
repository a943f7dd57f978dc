//! Dead letters in a file, one JSON object per line.

use std::path::Path;

use super::letter_file::LetterFile;
use super::{DeadLetter, DeadLetterWriter};
use crate::config::ConfigError;
use crate::report::Report;
use crate::shutdown::Shutdown;

/// Appends letters to a file.
pub(super) struct FileWriter {
    file: LetterFile,
}

impl FileWriter {
    pub fn new(path: &Path, rotate_at: Option<u64>) -> Self {
        Self { file: LetterFile::new(path, rotate_at) }
    }
}

impl DeadLetterWriter for FileWriter {
    fn check(&self, report: &mut Report) {
        match self.file.can_append() {
            Ok(()) => report.ok("dead letters", &format!("{} can be written", self.file.path().display())),
            Err(problem) => report.fail(
                "dead letters",
                &format!("{problem}; set dead_letter.path to a file in a folder that Rowmill may write to"),
            ),
        }
    }

    /// A wrong path is reported here, at start; the file itself is opened for each write.
    fn open(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        let folder = self.file.folder();
        anyhow::ensure!(
            folder.is_dir(),
            ConfigError(format!("the folder of dead_letter.path, {}, does not exist; create it", folder.display()))
        );
        Ok(())
    }

    fn write(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for letter in &letters {
            letter.append_line(&mut lines);
        }
        self.file.append(&lines)?;
        letters.into_iter().for_each(DeadLetter::settle);
        Ok(())
    }
}
