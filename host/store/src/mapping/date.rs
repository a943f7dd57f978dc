//! Dates as Elasticsearch reads them: the ISO forms, epochs, and the simple patterns of `java.time`.

use crate::error::EsError;

/// The format of date fields that name none.
pub(crate) fn default_date_format() -> &'static str {
    "strict_date_optional_time||epoch_millis"
}

/// Milliseconds since 1970 of a text in one of the formats, which `||` separates.
pub(crate) fn parse_date(format: &str, text: &str) -> Result<i64, EsError> {
    if text.is_empty() {
        return Err(EsError::illegal_argument("cannot parse empty datetime"));
    }
    let mut wrong_day = None;
    for pattern in format.split("||") {
        match parse_one(pattern, text) {
            Ok(milliseconds) => return Ok(milliseconds),
            Err(Failure::NoSuchDay(reason)) => wrong_day = Some(reason),
            Err(Failure::OtherForm) => {}
        }
    }
    if let Some(reason) = wrong_day {
        return Err(EsError::new(400, "date_time_exception", reason));
    }
    Err(EsError::illegal_argument(format!("failed to parse date field [{text}] with format [{format}]"))
        .caused_by(EsError::new(400, "date_time_parse_exception", "Failed to parse with all enclosed parsers")))
}

enum Failure {
    OtherForm,
    NoSuchDay(String),
}

fn parse_one(pattern: &str, text: &str) -> Result<i64, Failure> {
    match pattern {
        "epoch_millis" => epoch(text, 1.0),
        "epoch_second" => epoch(text, 1000.0),
        "strict_date_optional_time" | "date_optional_time" | "strict_date_optional_time_nanos" | "iso8601" => {
            Reader::new(text).iso()
        }
        "strict_date" | "date" | "strict_year_month_day" => Reader::new(text).pattern("yyyy-MM-dd"),
        "strict_date_time" | "date_time" => Reader::new(text).pattern("yyyy-MM-dd'T'HH:mm:ss.SSSZ"),
        "strict_date_time_no_millis" | "date_time_no_millis" => Reader::new(text).pattern("yyyy-MM-dd'T'HH:mm:ssZ"),
        "strict_date_hour_minute_second" | "date_hour_minute_second" => {
            Reader::new(text).pattern("yyyy-MM-dd'T'HH:mm:ss")
        }
        "basic_date" => Reader::new(text).pattern("yyyyMMdd"),
        pattern => Reader::new(text).pattern(pattern.trim_start_matches('8')),
    }
}

fn epoch(text: &str, factor: f64) -> Result<i64, Failure> {
    let number = text.strip_prefix('-').unwrap_or(text);
    let numeric = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && number.starts_with(|c: char| c.is_ascii_digit());
    // Doubles of the JSON come in Java's notation.
    let parsed = text.parse::<f64>().ok().filter(|_| numeric || text.contains('E'));
    parsed.map(|number| (number * factor) as i64).ok_or(Failure::OtherForm)
}

/// A date and time as far as they have been read.
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millisecond: i64,
    offset_seconds: i64,
}

impl Fields {
    fn milliseconds(&self) -> Result<i64, Failure> {
        let Fields { year, month, day, hour, minute, second, .. } = *self;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 59 {
            return Err(Failure::OtherForm);
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let longest = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if day > longest {
            return Err(Failure::NoSuchDay(match (month, day) {
                (2, 29) => format!("Invalid date 'February 29' as '{year}' is not a leap year"),
                _ => format!("Invalid date '{} {day}'", MONTHS[usize::try_from(month - 1).unwrap_or(0)]),
            }));
        }
        let days = days_since_epoch(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - self.offset_seconds;
        Ok(seconds * 1000 + self.millisecond)
    }
}

const MONTHS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Counts from March, so that the leap day is the year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

struct Reader<'a> {
    rest: &'a [u8],
    fields: Fields,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        let fields =
            Fields { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0, millisecond: 0, offset_seconds: 0 };
        Reader { rest: text.as_bytes(), fields }
    }

    /// `yyyy[-MM[-dd['T'[HH[:mm[:ss[.SSS]]]][zone]]]]`
    fn iso(mut self) -> Result<i64, Failure> {
        self.fields.year = self.digits(4, 4)?;
        if self.take(b'-') {
            self.fields.month = self.digits(2, 2)?;
            if self.take(b'-') {
                self.fields.day = self.digits(2, 2)?;
            }
        }
        if self.take(b'T') && !self.rest.is_empty() {
            self.fields.hour = self.digits(2, 2)?;
            if self.take(b':') {
                self.fields.minute = self.digits(2, 2)?;
                if self.take(b':') {
                    self.fields.second = self.digits(2, 2)?;
                    if self.take(b'.') || self.take(b',') {
                        self.fraction(1, 9)?;
                    }
                }
            }
            if !self.rest.is_empty() {
                self.zone()?;
            }
        }
        self.end()
    }

