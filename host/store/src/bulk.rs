//! The bulk request: its lines, what of them is refused whole, and the answer item by item.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::cluster::{Action, Cluster, Operation};
use crate::error::EsError;
use crate::fault::ItemFault;
use crate::index::{Guard, PRIMARY_TERM, VersionType, WriteKind, Written};
use crate::json::{Cursor, Event, token_name};
use crate::update::UpdateBody;

/// Elasticsearch's longest id, in bytes.
const LONGEST_ID: usize = 512;

/// What holds for every item that says nothing else.
#[derive(Debug, Clone, Default)]
pub(crate) struct BulkDefaults {
    pub(crate) index: Option<String>,
    pub(crate) routing: Option<String>,
    pub(crate) require_alias: bool,
}

/// One item, as its lines give it.
#[derive(Debug)]
pub(crate) struct BulkItem<'a> {
    verb: Verb,
    index: String,
    id: Option<String>,
    routing: Option<String>,
    guard: Guard,
    require_alias: bool,
    source: &'a [u8],
    update: Option<UpdateBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Index,
    Create,
    Update,
    Delete,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Index => "index",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// Reads a bulk body; what is wrong with one line refuses all of them.
pub(crate) fn parse<'a>(body: &'a [u8], defaults: &BulkDefaults) -> Result<Vec<BulkItem<'a>>, EsError> {
    if body.is_empty() {
        return Err(EsError::body_required());
    }
    let mut items = Vec::new();
    let mut rest = body;
    let mut line_number = 0;
    while let Some(line) = take_line(&mut rest)? {
        line_number += 1;
        if line.is_empty() {
            continue;
        }
        let mut item = action_line(line, line_number, defaults)?;
        if item.verb != Verb::Delete {
            // An action at the very end without its source is dropped, as Elasticsearch drops it.
            let Some(source) = take_line(&mut rest)? else {
                break;
            };
            line_number += 1;
            item.source = source;
            if item.verb == Verb::Update {
                if item.guard.version.is_some() || item.guard.version_type != VersionType::Internal {
                    return Err(EsError::illegal_argument(
                        "Update requests do not support versioning. Please use `if_seq_no` and `if_primary_term` instead",
                    ));
                }
                item.update = Some(UpdateBody::parse(&String::from_utf8_lossy(source))?);
            }
        }
        items.push(item);
    }
    let mut complaints = Vec::new();
    for item in &items {
        item.complaints(&mut complaints);
    }
    if items.is_empty() {
        complaints.push("no requests added".into());
    }
    match complaints.is_empty() {
        true => Ok(items),
        false => Err(EsError::validation(&complaints)),
    }
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, EsError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Err(EsError::illegal_argument("The bulk request must be terminated by a newline [\\n]"));
    };
    let (line, behind) = rest.split_at(end);
    *rest = &behind[1..];
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
}

fn action_line<'a>(line: &[u8], number: usize, defaults: &BulkDefaults) -> Result<BulkItem<'a>, EsError> {
    let malformed =
        |what: String| EsError::illegal_argument(format!("Malformed action/metadata line [{number}], {what}"));
    let text = String::from_utf8_lossy(line);
    let mut cursor = Cursor::new(&text);
    match cursor.next() {
        Event::ObjectStart => {}
        other => {
            serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| EsError::malformed_body(&error))?;
            return Err(malformed(format!("expected START_OBJECT but found [{}]", token_name(&other))));
        }
    }
    let verb = match cursor.next() {
        Event::Key(verb) => verb,
        other => {
            return Err(malformed(format!("expected FIELD_NAME but found [{}]", token_name(&other))));
        }
    };
    let verb = match verb.as_ref() {
        "index" => Verb::Index,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => {
            return Err(malformed(format!(
                "expected field [create], [delete], [index] or [update] but found [{other}]"
            )));
        }
    };
    match cursor.next() {
        Event::ObjectStart => {}
        other => {
            return Err(malformed(format!("expected START_OBJECT or END_OBJECT but found [{}]", token_name(&other))));
        }
    }
    let mut item = BulkItem {
        verb,
        index: String::new(),
        id: None,
        routing: None,
        guard: Guard::default(),
        require_alias: defaults.require_alias,
        source: b"",
        update: None,
    };
    loop {
        let name = match cursor.next() {
            Event::Key(name) => name,
            Event::ObjectEnd => break,
            _ => {
                serde_json::from_str::<serde::de::IgnoredAny>(&text)
                    .map_err(|error| EsError::malformed_body(&error))?;
                return Err(malformed("expected a field name".into()));
            }
        };
        let event = cursor.next();
        let value = match &event {
            Event::Text(text) => text.clone().into_owned(),
            Event::Number(text) => (*text).to_owned(),
            Event::Bool(flag) => flag.to_string(),
            Event::Null => continue,
            Event::ObjectStart if matches!(name.as_ref(), "dynamic_templates" | "_source") => {
                cursor.skip(&event);
                continue;
            }
            other => {
                let found = token_name(other);
                return Err(malformed(format!("expected a simple value for field [{name}] but found [{found}]")));
            }
        };
        item.set(&name, value, &event, number)?;
    }
    if item.index.is_empty() {
        item.index = defaults.index.clone().unwrap_or_default();
    }
    if item.routing.is_none() {
        item.routing.clone_from(&defaults.routing);
    }
    Ok(item)
}

