//! Dates and times: converts text and counts since 1970 to ISO-8601.

use super::converted::{Converted, Mismatch, Result, Unit, push_digits, unquoted};

const DATE: Mismatch = Mismatch::Expected("a date");
const TIME: Mismatch = Mismatch::Expected("a time");
const DATE_TIME: Mismatch = Mismatch::Expected("a date with a time");
const TIMESTAMP: Mismatch = Mismatch::Expected("a time stamp");

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Whether the converted text has a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    None,
    Utc,
}

pub(super) fn date(raw: &[u8], out: &mut Vec<u8>) -> Result<Converted> {
    if let Some(text) = unquoted(raw) {
        return if read_date(text).is_some_and(|(_, rest)| rest.is_empty()) {
            Ok(Converted::Unchanged)
        } else {
            Err(DATE)
        };
    }
    let days = signed(raw).ok_or(DATE)?;
    let from = out.len();
    out.push(b'"');
    if push_date(days, out).is_none() {
        out.truncate(from);
        return Err(DATE);
    }
    out.push(b'"');
    Ok(Converted::Appended)
}

pub(super) fn time(raw: &[u8], unit: Unit, out: &mut Vec<u8>) -> Result<Converted> {
    let (negative, hours, minutes, seconds, micros) = match unquoted(raw) {
        Some(text) => {
            let (negative, text) = match text {
                [b'-', rest @ ..] => (true, rest),
                _ => (false, text),
            };
            let colon = text.iter().position(|&b| b == b':').filter(|n| (1..=3).contains(n)).ok_or(TIME)?;
            let hours = digits(&text[..colon]).ok_or(TIME)?;
            let (minutes, seconds, micros, rest) = read_minutes(&text[colon..]).ok_or(TIME)?;
            // Debezium's `isostring` mode appends a `Z` to times of day.
            if !matches!(rest, b"" | b"Z") {
                return Err(TIME);
            }
            (negative, hours, minutes, seconds, micros)
        }
        None => {
            let count = micros_of(raw, unit).ok_or(TIME)?;
            let (all, micros) = (count.unsigned_abs() / SECOND as u64, count.unsigned_abs() % SECOND as u64);
            if all >= 1000 * 3600 {
                return Err(TIME);
            }
            (count < 0, all / 3600, all / 60 % 60, all % 60, micros)
        }
    };
    out.push(b'"');
    if negative && hours + minutes + seconds + micros > 0 {
        out.push(b'-');
    }
    push_clock(hours, minutes, seconds, micros, out);
    out.push(b'"');
    Ok(Converted::Appended)
}

pub(super) fn date_time(raw: &[u8], unit: Unit, zone: Zone, out: &mut Vec<u8>) -> Result<Converted> {
    let mismatch = if zone == Zone::Utc { TIMESTAMP } else { DATE_TIME };
    let from = out.len();
    let done = match unquoted(raw) {
        Some(text) => date_time_of_text(text, zone, out),
        None => micros_of(raw, unit).and_then(|micros| {
            push_date_time(micros, zone, out)?;
            Some(Converted::Appended)
        }),
    };
    done.ok_or_else(|| {
        out.truncate(from);
        mismatch
    })
}

