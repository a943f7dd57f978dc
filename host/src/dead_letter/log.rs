//! The log of dead letters: one line per cause and second, with a count. A plugin that fails on every row would otherwise
//! write more log than documents.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::DeadLetter;

/// How often a cause is logged at most.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// The most causes that are counted one by one; further ones are counted together.
const MAX_CAUSES: usize = 256;
/// How much of a reason belongs to its cause, in characters.
const REASON_LENGTH: usize = 80;

/// Counts letters by cause.
#[derive(Debug, Default)]
pub(super) struct LetterLog {
    causes: HashMap<String, Cause>,
}

#[derive(Debug)]
struct Cause {
    logged: Instant,
    /// Letters since the last line.
    n_silent: u64,
    /// The reason of the last letter.
    reason: String,
}

impl LetterLog {
    /// Logs the letter if its cause is new, or was forgotten by [`LetterLog::flush`]; counts it otherwise.
    pub fn add(&mut self, letter: &DeadLetter, now: Instant) {
        let mut key = cause_of(letter);
        if !self.causes.contains_key(&key) && self.causes.len() >= MAX_CAUSES {
            key = "other".into();
        }
        if let Some(cause) = self.causes.get_mut(&key) {
            cause.n_silent += 1;
            cause.reason.clear();
            cause.reason.push_str(letter.reason());
            return;
        }
        letter.log();
        self.causes.insert(key, Cause { logged: now, n_silent: 0, reason: letter.reason().into() });
    }

    /// Logs the counts that are due: of causes that were logged a second ago or earlier. Forgets causes without new letters.
    pub fn flush(&mut self, now: Instant) {
        self.causes.retain(|_, cause| {
            if now.saturating_duration_since(cause.logged) < INTERVAL {
                return true;
            }
            cause.logged = now;
            let letters = std::mem::take(&mut cause.n_silent);
            if letters > 0 {
                tracing::warn!(letters, reason = cause.reason, "more dead letters of one cause");
            }
            letters > 0
        });
    }

    /// Logs all counts.
    pub fn finish(&mut self, now: Instant) {
        self.flush(now + INTERVAL);
    }
}

/// What letters of one cause have in common: numbers in the reason differ from row to row.
fn cause_of(letter: &DeadLetter) -> String {
    let plugin = letter.producer.as_ref().map_or("", |producer| &*producer.plugin);
    let table = letter.table.as_deref().unwrap_or_default();
    let mut cause = format!("{} {table} {plugin} ", letter.stage().name());
    cause.extend(letter.reason().chars().filter(|character| !character.is_ascii_digit()).take(REASON_LENGTH));
    cause
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowmill_rows::{Format, RecordBatch, TopicPartition};

    use super::*;
    use crate::budget::Budget;
    use crate::checkpoint::Progress;
    use crate::dead_letter::Stage;
    use crate::operation::SourceBatch;

    #[test]
    fn letters_of_one_cause_are_counted() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let progress = Progress::new(partition.clone(), 0);
        let records = RecordBatch::new(partition, Format::Auto);
        let source: Arc<SourceBatch> = SourceBatch::new(records, progress.ticket(1), &Budget::new(1));
        let letter = |reason: String| DeadLetter::new(&source, 0, Stage::Plugin, reason);
        let (mut log, begin) = (LetterLog::default(), Instant::now());
        log.causes.insert(
            cause_of(&letter("row 0 is bad".into())),
            Cause { logged: begin, n_silent: 0, reason: String::new() },
        );
        for row in 0..1000 {
            log.add(&letter(format!("row {row} is bad")), begin);
        }
        let counts = |log: &LetterLog| log.causes.values().map(|cause| cause.n_silent).collect::<Vec<_>>();
        assert_eq!(counts(&log), [1000]);
        log.flush(begin + INTERVAL / 2);
        assert_eq!(counts(&log), [1000], "not due yet");
        log.flush(begin + INTERVAL);
        assert_eq!(counts(&log), [0]);
        log.finish(begin + INTERVAL);
        assert!(log.causes.is_empty(), "a cause without new letters is forgotten");
    }
}
