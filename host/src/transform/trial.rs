//! A trial: which rows the new generation gets, and how its documents differ from those of the running generation.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rowmill_engine::{Action, Indices, Operation, Operations};
use rowmill_rows::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::published::Alarm;
use crate::config::RolloutMode;

/// The number of differing documents kept as examples.
const MAX_EXAMPLES: usize = 20;
/// The number of fields counted. It is limited because documents may use IDs as field names.
const MAX_FIELDS: usize = 1_000;
/// The number of characters shown of a value in an example.
const MAX_SHOWN_CHARS: usize = 300;

/// A generation on trial beside the published chain.
#[derive(Debug)]
pub struct Trial {
    /// The generation on trial.
    pub generation: u64,
    /// Shadow or canary.
    pub mode: RolloutMode,
    /// The share that takes part, 0 to 1: of the batches in a shadow, of the document IDs in a canary.
    pub share: f64,
    /// The number of rows after which it is over.
    pub of_rows: u64,
    rows: AtomicU64,
    report: Mutex<TrialReport>,
    alarm: Alarm,
}

/// The results of a trial.
#[derive(Clone, Debug, Default)]
pub struct TrialReport {
    /// Documents that are the same in both generations.
    pub equal: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that only the new generation produces.
    pub added: u64,
    /// Documents that only the old generation produces.
    pub missing: u64,
    /// Rows that the old generation fails.
    pub failed_old: u64,
    /// Rows that the new generation fails.
    pub failed_new: u64,
    /// The number of documents in which each field differs.
    pub fields: BTreeMap<String, u64>,
    /// The first differing documents.
    pub examples: Vec<DocumentDifference>,
}

/// A document that differs between the generations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocumentDifference {
    /// The table of its row.
    pub table: String,
    /// Its index.
    pub index: String,
    /// Its ID.
    pub id: String,
    /// `changed`, `added` or `missing`.
    pub kind: String,
    /// The differing fields, if it changed.
    pub fields: Vec<FieldDifference>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// The field's path, such as `total.cents`, or `(operation)` or `(routing)` for the operation itself.
    pub field: String,
    /// The old generation's value as JSON, cut if it is long; `None` if it has no such field.
    pub old: Option<String>,
    /// The new generation's value.
    pub new: Option<String>,
}

impl Trial {
    /// A trial without rows so far.
    pub fn new(generation: u64, mode: RolloutMode, share: f64, of_rows: u64, alarm: Alarm) -> Self {
        let (rows, report) = (AtomicU64::new(0), Mutex::default());
        Self { generation, mode, share, of_rows, rows, report, alarm }
    }

    /// Returns true if the generation produces a share of the documents.
    pub fn is_canary(&self) -> bool {
        self.mode == RolloutMode::Canary
    }

    /// The number of rows that took part.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Returns true if enough rows took part.
    pub fn is_over(&self) -> bool {
        self.rows() >= self.of_rows
    }

    /// The results so far.
    pub fn report(&self) -> TrialReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if the document with this ID belongs to the canary's share. The result for an ID is always the same, even
    /// in another process.
    pub fn has_id(&self, table: &str, id: &[u8]) -> bool {
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(table.as_bytes());
        hasher.write_u8(0);
        hasher.write(id);
        ((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64) < self.share
    }

    /// Adds the results of a batch with this number of rows.
    pub(super) fn add(&self, rows: u64, found: TrialReport) {
        {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.equal += found.equal;
            report.changed += found.changed;
            report.added += found.added;
            report.missing += found.missing;
            report.failed_old += found.failed_old;
            report.failed_new += found.failed_new;
            for (field, documents) in found.fields {
                if report.fields.len() < MAX_FIELDS || report.fields.contains_key(&field) {
                    *report.fields.entry(field).or_default() += documents;
                }
            }
            let room = MAX_EXAMPLES.saturating_sub(report.examples.len());
            report.examples.extend(found.examples.into_iter().take(room));
        }
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if self.is_over() {
            self.alarm.ring();
        }
    }
}

/// The operations that one chain produced for one row.
#[derive(Clone, Copy)]
pub(super) struct RowOperations<'a> {
    pub operations: &'a [Operation],
    pub batch: &'a Operations,
    pub indices: &'a Indices,
}

impl RowOperations<'_> {
    fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.batch.bytes)
    }

    /// The name of the operation's index. Each chain numbers its indices separately, so that a shadow creates none.
    fn index(&self, operation: &Operation) -> Arc<str> {
        self.indices.name(operation.index)
    }
}

