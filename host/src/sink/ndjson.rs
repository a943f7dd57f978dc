//! Documents and deletes as lines of JSON, in a file or on standard output.
//!
//! ```json
//! {"action":"index","index":"trade","id":"4","version":4611686018427387904,"document":{"id":4,"state":"paid"}}
//! {"action":"delete","index":"trade","id":"5","version":4611686018427387905}
//! ```
//!
//! Lines are in the order in which the workers finish their batches; lines of one partition are in the order of its records.
//! Records that are read again after a crash are written again, with the same versions. So of several lines with the same
//! index and ID, the one with the highest version is the latest.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rowmill_engine::{Action, Indices};
use rowmill_sandbox::literal;
use tokio::sync::mpsc;

use super::{OperationRef, Outcome, Settlement, Sink, SinkContext, Supports};
use crate::operation::OperationBatch;
use crate::report::Report;
use crate::shutdown::Shutdown;

/// Bytes of lines after which they are written and their operations settled, even if more batches are ready.
const MAX_BYTES: usize = 8 << 20;

/// Appends lines to a file.
pub(super) struct NdjsonSink {
    path: PathBuf,
    indices: Arc<Indices>,
    file: Option<File>,
}

impl NdjsonSink {
    /// A sink that appends to this file, or writes to standard output if the path is `-`.
    pub fn new(path: &Path, context: SinkContext) -> Self {
        Self { path: path.into(), indices: context.indices, file: None }
    }

    fn open(&self, create: bool) -> std::io::Result<File> {
        if self.owns_stdout() {
            return std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
        }
        File::options().append(true).create(create).open(&self.path)
    }

    /// Appends the operation's line; returns how the operation ends once the lines are on disk.
    fn write_line(&self, out: &mut Vec<u8>, reference: &OperationRef) -> Outcome {
        let operation = reference.operation();
        if !matches!(operation.action, Action::Index | Action::Delete) {
            return Outcome::Rejected(format!(
                "the operation {} needs sink.kind = \"elasticsearch\": the sink ndjson writes whole documents and deletes \
                 only",
                operation.action.name()
            ));
        }
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{{\"action\":\"{}\",\"index\":", operation.action.name());
        literal::write_string(out, &self.indices.name(operation.index));
        out.extend_from_slice(b",\"id\":");
        literal::write_string(out, reference.id_text());
        let _ = write!(out, ",\"version\":{}", operation.version);
        if let Some(routing) = reference.routing() {
            out.extend_from_slice(b",\"routing\":");
            literal::write_string(out, routing);
        }
        if operation.action == Action::Index {
            out.extend_from_slice(b",\"document\":");
            out.extend_from_slice(reference.body());
        }
        out.extend_from_slice(b"}\n");
        Outcome::Written
    }
}

impl Sink for NdjsonSink {
    fn supports(&self) -> Supports {
        // The names are those of Elasticsearch, where the lines are likely to be loaded.
        Supports { merges: false, truncates: false, versions: false, ..Supports::ELASTICSEARCH }
    }

    fn owns_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    fn check(&self, report: &mut Report) {
        let path = self.path.display();
        match self.open(false) {
            Ok(_) if self.owns_stdout() => report.ok("sink", "lines to standard output"),
            Ok(_) => report.ok("sink", &format!("{path} can be written")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                report.note("sink", &format!("{path} does not exist yet; it is created at start"));
            }
            Err(error) => {
                report.fail("sink", &format!("{path} cannot be written: {error}; set sink.path to another file"))
            }
        }
    }