fn date_time_of_text(text: &[u8], zone: Zone, out: &mut Vec<u8>) -> Option<Converted> {
    let (day, rest) = read_date(text)?;
    let (separator, rest) = rest.split_first()?;
    if !matches!(separator, b' ' | b'T') {
        return None;
    }
    let hours = digits(rest.get(..2)?)?;
    let (minutes, seconds, micros, suffix) = read_minutes(&rest[2..])?;
    if hours > 23 {
        return None;
    }
    let offset = match (zone, suffix) {
        (_, b"") => 0,
        (Zone::Utc, b"Z") => 0,
        (Zone::Utc, [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]) => {
            let minutes = digits(&[*h1, *h2])? * 60 + digits(&[*m1, *m2])?;
            minutes as i64 * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let Some(day) = day else {
        return Some(Converted::Unchanged); // a zero date
    };
    let seconds_of_day = ((hours * 60 + minutes) * 60 + seconds) as i64;
    if offset != 0 {
        let micros = day * DAY + (seconds_of_day - offset * 60) * SECOND + micros as i64;
        push_date_time(micros, zone, out)?;
        return Some(Converted::Appended);
    }
    let fraction = text.len() - suffix.len() - 19;
    let is_final = *separator == b'T'
        && (suffix == b"Z") == (zone == Zone::Utc)
        && match fraction {
            0 => true,
            4 => micros > 0,
            7 => !micros.is_multiple_of(1000),
            _ => false,
        };
    if is_final {
        return Some(Converted::Unchanged);
    }
    out.push(b'"');
    out.extend_from_slice(&text[..10]);
    out.push(b'T');
    push_clock(hours, minutes, seconds, micros, out);
    out.extend_from_slice(if zone == Zone::Utc { b"Z\"" } else { b"\"" });
    Some(Converted::Appended)
}

/// Reads `YYYY-MM-DD` at the start of `text`: the day since 1970, and the rest of the text. The day is `None` for the
/// zero dates of MySQL, whose month or day is 0.
fn read_date(text: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let (date, rest) = text.split_at_checked(10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?);
    if month > 12 || day > 31 {
        return None;
    }
    if month == 0 || day == 0 {
        return Some((None, rest));
    }
    Some((Some(days_from_civil(year as i64, month as i64, day as i64)), rest))
}

/// Reads `:MM:SS[.f…]`: minutes, seconds, microseconds and the rest of the text.
fn read_minutes(text: &[u8]) -> Option<(u64, u64, u64, &[u8])> {
    let (clock, mut rest) = text.split_at_checked(6)?;
    if clock[0] != b':' || clock[3] != b':' {
        return None;
    }
    let (minutes, seconds) = (digits(&clock[1..3])?, digits(&clock[4..])?);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let mut micros = 0;
    if let [b'.', behind @ ..] = rest {
        let length = behind.iter().take_while(|b| b.is_ascii_digit()).count();
        let (fraction, end) = behind.split_at(length);
        if length == 0 || fraction.iter().skip(6).any(|&b| b != b'0') {
            return None;
        }
        let fraction = &fraction[..length.min(6)];
        micros = digits(fraction)? * 10u64.pow(6 - fraction.len() as u32);
        rest = end;
    }
    Some((minutes, seconds, micros, rest))
}

/// Parses a few decimal digits.
fn digits(text: &[u8]) -> Option<u64> {
    super::number::digits_value(text)
}

/// Parses an integer that may be negative.
fn signed(raw: &[u8]) -> Option<i64> {
    match raw {
        [b'-', magnitude @ ..] => 0i64.checked_sub_unsigned(digits(magnitude)?),
        _ => i64::try_from(digits(raw)?).ok(),
    }
}

fn micros_of(raw: &[u8], unit: Unit) -> Option<i64> {
    let count = signed(raw)?;
    match unit {
        Unit::Milliseconds => count.checked_mul(1000),
        Unit::Microseconds => Some(count),
        Unit::Nanoseconds => Some(count.div_euclid(1000)),
    }
}

fn push_date_time(micros: i64, zone: Zone, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    push_date(micros.div_euclid(DAY), out)?;
    out.push(b'T');
    let of_day = micros.rem_euclid(DAY) as u64;
    let (seconds, micros) = (of_day / SECOND as u64, of_day % SECOND as u64);
    push_clock(seconds / 3600, seconds / 60 % 60, seconds % 60, micros, out);
    out.extend_from_slice(if zone == Zone::Utc { b"Z\"" } else { b"\"" });
    Some(())
}

/// Appends `HH:MM:SS` with zero, three or six fraction digits.
fn push_clock(hours: u64, minutes: u64, seconds: u64, micros: u64, out: &mut Vec<u8>) {
    push_digits(hours, 2, out);
    out.push(b':');
    push_digits(minutes, 2, out);
    out.push(b':');
    push_digits(seconds, 2, out);
    if micros > 0 {
        out.push(b'.');
        if micros.is_multiple_of(1000) { push_digits(micros / 1000, 3, out) } else { push_digits(micros, 6, out) }
    }
}

/// Appends `YYYY-MM-DD` of a day since 1970; `None` outside the years 0 to 9999.
fn push_date(days: i64, out: &mut Vec<u8>) -> Option<()> {
    if !(-719_528..=2_932_896).contains(&days) {
        return None;
    }
    // Days since 1 March of year 0, in eras of 400 years: howardhinnant.github.io/date_algorithms.html
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    push_digits(year as u64, 4, out);
    out.push(b'-');
    push_digits(month as u64, 2, out);
    out.push(b'-');
    push_digits(day as u64, 2, out);
    Some(())
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}
