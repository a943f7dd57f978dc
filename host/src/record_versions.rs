//! The versions of one record's rows, and its partition's clock before it: what a dead letter keeps of its record's place
//! in the stream.
//!
//! A version depends on the records before it: a time that runs backwards is held at the partition's maximum. A record that
//! is replayed alone, or among letters in another order, would get another version, so it uses the ones that it has.

use rowmill_engine::version::PartitionClock;
use rowmill_rows::capture::CapturedRecord;

use crate::dead_letter::HEADER_PREFIX;

/// The version of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowVersion {
    /// The row's record: an index into the batch's records.
    pub record: u32,
    /// The version; 0 if the row has none.
    pub version: u64,
}

/// The versions of one record's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordVersions {
    /// The versions in the order of the rows; 0 for a row that has none. The last one is also that of all further rows.
    rows: Vec<u64>,
    /// How often the record has been replayed; 0 for one from the stream.
    pub attempt: u32,
    /// The partition's clock before the record, from which a row without a version gets one.
    pub clock: Option<PartitionClock>,
}

impl RecordVersions {
    /// A record of which no row has a version yet, behind records that left the clock there.
    pub fn after(clock: PartitionClock) -> Self {
        Self { rows: Vec::new(), attempt: 0, clock: Some(clock) }
    }

    /// Reads what [`RecordVersions::versions_text`] and [`RecordVersions::clock_text`] wrote; `None` if there is neither.
    ///
    /// # Errors
    /// One of them is damaged.
    pub fn parse(versions: Option<&str>, clock: Option<&str>) -> Result<Option<Self>, String> {
        if versions.is_none() && clock.is_none() {
            return Ok(None);
        }
        let version = |text: &str| match text {
            "-" => Ok(0),
            _ => match text.parse::<u64>() {
                Ok(version) if version > 0 && version >> 63 == 0 => Ok(version),
                _ => Err(format!("{text:?} is not a version: a number from 1 to 2^63 - 1, or -")),
            },
        };
        let rows = versions.map_or(Ok(Vec::new()), |text| text.split(',').map(version).collect())?;
        Ok(Some(Self { rows, attempt: 0, clock: clock.map(str::parse).transpose()? }))
    }

    /// What a dead letter that is read back says; its replay is another attempt.
    ///
    /// # Errors
    /// The letter is damaged.
    pub fn of_letter(letter: &CapturedRecord) -> anyhow::Result<Self> {
        let CapturedRecord { topic, partition, offset, error, .. } = letter;
        Self::of_details(|name| error.get(name).map(String::as_str)).map_err(|problem| {
            anyhow::anyhow!("the dead letter of offset {offset} of {topic}[{partition}] is damaged: {problem}")
        })
    }

    /// What the headers of a dead letter say that is read from its topic; its replay is another attempt. `None` if the record is
    /// no dead letter.
    ///
    /// # Errors
    /// The letter is damaged.
    pub fn of_headers<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<Result<Self, String>> {
        let mut details: Vec<(&str, &str)> = Vec::new();
        for (name, value) in headers {
            if let Some(name) = name.strip_prefix(HEADER_PREFIX) {
                details.push((name, value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()));
            }
        }
        // The last header of a name counts: it is that of the last failure.
        let detail = |wanted: &str| details.iter().rev().find(|(name, _)| *name == wanted).map(|(_, text)| *text);
        detail("stage").map(|_| Self::of_details(detail))
    }

    fn of_details<'a>(detail: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let versions = Self::parse(detail("versions"), detail("clock"))?;
        let attempts = detail("attempt").and_then(|attempt| attempt.parse::<u32>().ok()).unwrap_or(0);
        Ok(Self { attempt: attempts.saturating_add(1), ..versions.unwrap_or_default() })
    }

    /// Sets the versions of all rows, in their order; 0 for a row that has none.
    pub fn set_rows(&mut self, rows: impl Iterator<Item = u64>) {
        self.rows = rows.collect();
        // Nearly all records have one version for all rows.
        let same = self.rows.iter().rev().take_while(|version| Some(*version) == self.rows.last()).count();
        self.rows.truncate(self.rows.len() - same.saturating_sub(1));
    }

    /// The version of the row with this number in the record; `None` if it has none.
    pub fn of_row(&self, row: usize) -> Option<u64> {
        self.rows.get(row).or(self.rows.last()).copied().filter(|version| *version != 0)
    }

    /// The versions, separated by commas, with `-` for a row that has none; `None` if no row has one.
    pub fn versions_text(&self) -> Option<String> {
        let text = |version: &u64| if *version == 0 { "-".into() } else { version.to_string() };
        let has_any = self.rows.iter().any(|version| *version != 0);
        has_any.then(|| self.rows.iter().map(text).collect::<Vec<_>>().join(","))
    }

    /// The clock as text, if it is known.
    pub fn clock_text(&self) -> Option<String> {
        self.clock.as_ref().map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: &[u64], text: Option<&str>) {
        let mut versions = RecordVersions::after(PartitionClock::from_time(7));
        versions.set_rows(rows.iter().copied());
        assert_eq!(versions.versions_text().as_deref(), text);
        let read = RecordVersions::parse(text, versions.clock_text().as_deref()).expect("valid").expect("a clock");
        for (number, version) in rows.iter().enumerate() {
            assert_eq!(read.of_row(number), Some(*version).filter(|version| *version != 0), "row {number}");
        }
        assert_eq!(read.clock, versions.clock);
    }

    #[test]
    fn versions_are_read_back_unchanged() {
        check(&[], None);
        check(&[0, 0], None);
        check(&[u64::MAX >> 1], Some("9223372036854775807"));
        check(&[5, 5, 5], Some("5"));
        check(&[5, 7, 7], Some("5,7"));
        check(&[5, 0, 7], Some("5,-,7"));
        check(&[5, 0], Some("5,-"));
    }

    #[test]
    fn damaged_versions_are_refused() {
        for damaged in ["", "0", "x", "5,", "9223372036854775808"] {
            assert!(RecordVersions::parse(Some(damaged), None).is_err(), "{damaged}");
        }
        assert_eq!(RecordVersions::parse(None, None), Ok(None));
    }

    #[test]
    fn a_letter_is_recognized_by_its_headers() {
        let of = |headers: &[(&'static str, &'static str)]| {
            RecordVersions::of_headers(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("trace", "abc"), ("rowmill.other", "5")]), None);
        let letter = of(&[("trace", "abc"), ("rowmill.stage", "sink"), ("rowmill.versions", "5,7")]);
        let letter = letter.expect("a letter").expect("a valid one");
        assert_eq!((letter.of_row(0), letter.of_row(1), letter.attempt), (Some(5), Some(7), 1));
        assert!(of(&[("rowmill.stage", "sink"), ("rowmill.versions", "x")]).expect("a letter").is_err());
    }
}
