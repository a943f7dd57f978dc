//! A thread that panics ends the run with its message, wherever it is.

use super::*;
use crate::config::{Overrides, read_text};
use crate::report::Report;

/// A record that is not a change event, and rows.
const RECORDS: &str = concat!(
    r#"{"topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"value":"not a change event"}"#,
    "\n",
    r#"{"topic":"t","partition":0,"offset":1,"timestamp":0,"key":null,"value":"{\"database\":\"shop\",\"table\":\"thing\",\"type\":\"insert\",\"ts\":1795216000,\"xid\":1,\"commit\":true,\"position\":\"binlog.000001:4\",\"primary_key_columns\":[\"id\"],\"data\":{\"id\":1}}"}"#,
    "\n",
);

/// Panics in whichever part of the pipeline it is.
struct Panics;

impl Source for Panics {
    fn check(&self, _report: &mut Report) {}

    fn run(self: Box<Self>, _intake: Intake) -> anyhow::Result<()> {
        panic!("the source panics")
    }
}

impl Sink for Panics {
    fn supports(&self) -> Supports {
        Supports::ELASTICSEARCH
    }

    fn check(&self, _report: &mut Report) {}

    fn connect(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        Ok(())
    }

    fn run(
        self: Box<Self>,
        mut batches: mpsc::Receiver<OperationBatch>,
        _settlement: Settlement,
        _shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        batches.blocking_recv().context("a batch")?;
        panic!("the sink panics")
    }
}

impl DeadLetterWriter for Panics {
    fn check(&self, _report: &mut Report) {}

    fn open(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        Ok(())
    }

    fn write(&mut self, _letters: Vec<dead_letter::DeadLetter>) -> anyhow::Result<()> {
        panic!("the dead-letter writer panics")
    }
}

/// Runs a pipeline after `change`; returns why it failed.
#[track_caller]
fn failure(change: impl FnOnce(&mut Pipeline)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.ndjson");
    std::fs::write(&path, RECORDS).unwrap();
    let text = format!(
        "[source]\nkind = \"file\"\npath = {path:?}\n[sink]\nkind = \"null\"\n[dead_letter]\npath = {:?}\n",
        folder.path().join("letters.ndjson")
    );
    let config = read_text(&text, "rowmill.toml", &Overrides::default()).unwrap();
    let mut pipeline = Pipeline::new(config).unwrap();
    change(&mut pipeline);
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(pipeline.run(false).map(|_| ())));
    let result = ended.recv_timeout(Duration::from_secs(30)).expect("the run ends");
    result.expect_err("the run fails").to_string()
}

#[test]
fn a_panic_of_the_source_ends_the_run() {
    let failure = failure(|pipeline| pipeline.source = Box::new(Panics));
    assert!(failure.contains("the source panics"), "{failure}");
}

#[test]
fn a_panic_of_the_sink_ends_the_run() {
    let failure = failure(|pipeline| pipeline.sink = Box::new(Panics));
    assert!(failure.contains("the sink panics"), "{failure}");
}

#[test]
fn a_panic_of_the_dead_letter_writer_ends_the_run() {
    let failure = failure(|pipeline| pipeline.dead_letters = Box::new(Panics));
    assert!(failure.contains("the dead-letter writer panics"), "{failure}");
}
