//! A partition's clock as text, in which a dead letter keeps it.

use std::fmt;
use std::str::FromStr;

use super::PartitionClock;

/// The seconds; if rows of an event were numbered, followed by the event's file and position and the last number.
impl fmt::Display for PartitionClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
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
            let mut clock = Self::from_seconds(parts.next()?.parse().ok()?);
            let event: Option<Vec<u64>> = parts.map(|part| part.parse().ok()).collect();
            clock.event = match *event? {
                [] => (0, 0, 0),
                [file, position, number] => (file, position, number),
                _ => return None,
            };
            Some(clock)
        };
        parse().ok_or_else(|| format!("{text:?} is not a clock: seconds, or seconds/file/position/number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_back_unchanged() {
        let numbered = PartitionClock { event: (1, 500, 1023), ..PartitionClock::from_seconds(1_795_216_549) };
        for clock in [PartitionClock::default(), PartitionClock::from_seconds(1_795_216_549), numbered] {
            assert_eq!(clock.to_string().parse(), Ok(clock), "{clock}");
        }
        for damaged in ["", "x", "1/2", "1/2/3/4/5", "1/2/3/x"] {
            assert!(damaged.parse::<PartitionClock>().is_err(), "{damaged}");
        }
    }
}
