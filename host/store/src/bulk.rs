//! The bulk request: its lines, the checks that refuse all of them, and the result of each item.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::error::EsError;
use crate::index::{Write, WriteKind, Written};
use crate::json::{Cursor, Event, scalar_text};
use crate::update::UpdateBody;
use crate::version::{Guard, VersionType};

/// Elasticsearch's longest ID, in bytes.
const LONGEST_ID: usize = 512;

/// One item, as its lines give it.
#[derive(Debug)]
pub(crate) struct BulkItem<'a> {
    verb: Verb,
    index: String,
    id: Option<String>,
    routing: Option<String>,
    guard: Guard,
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
    fn of(name: &str) -> Option<Verb> {
        [Verb::Index, Verb::Create, Verb::Update, Verb::Delete].into_iter().find(|verb| verb.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Index => "index",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// Reads a bulk body. An error in one line refuses all of them.
pub(crate) fn parse<'a>(body: &'a [u8], default_index: Option<&str>) -> Result<Vec<BulkItem<'a>>, EsError> {
    let mut items = Vec::new();
    let mut problems = Vec::new();
    let mut rest = body;
    while let Some(line) = take_line(&mut rest)? {
        if line.is_empty() {
            continue;
        }
        let mut item = action_line(line, default_index)?;
        if item.verb != Verb::Delete {
            // Elasticsearch drops an action at the very end that has no source.
            let Some(source) = take_line(&mut rest)? else {
                break;
            };
            item.source = source;
        }
        if item.verb == Verb::Update {
            if item.guard.is_versioned() {
                return Err(EsError::illegal_argument("Update requests do not support versioning"));
            }
            item.update = Some(UpdateBody::parse(item.source)?);
        }
        item.validate(&mut problems);
        items.push(item);
    }
    if items.is_empty() {
        problems.push("no requests added".into());
    }
    match problems.is_empty() {
        true => Ok(items),
        false => Err(EsError::validation(&problems)),
    }
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, EsError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Err(EsError::illegal_argument("The bulk request must be terminated by a newline [\\n]"));
    };
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// Reads an action line up to the end of its first action: Elasticsearch ignores the rest.
fn action_line<'a>(line: &[u8], default_index: Option<&str>) -> Result<BulkItem<'a>, EsError> {
    let malformed = |reason: &str| EsError::illegal_argument(format!("Malformed action/metadata line, {reason}"));
    let text = String::from_utf8_lossy(line);
    let mut cursor = Cursor::new(&text);
    if cursor.next() != Event::ObjectStart {
        parse_json(&text)?;
        return Err(malformed("expected an object"));
    }
    let verb = match cursor.next() {
        Event::Key(name) => Verb::of(&name),
        _ => None,
    };
    let Some(verb) = verb else {
        return Err(malformed("expected [create], [delete], [index] or [update]"));
    };
    let Value::Object(parameters) = parse_json(cursor.value_text())? else {
        return Err(malformed("expected an object after the action"));
    };
    let index = default_index.unwrap_or_default().to_owned();
    let guard = Guard::default();
    let mut item = BulkItem { verb, index, id: None, routing: None, guard, source: b"", update: None };
    item.set_all(&parameters)?;
    Ok(item)
}

fn parse_json(text: &str) -> Result<Value, EsError> {
    serde_json::from_str(text).map_err(|error| EsError::malformed_body(&error))
}

impl BulkItem<'_> {
    fn set_all(&mut self, parameters: &Map<String, Value>) -> Result<(), EsError> {
        for (name, value) in parameters {
            let Some(text) = scalar_text(value) else {
                match value {
                    Value::Null => continue,
                    _ => return Err(EsError::illegal_argument(format!("expected a simple value for [{name}]"))),
                }
            };
            let number = || {
                text.parse::<i64>().map_err(|_| {
                    let kind =
                        if value.is_number() { "x_content_parse_exception" } else { "illegal_argument_exception" };
                    EsError::new(400, kind, format!("[{text}] is no whole number in the range of long"))
                })
            };
            match name.as_str() {
                "_index" => self.index = text,
                "_id" => self.id = Some(text),
                "routing" => self.routing = Some(text),
                "version" => self.guard.version = Some(number()?),
                "version_type" => self.guard.version_type = VersionType::of(&text)?,
                "if_seq_no" => self.guard.if_seq_no = Some(number()?),
                "if_primary_term" => self.guard.if_primary_term = Some(number()?),
                // Items are applied one after the other, so there is never a conflict to retry.
                "retry_on_conflict" => drop(number()?),
                other => {
                    let reason = format!("Action/metadata line contains an unknown parameter [{other}]");
                    return Err(EsError::illegal_argument(reason));
                }
            }
        }
        Ok(())
    }

    fn validate(&self, problems: &mut Vec<String>) {
        if self.index.is_empty() {
            problems.push("index is missing".into());
        }
        if self.id.is_none() && matches!(self.verb, Verb::Update | Verb::Delete) {
            problems.push("id is missing".into());
        }
        self.guard.validate(self.verb == Verb::Create, self.id.is_some(), problems);
        validate_id(self.id.as_deref(), problems);
        if let Some(update) = &self.update {
            update.validate(problems);
        }
    }

    fn apply(&self, cluster: &mut Cluster, id: &str, now: Duration) -> Result<Written, EsError> {
        if id.is_empty() {
            return Err(EsError::illegal_argument("if _id is specified it must not be empty"));
        }
        let kind = match self.verb {
            Verb::Create => WriteKind::Create(self.source),
            Verb::Delete => WriteKind::Delete,
            Verb::Index | Verb::Update => WriteKind::Index(self.source),
        };
        let write = Write { kind, id, routing: self.routing.as_deref(), guard: self.guard };
        match &self.update {
            Some(body) => cluster.update(&self.index, &write, body, now),
            None => cluster.write(&self.index, &write, now),
        }
    }
}

/// Adds an ID that is too long to `problems`.
pub(crate) fn validate_id(id: Option<&str>, problems: &mut Vec<String>) {
    if let Some(id) = id.filter(|id| id.len() > LONGEST_ID) {
        problems.push(format!("an id must be no longer than {LONGEST_ID} bytes but was: {}", id.len()));
    }
}

/// Applies the items in order, makes them visible to searches if wanted, and returns the answer. `fault` returns the error of an item that is not to be applied.
pub(crate) fn execute(
    cluster: &mut Cluster,
    items: &[BulkItem<'_>],
    refreshes: bool,
    now: Duration,
    mut fault: impl FnMut(&str, &str) -> Option<EsError>,
) -> Value {
    let mut has_errors = false;
    let mut written_to = BTreeSet::new();
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let generated = if item.id.is_none() { cluster.generate_id() } else { String::new() };
        let id = item.id.as_deref().unwrap_or(&generated);
        let result = match fault(&item.index, id) {
            Some(error) => Err(error),
            None => item.apply(cluster, id, now),
        };
        let mut body = match &result {
            Ok(written) => written.to_json(),
            Err(error) => json!({ "_index": item.index, "_id": id, "error": error.to_item() }),
        };
        body["status"] = result.as_ref().map_or_else(|error| error.status, |written| written.status).into();
        has_errors |= result.is_err();
        written_to.extend(result.ok().map(|written| written.index));
        answers.push(json!({ item.verb.name(): body }));
    }
    if refreshes {
        let names: Vec<String> = written_to.into_iter().collect();
        cluster.each(&names, |index| index.refresh(now));
    }
    json!({ "errors": has_errors, "took": 0, "items": answers })
}
