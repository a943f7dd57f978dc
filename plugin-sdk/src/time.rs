//! Civil dates and times, as MySQL has them: small, without a zone, exact to the microsecond.

use std::fmt;

/// A calendar day. MySQL's zero date (`0000-00-00`) is one too; see [`Date::is_valid`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u8,
    /// The day, from 1.
    pub day: u8,
}

/// A length of time or a time of day. Hours may exceed 23.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Time {
    /// Whether it is below zero.
    pub negative: bool,
    /// Hours, up to 838.
    pub hours: u32,
    /// Minutes, up to 59.
    pub minutes: u8,
    /// Seconds, up to 59.
    pub seconds: u8,
    /// Millionths of a second.
    pub microseconds: u32,
}

/// A day and a time of day, without a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// The day.
    pub date: Date,
    /// The hour, up to 23.
    pub hour: u8,
    /// The minute, up to 59.
    pub minute: u8,
    /// The second, up to 59.
    pub second: u8,
    /// Millionths of a second.
    pub microsecond: u32,
}

const DAY: i64 = 86_400;

impl Date {
    /// Parses `2026-03-04`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    #[inline]
    fn from_bytes(b: &[u8]) -> Option<Self> {
        if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
            return None;
        }
        let year = number(&b[..4])?;
        let (month, day) = (two(&b[5..7])?, two(&b[8..])?);
        (month <= 12 && day <= 31).then_some(Self { year: year as i32, month, day })
    }

    /// The day that is this number of days after 1970-01-01.
    pub fn from_epoch_days(days: i64) -> Self {
        // Howard Hinnant's civil_from_days: eras of 400 years that begin in March.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Self {
            year: (yoe + era * 400 + i64::from(month <= 2)) as i32,
            month: month as u8,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
        }
    }

    /// Days since 1970-01-01.
    pub fn to_epoch_days(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let yoe = year.rem_euclid(400);
        let mp = (i64::from(self.month) + 9) % 12;
        let doy = (153 * mp + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    }

    /// Whether the calendar has this day; it does not have MySQL's zero dates.
    pub fn is_valid(self) -> bool {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            _ => 0,
        };
        (0..=9_999).contains(&self.year) && self.day != 0 && self.day <= days
    }
}

impl Time {
    /// Parses `-12:34:56.789`.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (hours, rest) = rest.split_once(':')?;
        let b = rest.as_bytes();
        if hours.is_empty() || hours.len() > 4 || b.len() < 5 || b[2] != b':' {
            return None;
        }
        let (minutes, seconds) = (two(&b[..2])?, two(&b[3..5])?);
        let (microseconds, rest) = fraction(&b[5..])?;
        (minutes < 60 && seconds < 60 && rest.is_empty()).then_some(Self {
            negative,
            hours: number(hours.as_bytes())?,
            minutes,
            seconds,
            microseconds,
        })
    }

    /// The time of this many microseconds.
    pub fn from_microseconds(microseconds: i64) -> Self {
        let all = microseconds.unsigned_abs();
        let seconds = all / 1_000_000;
        Self {
            negative: microseconds < 0,
            hours: (seconds / 3_600) as u32,
            minutes: (seconds / 60 % 60) as u8,
            seconds: (seconds % 60) as u8,
            microseconds: (all % 1_000_000) as u32,
        }
    }

    /// The whole time in microseconds.
    pub fn to_microseconds(self) -> i64 {
        let seconds = i64::from(self.hours) * 3_600 + i64::from(self.minutes) * 60 + i64::from(self.seconds);
        let all = seconds * 1_000_000 + i64::from(self.microseconds);
        if self.negative { -all } else { all }
    }
}

impl DateTime {
    /// Reads `2026-03-04T05:06:07.123456`, with a space for the `T` and with or without a `Z` at the end.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    #[inline]
    pub(crate) fn from_bytes(b: &[u8]) -> Option<Self> {
        let date = Date::from_bytes(b.get(..10)?)?;
        if b.len() == 10 {
            return Some(Self { date, ..Self::default() });
        }
        if b.len() < 19 || !matches!(b[10], b'T' | b' ') || b[13] != b':' || b[16] != b':' {
            return None;
        }
        let (hour, minute, second) = (two(&b[11..13])?, two(&b[14..16])?, two(&b[17..19])?);
        let (microsecond, rest) = fraction(&b[19..])?;
        (hour < 24 && minute < 60 && second < 60 && matches!(rest, b"" | b"Z")).then_some(Self {
            date,
            hour,
            minute,
            second,
            microsecond,
        })
    }

    /// The time that is this many microseconds after 1970-01-01T00:00:00.
    pub fn from_epoch_micros(microseconds: i64) -> Self {
        let seconds = microseconds.div_euclid(1_000_000);
        let of_day = seconds.rem_euclid(DAY);
        Self {
            date: Date::from_epoch_days(seconds.div_euclid(DAY)),
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            microsecond: microseconds.rem_euclid(1_000_000) as u32,
        }
    }

    /// The time of an epoch number whose unit is guessed from its size, for sources without types: nanoseconds from 10^17 on,
    /// microseconds from 10^14 on, else milliseconds. The guess is wrong for microseconds between November 1966 and March
    /// 1973; declare the column's type if such rows exist.
    pub fn from_epoch_guess(number: i64) -> Self {
        Self::from_epoch_micros(match number.unsigned_abs() {
            100_000_000_000_000_000.. => number.div_euclid(1_000),
            100_000_000_000_000.. => number,
            _ => number * 1_000,
        })
    }

    /// Microseconds since 1970-01-01T00:00:00.
    pub fn to_epoch_micros(self) -> i64 {
        let of_day = i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + i64::from(self.second);
        (self.date.to_epoch_days() * DAY + of_day) * 1_000_000 + i64::from(self.microsecond)
    }

