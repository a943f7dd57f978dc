//! Versions of documents: one number that orders all writes of a document, made from the change's position in its source.
//!
//! Elasticsearch keeps a document's external version and refuses a write that is not newer, so an older change can
//! never overwrite a newer one, whatever the order in which they arrive. All strategies fit the 63 bits that
//! Elasticsearch takes, and every one is monotonic within a partition.
//!
//! ```text
//! binlog   epoch 4 │ file 17 │ (position 32 bits × 1024 + row) 42
//! time     epoch 4 │ seconds since 2017-07-14 31 │ within the second 28 (`version/within.rs`)
//! offset   epoch 4 │ offset 59
//! column   epoch 4 │ (column's value × 2 + 1 for a delete) 59
//! ```
//!
//! - **binlog** (Debezium; Maxwell): the true order over all partitions, as long as one server writes the binlog. After
//!   a failover or `RESET MASTER` the file numbers begin anew: raise the route's epoch.
//! - **time** (Canal; unwrapped Debezium without `source.file`): the time of the statement, which is whole seconds, then
//!   Canal's time of sending and the number of the transaction, as far as they are known, then the offset. Only where these
//!   are equal does the offset order two changes of one document in two partitions, which is arbitrary. Within a partition
//!   the order is always right, since a version that would run backwards is held.
//! - **offset**: the order of one partition. Right where a key never changes its partition and topics are never rebuilt.
//! - **column**: a column that every update raises.
//!
//! A row that a snapshot read (Debezium `r`, Maxwell `bootstrap-insert`) must lose against every streamed change that the
//! read did not see. With a binlog position, which is that of the snapshot's start, it comes just before this position. Without
//! one its time would be that of the read, at which older changes may still be on their way: it gets the last streamed time of
//! its partition, or the lowest version.

mod text;
mod within;

use rowmill_rows::{RowInEvent, SourcePosition};

use crate::basis::Basis;

/// How versions are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionStrategy {
    /// The best that the table's first streamed change carries: binlog, else time, else offset.
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
const SECOND_SHIFT: u32 = 28;
const ROW_BITS: u32 = 10;
const FILE_SHIFT: u32 = 32 + ROW_BITS;
const MAX_FILE: u64 = (1 << (EPOCH_SHIFT - FILE_SHIFT)) - 1;

/// What a partition remembers so that its versions are monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionClock {
    /// The last version made of a time, without its epoch; 0 before the first. Kept with the committed offset, so that a
    /// restart gives the same versions.
    time: u64,
    /// The offset of the record that got it: all rows of a record have one version.
    time_offset: u64,
    /// The file of the last streamed change with a binlog position; 0 before the first.
    file: u64,
    step_back: Option<StepBack>,
    /// The last event of which rows were numbered by their place in the transaction: file, position, number given.
    event: (u64, u64, u64),
}

/// A step back of the binlog's file numbers within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBack {
    /// The file number before it.
    pub from: u64,
    /// The file number after it.
    pub to: u64,
}

impl PartitionClock {
    /// A clock that goes on from a committed time, as [`PartitionClock::time`] returned it.
    pub fn from_time(time: u64) -> Self {
        Self { time, ..Self::default() }
    }

    /// The last version made of a time, without its epoch; 0 before the first.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The last step back of the binlog's file numbers since the last call. A step by one file does not count: tools that
    /// restart read a part of the binlog again.
    pub fn take_step_back(&mut self) -> Option<StepBack> {
        self.step_back.take()
    }

