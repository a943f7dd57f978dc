//! The log of dead letters: one line per second and cause, since a failing plugin produces letters as fast as rows arrive.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DeadLetter, Stage};

/// How long further letters of a cause are only counted.
const INTERVAL: Duration = Duration::from_secs(1);

/// What letters have in common that are logged together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cause {
    pub stage: Stage,
    pub table: Option<Arc<str>>,
    pub plugin: Option<Arc<str>>,
}

/// Logs the first letter of a cause, and for each second after it how many more there were.
#[derive(Debug, Default)]
pub(super) struct LetterLog {
    causes: HashMap<Cause, Counted>,
}

/// The letters of one cause since a line was logged.
#[derive(Debug)]
struct Counted {
    until: Instant,
    letters: u64,
}

impl LetterLog {
    /// Logs or counts a letter.
    pub fn add(&mut self, letter: &DeadLetter) {
        if self.is_logged(letter.cause(), Instant::now()) {
            letter.log();
        }
    }

    /// Logs the counts of causes whose second is over, or of `all`.
    pub fn flush(&mut self, all: bool) {
        for (cause, letters) in self.due(Instant::now(), all) {
            tracing::warn!(
                stage = cause.stage.name(),
                table = cause.table.as_deref(),
                plugin = cause.plugin.as_deref(),
                letters,
                "more dead letters"
            );
        }
    }

    /// When the next count is to be logged.
    pub fn next_due(&self) -> Option<Instant> {
        self.causes.values().map(|counted| counted.until).min()
    }

    /// Counts a letter. Returns true if it is the first of its cause.
    fn is_logged(&mut self, cause: Cause, now: Instant) -> bool {
        match self.causes.entry(cause) {
            std::collections::hash_map::Entry::Occupied(mut counted) => {
                counted.get_mut().letters += 1;
                false
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Counted { until: now + INTERVAL, letters: 0 });
                true
            }
        }
    }

    /// The causes whose second is over, with the letters that were counted since. A cause without any is forgotten.
    fn due(&mut self, now: Instant, all: bool) -> Vec<(Cause, u64)> {
        let mut due = Vec::new();
        self.causes.retain(|cause, counted| {
            if counted.until > now && !all {
                return true;
            }
            let letters = std::mem::take(&mut counted.letters);
            counted.until = now + INTERVAL;
            if letters > 0 {
                due.push((cause.clone(), letters));
            }
            letters > 0
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(table: &str) -> Cause {
        Cause { stage: Stage::Plugin, table: Some(table.into()), plugin: None }
    }

    #[test]
    fn a_cause_has_one_line_per_second_with_a_count() {
        let (mut log, begin) = (LetterLog::default(), Instant::now());
        assert!(log.is_logged(cause("a"), begin));
        for _ in 0..200_000 {
            assert!(!log.is_logged(cause("a"), begin));
        }
        assert!(log.is_logged(cause("b"), begin), "another cause has its own line");
        assert_eq!(log.due(begin + INTERVAL / 2, false), []);
        assert_eq!(log.next_due(), Some(begin + INTERVAL));
        let later = begin + INTERVAL;
        assert_eq!(log.due(later, false), [(cause("a"), 200_000)]);
        assert!(log.is_logged(cause("b"), later), "a cause that was quiet for a second is new again");
        assert!(!log.is_logged(cause("a"), later));
        assert_eq!(log.due(later, true), [(cause("a"), 1)], "at the end all counts are logged");
        assert_eq!(log.due(later + INTERVAL, false), []);
        assert_eq!(log.next_due(), None, "and nothing is kept");
    }
}
