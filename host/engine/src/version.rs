//! Versions of documents: one number that orders all writes of a document, made from the change's position in its source.
//!
//! Elasticsearch keeps a document's external version and refuses a write that is not newer, so an older change can
//! never overwrite a newer one, whatever the order in which they arrive. All strategies fit the 63 bits that
//! Elasticsearch takes, and every one is monotonic within a partition.
//!
//! ```text
//! binlog   epoch 4 │ file 17 │ (position 32 bits × 1024 + row) 42
//! time     epoch 4 │ seconds since 2017-07-14 31 │ offset 28
//! offset   epoch 4 │ offset 59
//! column   epoch 4 │ (column's value × 2 + 1 for a delete) 59
//! ```
//!
//! - **binlog** (Debezium; Maxwell): the true order over all partitions, as long as one server writes the binlog. After
//!   a failover or `RESET MASTER` the file numbers begin anew: raise the route's epoch.
//! - **time** (Canal; unwrapped Debezium without `source.file`): the time of the statement, which is whole seconds, then
//!   the offset. Two changes of one document within one second in two partitions are ordered by offset, which is
//!   arbitrary; within a partition the order is always right, since a time that runs backwards is held.
//! - **offset**: the order of one partition. Right where a key never changes its partition and topics are never rebuilt.
//! - **column**: a column that every update raises.

mod text;

use rowmill_rows::{RowInEvent, SourcePosition};

/// How versions are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionStrategy {
    /// The best that the format carries: binlog, else time, else offset.
    Auto,
    /// File, position and row of the binlog; a record without them becomes a dead letter.
    Binlog,
    /// Time of the statement, then offset.
    Time,
    /// The record's offset.
    Offset,
    /// The value of a column: an integer, or a time.
    Column(String),
}

/// The highest epoch.
pub const MAX_EPOCH: u64 = 15;

const EPOCH_SHIFT: u32 = 59;
/// 2017-07-14T02:40:00Z: no binlog that is still read is older, and 31 bits of seconds from there last until 2085.
const TIME_BASE: i64 = 1_500_000_000;
const OFFSET_BITS: u32 = 28;
const ROW_BITS: u32 = 10;
const FILE_SHIFT: u32 = 32 + ROW_BITS;
const MAX_FILE: u64 = (1 << (EPOCH_SHIFT - FILE_SHIFT)) - 1;

/// What a partition remembers so that its versions are monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionClock {
    /// The latest statement time seen, in seconds since 1970; 0 before the first. Kept with the committed offset, so
    /// that a restart gives the same versions.
    pub seconds: i64,
    /// The last event of which rows were numbered by their place in the transaction: file, position, number given.
    event: (u64, u64, u64),
}

impl PartitionClock {
    /// A clock that goes on from a committed time.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, ..Self::default() }
    }
}

/// What a record says about the place of a change in its source.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The position in the binlog, or the time.
    pub position: SourcePosition,
    /// The record's offset in its partition.
    pub offset: i64,
    /// The JSON value of the version column, for [`VersionStrategy::Column`].
    pub column: Option<&'a [u8]>,
    /// Whether the change is a delete. A delete follows an update with the same value of the version column.
    pub is_delete: bool,
}