impl BulkItem<'_> {
    fn set(&mut self, name: &str, value: String, event: &Event<'_>, line: usize) -> Result<(), EsError> {
        let number = || match value.parse::<i64>() {
            Ok(number) => Ok(number),
            Err(_) if matches!(event, Event::Number(_)) => {
                let reason = format!(
                    "Numeric value ({value}) out of range of long (-9223372036854775808 - 9223372036854775807)"
                );
                Err(EsError::new(400, "x_content_parse_exception", reason.clone()).caused_by(EsError::new(
                    400,
                    "input_coercion_exception",
                    reason,
                )))
            }
            Err(_) => Err(EsError::illegal_argument(format!("For input string: \"{value}\""))),
        };
        match name {
            "_index" => self.index = value,
            "_id" => self.id = Some(value),
            "routing" => self.routing = Some(value),
            "version" => self.guard.version = Some(number()?),
            "version_type" => self.guard.version_type = VersionType::of(&value)?,
            "if_seq_no" => self.guard.if_seq_no = Some(number()?),
            "if_primary_term" => self.guard.if_primary_term = Some(number()?),
            "retry_on_conflict" => drop(number()?),
            "require_alias" => self.require_alias = value == "true",
            "op_type" if value == "create" => self.verb = Verb::Create,
            "op_type" | "pipeline" | "_source" | "require_data_stream" | "list_executed_pipelines" => {}
            other => {
                return Err(EsError::illegal_argument(format!(
                    "Action/metadata line [{line}] contains an unknown parameter [{other}]"
                )));
            }
        }
        Ok(())
    }

    fn complaints(&self, into: &mut Vec<String>) {
        if self.index.is_empty() {
            into.push("index is missing".into());
        }
        if self.id.is_none() && matches!(self.verb, Verb::Update | Verb::Delete) {
            into.push("id is missing".into());
        }
        let creates = self.verb == Verb::Create;
        self.guard.complaints(creates, self.id.is_some(), into);
        id_complaints(self.id.as_deref(), into);
        if let Some(update) = &self.update {
            update.complaints(into);
        }
    }
}

/// Refuses ids that are too long.
pub(crate) fn id_complaints(id: Option<&str>, into: &mut Vec<String>) {
    if let Some(id) = id.filter(|id| id.len() > LONGEST_ID) {
        into.push(format!("id [{id}] is too long, must be no longer than {LONGEST_ID} bytes but was: {}", id.len()));
    }
}

/// The answer to a bulk request.
#[derive(Debug, Serialize)]
pub(crate) struct BulkAnswer {
    errors: bool,
    took: u64,
    items: Vec<AnswerItem>,
}

impl BulkAnswer {
    /// The indices that items have been written to.
    pub(crate) fn written_indices(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for item in self.items.iter().filter(|item| item.body.error.is_none()) {
            if !names.contains(&item.body.index) {
                names.push(item.body.index.clone());
            }
        }
        names
    }

