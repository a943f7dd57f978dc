//! The dates that date fields accept: ISO 8601 in Elasticsearch's strict form, and epochs.

use jiff::Timestamp;

/// Reads a date in one of the formats, which `||` separates, and returns the milliseconds since 1970; `None` if the
/// text has another form. Formats other than the ISO forms and epochs accept any text, as 1970.
pub(crate) fn parse_date(format: &str, text: &str) -> Option<i64> {
    format.split("||").find_map(|format| match format {
        "epoch_millis" => parse_epoch(text, 1.0),
        "epoch_second" => parse_epoch(text, 1000.0),
        "strict_date_optional_time" | "date_optional_time" | "strict_date_optional_time_nanos" | "iso8601" => {
            parse_iso(text)
        }
        _ => Some(0),
    })
}

fn parse_epoch(text: &str, factor: f64) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = text.parse::<f64>().ok().filter(|_| digits.starts_with(|first: char| first.is_ascii_digit()));
    number.map(|number| (number * factor) as i64)
}

/// Reads `yyyy[-MM[-dd['T'[HH[:mm[:ss[.fraction]]]][zone]]]]`.
fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let (time, fraction) = match time.split_once(['.', ',']) {
        Some((time, fraction)) if time.len() == "00:00:00".len() => (time, fraction),
        Some(_) => return None,
        None => (time, "0"),
    };
    if date.is_empty() || zone.len() > "+00:00".len() {
        return None;
    }
    let date = complete(date, "0000-01-01")?;
    let time = complete(time, "00:00:00")?;
    let zone = if zone.is_empty() { "Z" } else { zone };
    let timestamp: Timestamp = format!("{date}T{time}.{fraction}{zone}").parse().ok()?;
    Some(timestamp.as_millisecond())
}

/// Fills up a date or time whose last parts are missing; `None` if the parts that are there do not have this form.
fn complete(text: &str, form: &str) -> Option<String> {
    let rest = form.get(text.len()..)?;
    let fits = |(found, wanted): (u8, u8)| match wanted.is_ascii_digit() {
        true => found.is_ascii_digit(),
        false => found == wanted,
    };
    let is_cut_at_a_part = text.is_empty() || !rest.starts_with(|next: char| next.is_ascii_digit());
    let is_whole = is_cut_at_a_part && !text.ends_with(['-', ':']);
    (is_whole && text.bytes().zip(form.bytes()).all(fits)).then(|| format!("{text}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::field::DEFAULT_DATE_FORMAT;

    #[track_caller]
    fn check(text: &str, expect: Option<i64>) {
        assert_eq!(parse_date(DEFAULT_DATE_FORMAT, text), expect, "{text}");
    }

    #[test]
    fn dates() {
        check("2024-01-02T10:00:00Z", Some(1_704_189_600_000));
        check("2024-01-02T10", Some(1_704_189_600_000));
        check("2024-01-02T18:00:00.123456+08:00", Some(1_704_189_600_123));
        check("1970-01-01", Some(0));
        check("1970-01", Some(0));
        check("1969-12-31T23:59:59.999Z", Some(-1));
        check("1704189600000", Some(1_704_189_600_000));
        check("2024-01-02 10:00:00", None);
        check("2024-1-02", None);
        check("2024-01-", None);
        check("2024-01-02T1000", None);
        check("2023-02-29", None);
        check("0000-00-00", None);
        check("", None);
        // Twelve thousand years are no year, but milliseconds could be.
        check("12024-01-01", None);
        check("12024", Some(12024));
    }
}