/// The version of a change.
///
/// # Errors
/// The source does not carry what the strategy needs; the text is meant for the dead letter.
pub fn version(
    strategy: &VersionStrategy,
    epoch: u64,
    source: Source<'_>,
    clock: &mut PartitionClock,
) -> Result<u64, String> {
    let Source { position, offset, column, is_delete } = source;
    let offset = offset.max(0) as u64;
    let number = match (strategy, position) {
        (VersionStrategy::Auto | VersionStrategy::Binlog, SourcePosition::Binlog { file, position, row }) => {
            binlog(file, position, row, clock)?
        }
        (VersionStrategy::Binlog, _) => {
            return Err("the record carries no binlog file and position, which `version = \"binlog\"` needs; use `auto` or `time`".into());
        }
        (VersionStrategy::Auto | VersionStrategy::Time, SourcePosition::Time { milliseconds }) => {
            time(milliseconds, offset, clock)
        }
        (VersionStrategy::Auto | VersionStrategy::Offset, _) => offset,
        (VersionStrategy::Time, _) => {
            return Err("the record carries no time, which `version = \"time\"` needs; use `auto` or `offset`".into());
        }
        (VersionStrategy::Column(name), _) => {
            let value = column
                .filter(|value| *value != b"null")
                .ok_or_else(|| format!("the version column `{name}` is missing or NULL"))?;
            let value = column_number(value).ok_or_else(|| {
                format!("the version column `{name}` is neither an integer from 0 to 2^58 nor a time")
            })?;
            value * 2 + u64::from(is_delete)
        }
    };
    if number >> EPOCH_SHIFT != 0 {
        return Err("the position is too large for a version; use another `version` strategy".into());
    }
    // Elasticsearch's external versions begin at 0, but 0 would equal "never written" for a merged part.
    Ok(epoch.min(MAX_EPOCH) << EPOCH_SHIFT | number.max(1))
}

fn binlog(file: u64, position: u64, row: RowInEvent, clock: &mut PartitionClock) -> Result<u64, String> {
    if file > MAX_FILE {
        return Err(format!(
            "binlog file number {file} is larger than {MAX_FILE}; use `version = \"time\"` or `offset`"
        ));
    }
    if position >> 32 != 0 {
        return Err("a binlog position beyond 4 GiB; use `version = \"time\"` or `offset`".into());
    }
    let row = match row {
        // No row takes less than a byte of its event, so position × 1024 + row stays below the next event's.
        RowInEvent::InEvent(row) => u64::from(row),
        // The number counts from the transaction's start, which would pass the next event's position in a large
        // transaction: its low bits order the rows of one event, and within a partition it never runs backwards.
        RowInEvent::InTransaction(row) => number_in_event(file, position, row % ((1 << ROW_BITS) - 1), clock),
        RowInEvent::LastOfTransaction => number_in_event(file, position, (1 << ROW_BITS) - 1, clock),
    };
    Ok((file << FILE_SHIFT) + (position << ROW_BITS) + row)
}

fn number_in_event(file: u64, position: u64, row: u64, clock: &mut PartitionClock) -> u64 {
    let row = match clock.event {
        (last_file, last_position, last) if (last_file, last_position) == (file, position) => row.max(last + 1),
        _ => row,
    };
    clock.event = (file, position, row);
    row
}

fn time(milliseconds: i64, offset: u64, clock: &mut PartitionClock) -> u64 {
    // A statement's time is when it began, so a long one stands behind a later one in the binlog with an earlier time.
    clock.seconds = clock.seconds.max(milliseconds / 1000);
    let seconds = (clock.seconds - TIME_BASE).clamp(0, (1 << 31) - 1) as u64;
    seconds << OFFSET_BITS | offset & ((1 << OFFSET_BITS) - 1)
}

