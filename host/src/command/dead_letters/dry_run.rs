//! What a replay would do: its documents compared with those that the index has, and its failures. Writes nothing.

use std::sync::Arc;

use rowmill_engine::{Action, Operation};
use rowmill_rows::RecordBatch;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::command::run::print_line;
use crate::command::text;
use crate::config::SinkConfig;
use crate::dead_letter::{DeadLetter, DeadLetterWriter};
use crate::operation::OperationBatch;
use crate::pipeline::Pipeline;
use crate::report::Report;
use crate::shutdown::Shutdown;
use crate::sink::elasticsearch::client::Client;
use crate::sink::elasticsearch::lookup::Found;
use crate::sink::resurrection::{self, DeleteMemory, wanted};
use crate::sink::{Settlement, Sink, SinkContext, Supports};

/// Takes the place of the sink, and of the writer of dead letters.
#[derive(Clone)]
pub(super) struct DryRun {
    /// The cluster that has the documents; `None` if the sink is another one.
    client: Option<Client>,
    supports: Supports,
    context: SinkContext,
    is_json: bool,
    recreates: bool,
}

/// What the cluster knows about a document.
#[derive(Default)]
struct Known {
    document: Option<Found>,
    /// Whether a newer delete may be forgotten.
    may_be_deleted: bool,
}

/// What would become of one operation.
struct Effect {
    outcome: &'static str,
    detail: String,
    /// Fields that differ: their path, the value in the index and the value of the replay.
    changes: Vec<(String, Option<Value>, Option<Value>)>,
}

impl DryRun {
    /// The same pipeline, which prints instead of writing.
    ///
    /// # Errors
    /// The client of the cluster cannot be built.
    pub fn instead_of_writing(pipeline: Pipeline, is_json: bool, recreates: bool) -> anyhow::Result<Pipeline> {
        let client = match &pipeline.config().sink {
            SinkConfig::Elasticsearch(config) => Some(Client::new(config)?),
            _ => None,
        };
        Ok(pipeline.with_ends(|context, supports| {
            let dry = Self { client, supports, context, is_json, recreates };
            (Box::new(dry.clone()), Box::new(dry))
        }))
    }

    fn show(&self, batch: &OperationBatch, operation: &Operation, effect: &Effect) {
        let document =
            format!("{}/{}", self.context.indices.name(operation.index), batch.operations.text(operation.id));
        let place = place(&batch.source.records, operation.record);
        if self.is_json {
            let change = |(path, old, new): &(String, Option<Value>, Option<Value>)| json!({ "field": path, "index": old, "replay": new });
            return print_line(
                &json!({
                    "outcome": effect.outcome, "action": operation.action.name(), "record": place,
                    "index": &*self.context.indices.name(operation.index), "id": batch.operations.text(operation.id),
                    "version": operation.version, "detail": effect.detail,
                    "changes": effect.changes.iter().map(change).collect::<Vec<_>>(),
                })
                .to_string(),
            );
        }
        let detail = if effect.detail.is_empty() { String::new() } else { format!(": {}", effect.detail) };
        print_line(&format!("{place}  {} {}{}", effect.outcome, text::plain(&document), text::plain(&detail)));
        for (path, old, new) in &effect.changes {
            for (mark, value) in [('-', old), ('+', new)] {
                if let Some(value) = value {
                    print_line(&text::plain(&format!("    {mark} {path}: {value}")));
                }
            }
        }
    }

    fn effect(&self, batch: &OperationBatch, operation: &Operation, known: &Known) -> Effect {
        let found = known.document.as_ref();
        let body: Value = serde_json::from_slice(operation.body.of(&batch.operations.bytes)).unwrap_or_default();
        let effect = |outcome, detail: String| Effect { outcome, detail, changes: Vec::new() };
        let is_newer = found.is_some_and(|found| found.version > operation.version);
        let changes = || {
            let mut changes = Vec::new();
            compare("", found.map(|found| &found.source), Some(&body), &mut changes);
            changes
        };
        match (operation.action, found) {
            (Action::Truncate, _) => effect("truncate", String::new()),
            (action, _) if action.is_merge() => {
                Effect { changes: Vec::new(), ..effect("merge", format!("{} {body}", action.name())) }
            }
            (_, Some(found)) if is_newer => {
                effect("stale", format!("the index has version {}, the letter {}", found.version, operation.version))
            }
            (Action::Delete, Some(_)) => effect("delete", String::new()),
            (Action::Delete, None) => effect("nothing", "there is no document to delete".into()),
            (_, None) if !self.recreates && known.may_be_deleted => effect("fail", resurrection::REASON.into()),
            (_, None) => Effect { changes: changes(), ..effect("create", String::new()) },
            (_, Some(_)) => match changes() {
                changes if changes.is_empty() => effect("unchanged", String::new()),
                changes => Effect { changes, ..effect("update", String::new()) },
            },
        }
    }

