//! One index: its documents with their versions, the tombstones of deleted ones, and what searches see of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::EsError;
use crate::mapping::{DocumentContext, Mapping, check_document};
use crate::settings::Settings;

/// The only primary term there is: nothing ever fails over here.
pub(crate) const PRIMARY_TERM: i64 = 1;

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
    /// The source as a tree; made when it is first searched.
    pub(crate) fn tree(&self) -> &Value {
        self.tree.get_or_init(|| serde_json::from_str(self.source.get()).unwrap_or_default())
    }
}

/// What is known of one id.
#[derive(Debug)]
struct Slot {
    version: i64,
    seq_no: i64,
    /// `None` is a tombstone.
    current: Option<Arc<Document>>,
    deleted_at: Duration,
    /// What searches see.
    searchable: Option<Arc<Document>>,
}

/// How the version of a write stands to the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum VersionType {
    #[default]
    Internal,
    External,
    ExternalGte,
}

impl VersionType {
    /// The version type of this name.
    pub(crate) fn of(name: &str) -> Result<VersionType, EsError> {
        match name {
            "internal" => Ok(VersionType::Internal),
            "external" | "external_gt" => Ok(VersionType::External),
            "external_gte" => Ok(VersionType::ExternalGte),
            other => Err(EsError::illegal_argument(format!("No version type match [{other}]"))),
        }
    }

    fn shown(self) -> &'static str {
        match self {
            VersionType::Internal => "INTERNAL",
            VersionType::External => "EXTERNAL",
            VersionType::ExternalGte => "EXTERNAL_GTE",
        }
    }
}

/// What a write demands of the document that it meets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guard {
    pub(crate) version: Option<i64>,
    pub(crate) version_type: VersionType,
    pub(crate) if_seq_no: Option<i64>,
    pub(crate) if_primary_term: Option<i64>,
}

impl Guard {
    /// What makes no sense in it, in Elasticsearch's words.
    pub(crate) fn complaints(&self, creates: bool, has_id: bool, into: &mut Vec<String>) {
        let given = self.version.is_some() || self.version_type != VersionType::Internal;
        if creates && given {
            into.push("create operations only support internal versioning. use index instead".into());
            return;
        }
        if !has_id && given {
            into.push("an id must be provided if version type or value are set".into());
        }
        match (self.version_type, self.version) {
            (VersionType::Internal, Some(_)) => into.push(
                "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and \
                 `if_primary_term` instead"
                    .into(),
            ),
            (VersionType::Internal, None) => {}
            (kind, version) => {
                // -3 is how Elasticsearch writes "match any".
                let version = version.unwrap_or(-3);
                if version < 0 && has_id {
                    into.push(format!("illegal version value [{version}] for version type [{}]", kind.shown()));
                }
            }
        }
        match (self.if_seq_no, self.if_primary_term) {
            (Some(_), None) => into.push("ifSeqNo is set, but primary term is [0]".into()),
            (None, Some(term)) => into.push(format!("ifSeqNo is unassigned, but primary term is [{term}]")),
            _ => {}
        }
    }
}

/// One write of one document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) kind: WriteKind<'a>,
    pub(crate) id: &'a str,
    pub(crate) routing: Option<&'a str>,
    pub(crate) guard: Guard,
}

/// What a write does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WriteKind<'a> {
    Index(&'a [u8]),
    Create(&'a [u8]),
    Delete,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) result: &'static str,
    /// `None` where nothing is there to have one.
    pub(crate) seq_no: Option<i64>,
    pub(crate) status: u16,
    /// Copies that should be written, and were.
    pub(crate) shards: (u64, u64),
}

/// One index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) settings: Settings,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) aliases: BTreeMap<String, Value>,
    slots: HashMap<String, Slot>,
    next_seq_no: i64,
    live: usize,
    pending: Vec<String>,
    pending_since: Duration,
    tombstones: VecDeque<(Duration, String)>,
}

impl Index {
    /// An empty index.
    pub(crate) fn new(name: &str, uuid: String, settings: Settings, mapping: Mapping) -> Index {
        Index {
            name: name.into(),
            uuid,
            settings,
            mapping: Arc::new(mapping),
            aliases: BTreeMap::new(),
            slots: HashMap::new(),
            next_seq_no: 0,
            live: 0,
            pending: Vec::new(),
            pending_since: Duration::ZERO,
            tombstones: VecDeque::new(),
        }
    }

