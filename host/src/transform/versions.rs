//! Gives every row of a batch its version, and keeps what dead letters need of it.

use rowmill_engine::version::PartitionClock;
use rowmill_engine::{Batch, ChainInstance, Failure};

use crate::operation::SourceBatch;
use crate::record_versions::{RecordVersions, RowVersion};

/// The versions of one batch's rows.
///
/// A row from the stream gets its version by the clock of its partition. A row of a record that is replayed has the version
/// that it got at first. If it got none, it is made by the clock of that time, so the partition's clock never sees it.
pub(super) struct RowVersions<'a> {
    source: &'a SourceBatch,
    /// The partition's clock.
    clock: PartitionClock,
    /// The versions so far, in the order of the rows.
    rows: Vec<RowVersion>,
    record: CurrentRecord<'a>,
}

/// The record whose rows get their versions.
struct CurrentRecord<'a> {
    number: Option<u32>,
    /// The place of its first row.
    first_row: usize,
    /// The partition's clock before it.
    before: PartitionClock,
    /// If it is replayed: its versions, and the clock of the rows that have none.
    replayed: Option<(&'a RecordVersions, PartitionClock)>,
}

impl<'a> RowVersions<'a> {
    pub fn new(source: &'a SourceBatch, clock: PartitionClock, n_rows: usize) -> Self {
        let record = CurrentRecord { number: None, first_row: 0, before: clock, replayed: None };
        Self { source, clock, rows: Vec::with_capacity(n_rows), record }
    }

    /// Whether this is not the record of the previous row.
    pub fn is_next(&self, record: u32) -> bool {
        self.record.number != Some(record)
    }

    /// The version of a row. To be called once for every row, in order; `chain` answers for the row.
    ///
    /// # Errors
    /// The record does not carry what the strategy of the route needs.
    pub fn version_of(&mut self, chain: &mut ChainInstance, batch: &Batch<'_>, row: usize) -> Result<u64, Failure> {
        let record = batch.row(row).record;
        if self.is_next(record) {
            let replayed = self.source.replayed(record);
            let replayed = replayed.map(|versions| (versions, versions.clock.unwrap_or_default()));
            let first_row = self.rows.len();
            self.record = CurrentRecord { number: Some(record), first_row, before: self.clock, replayed };
        }
        let number = self.rows.len() - self.record.first_row;
        let result = match &mut self.record.replayed {
            None => {
                chain.decide_basis(batch, row);
                chain.version_of(batch, row, &mut self.clock)
            }
            Some((versions, clock)) => versions.of_row(number).map_or_else(|| chain.version_of(batch, row, clock), Ok),
        };
        self.rows.push(RowVersion { record, version: result.as_ref().copied().unwrap_or_default() });
        result
    }

    /// The versions of a record that cannot be decoded, or some of whose rows cannot: none, so that the replay makes them, with
    /// the clock before the record. The rows that could be decoded have other numbers in a replay in which all can, so they
    /// keep their versions only if these are the same. To be called before the rows of later records get theirs.
    pub fn of_undecodable(&mut self, record: u32) -> RecordVersions {
        let mut before = self.clock;
        if self.record.number == Some(record) {
            before = self.record.before;
            let rows = &mut self.rows[self.record.first_row..];
            if rows.iter().any(|row| row.version != rows[0].version) {
                rows.iter_mut().for_each(|row| row.version = 0);
            }
        }
        self.source.replayed(record).cloned().unwrap_or_else(|| RecordVersions::after(before))
    }

    /// The versions of the last row's record, as far as its rows have got them.
    pub fn of_record(&self) -> RecordVersions {
        let replayed = self.record.replayed.as_ref().map(|(versions, _)| (*versions).clone());
        let mut versions = replayed.unwrap_or_else(|| RecordVersions::after(self.record.before));
        versions.set_rows(self.rows[self.record.first_row..].iter().map(|row| row.version));
        versions
    }

    /// The partition's clock after the rows so far.
    pub fn clock(&self) -> PartitionClock {
        self.clock
    }

    /// The versions of all rows, in their order.
    pub fn into_rows(self) -> Vec<RowVersion> {
        self.rows
    }
}