    fn pattern(mut self, pattern: &str) -> Result<i64, Failure> {
        let pattern: Vec<char> = pattern.chars().collect();
        let mut at = 0;
        while at < pattern.len() {
            let letter = pattern[at];
            let run = pattern[at..].iter().take_while(|other| **other == letter).count();
            at += run;
            // A letter alone takes one digit or more.
            let most = if run == 1 { 9 } else { run };
            match letter {
                'y' | 'u' => self.fields.year = self.digits(run, most.max(4))?,
                'M' if run <= 2 => self.fields.month = self.digits(run, most.min(2))?,
                'd' => self.fields.day = self.digits(run, most.min(2))?,
                'H' => self.fields.hour = self.digits(run, most.min(2))?,
                'm' => self.fields.minute = self.digits(run, most.min(2))?,
                's' => self.fields.second = self.digits(run, most.min(2))?,
                'S' | 'n' => self.fraction(run, run)?,
                'X' | 'Z' | 'x' | 'z' => self.zone()?,
                '[' | ']' => {}
                '\'' => {
                    let end = pattern[at..].iter().position(|other| *other == '\'').unwrap_or(pattern.len() - at);
                    for literal in &pattern[at..at + end] {
                        self.literal(*literal)?;
                    }
                    at += end + 1;
                }
                letter if letter.is_ascii_alphabetic() => return Err(Failure::OtherForm),
                literal => (0..run).try_for_each(|_| self.literal(literal))?,
            }
        }
        self.end()
    }

    fn end(self) -> Result<i64, Failure> {
        match self.rest.is_empty() {
            true => self.fields.milliseconds(),
            false => Err(Failure::OtherForm),
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn literal(&mut self, literal: char) -> Result<(), Failure> {
        let mut buffer = [0; 4];
        let bytes = literal.encode_utf8(&mut buffer).as_bytes();
        self.rest = self.rest.strip_prefix(bytes).ok_or(Failure::OtherForm)?;
        Ok(())
    }

    fn digits(&mut self, least: usize, most: usize) -> Result<i64, Failure> {
        let count = self.rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return Err(Failure::OtherForm);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn fraction(&mut self, least: usize, most: usize) -> Result<(), Failure> {
        let before = self.rest.len();
        let number = self.digits(least, most.min(9))?;
        let count = u32::try_from(before - self.rest.len()).unwrap_or(9);
        self.fields.millisecond = match count {
            0..=3 => number * 10_i64.pow(3 - count),
            _ => number / 10_i64.pow(count - 3),
        };
        Ok(())
    }

    fn zone(&mut self) -> Result<(), Failure> {
        if self.take(b'Z') {
            return Ok(());
        }
        let sign = match (self.take(b'+'), self.take(b'-')) {
            (true, false) => 1,
            (false, true) => -1,
            _ => return Err(Failure::OtherForm),
        };
        let hours = self.digits(2, 2)?;
        let minutes = match self.take(b':') || !self.rest.is_empty() {
            true => self.digits(2, 2)?,
            false => 0,
        };
        if hours > 18 || minutes > 59 {
            return Err(Failure::OtherForm);
        }
        self.fields.offset_seconds = sign * (hours * 3600 + minutes * 60);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, text: &str, expect: Option<i64>) {
        assert_eq!(parse_date(format, text).ok(), expect, "{text} as {format}");
    }

    #[test]
    fn dates() {
        let default = default_date_format();
        check(default, "2024-01-02T10:00:00Z", Some(1_704_189_600_000));
        check(default, "2024-01-02T18:00:00.123456+08:00", Some(1_704_189_600_123));
        check(default, "1970-01-01", Some(0));
        check(default, "1969-12-31T23:59:59.999Z", Some(-1));
        check(default, "1704189600000", Some(1_704_189_600_000));
        check(default, "2024-01-02 10:00:00", None);
        check(default, "2023-02-29", None);
        check(default, "12024-01-01", None);
        check("yyyy-MM-dd HH:mm:ss", "2024-01-02 10:00:00", Some(1_704_189_600_000));
        check("yyyy/MM/dd HH:mm:ss||yyyy/MM/dd", "2024/01/02", Some(1_704_153_600_000));
        check("yyyy-MM-dd'T'HH:mm:ss.SSSSSS", "2024-01-02T10:00:00.000001", Some(1_704_189_600_000));
    }
}