    /// The document as it is now, whether or not searches see it.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Document>> {
        self.slots.get(id).and_then(|slot| slot.current.as_ref())
    }

    /// The document as searches see it.
    pub(crate) fn get_searchable(&self, id: &str) -> Option<&Arc<Document>> {
        self.slots.get(id).and_then(|slot| slot.searchable.as_ref())
    }

    /// Every document as it is now, ordered by id.
    pub(crate) fn documents(&self) -> Vec<Arc<Document>> {
        let mut documents: Vec<_> = self.slots.values().filter_map(|slot| slot.current.clone()).collect();
        documents.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        documents
    }

    /// The number of documents as they are now.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Every document that searches see, in the order of writing.
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

    /// Makes every write visible to searches.
    pub(crate) fn refresh(&mut self, now: Duration) {
        for id in std::mem::take(&mut self.pending) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.searchable.clone_from(&slot.current);
            }
        }
        self.forget_tombstones(now);
    }

    /// Applies one write.
    pub(crate) fn write(&mut self, write: &Write<'_>, now: Duration) -> Result<Written, EsError> {
        let source = match write.kind {
            WriteKind::Index(source) | WriteKind::Create(source) => Some(self.accept_source(write.id, source)?),
            WriteKind::Delete => None,
        };
        let gc_deletes = self.settings.gc_deletes();
        // An expired tombstone is as good as none.
        let slot = self.slots.get(write.id);
        let slot = slot.filter(|slot| slot.current.is_some() || now.saturating_sub(slot.deleted_at) <= gc_deletes);
        let existed = slot.is_some_and(|slot| slot.current.is_some());
        let creates = matches!(write.kind, WriteKind::Create(_));
        let version = self.next_version(write, slot, creates)?;
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
        self.live = self.live + usize::from(document.is_some()) - usize::from(existed);
        self.place(write.id, version, seq_no, document, now);
        let shards = (1 + self.settings.replicas(), 1);
        let seq_no = Some(seq_no);
        Ok(Written { index: self.name.clone(), id: write.id.into(), version, result, seq_no, status, shards })
    }

    /// `version_conflict_engine_exception` for a document of this index.
    pub(crate) fn conflict(&self, id: &str, reason: &str) -> EsError {
        let reason = format!("[{id}]: version conflict, {reason}");
        self.located(EsError::new(409, "version_conflict_engine_exception", reason))
    }

    /// Adds the index and the shard to an error.
    pub(crate) fn located(&self, error: EsError) -> EsError {
        error.with("index_uuid", self.uuid.as_str()).with("shard", "0").with("index", self.name.as_str())
    }

    /// Parses a document, checks it against the mapping and lets the mapping grow.
    fn accept_source(&mut self, id: &str, source: &[u8]) -> Result<Box<RawValue>, EsError> {
        let text = std::str::from_utf8(source).map_err(|_| {
            let reason = "[1:1] failed to parse: Invalid UTF-8 start byte";
            EsError::new(400, "document_parsing_exception", reason)
        })?;
        let source = RawValue::from_string(text.into()).map_err(|error| malformed_document(text, &error))?;
        let limit = self.settings.number("index.mapping.total_fields.limit", 1000);
        let context = DocumentContext {
            id,
            ignore_malformed: self.settings.text("index.mapping.ignore_malformed") == Some("true"),
            field_limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let additions = check_document(&self.mapping, source.get(), context)?;
        if !additions.is_empty() {
            Arc::make_mut(&mut self.mapping).add(additions);
        }
        Ok(source)
    }

    fn next_version(&self, write: &Write<'_>, slot: Option<&Slot>, creates: bool) -> Result<i64, EsError> {
        let guard = &write.guard;
        if let (Some(seq_no), Some(term)) = (guard.if_seq_no, guard.if_primary_term) {
            let required = format!("required seqNo [{seq_no}], primary term [{term}].");
            match slot.filter(|slot| slot.current.is_some()) {
                Some(slot) if slot.seq_no == seq_no && term == PRIMARY_TERM => {}
                Some(slot) => {
                    let there =
                        format!("current document has seqNo [{}] and primary term [{PRIMARY_TERM}]", slot.seq_no);
                    return Err(self.conflict(write.id, &format!("{required} {there}")));
                }
                None => {
                    return Err(self.conflict(write.id, &format!("{required} but no document was found")));
                }
            }
        }
        let current = slot.map(|slot| slot.version);
        match (guard.version_type, guard.version) {
            (VersionType::Internal, _) | (_, None) => {
                if creates && let Some(slot) = slot.filter(|slot| slot.current.is_some()) {
                    let reason = format!("document already exists (current version [{}])", slot.version);
                    return Err(self.conflict(write.id, &reason));
                }
                Ok(current.map_or(1, |version| version.saturating_add(1)))
            }
            (VersionType::External, Some(version)) => match current {
                Some(current) if current >= version => Err(self.conflict(
                    write.id,
                    &format!("current version [{current}] is higher or equal to the one provided [{version}]"),
                )),
                _ => Ok(version),
            },
            (VersionType::ExternalGte, Some(version)) => match current {
                Some(current) if current > version => Err(self.conflict(
                    write.id,
                    &format!("current version [{current}] is higher than the one provided [{version}]"),
                )),
                _ => Ok(version),
            },
        }
    }

    fn place(&mut self, id: &str, version: i64, seq_no: i64, current: Option<Arc<Document>>, now: Duration) {
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

    fn forget_tombstones(&mut self, now: Duration) {
        let gc_deletes = self.settings.gc_deletes();
        while let Some((deleted_at, _)) = self.tombstones.front()
            && now.saturating_sub(*deleted_at) > gc_deletes
        {
            let Some((deleted_at, id)) = self.tombstones.pop_front() else {
                break;
            };
            let expired =
                self.slots.get(&id).is_some_and(|slot| slot.current.is_none() && slot.deleted_at == deleted_at);
            if expired {
                self.slots.remove(&id);
            }
        }
    }
}

/// What Elasticsearch says of a document that is not JSON; the places are as near as the parser here knows them.
fn malformed_document(text: &str, error: &serde_json::Error) -> EsError {
    let (line, column) = (error.line(), error.column());
    if error.to_string().starts_with("trailing characters") {
        let rest =
            text.lines().nth(line.saturating_sub(1)).and_then(|line| line.as_bytes().get(column.saturating_sub(1)));
        let token = match rest {
            Some(b'{') => "START_OBJECT",
            Some(b'[') => "START_ARRAY",
            Some(b'"') => "VALUE_STRING",
            _ => "VALUE_NUMBER",
        };
        return EsError::illegal_argument(format!("Malformed content, found extra data after parsing: {token}"));
    }
    let cause = EsError::malformed_body(error);
    EsError::new(400, "document_parsing_exception", format!("[{line}:{column}] failed to parse: {}", cause.reason()))
        .caused_by(cause)
}
