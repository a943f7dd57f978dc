//! Records on their way from a source to the workers: batched by partition, and bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use rowmill_rows::{Format, RecordBatch, TopicPartition};

use crate::checkpoint::{BytesInFlight, Progress};
use crate::config::PipelineConfig;
use crate::metrics::{Metrics, PartitionLabel};
use crate::operation::SourceBatch;
use crate::shutdown::Shutdown;

/// Capacity of the channel to each worker, in batches. Enough that a worker never waits for the source; the bytes in flight
/// are bounded by `pipeline.bytes_in_flight`.
pub const BATCHES_PER_WORKER: usize = 16;

/// How long the source waits for a busy worker before it returns to polling. Far below the time after which a consumer
/// group considers a member dead.
const HAND_OVER_TIMEOUT: Duration = Duration::from_millis(100);

/// The way from a source into the pipeline.
///
/// Every partition has a buffer, and goes to one worker for as long as the program runs, so its records stay in order.
pub struct Intake {
    /// The format of the records.
    format: Format,
    workers: Vec<Sender<Arc<SourceBatch>>>,
    config: PipelineConfig,
    metrics: Arc<Metrics>,
    bytes: Arc<BytesInFlight>,
    shutdown: Shutdown,
    until_caught_up: bool,
    buffers: Vec<PartitionBuffer>,
    by_partition: HashMap<TopicPartition, usize>,
    /// The buffer of the previous record: records arrive in runs of one partition.
    last: usize,
    /// A batch that no worker had room for, and the worker that it is for.
    held: Option<(usize, Arc<SourceBatch>)>,
}

/// Records of one partition that are not handed over yet.
struct PartitionBuffer {
    progress: Arc<Progress>,
    batch: RecordBatch,
    worker: usize,
    /// The offset after the last record that was read.
    next_offset: i64,
    /// The size of the previous batch; the next one is likely to be about as large.
    expected_bytes: usize,
}

impl PartitionBuffer {
    fn new(partition: TopicPartition, format: Format, progress: Arc<Progress>, worker: usize) -> Self {
        Self { progress, batch: RecordBatch::new(partition, format), worker, next_offset: -1, expected_bytes: 0 }
    }

    fn is_of(&self, topic: &str, partition: i32) -> bool {
        self.batch.partition.partition == partition && &*self.batch.partition.topic == topic
    }

    fn is_empty(&self) -> bool {
        self.batch.records.is_empty()
    }

    fn take(&mut self) -> RecordBatch {
        let empty = RecordBatch::new(self.batch.partition.clone(), self.batch.format);
        std::mem::replace(&mut self.batch, empty)
    }
}

impl Intake {
    /// An intake of records in this format for these workers. In a run `until_caught_up` the source ends once everything that existed at the start is
    /// settled.
    pub fn new(
        format: Format,
        workers: Vec<Sender<Arc<SourceBatch>>>,
        config: PipelineConfig,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
        until_caught_up: bool,
    ) -> Self {
        Self {
            format,
            workers,
            config,
            metrics,
            bytes: Arc::default(),
            shutdown,
            until_caught_up,
            buffers: Vec::new(),
            by_partition: HashMap::new(),
            last: 0,
            held: None,
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

    /// Opens a buffer for a newly assigned partition, whose clock is at `clock_seconds`.
    pub fn open(&mut self, partition: TopicPartition, clock_seconds: i64) -> Arc<Progress> {
        let progress = Progress::new(partition.clone(), clock_seconds, self.bytes.clone());
        let number = self.buffers.len();
        match self.by_partition.get(&partition) {
            // The same worker as before: batches that the earlier assignment left there come first.
            Some(&known) => {
                let worker = self.buffers[known].worker;
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
        entry.batch.push(offset, timestamp, key, value, headers);
        entry.next_offset = offset + 1;
        if entry.batch.records.len() >= self.config.batch_rows || entry.batch.bytes.len() >= self.config.batch_bytes {
            self.hand_over(buffer);
        }
    }

    /// Hands over all batches that are not empty, as far as the workers have room.
    pub fn flush(&mut self) {
        for buffer in 0..self.buffers.len() {
            if !self.buffers[buffer].is_empty() {
                self.hand_over(buffer);
            }
        }
    }

    /// Hands over everything, waiting for the workers, unless the run is to end.
    pub fn flush_all(&mut self) {
        while !self.buffers.iter().all(PartitionBuffer::is_empty) && !self.shutdown.is_requested() {
            self.flush();
        }
    }

    /// Drops the records that are not handed over. They are not settled, so the next run reads them again.
    pub fn discard(&mut self) {
        for buffer in &mut self.buffers {
            buffer.take();
        }
    }

    /// Drops the records of a lost partition that are not handed over; its next owner reads them again.
    pub fn close(&mut self, partition: &TopicPartition) {
        if let Some(&buffer) = self.by_partition.get(partition) {
            let buffer = &mut self.buffers[buffer];
            buffer.take();
            buffer.progress = Progress::new(partition.clone(), 0, self.bytes.clone());
        }
    }

    fn hand_over(&mut self, buffer: usize) {
        // The held batch goes first, to keep the order. Without room this batch grows: the source has to poll.
        if !self.retry_held() {
            return;
        }
        let entry = &mut self.buffers[buffer];
        entry.expected_bytes = entry.batch.bytes.len();
        let records = entry.take();
        let ticket = entry.progress.ticket(entry.next_offset, records.bytes.len());
        self.held = Some((entry.worker, Arc::new(SourceBatch { records, ticket })));
        self.retry_held();
    }

    /// Tries to hand over the held batch. Returns true if none is held any more.
    pub fn retry_held(&mut self) -> bool {
        let Some((worker, batch)) = self.held.take() else { return true };
        match self.workers[worker].send_timeout(batch, HAND_OVER_TIMEOUT) {
            Ok(()) => true,
            Err(SendTimeoutError::Timeout(batch)) => {
                self.held = Some((worker, batch));
                false
            }
            // The worker failed, so the run is ending. A batch that is not handed over is not settled.
            Err(SendTimeoutError::Disconnected(_)) => true,
        }
    }

    /// Returns true if reading should pause: a batch waits for room, or too many bytes are in flight.
    pub fn is_full(&self) -> bool {
        self.held.is_some() || self.bytes.now() > self.config.bytes_in_flight
    }

    /// Returns true if there is enough room to resume reading.
    pub fn has_room(&self) -> bool {
        self.held.is_none() && self.bytes.now() <= self.config.bytes_in_flight / 2
    }

    /// Returns true if everything that was read is settled.
    pub fn is_settled(&self) -> bool {
        self.held.is_none()
            && self.buffers.iter().all(|buffer| buffer.is_empty() && buffer.progress.open_batches() == 0)
    }

    /// Shows how many bytes are in flight, and whether reading is paused for it.
    pub fn show_flow(&self, is_paused: bool) {
        self.metrics.paused.set(i64::from(is_paused));
        self.metrics.bytes_in_flight.set(self.bytes.now() as i64);
    }

    /// Shows how many records are between a partition's watermark and its end.
    pub fn show_lag(&self, partition: &TopicPartition, lag: i64) {
        let label = PartitionLabel { topic: partition.topic.to_string(), partition: partition.partition };
        self.metrics.lag.get_or_create(&label).set(lag);
    }
}
