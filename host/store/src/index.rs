//! One index: its documents with their versions, the tombstones of deleted ones, and the part that searches see.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::EsError;
use crate::mapping::{DocumentLimits, Mapping, check_document};
use crate::settings::Settings;
use crate::version::{Guard, PRIMARY_TERM, conflict};

/// One version of a document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) routing: Option<String>,
    pub(crate) version: i64,
    pub(crate) seq_no: i64,
    /// The bytes as they were written.
    pub(crate) source: Box<RawValue>,
    tree: OnceLock<Value>,
}

impl Document {
    /// The source as a tree, parsed at the first call.
    pub(crate) fn tree(&self) -> &Value {
        self.tree.get_or_init(|| serde_json::from_str(self.source.get()).unwrap_or_default())
    }
}

/// The state of one ID.
#[derive(Debug)]
struct Slot {
    version: i64,
    seq_no: i64,
    /// `None` is a tombstone.
    current: Option<Arc<Document>>,
    deleted_at: Duration,
    /// The version that searches see.
    searchable: Option<Arc<Document>>,
}

/// One write of one document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) kind: WriteKind<'a>,
    pub(crate) id: &'a str,
    pub(crate) routing: Option<&'a str>,
    pub(crate) guard: Guard,
}

/// The kinds of writes, with the document's source.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WriteKind<'a> {
    Index(&'a [u8]),
    Create(&'a [u8]),
    Delete,
}

/// The result of a write.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) result: &'static str,
    /// `None` if there is no document.
    pub(crate) seq_no: Option<i64>,
    pub(crate) status: u16,
}

impl Written {
    /// The result as answers show it.
    pub(crate) fn to_json(&self) -> Value {
        let mut body = json!({
            "_index": self.index,
            "_id": self.id,
            "_version": self.version,
            "result": self.result,
        });
        match self.seq_no {
            Some(seq_no) => {
                body["_seq_no"] = seq_no.into();
                body["_primary_term"] = PRIMARY_TERM.into();
            }
            None => body["get"] = json!({ "found": false }),
        }
        body
    }
}

/// One index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// Another one for each index that is created, also with the same name.
    pub(crate) uuid: String,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) aliases: BTreeMap<String, Value>,
    slots: HashMap<String, Slot>,
    next_seq_no: i64,
    n_documents: usize,
    /// The IDs that were written since the last refresh.
    pending: Vec<String>,
    pending_since: Duration,
    tombstones: VecDeque<(Duration, String)>,
}

fn next_uuid() -> String {
    static CREATED: AtomicU64 = AtomicU64::new(0);
    format!("store-{}", CREATED.fetch_add(1, Ordering::Relaxed))
}

impl Index {
    /// Makes an empty index.
    pub(crate) fn new(name: &str, settings: Settings, mapping: Mapping, aliases: BTreeMap<String, Value>) -> Index {
        Index {
            name: name.into(),
            settings,
            uuid: next_uuid(),
            mapping: Arc::new(mapping),
            aliases,
            slots: HashMap::new(),
            next_seq_no: 0,
            n_documents: 0,
            pending: Vec::new(),
            pending_since: Duration::ZERO,
            tombstones: VecDeque::new(),
        }
    }

