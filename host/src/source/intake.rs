//! Records on their way from a source to the workers: batched by partition, and bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rowmill_rows::{Format, RecordBatch, TopicPartition};

use crate::budget::Budget;
use crate::checkpoint::Progress;
use crate::config::{Config, PipelineConfig};
use crate::health::{Health, SourceReport};
use crate::metrics::{Metrics, PartitionLabel};
use crate::operation::{Handed, SourceBatch};
use crate::record_versions::RecordVersions;
use crate::shutdown::Shutdown;

/// How long a record waits for others of its batch while the stream is slow.
const LINGER: Duration = Duration::from_millis(2);

/// The way from a source into the pipeline.
///
/// Every partition has a buffer, and goes to one worker for as long as the program runs, so its records stay in order.
/// Handing over never blocks: the source stops reading while the [`Budget`] is full.
pub struct Intake {
    /// The format of the records.
    format: Format,
    workers: Vec<Sender<Handed>>,
    config: PipelineConfig,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    health: Health,
    shutdown: Shutdown,
    until_caught_up: bool,
    buffers: Vec<PartitionBuffer>,
    by_partition: HashMap<TopicPartition, usize>,
    /// The buffer of the previous record: records arrive in runs of one partition.
    last: usize,
    /// The bytes of records that are not handed over yet.
    buffered: usize,
    /// Since when some records are not handed over.
    since: Option<Instant>,
}

/// Records of one partition that are not handed over yet.
struct PartitionBuffer {
    progress: Arc<Progress>,
    batch: RecordBatch,
    /// The versions of those records that are replayed, by their number.
    replayed: Vec<(u32, RecordVersions)>,
    worker: usize,
    /// The offset after the last record that was read.
    next_offset: i64,
    /// The size of the previous batch; the next one is likely to be about as large.
    expected_bytes: usize,
}

impl PartitionBuffer {
    fn new(partition: TopicPartition, format: Format, progress: Arc<Progress>, worker: usize) -> Self {
        let batch = RecordBatch::new(partition, format);
        Self { progress, batch, replayed: Vec::new(), worker, next_offset: -1, expected_bytes: 0 }
    }

    fn is_of(&self, topic: &str, partition: i32) -> bool {
        self.batch.partition.partition == partition && &*self.batch.partition.topic == topic
    }

    fn is_empty(&self) -> bool {
        self.batch.records.is_empty()
    }

    fn take(&mut self) -> RecordBatch {
        self.replayed.clear();
        let empty = RecordBatch::new(self.batch.partition.clone(), self.batch.format);
        std::mem::replace(&mut self.batch, empty)
    }
}

impl Intake {
    /// An intake for these workers. In a run `until_caught_up` the source ends once everything that existed at the start is
    /// settled.
    pub fn new(
        config: &Config,
        workers: Vec<Sender<Handed>>,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
        health: Health,
        shutdown: Shutdown,
        until_caught_up: bool,
    ) -> Self {
        Self {
            format: config.format,
            workers,
            config: config.pipeline,
            metrics,
            budget,
            health,
            shutdown,
            until_caught_up,
            buffers: Vec::new(),
            by_partition: HashMap::new(),
            last: 0,
            buffered: 0,
            since: None,
        }
    }

    /// The settings of the pipeline.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// When the source is to end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Whether the source ends once everything that existed at the start is settled.
    pub fn until_caught_up(&self) -> bool {
        self.until_caught_up
    }

    /// The buffer of a partition, if it is open.
    pub fn buffer(&mut self, topic: &str, partition: i32) -> Option<usize> {
        if !self.buffers.get(self.last).is_some_and(|buffer| buffer.is_of(topic, partition)) {
            self.last = self.buffers.iter().position(|buffer| buffer.is_of(topic, partition))?;
        }
        Some(self.last)
    }

    /// Opens a buffer for a newly assigned partition, whose clock is at `clock`.
    pub fn open(&mut self, partition: TopicPartition, clock: u64) -> Arc<Progress> {
        let progress = Progress::new(partition.clone(), clock);
        let number = self.buffers.len();
        match self.by_partition.get(&partition) {
            // The same worker as before: batches that the earlier assignment left there come first.
            Some(&known) => {
                let worker = self.buffers[known].worker;
                self.close(&partition);
                self.buffers[known] = PartitionBuffer::new(partition, self.format, progress.clone(), worker);
            }
            None => {
                self.by_partition.insert(partition.clone(), number);
                let worker = number % self.workers.len();
                self.buffers.push(PartitionBuffer::new(partition, self.format, progress.clone(), worker));
            }
        }
        progress
    }