    /// Marks the items as refreshed at once.
    pub(crate) fn set_refreshed(&mut self) {
        for item in self.items.iter_mut().filter(|item| item.body.error.is_none()) {
            item.body.forced_refresh = item.body.result != Some("noop");
        }
    }

    /// Notes how long it took, in milliseconds.
    pub(crate) fn set_took(&mut self, milliseconds: u64) {
        self.took = milliseconds;
    }
}

#[derive(Debug)]
struct AnswerItem {
    verb: Verb,
    body: AnswerBody,
}

impl Serialize for AnswerItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.verb.name(), &self.body)?;
        map.end()
    }
}

/// One document's result, in a bulk or alone.
#[derive(Debug, Serialize)]
pub(crate) struct AnswerBody {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_version", skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) forced_refresh: bool,
    #[serde(rename = "_shards", skip_serializing_if = "Option::is_none")]
    shards: Option<Shards>,
    #[serde(rename = "_seq_no", skip_serializing_if = "Option::is_none")]
    seq_no: Option<i64>,
    #[serde(rename = "_primary_term", skip_serializing_if = "Option::is_none")]
    primary_term: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Shards {
    total: u64,
    successful: u64,
    failed: u64,
}

impl AnswerBody {
    /// The answer to a write that has been done.
    pub(crate) fn done(written: &Written) -> AnswerBody {
        let (total, successful) = written.shards;
        AnswerBody {
            index: written.index.clone(),
            id: written.id.clone(),
            version: Some(written.version),
            result: Some(written.result),
            forced_refresh: false,
            shards: Some(Shards { total, successful, failed: 0 }),
            seq_no: written.seq_no,
            primary_term: written.seq_no.map(|_| PRIMARY_TERM),
            get: written.seq_no.is_none().then(|| json!({ "found": false })),
            status: Some(written.status),
            error: None,
        }
    }

    fn failed(index: &str, id: &str, error: &EsError) -> AnswerBody {
        AnswerBody {
            index: index.into(),
            id: id.into(),
            version: None,
            result: None,
            forced_refresh: false,
            shards: None,
            seq_no: None,
            primary_term: None,
            get: None,
            status: Some(error.status),
            error: Some(error.to_item()),
        }
    }
}

/// Applies the items in order; each has exactly one outcome.
pub(crate) fn execute(
    cluster: &mut Cluster,
    items: &[BulkItem<'_>],
    now: Duration,
    mut fault: impl FnMut(&str, &str) -> Option<ItemFault>,
) -> BulkAnswer {
    let mut answer = BulkAnswer { errors: false, took: 0, items: Vec::with_capacity(items.len()) };
    for item in items {
        let made;
        let id = match &item.id {
            Some(id) => id.as_str(),
            None => {
                made = cluster.make_id();
                made.as_str()
            }
        };
        let result = match fault(&item.index, id) {
            Some(ItemFault(error)) => Err(error),
            None if id.is_empty() => Err(EsError::illegal_argument("if _id is specified it must not be empty")),
            None => apply(cluster, item, id, now),
        };
        answer.errors |= result.is_err();
        let body = match result {
            Ok(written) => AnswerBody::done(&written),
            Err(error) => AnswerBody::failed(&item.index, id, &error),
        };
        answer.items.push(AnswerItem { verb: item.verb, body });
    }
    answer
}

fn apply(cluster: &mut Cluster, item: &BulkItem<'_>, id: &str, now: Duration) -> Result<Written, EsError> {
    let action = match (item.verb, &item.update) {
        (Verb::Create, _) => Action::Write(WriteKind::Create(item.source)),
        (Verb::Delete, _) => Action::Write(WriteKind::Delete),
        (Verb::Update, Some(body)) => Action::Update(body),
        (Verb::Index | Verb::Update, _) => Action::Write(WriteKind::Index(item.source)),
    };
    let operation = Operation {
        target: &item.index,
        id,
        routing: item.routing.as_deref(),
        guard: item.guard,
        require_alias: item.require_alias,
        action,
    };
    cluster.apply(&operation, now)
}