    /// The current version of a document, which searches may not see yet.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Document>> {
        self.slots.get(id).and_then(|slot| slot.current.as_ref())
    }

    /// The current version of every document, ordered by ID.
    pub(crate) fn documents(&self) -> Vec<Arc<Document>> {
        let mut documents: Vec<_> = self.slots.values().filter_map(|slot| slot.current.clone()).collect();
        documents.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        documents
    }

    /// The current number of documents.
    pub(crate) fn n_documents(&self) -> usize {
        self.n_documents
    }

    /// Every document that searches see, in the order in which they were written.
    pub(crate) fn searchable(&mut self, now: Duration) -> Vec<Arc<Document>> {
        if let Some(interval) = self.settings.refresh_interval()
            && now.saturating_sub(self.pending_since) >= interval
        {
            self.refresh(now);
        }
        let mut documents: Vec<_> = self.slots.values().filter_map(|slot| slot.searchable.clone()).collect();
        documents.sort_unstable_by_key(|document| document.seq_no);
        documents
    }

    /// Makes all writes visible to searches, and removes expired tombstones.
    pub(crate) fn refresh(&mut self, now: Duration) {
        for id in std::mem::take(&mut self.pending) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.searchable.clone_from(&slot.current);
            }
        }
        self.remove_tombstones(now);
    }

    /// Applies one write.
    pub(crate) fn write(&mut self, write: &Write<'_>, now: Duration) -> Result<Written, EsError> {
        let source = match write.kind {
            WriteKind::Index(source) | WriteKind::Create(source) => Some(self.accept_source(source)?),
            WriteKind::Delete => None,
        };
        let gc_deletes = self.settings.gc_deletes();
        // An expired tombstone counts as removed, whether or not a refresh has removed it.
        let slot = self.slots.get(write.id);
        let slot = slot.filter(|slot| slot.current.is_some() || now.saturating_sub(slot.deleted_at) <= gc_deletes);
        let existing = slot.filter(|slot| slot.current.is_some());
        let existed = existing.is_some();
        write.guard.check_seq_no(write.id, existing.map(|slot| slot.seq_no))?;
        if existed && matches!(write.kind, WriteKind::Create(_)) {
            return Err(conflict(write.id, "document already exists"));
        }
        let version = write.guard.next_version(write.id, slot.map(|slot| slot.version))?;
        let seq_no = self.next_seq_no;
        self.next_seq_no += 1;
        let document = source.map(|source| {
            let routing = write.routing.map(Into::into);
            Arc::new(Document { id: write.id.into(), routing, version, seq_no, source, tree: OnceLock::new() })
        });
        let (result, status) = match (&document, existed) {
            (Some(_), true) => ("updated", 200),
            (Some(_), false) => ("created", 201),
            (None, true) => ("deleted", 200),
            (None, false) => ("not_found", 404),
        };
        self.n_documents = self.n_documents + usize::from(document.is_some()) - usize::from(existed);
        self.store(write.id, version, seq_no, document, now);
        Ok(Written { status, ..self.written(write.id, version, result, Some(seq_no)) })
    }

    /// A result with status 200.
    pub(crate) fn written(&self, id: &str, version: i64, result: &'static str, seq_no: Option<i64>) -> Written {
        Written { index: self.name.clone(), id: id.into(), version, result, seq_no, status: 200 }
    }

    /// Parses a document, checks it against the mapping, and adds new fields to the mapping.
    fn accept_source(&mut self, source: &[u8]) -> Result<Box<RawValue>, EsError> {
        let malformed = |reason: String| EsError::new(400, "document_parsing_exception", reason);
        let text = std::str::from_utf8(source).map_err(|error| malformed(error.to_string()))?;
        let source = RawValue::from_string(text.into()).map_err(|error| {
            let reason = error.to_string();
            match reason.starts_with("trailing characters") {
                true => EsError::illegal_argument(reason),
                false => malformed(reason),
            }
        })?;
        let limits = DocumentLimits {
            ignore_malformed: self.settings.ignore_malformed(),
            max_fields: self.settings.field_limit(),
        };
        let additions = check_document(&self.mapping, source.get(), limits)?;
        if !additions.is_empty() {
            Arc::make_mut(&mut self.mapping).add(additions);
        }
        Ok(source)
    }

    fn store(&mut self, id: &str, version: i64, seq_no: i64, current: Option<Arc<Document>>, now: Duration) {
        if current.is_none() {
            self.tombstones.push_back((now, id.into()));
        }
        if self.pending.is_empty() {
            self.pending_since = now;
        }
        match self.slots.get_mut(id) {
            Some(slot) => {
                slot.version = version;
                slot.seq_no = seq_no;
                slot.current = current;
                slot.deleted_at = now;
            }
            None => {
                let slot = Slot { version, seq_no, current, deleted_at: now, searchable: None };
                self.slots.insert(id.into(), slot);
            }
        }
        self.pending.push(id.into());
    }

    fn remove_tombstones(&mut self, now: Duration) {
        let gc_deletes = self.settings.gc_deletes();
        while let Some((deleted_at, id)) = self.tombstones.front()
            && now.saturating_sub(*deleted_at) > gc_deletes
        {
            let is_tombstone = |slot: &Slot| slot.current.is_none() && slot.deleted_at == *deleted_at;
            if self.slots.get(id).is_some_and(is_tombstone) {
                self.slots.remove(id);
            }
            self.tombstones.pop_front();
        }
    }
}