    fn connect(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        let file = self.open(true).with_context(|| format!("cannot open sink.path {}", self.path.display()))?;
        if !self.owns_stdout() && file.metadata()?.is_file() {
            remove_partial_line(&self.path)
                .with_context(|| format!("cannot complete the lines of sink.path {}", self.path.display()))?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn run(
        mut self: Box<Self>,
        mut batches: mpsc::Receiver<OperationBatch>,
        mut settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let mut file = self.file.take().context("the file of the sink is not open")?;
        let (mut lines, mut outcomes) = (Vec::new(), Vec::new());
        let mut next = batches.blocking_recv();
        while let Some(batch) = next.take() {
            if shutdown.is_aborted() {
                return Ok(());
            }
            let batch = Settlement::begin(batch);
            for number in 0..batch.operations.list.len() {
                let operation = OperationRef::new(&batch, number);
                let outcome = self.write_line(&mut lines, &operation);
                outcomes.push((operation, outcome));
            }
            // Batches that are ready share a write and a flush.
            if lines.len() < MAX_BYTES {
                next = batches.try_recv().ok();
            }
            if next.is_none() {
                append(&mut file, &lines)
                    .with_context(|| format!("cannot write documents to {}", self.path.display()))?;
                lines.clear();
                for (operation, outcome) in outcomes.drain(..) {
                    settlement.outcome(&operation, outcome);
                }
                next = batches.blocking_recv();
            }
        }
        Ok(())
    }
}

/// Removes the end of a line that a killed run has begun: its operation is not settled, so it is written again.
fn remove_partial_line(path: &Path) -> std::io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let end = file.metadata()?.len();
    let mut complete = end;
    let mut block = vec![0; 64 << 10];
    while complete > 0 {
        let begin = complete.saturating_sub(block.len() as u64);
        let bytes = &mut block[..(complete - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(bytes)?;
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(place) => {
                complete = begin + place as u64 + 1;
                break;
            }
            None => complete = begin,
        }
    }
    if complete < end {
        tracing::warn!(path = %path.display(), bytes = end - complete, "removing an incomplete line that a killed run has left");
        file.set_len(complete)?;
    }
    Ok(())
}

/// Writes lines to the disk. Pipes and terminals cannot be flushed to a disk.
fn append(file: &mut File, lines: &[u8]) -> std::io::Result<()> {
    file.write_all(lines)?;
    match file.sync_data() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use rowmill_engine::{Operation, Operations};
    use rowmill_rows::{Format, RecordBatch, Span, TopicPartition};

    use super::*;
    use crate::budget::Budget;
    use crate::checkpoint::{Progress, Watermark};
    use crate::config::{Overrides, read_text};
    use crate::dead_letter::DeadLetters;
    use crate::operation::SourceBatch;
    use crate::pipeline::{Pipeline, Summary};

    /// A record of Maxwell about `shop.thing`, at this offset.
    fn record(offset: u64, kind: &str, data: Value) -> String {
        let value = json!({
            "database": "shop", "table": "thing", "type": kind, "ts": 1_795_216_000, "xid": offset, "commit": true,
            "position": format!("binlog.000001:{offset}"), "primary_key_columns": ["id"], "data": data,
        });
        let record = json!({
            "topic": "t", "partition": 0, "offset": offset, "timestamp": 0, "key": null, "value": value.to_string(),
        });
        format!("{record}\n")
    }

    /// Runs the records into a sink with this path.
    fn run(folder: &Path, records: &[String], sink: &str) -> anyhow::Result<Summary> {
        let path = folder.join("records.ndjson");
        std::fs::write(&path, records.concat())?;
        let text = format!(
            "[source]\nkind = \"file\"\npath = {path:?}\n[sink]\nkind = \"ndjson\"\npath = {sink:?}\n\
             [[routes]]\ntable = \"*\"\nindex = \"things\"\nversion = \"offset\"\n[dead_letter]\npath = {:?}\n",
            folder.join("letters.ndjson")
        );
        Ok(Pipeline::new(read_text(&text, "rowmill.toml", &Overrides::default())?)?.run(true)?.0)
    }

    #[test]
    fn documents_and_deletes_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let lines = folder.path().join("documents.ndjson");
        let records = [
            record(100, "insert", json!({ "id": 1, "name": "line\nbreak" })),
            record(200, "insert", json!({ "id": 2, "name": "Käse" })),
            record(300, "delete", json!({ "id": 1, "name": "line\nbreak" })),
        ];
        let summary = run(folder.path(), &records, &lines.display().to_string()).unwrap();
        assert_eq!((summary.documents.index, summary.documents.delete, summary.dead_letters), (2, 1, 0));
        let expected = [
            r#"{"action":"index","index":"things","id":"1","version":100,"document":{"id":1,"name":"line\nbreak"}}"#,
            r#"{"action":"index","index":"things","id":"2","version":200,"document":{"id":2,"name":"Käse"}}"#,
            r#"{"action":"delete","index":"things","id":"1","version":300}"#,
        ];
        let written = std::fs::read_to_string(&lines).unwrap();
        assert_eq!(written.lines().collect::<Vec<_>>(), expected);

        // A second run appends.
        run(folder.path(), &records[..1], &lines.display().to_string()).unwrap();
        assert_eq!(std::fs::read_to_string(&lines).unwrap(), format!("{written}{}\n", expected[0]));
    }

    /// Writes one delete to a file; returns the result, and how far the partition is settled.
    fn write_delete(path: &Path) -> (anyhow::Result<()>, Option<Watermark>) {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let progress = Progress::new(partition.clone(), 0);
        let records = RecordBatch::new(partition, Format::Auto);
        let source = SourceBatch::new(records, progress.ticket(1), &Budget::new(1));
        let indices = Arc::new(Indices::default());
        let mut operations = Operations { bytes: vec![b'1'], ..Operations::default() };
        operations.list.push(Operation {
            action: Action::Delete,
            index: indices.number("things", None),
            id: Span { start: 0, end: 1 },
            routing: None,
            item: Span::default(),
            body: Span::default(),
            version: 1,
            record: 0,
            table: 0,
            producer: u16::MAX,
            outlives_truncates: false,
            is_soft_delete: false,
        });
        let (sender, batches) = mpsc::channel(1);
        sender.try_send(OperationBatch::new(source, operations, Vec::new())).unwrap();
        drop(sender);
        let metrics = crate::metrics::Metrics::new();
        let settlement = Settlement::new(metrics.clone(), indices.clone(), DeadLetters::channel(metrics).0);
        let mut sink = Box::new(NdjsonSink { path: path.into(), indices, file: None });
        sink.connect(&Shutdown::default()).unwrap();
        (sink.run(batches, settlement, Shutdown::default()), progress.watermark())
    }

    #[test]
    fn a_line_that_a_killed_run_has_begun_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.ndjson");
        let long = "x".repeat(100_000);
        for (before, after) in [
            ("", ""),
            ("{}\n", "{}\n"),
            ("{}\n{\"a\":", "{}\n"),
            ("{\"a\":", ""),
            (&format!("{{}}\n{long}"), "{}\n"),
            (&format!("{long}\n"), &format!("{long}\n")),
        ] {
            std::fs::write(&path, before).unwrap();
            remove_partial_line(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn operations_are_settled_once_their_lines_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (result, watermark) = write_delete(&folder.path().join("documents.ndjson"));
        assert!(result.is_ok() && watermark.is_some(), "{result:?} {watermark:?}");
        let (result, watermark) = write_delete(Path::new("/dev/full"));
        assert!(result.is_err() && watermark.is_none(), "{result:?} {watermark:?}");
    }

    #[test]
    fn a_full_disk_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let failure = run(folder.path(), &[record(100, "insert", json!({ "id": 1 }))], "/dev/full").unwrap_err();
        let failure = format!("{failure:#}");
        assert!(failure.contains("cannot write documents to /dev/full") && failure.contains("No space"), "{failure}");
    }

    #[test]
    fn a_path_that_cannot_be_opened_ends_the_run_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let failure = run(folder.path(), &[], &folder.path().display().to_string()).unwrap_err();
        assert!(format!("{failure:#}").contains("cannot open sink.path"), "{failure:#}");
    }
}
