//! Records from a file or from standard input.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rowmill_rows::TopicPartition;
use rowmill_rows::capture::{CaptureErrorKind, Captures};

use super::{Intake, Lanes};

/// Reads a file of records to its end, and waits until all of it is settled.
///
/// A line that is no record is a record of its own whose value is the line: what cannot be decoded of it becomes a dead
/// letter like any other.
///
/// # Errors
/// The file cannot be read.
pub fn run(path: &Path, intake: Intake) -> anyhow::Result<()> {
    let stdin = path.as_os_str() == "-";
    let reader: Box<dyn BufRead + Send> = if stdin {
        Box::new(std::io::BufReader::new(std::io::stdin()))
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read the records {}", path.display()))?;
        Box::new(std::io::BufReader::with_capacity(1 << 20, file))
    };
    let name = if stdin {
        "stdin".to_string()
    } else {
        path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned())
    };

    // Reading blocks, so it has a thread of its own: a slow pipe must not hold back what was read before.
    let (sender, receiver) = crossbeam_channel::bounded(1024);
    std::thread::Builder::new().name("reader".into()).spawn(move || {
        for record in Captures::new(reader, name) {
            if sender.send(record).is_err() {
                return;
            }
        }
    })?;

    let mut lanes = Lanes::new(intake);
    loop {
        if lanes.intake().stop.is_requested() {
            break;
        }
        if lanes.is_full() {
            lanes.retry_held();
            if !lanes.has_room() {
                std::thread::park_timeout(Duration::from_millis(1));
                continue;
            }
        }
        match receiver.recv_timeout(Duration::from_millis(5)) {
            Ok(Ok(record)) => {
                let lane = match lanes.lane(&record.topic, record.partition) {
                    Some(lane) => lane,
                    None => {
                        lanes.open(
                            TopicPartition { topic: record.topic.as_str().into(), partition: record.partition },
                            0,
                        );
                        lanes.lane(&record.topic, record.partition).context("a lane that was just opened")?
                    }
                };
                let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
                lanes.push(
                    lane,
                    record.offset,
                    record.timestamp,
                    record.key.as_deref(),
                    record.value.as_deref(),
                    headers,
                );
            }
            Ok(Err(error)) => match error.kind {
                CaptureErrorKind::Io(error) => return Err(error).context("cannot read the records"),
                _ => anyhow::bail!("{} line {}: {error}", path.display(), error.line),
            },
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => lanes.flush(),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
        }
    }
    lanes.flush_all();
    while !lanes.is_settled() && !lanes.intake().stop.is_requested() {
        lanes.retry_held();
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}
