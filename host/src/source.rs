//! Where records come from. A source reads, batches by partition, and hands the batches to the workers; it commits what
//! is settled. It never waits for work to be done: when the workers are busy it pauses.

pub(crate) mod access;
pub mod demo;
pub mod file;
pub mod kafka;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{SendTimeoutError, Sender};
use rowmill_rows::{Format, RecordBatch, TopicPartition};

use crate::checkpoint::{BytesInFlight, Progress};
use crate::config::PipelineConfig;
use crate::metrics::{Metrics, PartitionLabel};
use crate::operation::SourceBatch;

/// Batches that wait for one worker. Enough that a worker never waits for the poll thread; the bytes on their way are
/// bounded by `pipeline.bytes_in_flight`.
pub const WAITING: usize = 16;

/// How long the poll thread waits for a worker before it pauses the partitions and polls on. Far below the time after
/// which a group takes a consumer for dead.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a source is asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    now: Arc<AtomicBool>,
}

impl Stop {
    /// Asks for an orderly end.
    pub fn request(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Asks for an end without waiting for what is under way.
    pub fn request_now(&self) {
        self.now.store(true, Ordering::Relaxed);
        self.request();
    }

    /// Whether an end was asked for.
    pub fn is_requested(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether nothing is waited for any more.
    pub fn is_now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }
}

/// What every source needs.
pub struct Intake {
    /// The format of the records.
    pub format: Format,
    /// The workers' ends.
    pub workers: Vec<Sender<Arc<SourceBatch>>>,
    /// Batch sizes and the budget of bytes.
    pub config: PipelineConfig,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Bytes on their way.
    pub bytes: Arc<BytesInFlight>,
    /// Set from outside to end the source.
    pub stop: Stop,
    /// Whether to end once everything that was there at the start is settled.
    pub until_caught_up: bool,
}

/// Records of one partition that are not yet handed over.
struct Lane {
    progress: Arc<Progress>,
    batch: RecordBatch,
    since: Instant,
    worker: usize,
    /// The offset after the last record that was read.
    next_offset: i64,
    /// The size of the batch before: the next one will be about as large.
    usual_bytes: usize,
}

/// Collects records by partition and hands them to the workers, each partition always to the same one.
pub(crate) struct Lanes {
    intake: Intake,
    lanes: Vec<Lane>,
    by_partition: HashMap<TopicPartition, usize>,
    /// The lane of the record before: records come in runs of one partition.
    last: usize,
    /// A batch for which no worker had room.
    held: Option<(usize, Arc<SourceBatch>)>,
}

impl Lanes {
    pub fn new(intake: Intake) -> Self {
        Self { intake, lanes: Vec::new(), by_partition: HashMap::new(), last: 0, held: None }
    }

    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The lane of a partition, if it is open.
    pub fn lane(&mut self, topic: &str, partition: i32) -> Option<usize> {
        let is_it = |lane: &Lane| lane.batch.partition.partition == partition && &*lane.batch.partition.topic == topic;
        if !self.lanes.get(self.last).is_some_and(is_it) {
            self.last = self.lanes.iter().position(is_it)?;
        }
        Some(self.last)
    }

    /// Opens a lane for a newly assigned partition, whose clock stands at `clock_seconds`.
    pub fn open(&mut self, partition: TopicPartition, clock_seconds: i64) -> Arc<Progress> {
        let progress = Progress::new(partition.clone(), clock_seconds, self.intake.bytes.clone());
        let number = self.lanes.len();
        let worker = number % self.intake.workers.len();
        let lane = Lane {
            progress: progress.clone(),
            batch: RecordBatch::new(partition.clone(), self.intake.format),
            since: Instant::now(),
            worker,
            next_offset: -1,
            usual_bytes: 0,
        };
        match self.by_partition.get(&partition) {
            // The same worker as before: what the old assignment left there comes first.
            Some(&known) => self.lanes[known] = Lane { worker: self.lanes[known].worker, ..lane },
            None => {
                self.by_partition.insert(partition, number);
                self.lanes.push(lane);
            }
        }
        progress
    }

