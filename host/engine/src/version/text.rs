//! A partition's clock as text, in which a dead letter and a committed offset keep it.

use std::fmt;
use std::str::FromStr;

use super::{PartitionClock, SECOND_SHIFT, TIME_BASE, seconds_of};

impl PartitionClock {
    /// The time as text: seconds since 1970, then a point and the lower bits of the version unless they are 0.
    pub fn time_text(&self) -> String {
        match (self.time >> SECOND_SHIFT, self.time & ((1 << SECOND_SHIFT) - 1)) {
            (0, 0) => "0".into(),
            (seconds, 0) => (seconds as i64 + TIME_BASE).to_string(),
            (seconds, within) => format!("{}.{within}", seconds as i64 + TIME_BASE),
        }
    }

    /// Reads what [`PartitionClock::time_text`] wrote, or only seconds; `None` if it is neither.
    pub fn parse_time(text: &str) -> Option<u64> {
        let (seconds, within) = text.split_once('.').unwrap_or((text, "0"));
        let within = within.parse::<u64>().ok().filter(|within| within >> SECOND_SHIFT == 0)?;
        Some(seconds_of(seconds.parse().ok()?) << SECOND_SHIFT | within)
    }
}

/// The time as [`PartitionClock::time_text`] writes it; if rows of an event were numbered, followed by the event's file and
/// position and the last number.
impl fmt::Display for PartitionClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.time_text())?;
        match self.event {
            (0, 0, 0) => Ok(()),
            (file, position, number) => write!(f, "/{file}/{position}/{number}"),
        }
    }
}

impl FromStr for PartitionClock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split('/');
            let mut clock = Self::from_time(Self::parse_time(parts.next()?)?);
            let event: Option<Vec<u64>> = parts.map(|part| part.parse().ok()).collect();
            clock.event = match *event? {
                [] => (0, 0, 0),
                [file, position, number] => (file, position, number),
                _ => return None,
            };
            Some(clock)
        };
        parse().ok_or_else(|| format!("{text:?} is not a clock: a time, or time/file/position/number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_back_unchanged() {
        let [whole, within] =
            [295_216_549 << SECOND_SHIFT, (295_216_549 << SECOND_SHIFT) + 7].map(PartitionClock::from_time);
        let numbered = PartitionClock { event: (1, 500, 1023), ..within };
        for clock in [PartitionClock::default(), whole, within, numbered] {
            assert_eq!(clock.to_string().parse(), Ok(clock), "{clock}");
        }
        assert_eq!((whole.to_string(), within.to_string()), ("1795216549".into(), "1795216549.7".into()));
        for damaged in ["", "x", "1.x", "1.268435456", "1/2", "1/2/3/4/5", "1/2/3/x"] {
            assert!(damaged.parse::<PartitionClock>().is_err(), "{damaged}");
        }
    }
}
