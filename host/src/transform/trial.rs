//! A generation on trial: which rows it gets, and how its documents differ from those of the running one.

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

/// Documents that are kept as examples of what differs.
const MOST_EXAMPLES: usize = 20;
/// Fields that are counted apart; a document may have a field for each of its ids.
const MOST_FIELDS: usize = 1_000;
/// Characters of a value in an example.
const MOST_SHOWN: usize = 300;

/// A generation on trial beside the published chain.
#[derive(Debug)]
pub struct Trial {
    /// The generation.
    pub generation: u64,
    /// Shadow or canary.
    pub mode: RolloutMode,
    /// Of the batches in a shadow, of the document ids in a canary; 0 to 1.
    pub share: f64,
    /// How many rows it takes.
    pub of_rows: u64,
    rows: AtomicU64,
    report: Mutex<TrialReport>,
    alarm: Alarm,
}

/// What a trial found.
#[derive(Clone, Debug, Default)]
pub struct TrialReport {
    /// Documents that both make alike.
    pub equal: u64,
    /// Documents that differ.
    pub changed: u64,
    /// Documents that the new generation alone makes.
    pub added: u64,
    /// Documents that the old generation alone makes.
    pub missing: u64,
    /// Rows that the old generation fails.
    pub failed_old: u64,
    /// Rows that the new generation fails.
    pub failed_new: u64,
    /// In how many documents each field differs.
    pub fields: BTreeMap<String, u64>,
    /// The first documents that differ.
    pub examples: Vec<DocumentDifference>,
}

/// A document that differs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocumentDifference {
    /// The table of its row.
    pub table: String,
    /// Its index.
    pub index: String,
    /// Its id.
    pub id: String,
    /// `changed`, `added` or `missing`.
    pub kind: String,
    /// What differs, of one that changed.
    pub fields: Vec<FieldDifference>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// The field's path: `total.cents`; of the operation itself `(operation)` or `(routing)`.
    pub field: String,
    /// What the old generation says, as JSON, shortened if it is long; `None` where it has no such field.
    pub old: Option<String>,
    /// What the new one says.
    pub new: Option<String>,
}

impl Trial {
    /// A trial that nothing has taken part in yet.
    pub fn new(generation: u64, mode: RolloutMode, share: f64, of_rows: u64, alarm: Alarm) -> Self {
        let (rows, report) = (AtomicU64::new(0), Mutex::default());
        Self { generation, mode, share, of_rows, rows, report, alarm }
    }

    /// Whether a share of the documents takes the generation.
    pub fn is_canary(&self) -> bool {
        self.mode == RolloutMode::Canary
    }

    /// Rows that took part.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether it has had its rows.
    pub fn is_over(&self) -> bool {
        self.rows() >= self.of_rows
    }

    /// What it found so far.
    pub fn report(&self) -> TrialReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the document with this id is of the canary's share. The same id always gets the same answer, also in
    /// another process.
    pub fn has_id(&self, table: &str, id: &[u8]) -> bool {
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(table.as_bytes());
        hasher.write_u8(0);
        hasher.write(id);
        ((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64) < self.share
    }

    /// Adds what a batch of so many rows showed.
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
                if report.fields.len() < MOST_FIELDS || report.fields.contains_key(&field) {
                    *report.fields.entry(field).or_default() += documents;
                }
            }
            let room = MOST_EXAMPLES.saturating_sub(report.examples.len());
            report.examples.extend(found.examples.into_iter().take(room));
        }
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if self.is_over() {
            self.alarm.ring();
        }
    }
}

/// The operations of one row in one lane.
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

    /// The name of a number. The lanes number indices each for themselves, so that what is only compared creates none.
    fn index(&self, operation: &Operation) -> Arc<str> {
        self.indices.name(operation.index)
    }
}

impl TrialReport {
    /// Whether anything differs.
    pub fn is_equal(&self) -> bool {
        self.different() == 0 && self.failed_new == 0
    }

    /// Documents that are not the same in both.
    pub fn different(&self) -> u64 {
        self.changed + self.added + self.missing
    }

    /// Documents that were compared.
    pub fn documents(&self) -> u64 {
        self.equal + self.different()
    }

    /// Adds how one row's operations differ.
    pub(super) fn compare(&mut self, table: &str, old: RowOperations<'_>, new: RowOperations<'_>) {
        // Nearly all rows: the same operations in the same order, byte for byte.
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
        if self.examples.len() < MOST_EXAMPLES {
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

/// Where two documents differ, field by field; arrays as wholes, since one more item at the front is not a change of all.
fn differing_values(path: &str, old: Option<&Value>, new: Option<&Value>, fields: &mut Vec<FieldDifference>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(left)), Some(Value::Object(right))) = (old, new) {
        let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
        for name in names {
            // Which generation made it differs always.
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
    match text.char_indices().nth(MOST_SHOWN) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
