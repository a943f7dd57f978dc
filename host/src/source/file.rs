//! Records from a file or from standard input.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rowmill_rows::TopicPartition;
use rowmill_rows::capture::{CaptureError, CaptureErrorKind, CapturedRecord, Captures};

use super::{Intake, Source};
use crate::record_versions::RecordVersions;
use crate::report::Report;

/// How long it may take until the source notices that the run is to end.
const TICK: Duration = Duration::from_millis(20);

/// Capacity of the channel from the thread that reads, in records.
const READ_AHEAD: usize = 1024;

/// Reads a file of records to its end, and waits until all of it is settled.
///
/// A line that is not a record is treated as a record whose value is the line: if it cannot be decoded it becomes a dead
/// letter like any other.
pub(super) struct FileSource {
    path: PathBuf,
}

type ReadRecord = Result<CapturedRecord, CaptureError>;

impl FileSource {
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Reads in a thread of its own, since reading blocks: a slow pipe must not hold back records that were read before.
    fn start_reader(&self) -> anyhow::Result<(Receiver<ReadRecord>, JoinHandle<()>)> {
        let (reader, name): (Box<dyn BufRead + Send>, _) = if self.is_stdin() {
            (Box::new(std::io::BufReader::new(std::io::stdin())), "stdin".to_string())
        } else {
            let file = std::fs::File::open(&self.path)
                .with_context(|| format!("cannot read the records {}", self.path.display()))?;
            let name = self.path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
            (Box::new(std::io::BufReader::with_capacity(1 << 20, file)), name)
        };
        let (sender, records) = crossbeam_channel::bounded(READ_AHEAD);
        let thread = std::thread::Builder::new().name("reader".into()).spawn(move || {
            for record in Captures::new(reader, name) {
                if sender.send(record).is_err() {
                    return;
                }
            }
        })?;
        Ok((records, thread))
    }

    fn failure(&self, error: CaptureError) -> anyhow::Error {
        match error.kind {
            CaptureErrorKind::Io(error) => anyhow::Error::new(error).context("cannot read the records"),
            _ => anyhow::anyhow!("{} line {}: {error}", self.path.display(), error.line),
        }
    }
}

impl Source for FileSource {
    fn check(&self, report: &mut Report) {
        if self.is_stdin() {
            return report.ok("source", "standard input");
        }
        match std::fs::File::open(&self.path) {
            Ok(_) => report.ok("source", &format!("{} can be read", self.path.display())),
            Err(error) => report.fail("source", &format!("{}: {error}", self.path.display())),
        }
    }

    fn run(self: Box<Self>, mut intake: Intake) -> anyhow::Result<()> {
        let (records, reader) = self.start_reader()?;
        while !intake.shutdown().is_requested() {
            if !intake.wait_for_room(TICK) {
                continue;
            }
            intake.flush_if_due();
            match records.recv_timeout(intake.until_due(TICK)) {
                Ok(Ok(record)) => push(&mut intake, &record)?,
                Ok(Err(error)) => return Err(self.failure(error)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // Without this a panic would look like the end of the file.
                    anyhow::ensure!(reader.join().is_ok(), "the thread reader panicked; this is a bug in Rowmill");
                    break;
                }
            }
        }
        intake.flush();
        while !intake.is_settled() && !intake.shutdown().is_requested() {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Passes a record on; one that is a dead letter keeps the versions that its rows got when it was first read.
pub(super) fn push(intake: &mut Intake, record: &CapturedRecord) -> anyhow::Result<()> {
    let buffer = match intake.buffer(&record.topic, record.partition) {
        Some(buffer) => buffer,
        None => {
            let partition = TopicPartition { topic: record.topic.as_str().into(), partition: record.partition };
            intake.open(partition, 0);
            intake.buffer(&record.topic, record.partition).context("a buffer that was just opened")?
        }
    };
    if !record.error.is_empty() {
        intake.replay(buffer, RecordVersions::of_letter(record)?);
    }
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    intake.push(buffer, record.offset, record.timestamp, key, value, headers);
    Ok(())
}
