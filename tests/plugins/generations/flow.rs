//! A gateway that processes rows while its plugin folder changes; each row must become a document of an expected generation.

use std::ops::Range;
use std::path::Path;

use rowmill::plugins::status::{CandidateState, PluginStatus, Status};
use rowmill_tests::{guests, wait};

use super::stream::{PATIENCE, Place, Stream, hash};

/// The number of rows that are written and settled together.
const ROWS: u64 = 10;

/// The author of the document of a row that no plugin shapes.
pub const NOBODY: &str = "";
pub const FIRST: &[&str] = &["first"];
pub const SECOND: &[&str] = &["second"];
/// The authors while either of the two may run.
pub const EITHER: &[&str] = &["first", "second"];

/// The file of the first generation.
pub fn first() -> Vec<u8> {
    guests::variant("by=first")
}

/// The file that replaces it.
pub fn second() -> Vec<u8> {
    guests::variant("by=second")
}

/// A running gateway, and the documents that it must write.
pub struct Flow {
    pub stream: Stream,
    written: Vec<(Range<u64>, Vec<&'static str>)>,
}

impl Flow {
    #[track_caller]
    pub fn start(place: &Place) -> Self {
        super::log::listen();
        Self { stream: place.start(), written: Vec::new() }
    }

    /// Writes rows and waits until they are settled: each must be a document by one of these authors.
    #[track_caller]
    pub fn rows(&mut self, by: &[&'static str]) {
        let ids = self.stream.written..self.stream.written + ROWS;
        self.stream.write(ids.clone());
        self.stream.settle();
        self.written.push((ids, by.to_vec()));
    }

    /// Writes rows repeatedly until `look` returns a value.
    #[track_caller]
    pub fn until<T>(&mut self, by: &[&'static str], what: &str, look: impl Fn(&Status) -> Option<T>) -> T {
        let found = wait::within(PATIENCE, || {
            self.rows(by);
            look(&self.stream.status())
        });
        found.unwrap_or_else(|| panic!("waited in vain: {what}; {:#?}", self.stream.status()))
    }

    /// Writes rows until these bytes are published.
    #[track_caller]
    pub fn until_running(&mut self, by: &[&'static str], bytes: &[u8]) -> PluginStatus {
        let hash = hash(bytes);
        let runs = |plugin: &&PluginStatus| plugin.running.hash == hash;
        self.until(by, "the file is published", |status| status.plugins.iter().find(runs).cloned())
    }

    /// Writes rows until the plugin's new file is refused; returns the reason.
    #[track_caller]
    pub fn until_refused(&mut self, by: &[&'static str], hash: &str) -> String {
        self.until(by, "the file is refused", |status| {
            let candidate = status.plugins.first()?.candidate.as_ref()?;
            let is_this = candidate.state == CandidateState::Refused && candidate.hash == hash;
            is_this.then(|| candidate.reason.clone()).flatten()
        })
    }

    /// Writes rows until a file that is not a plugin is refused; returns the reason.
    #[track_caller]
    pub fn until_file_refused(&mut self, by: &[&'static str], file: &Path) -> String {
        self.until(by, "the file is refused", |status| {
            status.refused.iter().find(|refused| refused.file == file).map(|refused| refused.reason.clone())
        })
    }

    /// Checks that exactly these files were published so far, in this order.
    #[track_caller]
    pub fn assert_published(&self, files: &[&[u8]]) {
        let plugin = self.stream.plugin();
        let published = plugin.history.iter().filter(|event| event.what == "published").map(|event| &event.hash);
        assert!(published.eq(files.iter().map(|bytes| hash(bytes)).collect::<Vec<_>>().iter()), "{plugin:#?}");
    }

    /// Ends the stream, and checks that every row became a document by an expected author.
    #[track_caller]
    pub fn end(self) {
        let n = self.stream.written;
        let documents = self.stream.documents();
        let summary = self.stream.end();
        assert_eq!((summary.events, summary.filtered, summary.dead_letters), (n, 0, 0));
        assert_eq!(documents.len() as u64, n, "every row is a document");
        for (ids, by) in self.written {
            for id in ids {
                assert!(by.contains(&&*documents[&id].by), "{id} should be by one of {by:?}: {:?}", documents[&id]);
            }
        }
    }
}
