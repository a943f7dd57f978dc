//! Records that cannot be processed, stored whole with the reason.
//!
//! A dead letter settles its share of the batch only once it is stored: flushed to disk, or acknowledged by Kafka.

pub(crate) mod config;
mod file;
mod kafka;
mod letter;
mod letter_file;
mod log;
mod rate;
pub mod stored;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::config::DeadLetterConfig;
use crate::metrics::{Kind, Metrics};
use crate::report::Report;
use crate::shutdown::Shutdown;

use log::LetterLog;
use rate::RateLimit;

pub(crate) use letter::PREFIX as HEADER_PREFIX;
pub use letter::{DeadLetter, Stage};

/// Capacity of the channel to the writer. A failing plugin produces letters as fast as rows arrive; a full channel slows
/// the pipeline down instead of growing.
const CAPACITY: usize = 1024;

/// Where dead letters are stored. [`DeadLetterConfig::build`] makes one.
pub trait DeadLetterWriter: Send {
    /// Reports whether letters could be stored now. Changes nothing.
    fn check(&self, report: &mut Report);

    /// Prepares for writing; called once, before anything is read.
    ///
    /// # Errors
    /// Letters cannot be stored as configured.
    fn open(&mut self, shutdown: &Shutdown) -> anyhow::Result<()>;

    /// Stores letters, and settles each once it is stored; that may be after this call returns.
    ///
    /// # Errors
    /// A letter cannot be stored.
    fn write(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()>;

    /// Waits until every letter is stored, or the run is aborted.
    fn finish(&mut self) {}
}

impl DeadLetterConfig {
    /// The writer that the configuration names. Opens and connects to nothing yet.
    pub fn build(&self) -> Box<dyn DeadLetterWriter> {
        match self {
            Self::File { path, rotate_at, .. } => Box::new(file::FileWriter::new(path, *rotate_at)),
            Self::Kafka(config) => Box::new(kafka::KafkaWriter::new(config.clone())),
        }
    }
}

/// The queue that leads to the writer; cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    sender: Sender<DeadLetter>,
    metrics: Arc<Metrics>,
}

impl DeadLetters {
    /// A queue, and the end of it that [`write_all`] reads.
    pub fn channel(metrics: Arc<Metrics>) -> (Self, Receiver<DeadLetter>) {
        let (sender, letters) = crossbeam_channel::bounded(CAPACITY);
        (Self { sender, metrics }, letters)
    }

    /// Queues a letter; blocks while the queue is full.
    pub fn send(&self, letter: DeadLetter) {
        self.metrics.dead_letters.get_or_create(&Kind { kind: letter.stage().name().into() }).inc();
        // The writer is only gone after a failure, which ends the run. The letter is then not settled, so the next run
        // reads its record again.
        let _ = self.sender.send(letter);
    }
}

/// Writes letters until every [`DeadLetters`] of the queue is dropped, and logs them.
///
/// # Errors
/// A letter cannot be stored, or there are more than `max_per_minute`. What is not stored is not settled, so nothing is lost.
pub fn write_all(
    mut writer: Box<dyn DeadLetterWriter>,
    letters: &Receiver<DeadLetter>,
    max_per_minute: Option<NonZeroU32>,
) -> anyhow::Result<()> {
    let mut log = LetterLog::default();
    let mut limit = RateLimit::new(max_per_minute);
    loop {
        let mut ready = match letters.recv_timeout(log::INTERVAL) {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        ready.extend(letters.try_iter().take(CAPACITY));
        let now = Instant::now();
        log.flush(now);
        ready.iter().for_each(|letter| log.add(letter, now));
        if !ready.is_empty() {
            limit.add(ready.len(), now).and_then(|()| writer.write(ready)).inspect_err(|_| log.finish(now))?;
        }
    }
    log.finish(Instant::now());
    writer.finish();
    Ok(())
}
