//! Keeps the last real rows of each table. A new generation is probed with them before it is published.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rowmill_rows::{RecordBatch, RowBatch, TableVersion};

/// The number of records kept per table.
const MAX_RECORDS: usize = 64;
/// The size of the records kept per table, in bytes.
const MAX_BYTES: usize = 512 << 10;
/// The number of tables kept: the first ones seen.
const MAX_TABLES: usize = 128;
/// The interval at which a worker copies rows. Rows up to a second old are recent enough.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The last records of each table that contained rows.
#[derive(Debug, Default)]
pub struct Recent(Mutex<HashMap<String, Arc<RecordBatch>>>);

impl Recent {
    /// The records, one batch per table.
    pub fn records(&self) -> Vec<Arc<RecordBatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Copies the last records of each table in a batch.
    fn store(&self, records: &RecordBatch, rows: &RowBatch, tables: &[Arc<TableVersion>]) {
        let mut chosen: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in rows.rows.iter().rev() {
            let of_table = chosen.entry(row.table).or_default();
            if of_table.len() < MAX_RECORDS && of_table.last() != Some(&row.record) {
                of_table.push(row.record);
            }
        }
        for (table, of_table) in chosen {
            let mut copy = RecordBatch::new(records.partition.clone(), records.format);
            let mut room = MAX_BYTES;
            let size = |record: u32| {
                let record = &records.records[record as usize];
                [record.key, record.value]
                    .into_iter()
                    .flatten()
                    .map(|span| span.of(&records.bytes).len())
                    .sum::<usize>()
            };
            let fitting = of_table.iter().copied().take_while(|record| {
                let fits = size(*record) <= room;
                room = room.saturating_sub(size(*record));
                fits
            });
            let mut fitting: Vec<u32> = fitting.collect();
            fitting.reverse();
            for number in fitting {
                let record = &records.records[number as usize];
                let bytes = |span: Option<rowmill_rows::Span>| span.map(|span| span.of(&records.bytes));
                let headers = records
                    .headers_of(record)
                    .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
                copy.push(record.offset, record.timestamp, bytes(record.key), bytes(record.value), headers);
            }
            let name = tables[table as usize].full_name();
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !copy.records.is_empty() && (kept.len() < MAX_TABLES || kept.contains_key(&name)) {
                kept.insert(name, Arc::new(copy));
            }
        }
    }
}

/// Limits how often a worker copies rows into a [`Recent`].
#[derive(Debug, Default)]
pub(super) struct Sampling(Option<Instant>);

impl Sampling {
    pub fn offer(&mut self, to: &Recent, records: &RecordBatch, rows: &RowBatch, tables: &[Arc<TableVersion>]) {
        let now = Instant::now();
        if !rows.rows.is_empty() && self.0.is_none_or(|last| now.duration_since(last) >= SAMPLE_INTERVAL) {
            self.0 = Some(now);
            to.store(records, rows, tables);
        }
    }
}