/// An integer unchanged; a date or time as microseconds since 1970.
fn column_number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim_matches('"');
    let number = match text.parse::<u64>() {
        Ok(number) => number,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.trim_end_matches('Z').parse().ok()?;
            let timestamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
            u64::try_from(timestamp.as_microsecond()).ok()?
        }
    };
    (number >> (EPOCH_SHIFT - 1) == 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(position: SourcePosition, offset: i64) -> Source<'static> {
        Source { position, offset, column: None, is_delete: false }
    }

    fn auto(position: SourcePosition, offset: i64, clock: &mut PartitionClock) -> u64 {
        version(&VersionStrategy::Auto, 0, source(position, offset), clock).expect("a version")
    }

    fn at(file: u64, position: u64, row: RowInEvent) -> SourcePosition {
        SourcePosition::Binlog { file, position, row }
    }

    #[test]
    fn binlog_order_is_file_then_position_then_row() {
        let mut clock = PartitionClock::default();
        let versions = [
            at(1, 4, RowInEvent::InEvent(0)),
            at(1, 4, RowInEvent::InEvent(1)),
            at(1, 120, RowInEvent::InEvent(0)),
            at(1, u64::from(u32::MAX), RowInEvent::InEvent(7)),
            at(2, 4, RowInEvent::InEvent(0)),
            at(MAX_FILE, 4, RowInEvent::InEvent(0)),
        ]
        .map(|position| auto(position, 0, &mut clock));
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert!(versions.iter().all(|version| version >> 63 == 0));
    }

    #[test]
    fn maxwell_rows_of_one_event_keep_their_order_and_never_pass_the_next_event() {
        let mut clock = PartitionClock::default();
        let rows = [
            at(1, 500, RowInEvent::InTransaction(1_000_000)),
            at(1, 500, RowInEvent::InTransaction(1_000_100)),
            at(1, 500, RowInEvent::InTransaction(1_001_030)),
            at(1, 500, RowInEvent::LastOfTransaction),
            at(1, 600, RowInEvent::InTransaction(0)),
            at(1, 600, RowInEvent::LastOfTransaction),
        ]
        .map(|position| auto(position, 0, &mut clock));
        assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
    }

    #[test]
    fn a_time_that_runs_backwards_is_held() {
        let mut clock = PartitionClock::default();
        let seconds = [1_795_216_547, 1_795_216_549, 1_795_216_548, 1_795_216_549, 1_795_216_550];
        let versions: Vec<u64> = seconds
            .iter()
            .enumerate()
            .map(|(offset, seconds)| {
                auto(SourcePosition::Time { milliseconds: seconds * 1000 }, offset as i64, &mut clock)
            })
            .collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(clock.seconds, 1_795_216_550);
    }

    #[test]
    fn a_restart_with_the_kept_time_gives_the_same_versions() {
        let mut clock = PartitionClock::default();
        auto(SourcePosition::Time { milliseconds: 1_795_216_549_000 }, 0, &mut clock);
        let mut restarted = PartitionClock::from_seconds(clock.seconds);
        let late = SourcePosition::Time { milliseconds: 1_795_216_540_000 };
        assert_eq!(auto(late, 1, &mut clock), auto(late, 1, &mut restarted));
    }

    #[test]
    fn an_epoch_goes_before_all() {
        let mut clock = PartitionClock::default();
        let newest = auto(at(MAX_FILE, u64::from(u32::MAX), RowInEvent::InEvent(1023)), 0, &mut clock);
        let raised = version(&VersionStrategy::Auto, 1, source(at(1, 4, RowInEvent::InEvent(0)), 0), &mut clock)
            .expect("a version");
        assert!(raised > newest);
        let highest =
            version(&VersionStrategy::Offset, MAX_EPOCH, source(SourcePosition::Unknown, i64::MAX >> 5), &mut clock)
                .expect("a version");
        assert!(highest >> 63 == 0);
    }

    #[test]
    fn a_column_orders_by_its_value_and_a_delete_goes_after_its_update() {
        let mut clock = PartitionClock::default();
        let mut of = |value: &str, delete| {
            version(
                &VersionStrategy::Column("updated_at".into()),
                0,
                Source { column: Some(value.as_bytes()), is_delete: delete, ..source(SourcePosition::Unknown, 0) },
                &mut clock,
            )
        };
        let update = of("\"2026-11-20T23:15:47.160Z\"", false).expect("a version");
        assert!(of("\"2026-11-20T23:15:47.160Z\"", true).expect("a version") > update);
        assert!(of("\"2026-11-20T23:15:47.161Z\"", false).expect("a version") > update + 1);
        assert!(of("17", false).expect("a version") > of("16", true).expect("a version"));
        assert!(of("null", false).expect_err("NULL has no order").contains("updated_at"));
        assert!(of("\"x\"", false).is_err());
    }
}