    /// Milliseconds since 1970-01-01T00:00:00.
    pub fn to_epoch_millis(self) -> i64 {
        self.to_epoch_micros().div_euclid(1_000)
    }

    /// Whether the calendar has this day; it does not have MySQL's zero dates.
    pub fn is_valid(self) -> bool {
        self.date.is_valid()
    }

    /// ISO-8601 into `buffer`, with as many groups of three digits after the second as it needs; returns the length.
    pub(crate) fn spell(self, buffer: &mut [u8; 32]) -> usize {
        digits(&mut buffer[0..4], self.date.year.unsigned_abs());
        buffer[4] = b'-';
        digits(&mut buffer[5..7], u32::from(self.date.month));
        buffer[7] = b'-';
        digits(&mut buffer[8..10], u32::from(self.date.day));
        buffer[10] = b'T';
        digits(&mut buffer[11..13], u32::from(self.hour));
        buffer[13] = b':';
        digits(&mut buffer[14..16], u32::from(self.minute));
        buffer[16] = b':';
        digits(&mut buffer[17..19], u32::from(self.second));
        if self.microsecond == 0 {
            return 19;
        }
        buffer[19] = b'.';
        if self.microsecond.is_multiple_of(1_000) {
            digits(&mut buffer[20..23], self.microsecond / 1_000);
            return 23;
        }
        digits(&mut buffer[20..26], self.microsecond);
        26
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{:02}:{:02}:{:02}", self.hours, self.minutes, self.seconds)?;
        if self.microseconds != 0 { write!(f, ".{:06}", self.microseconds) } else { Ok(()) }
    }
}

impl fmt::Display for DateTime {
    /// ISO-8601 without a zone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 32];
        let n = self.spell(&mut buffer);
        f.write_str(std::str::from_utf8(&buffer[..n]).unwrap_or_default())
    }
}

#[inline]
fn number(b: &[u8]) -> Option<u32> {
    b.iter().try_fold(0_u32, |sum, &d| d.is_ascii_digit().then(|| sum * 10 + u32::from(d - b'0')))
}

#[inline]
fn two(b: &[u8]) -> Option<u8> {
    number(b).map(|n| n as u8)
}

/// Reads `.123456` as millionths, and returns what follows it. Digits beyond the sixth are cut.
#[inline]
fn fraction(b: &[u8]) -> Option<(u32, &[u8])> {
    let Some(rest) = b.strip_prefix(b".") else {
        return Some((0, b));
    };
    let n = rest.iter().take_while(|d| d.is_ascii_digit()).count();
    let mut value = number(&rest[..n.min(6)])?;
    for _ in n.min(6)..6 {
        value *= 10;
    }
    (1..=9).contains(&n).then_some((value, &rest[n..]))
}

#[inline]
fn digits(out: &mut [u8], mut value: u32) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_go_there_and_back() {
        for days in (-800_000..3_000_000).step_by(37) {
            assert_eq!(Date::from_epoch_days(days).to_epoch_days(), days);
        }
        assert_eq!(Date::from_epoch_days(0), Date { year: 1970, month: 1, day: 1 });
        assert_eq!(Date::parse("2024-02-29").unwrap().to_epoch_days(), 19_782);
        assert!(!Date::parse("2023-02-29").unwrap().is_valid());
        assert!(!Date::parse("0000-00-00").unwrap().is_valid());
        assert!(Date::parse("2026-3-4").is_none());
        assert!(Date::parse("2026-13-04").is_none());
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(DateTime::parse(text).map(|d| d.to_string()).as_deref(), Some(expect));
    }

    #[test]
    fn date_times_in_all_spellings() {
        check("2026-03-04T05:06:07.123456", "2026-03-04T05:06:07.123456");
        check("2026-03-04 05:06:07.123", "2026-03-04T05:06:07.123");
        check("2026-03-04T05:06:07Z", "2026-03-04T05:06:07");
        check("2026-03-04T05:06:07.100000Z", "2026-03-04T05:06:07.100");
        check("2026-03-04", "2026-03-04T00:00:00");
        check("0000-00-00 00:00:00", "0000-00-00T00:00:00");
        for text in ["", "2026-03-04T", "2026-03-04T05:06", "2026-03-04T25:06:07", "2026-03-04T05:06:07+01:00"] {
            assert!(DateTime::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn epochs_of_every_unit() {
        let expect = DateTime::parse("2026-03-01T00:00:00.000001").unwrap();
        assert_eq!(DateTime::from_epoch_guess(1_772_323_200_000_001), expect);
        assert_eq!(DateTime::from_epoch_guess(1_772_323_200_000_001_000), expect);
        assert_eq!(DateTime::from_epoch_guess(1_772_323_200_000).to_string(), "2026-03-01T00:00:00");
        assert_eq!(expect.to_epoch_micros(), 1_772_323_200_000_001);
        assert_eq!(expect.to_epoch_millis(), 1_772_323_200_000);
        assert_eq!(DateTime::from_epoch_micros(-1).to_string(), "1969-12-31T23:59:59.999999");
    }

    #[test]
    fn times_beyond_a_day_and_below_zero() {
        let time = Time::parse("-12:34:56.789").unwrap();
        assert_eq!(time.to_microseconds(), -45_296_789_000);
        assert_eq!(Time::from_microseconds(-45_296_789_000), time);
        assert_eq!(Time::parse("838:59:59").unwrap().hours, 838);
        assert_eq!(time.to_string(), "-12:34:56.789000");
        for text in ["", "1", "12:34", "12:60:00", "12:34:56x", "x:00:00"] {
            assert!(Time::parse(text).is_none(), "{text}");
        }
    }
}