    fn note_file(&mut self, file: u64) {
        let from = std::mem::replace(&mut self.file, file);
        if file + 1 < from || (file < from && file == 1) {
            self.step_back = Some(StepBack { from, to: file });
        }
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
    /// Whether a snapshot read the row.
    pub is_snapshot: bool,
    /// Of what `auto` makes the versions of the table; `None` if that is not decided.
    pub pinned: Option<Basis>,
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
    let Source { position, offset, column, is_delete, is_snapshot, pinned } = source;
    let offset = offset.max(0) as u64;
    let basis = match strategy {
        VersionStrategy::Auto => pinned.unwrap_or_else(|| Basis::of(position)),
        VersionStrategy::Binlog => Basis::Binlog,
        VersionStrategy::Time => Basis::Time,
        VersionStrategy::Offset => Basis::Offset,
        VersionStrategy::Column(name) => {
            let number = column_version(name, column, is_delete)?;
            return with_epoch(epoch, number);
        }
    };
    let number = match (basis, position) {
        (Basis::Binlog, SourcePosition::Binlog { file, position, .. }) if is_snapshot => {
            // All rows of a snapshot share its position, however many they are.
            binlog(file, position, RowInEvent::InEvent(0), clock)?.saturating_sub(1)
        }
        (Basis::Binlog, SourcePosition::Binlog { file, position, row }) => {
            clock.note_file(file);
            binlog(file, position, row, clock)?
        }
        (Basis::Binlog, _) if is_snapshot => 0,
        (Basis::Time, _) if is_snapshot && clock.time == 0 => 0,
        (Basis::Time, _) if is_snapshot => time(0, (0, 0), offset, clock),
        (Basis::Time, SourcePosition::Time { milliseconds, sent, transaction }) => {
            time(milliseconds, (sent, transaction), offset, clock)
        }
        (Basis::Offset, _) => offset,
        (Basis::Binlog | Basis::Time, _) => return Err(unfit(strategy, basis)),
    };
    with_epoch(epoch, number)
}

/// Why a record does not fit the strategy.
fn unfit(strategy: &VersionStrategy, basis: Basis) -> String {
    let lacks = match basis {
        Basis::Binlog => "no binlog file and position",
        _ => "no time, or a binlog position instead of one",
    };
    let name = basis.name();
    match strategy {
        VersionStrategy::Auto => format!(
            "the record carries {lacks}, unlike earlier records of its table, and versions of different strategies cannot be \
             compared: correct the source, or set `version` for this table and raise its `epoch` (`auto` uses `{name}`)"
        ),
        _ => format!("the record carries {lacks}, which `version = \"{name}\"` needs; use another `version`"),
    }
}

fn column_version(name: &str, value: Option<&[u8]>, is_delete: bool) -> Result<u64, String> {
    let value = value
        .filter(|value| *value != b"null")
        .ok_or_else(|| format!("the version column `{name}` is missing or NULL"))?;
    let value = column_number(value)
        .ok_or_else(|| format!("the version column `{name}` is neither an integer from 0 to 2^58 nor a time"))?;
    Ok(value * 2 + u64::from(is_delete))
}

fn with_epoch(epoch: u64, number: u64) -> Result<u64, String> {
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

fn time(milliseconds: i64, (sent, transaction): (i64, u64), offset: u64, clock: &mut PartitionClock) -> u64 {
    // A statement's time is when it began, so a long one stands behind a later one in the binlog with an earlier time.
    let seconds = seconds_of(milliseconds / 1000).max(clock.time >> SECOND_SHIFT);
    let delay = (sent > 0).then(|| sent.saturating_sub((seconds as i64 + TIME_BASE) * 1000));
    let time = seconds << SECOND_SHIFT | within::within_second(delay, transaction, offset);
    // Fewer bits than the numbers have may run backwards within the second, and so may the clock of Canal's host.
    let lowest = if clock.time_offset == offset { clock.time } else { clock.time + 1 };
    clock.time = time.max(lowest);
    clock.time_offset = offset;
    clock.time
}

/// Seconds since 1970 as the seconds of a version.
fn seconds_of(seconds: i64) -> u64 {
    (seconds - TIME_BASE).clamp(0, (1 << 31) - 1) as u64
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
        Source { position, offset, column: None, is_delete: false, is_snapshot: false, pinned: None }
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
            .map(|(offset, seconds)| auto(SourcePosition::time(seconds * 1000), offset as i64, &mut clock))
            .collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(clock.time >> SECOND_SHIFT, seconds_of(1_795_216_550));
    }

    #[test]
    fn a_restart_with_the_kept_time_gives_the_same_versions() {
        let mut clock = PartitionClock::default();
        auto(SourcePosition::time(1_795_216_549_000), 0, &mut clock);
        let mut restarted = PartitionClock::from_time(clock.time);
        let late = SourcePosition::time(1_795_216_540_000);
        assert_eq!(auto(late, 1, &mut clock), auto(late, 1, &mut restarted));
    }

    #[test]
    fn a_snapshot_row_never_beats_a_change_that_it_did_not_see() {
        let mut clock = PartitionClock::default();
        let mut of = |position, offset, is_snapshot, pinned| {
            let source = Source { is_snapshot, pinned, ..source(position, offset) };
            version(&VersionStrategy::Auto, 0, source, &mut clock).expect("a version")
        };
        let binlog = |position| at(7, position, RowInEvent::InEvent(0));
        let late = SourcePosition::time(1_795_216_549_000);
        // Debezium: the position is that of the snapshot's start.
        let read = of(binlog(500), 0, true, None);
        assert!(of(binlog(481), 1, false, None) < read && read < of(binlog(500), 1, false, None));
        let many = [0, 5_000_000].map(|row| of(at(7, 500, RowInEvent::InTransaction(row)), 0, true, None));
        assert_eq!(many, [read; 2]);
        // Maxwell: a time, though the table's changes have positions. It may also come first.
        for pinned in [None, Some(Basis::Binlog)] {
            assert!(of(late, 9, true, pinned) < of(at(1, 4, RowInEvent::InTransaction(0)), 1, false, None));
        }
        // Times only: after all of its partition that came before it, and before all that comes after it.
        let before = of(SourcePosition::time(1_795_216_500_000), 10, false, Some(Basis::Time));
        let read = of(late, 11, true, Some(Basis::Time));
        let after = of(SourcePosition::time(1_795_216_500_000), 12, false, Some(Basis::Time));
        assert!(before < read && read < after, "{before} {read} {after}");
    }

    #[test]
    fn a_step_back_of_the_file_numbers_is_noted() {
        let mut clock = PartitionClock::default();
        let mut step = |file| {
            auto(at(file, 4, RowInEvent::InEvent(0)), 0, &mut clock);
            clock.take_step_back()
        };
        assert_eq!([41, 42, 41, 42].map(&mut step), [None; 4]);
        assert_eq!(step(1), Some(StepBack { from: 42, to: 1 }));
        assert_eq!([1, 2].map(&mut step), [None; 2]);
        assert_eq!(step(1), Some(StepBack { from: 2, to: 1 }));
    }

    #[test]
    fn auto_stays_with_the_basis_of_the_table() {
        let mut clock = PartitionClock::default();
        let mut of = |position, pinned| {
            let source = Source { pinned: Some(pinned), ..source(position, 5) };
            version(&VersionStrategy::Auto, 0, source, &mut clock)
        };
        let time = SourcePosition::time(1_795_216_549_000);
        let binlog = at(1, 4, RowInEvent::InEvent(0));
        for (position, pinned) in
            [(time, Basis::Binlog), (SourcePosition::Unknown, Basis::Binlog), (binlog, Basis::Time)]
        {
            let reason = of(position, pinned).expect_err("versions cannot be compared");
            assert!(reason.contains("`epoch`") && reason.contains(pinned.name()), "{reason}");
        }
        assert_eq!(of(time, Basis::Offset), Ok(5));
        assert!(of(binlog, Basis::Binlog).is_ok() && of(time, Basis::Time).is_ok());
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