    /// Appends a record; hands the batch over when it is full.
    pub fn push<'a>(
        &mut self,
        lane: usize,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        let (rows, bytes) = (self.intake.config.batch_rows, self.intake.config.batch_bytes);
        let entry = &mut self.lanes[lane];
        if entry.batch.records.is_empty() {
            entry.since = Instant::now();
            entry.batch.bytes.reserve(entry.usual_bytes);
        }
        entry.batch.push(offset, timestamp, key, value, headers);
        entry.next_offset = offset + 1;
        if entry.batch.records.len() >= rows || entry.batch.bytes.len() >= bytes {
            self.hand_over(lane);
        }
    }

    /// Hands over all batches that are not empty, as long as the workers have room.
    pub fn flush(&mut self) {
        for lane in 0..self.lanes.len() {
            if !self.lanes[lane].batch.records.is_empty() {
                self.hand_over(lane);
            }
        }
    }

    /// Hands over everything, waiting for the workers; ends early when the source is asked to end.
    pub fn flush_all(&mut self) {
        while !self.lanes.iter().all(|lane| lane.batch.records.is_empty()) && !self.intake.stop.is_requested() {
            self.flush();
        }
    }

    /// Drops what was read and not handed over: it is not settled, and so read again by the next run.
    pub fn discard(&mut self) {
        for lane in &mut self.lanes {
            lane.batch = RecordBatch::new(lane.batch.partition.clone(), lane.batch.format);
        }
    }

    /// Drops what a lost partition has not handed over; it is read again by whoever has the partition next.
    pub fn close(&mut self, partition: &TopicPartition) {
        if let Some(&lane) = self.by_partition.get(partition) {
            let lane = &mut self.lanes[lane];
            lane.batch = RecordBatch::new(partition.clone(), lane.batch.format);
            lane.progress = Progress::new(partition.clone(), 0, self.intake.bytes.clone());
        }
    }

    fn hand_over(&mut self, lane: usize) {
        // In order: what is held goes first. Without room the batch just grows on: this thread must poll.
        if !self.retry_held() {
            return;
        }
        let entry = &mut self.lanes[lane];
        entry.usual_bytes = entry.batch.bytes.len();
        let empty = RecordBatch::new(entry.batch.partition.clone(), entry.batch.format);
        let records = std::mem::replace(&mut entry.batch, empty);
        let ticket = entry.progress.ticket(entry.next_offset, records.bytes.len());
        self.held = Some((entry.worker, Arc::new(SourceBatch { records, ticket })));
        self.retry_held();
    }

    /// Tries to hand over what is held. Returns whether nothing is held any more.
    pub fn retry_held(&mut self) -> bool {
        let Some((worker, batch)) = self.held.take() else { return true };
        match self.intake.workers[worker].send_timeout(batch, PATIENCE) {
            Ok(()) => true,
            Err(SendTimeoutError::Timeout(batch)) => {
                self.held = Some((worker, batch));
                false
            }
            // The workers are gone: the pipeline is ending, and what is not handed over is not settled.
            Err(SendTimeoutError::Disconnected(_)) => true,
        }
    }

    /// Whether a batch waits for room, or more bytes are on their way than should be.
    pub fn is_full(&self) -> bool {
        self.held.is_some() || self.intake.bytes.now() > self.intake.config.bytes_in_flight
    }

    /// Whether there is room enough again to read on.
    pub fn has_room(&self) -> bool {
        self.held.is_none() && self.intake.bytes.now() <= self.intake.config.bytes_in_flight / 2
    }

    /// Whether everything that was read is settled.
    pub fn is_settled(&self) -> bool {
        self.held.is_none()
            && self.lanes.iter().all(|lane| lane.batch.records.is_empty() && lane.progress.open_batches() == 0)
    }

    /// Shows how far a partition's watermark is behind its end.
    pub fn show_lag(&self, partition: &TopicPartition, lag: i64) {
        let label = PartitionLabel { topic: partition.topic.to_string(), partition: partition.partition };
        self.intake.metrics.lag.get_or_create(&label).set(lag);
    }
}