    /// What the cluster knows about an operation's document.
    async fn look_up(
        &self,
        memory: &mut Option<DeleteMemory>,
        batch: &OperationBatch,
        operation: &Operation,
    ) -> anyhow::Result<Known> {
        match (&self.client, memory) {
            (Some(client), Some(memory)) if operation.action != Action::Truncate => Ok(Known {
                document: client.documents(&[wanted(batch, operation, &self.context)], true).await?.pop().flatten(),
                may_be_deleted: memory.may_have_forgotten(batch, operation).await?,
            }),
            _ => Ok(Known::default()),
        }
    }
}

fn place(records: &RecordBatch, record: u32) -> String {
    format!("{}@{}", records.partition, records.records[record as usize].offset)
}

/// Collects the fields in which two documents differ. Rowmill's own metadata is not compared.
fn compare(
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    changes: &mut Vec<(String, Option<Value>, Option<Value>)>,
) {
    match (old, new) {
        _ if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names.filter(|name| !(path.is_empty() && *name == "_rowmill")) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, old.get(name), new.get(name), changes);
            }
        }
        (None, Some(Value::Object(new))) if path.is_empty() => {
            let fields = new.iter().filter(|(name, _)| *name != "_rowmill");
            changes.extend(fields.map(|(name, value)| (name.clone(), None, Some(value.clone()))));
        }
        _ => changes.push((path.to_string(), old.cloned(), new.cloned())),
    }
}

impl Sink for DryRun {
    fn supports(&self) -> Supports {
        self.supports.clone()
    }

    fn owns_stdout(&self) -> bool {
        true
    }

    fn check(&self, _report: &mut Report) {}

    fn connect(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        Ok(())
    }

    fn run(
        self: Box<Self>,
        mut batches: mpsc::Receiver<OperationBatch>,
        settlement: Settlement,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let runtime = self.context.runtime.clone();
        let mut memory = self.client.clone().map(|client| DeleteMemory::new(client, self.context.clone()));
        while let Some(batch) = batches.blocking_recv() {
            if shutdown.is_aborted() {
                break;
            }
            for operation in &batch.operations.list {
                // One by one: documents may be large, and a person waits for the first line.
                let known = runtime.block_on(self.look_up(&mut memory, &batch, operation))?;
                self.show(&batch, operation, &self.effect(&batch, operation, &known));
            }
            settlement.batch_written(&batch);
        }
        Ok(())
    }
}

impl DeadLetterWriter for DryRun {
    fn check(&self, _report: &mut Report) {}

    fn open(&mut self, _shutdown: &Shutdown) -> anyhow::Result<()> {
        Ok(())
    }

    fn write(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        for letter in letters {
            let source = letter.source().clone();
            let place = place(&source.records, letter.record_number());
            let plugin: Option<Arc<str>> = letter.producer.as_ref().map(|producer| producer.plugin.clone());
            let (stage, reason) = (letter.stage().name(), letter.reason());
            print_line(&match self.is_json {
                true => json!({ "outcome": "fail", "record": place, "stage": stage, "plugin": plugin.as_deref(), "detail": reason })
                    .to_string(),
                false => text::plain(&format!("{place}  fail {stage} {}: {reason}", plugin.as_deref().unwrap_or_default())),
            });
            letter.settle();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_field_by_field() {
        let differing = |old: Option<Value>, new: Value| {
            let mut changes = Vec::new();
            compare("", old.as_ref(), Some(&new), &mut changes);
            changes
        };
        let old = json!({ "a": 1, "b": { "c": 2, "d": [1] }, "gone": 0, "_rowmill": { "table": "t" } });
        let new = json!({ "a": 1, "b": { "c": 3, "d": [1] }, "new": null });
        let wanted = [
            ("b.c".to_string(), Some(json!(2)), Some(json!(3))),
            ("gone".to_string(), Some(json!(0)), None),
            ("new".to_string(), None, Some(json!(null))),
        ];
        assert_eq!(differing(Some(old), new.clone()), wanted);
        assert_eq!(differing(Some(new.clone()), new), []);
        assert_eq!(differing(None, json!({ "a": 1 })), [("a".to_string(), None, Some(json!(1)))]);
    }
}