impl TrialReport {
    /// Returns true if nothing differs and no row failed in the new generation.
    pub fn is_equal(&self) -> bool {
        self.different() == 0 && self.failed_new == 0
    }

    /// The number of documents that are not the same in both.
    pub fn different(&self) -> u64 {
        self.changed + self.added + self.missing
    }

    /// The number of documents compared.
    pub fn documents(&self) -> u64 {
        self.equal + self.different()
    }

    /// Compares the operations of one row and adds the differences.
    pub(super) fn compare(&mut self, table: &str, old: RowOperations<'_>, new: RowOperations<'_>) {
        // The usual case: the same operations in the same order, byte for byte.
        if old.operations.len() == new.operations.len()
            && old.operations.iter().zip(new.operations).all(|(one, other)| is_same(&old, one, &new, other))
        {
            self.equal += old.operations.len() as u64;
            return;
        }
        let mut unmatched: Vec<&Operation> = new.operations.iter().collect();
        for one in old.operations {
            let place = unmatched.iter().position(|other| is_of_same_document(&old, one, &new, other));
            match place.map(|place| unmatched.remove(place)) {
                None => {
                    self.missing += 1;
                    self.example(table, &old, one, "missing", Vec::new());
                }
                Some(other) => {
                    let mut fields = Vec::new();
                    differing_operations(&old, one, &new, other, &mut fields);
                    if fields.is_empty() {
                        self.equal += 1;
                        continue;
                    }
                    self.changed += 1;
                    for field in &fields {
                        *self.fields.entry(field.field.clone()).or_default() += 1;
                    }
                    self.example(table, &old, one, "changed", fields);
                }
            }
        }
        for other in unmatched {
            self.added += 1;
            self.example(table, &new, other, "added", Vec::new());
        }
    }

    fn example(
        &mut self,
        table: &str,
        of: &RowOperations<'_>,
        operation: &Operation,
        kind: &str,
        fields: Vec<FieldDifference>,
    ) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(DocumentDifference {
                table: table.to_string(),
                index: of.index(operation).to_string(),
                id: String::from_utf8_lossy(of.bytes(operation.id)).into_owned(),
                kind: kind.to_string(),
                fields,
            });
        }
    }
}

fn is_of_same_document(old: &RowOperations<'_>, one: &Operation, new: &RowOperations<'_>, other: &Operation) -> bool {
    old.bytes(one.id) == new.bytes(other.id)
        && old.bytes(one.item) == new.bytes(other.item)
        && old.index(one) == new.index(other)
}

fn routing<'a>(of: &'a RowOperations<'_>, operation: &Operation) -> Option<&'a [u8]> {
    operation.routing.map(|routing| of.bytes(routing))
}

fn is_same(old: &RowOperations<'_>, one: &Operation, new: &RowOperations<'_>, other: &Operation) -> bool {
    one.action == other.action
        && old.bytes(one.body) == new.bytes(other.body)
        && routing(old, one) == routing(new, other)
        && is_of_same_document(old, one, new, other)
}

fn differing_operations(
    old: &RowOperations<'_>,
    one: &Operation,
    new: &RowOperations<'_>,
    other: &Operation,
    fields: &mut Vec<FieldDifference>,
) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = |action: Action| Some(action.name().to_string());
    if one.action != other.action {
        fields.push(FieldDifference { field: "(operation)".into(), old: name(one.action), new: name(other.action) });
    }
    if routing(old, one) != routing(new, other) {
        fields.push(FieldDifference {
            field: "(routing)".into(),
            old: routing(old, one).map(text),
            new: routing(new, other).map(text),
        });
    }
    let (before, after) = (old.bytes(one.body), new.bytes(other.body));
    if before != after {
        let value = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
        differing_values("", Some(&value(before)), Some(&value(after)), fields);
    }
}

/// Adds the fields in which two documents differ. Compares arrays as a whole: an inserted item would shift all others.
fn differing_values(path: &str, old: Option<&Value>, new: Option<&Value>, fields: &mut Vec<FieldDifference>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(left)), Some(Value::Object(right))) = (old, new) {
        let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
        for name in names {
            // It contains the generation, which always differs.
            if path.is_empty() && name == "_rowmill" {
                continue;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            differing_values(&path, left.get(name), right.get(name), fields);
        }
        return;
    }
    let shown = |value: Option<&Value>| value.map(|value| shorten(value.to_string()));
    fields.push(FieldDifference { field: path.to_string(), old: shown(old), new: shown(new) });
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
