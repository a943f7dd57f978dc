//! Ends the run when dead letters arise faster than `dead_letter.max_per_minute` allows: a new plugin or a new mapping that
//! fails on nearly every row is then noticed before the stream has become dead letters.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The time over which letters are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Letters within this time are counted together, so that memory is bounded.
const STEP: Duration = Duration::from_secs(1);

/// Counts the letters of the last minute.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// The most letters within a minute; `None` for any number.
    max: Option<NonZeroU32>,
    /// The letters of the last minute: when the first of some was counted, and how many they are.
    counts: VecDeque<(Instant, u64)>,
}

impl RateLimit {
    pub fn new(max: Option<NonZeroU32>) -> Self {
        Self { max, counts: VecDeque::new() }
    }

    /// Counts letters before they are stored.
    ///
    /// # Errors
    /// They are too many for a minute. They must not be stored then, so their records are read again.
    pub fn add(&mut self, letters: usize, now: Instant) -> anyhow::Result<()> {
        let Some(max) = self.max else { return Ok(()) };
        self.counts.retain(|(begin, _)| now.saturating_duration_since(*begin) < WINDOW);
        match self.counts.back_mut() {
            Some((begin, count)) if now.saturating_duration_since(*begin) < STEP => *count += letters as u64,
            _ => self.counts.push_back((now, letters as u64)),
        }
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        anyhow::ensure!(
            total <= u64::from(max.get()),
            "more than {max} dead letters arose within a minute (dead_letter.max_per_minute); the records of the last ones are \
             not settled, and the next start reads them again: fix the cause that the log names, or raise the limit"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_the_last_minute_count() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut limit = RateLimit::new(NonZeroU32::new(10));
        for (letters, second) in [(4, 0), (4, 0), (2, 30), (8, 60), (0, 89)] {
            assert!(limit.add(letters, at(second)).is_ok(), "{letters} at {second}");
        }
        assert!(limit.add(1, at(89)).is_err(), "2 of second 30, 8 of second 60");
        let mut none = RateLimit::new(None);
        assert!(none.add(usize::MAX, begin).is_ok() && none.counts.is_empty());
    }
}