    /// Appends a record, and hands the batch over if it is full.
    pub fn push<'a>(
        &mut self,
        buffer: usize,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        let entry = &mut self.buffers[buffer];
        if entry.is_empty() {
            entry.batch.bytes.reserve(entry.expected_bytes);
        }
        let before = entry.batch.bytes.len();
        entry.batch.push(offset, timestamp, key, value, headers);
        entry.next_offset = offset + 1;
        self.buffered += entry.batch.bytes.len() - before;
        if entry.batch.records.len() >= self.config.batch_rows || entry.batch.bytes.len() >= self.config.batch_bytes {
            self.hand_over(buffer);
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Says that the next record of the buffer was read before, and which versions it got then: it keeps them.
    pub fn replay(&mut self, buffer: usize, versions: RecordVersions) {
        let entry = &mut self.buffers[buffer];
        entry.replayed.push((entry.batch.records.len() as u32, versions));
    }

    /// Hands over all records.
    pub fn flush(&mut self) {
        if self.since.take().is_some() {
            for buffer in 0..self.buffers.len() {
                if !self.buffers[buffer].is_empty() {
                    self.hand_over(buffer);
                }
            }
        }
    }

    /// Hands over all records if the oldest has waited long enough for others.
    pub fn flush_if_due(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= LINGER) {
            self.flush();
        }
    }

    /// How long the source may wait for further records before [`Intake::flush_if_due`] has something to do; at most
    /// `longest`.
    pub fn until_due(&self, longest: Duration) -> Duration {
        self.since.map_or(longest, |since| LINGER.saturating_sub(since.elapsed()).min(longest))
    }

    /// Drops the records that are not handed over. They are not settled, so the next run reads them again.
    pub fn discard(&mut self) {
        for buffer in &mut self.buffers {
            buffer.take();
        }
        (self.buffered, self.since) = (0, None);
    }

    /// Drops the records of a lost partition that are not handed over; its next owner reads them again.
    pub fn close(&mut self, partition: &TopicPartition) {
        if let Some(&buffer) = self.by_partition.get(partition) {
            let buffer = &mut self.buffers[buffer];
            self.buffered -= buffer.take().bytes.len();
            buffer.progress = Progress::new(partition.clone(), 0);
        }
    }

    fn hand_over(&mut self, buffer: usize) {
        let entry = &mut self.buffers[buffer];
        let ticket = entry.progress.ticket(entry.next_offset);
        let replayed = std::mem::take(&mut entry.replayed);
        let mut records = entry.take();
        if records.bytes.len() < records.bytes.capacity() / 2 {
            records.bytes.shrink_to_fit();
        }
        entry.expected_bytes = records.bytes.len();
        self.buffered -= records.bytes.len();
        let passage = self.budget.begin_passage(records.bytes.len());
        let source = SourceBatch::with_replayed(records, replayed, ticket, &self.budget);
        // A worker that is gone has failed, so the run is ending. A batch that is not handed over is not settled.
        let _ = self.workers[entry.worker].send(Handed { source, passage });
    }

    /// Returns true if nothing may be read at present.
    pub fn is_full(&self) -> bool {
        self.budget.is_full() || self.buffered >= self.config.bytes_in_flight
    }

    /// Notes whether some partitions are not read because their documents cannot be written at present, so that others may
    /// have more of the budget.
    pub fn set_held_back(&self, are_held_back: bool) {
        self.budget.set_extended(are_held_back);
    }

    /// Waits until more may be read, at most for `timeout`. Returns true if it may.
    pub fn wait_for_room(&mut self, timeout: Duration) -> bool {
        if self.is_full() {
            self.flush();
        }
        self.budget.wait_for_room(timeout)
    }

    /// Returns true if everything that was read is settled.
    pub fn is_settled(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.is_empty() && buffer.progress.open_batches() == 0)
    }

    /// Shows how many bytes are held, and whether the source waits for room.
    pub fn show_flow(&self) {
        self.metrics.paused.set(i64::from(self.is_full()));
        self.metrics.bytes_in_flight.set(self.budget.held() as i64);
    }

    /// Shows how many records are between a partition's watermark and its end, and for how long its oldest record that is
    /// not settled has been in the pipeline.
    pub fn show_progress(&self, partition: &TopicPartition, lag: i64, oldest: Duration) {
        let label = label_of(partition);
        self.metrics.lag.get_or_create(&label).set(lag);
        self.metrics.oldest_unsettled.get_or_create(&label).set(oldest.as_secs_f64());
    }

    /// Reports whether the source makes progress. To be called about once per second.
    pub fn report(&self, report: SourceReport) {
        self.health.report_source(report);
    }

    /// No longer shows a partition that was lost.
    pub fn forget(&self, partition: &TopicPartition) {
        let label = label_of(partition);
        self.metrics.lag.remove(&label);
        self.metrics.oldest_unsettled.remove(&label);
    }

    /// Counts records that no longer existed when they were to be read.
    pub fn count_missing(&self, partition: &TopicPartition, records: i64) {
        let records = u64::try_from(records).unwrap_or(0);
        self.metrics.missing_records.get_or_create(&label_of(partition)).inc_by(records);
    }
}

fn label_of(partition: &TopicPartition) -> PartitionLabel {
    PartitionLabel { topic: partition.topic.to_string(), partition: partition.partition }
}
