//! The result of `rowmill check`: one line per finding, and whether anything failed.

use std::time::Duration;

/// How long a server may take to answer a check.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Prints findings to standard output as they are made.
#[derive(Debug, Default)]
pub struct Report {
    has_failed: bool,
}

impl Report {
    /// `part` works.
    pub fn ok(&mut self, part: &str, text: &str) {
        print("ok  ", part, text);
    }

    /// `part` does not work; `text` says what to do.
    pub fn fail(&mut self, part: &str, text: &str) {
        self.has_failed = true;
        print("FAIL", part, text);
    }

    /// Something about `part` that the user should know.
    pub fn note(&mut self, part: &str, text: &str) {
        print("note", part, text);
    }

    /// Returns true if any part failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}

#[allow(clippy::print_stdout, reason = "the findings are the command's result")]
fn print(finding: &str, part: &str, text: &str) {
    println!("{finding}  {part:14} {text}");
}
