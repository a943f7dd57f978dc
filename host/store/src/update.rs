//! Updates: a partial document or a script laid over what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::EsError;
use crate::index::{Guard, Index, PRIMARY_TERM, Write, WriteKind, Written};
use crate::json::{Cursor, Event, as_java_holds_it, token_name};
use crate::script::{ScriptContext, ScriptOp, Scripts};

/// The body of an update.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpdateBody {
    doc: Option<Map<String, Value>>,
    upsert: Option<Map<String, Value>>,
    doc_as_upsert: bool,
    scripted_upsert: bool,
    keep_noop: bool,
    script: Option<Script>,
}

#[derive(Debug, Clone)]
struct Script {
    id: Option<String>,
    params: Value,
}

/// The scripts that an update may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScriptBook<'a> {
    /// What `PUT /_scripts/{id}` has stored.
    pub(crate) stored: &'a BTreeMap<String, Value>,
    /// The native twins.
    pub(crate) native: &'a Scripts,
}

/// The document and the conditions of one update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpdateTarget<'a> {
    pub(crate) id: &'a str,
    pub(crate) routing: Option<&'a str>,
    pub(crate) guard: Guard,
}

impl UpdateBody {
    /// Reads the body of an update.
    pub(crate) fn parse(text: &str) -> Result<UpdateBody, EsError> {
        let body: Value = serde_json::from_str(text).map_err(|error| EsError::malformed_body(&error))?;
        let mut update = UpdateBody::default();
        let mut cursor = Cursor::new(text);
        let first = cursor.next();
        let Value::Object(mut body) = body else {
            let reason = format!("[1:1] [UpdateRequest] Expected START_OBJECT but was: {}", token_name(&first));
            return Err(EsError::new(400, "x_content_parse_exception", reason));
        };
        while let Event::Key(name) = cursor.next() {
            let (name_line, name_column) = cursor.token_place();
            let event = cursor.next();
            let (line, column) = cursor.token_place();
            cursor.skip(&event);
            let unfit = || {
                EsError::new(
                    400,
                    "x_content_parse_exception",
                    format!(
                        "[{line}:{column}] [UpdateRequest] {name} doesn't support values of type: {}",
                        token_name(&event)
                    ),
                )
            };
            let mut value = body.remove(name.as_ref()).unwrap_or_default();
            as_java_holds_it(&mut value);
            match (name.as_ref(), value) {
                ("doc", Value::Object(doc)) => update.doc = Some(doc),
                ("upsert", Value::Object(upsert)) => update.upsert = Some(upsert),
                ("script", Value::Object(script)) => update.script = Some(parse_script(script)),
                ("script", Value::String(_)) => update.script = Some(Script { id: None, params: Value::Null }),
                ("doc_as_upsert", Value::Bool(flag)) => update.doc_as_upsert = flag,
                ("scripted_upsert", Value::Bool(flag)) => update.scripted_upsert = flag,
                ("detect_noop", Value::Bool(flag)) => update.keep_noop = !flag,
                ("_source" | "if_seq_no" | "if_primary_term", _) => {}
                ("doc" | "upsert" | "script" | "doc_as_upsert" | "scripted_upsert" | "detect_noop", _) => {
                    return Err(unfit());
                }
                (other, _) => {
                    let hint = if other.starts_with("doc") { " did you mean [doc]?" } else { "" };
                    let reason = format!("[{name_line}:{name_column}] [UpdateRequest] unknown field [{other}]{hint}");
                    return Err(EsError::new(400, "x_content_parse_exception", reason));
                }
            }
        }
        Ok(update)
    }

    /// What makes no sense in it, in Elasticsearch's words.
    pub(crate) fn complaints(&self, into: &mut Vec<String>) {
        match (&self.script, &self.doc) {
            (None, None) => into.push("script or doc is missing".into()),
            (Some(_), Some(_)) => into.push("can't provide both script and doc".into()),
            _ => {}
        }
        if self.doc.is_none() && self.doc_as_upsert {
            into.push("doc must be specified if doc_as_upsert is enabled".into());
        }
    }
}

fn parse_script(mut script: Map<String, Value>) -> Script {
    let id = match script.remove("id") {
        Some(Value::String(id)) => Some(id),
        _ => None,
    };
    Script { id, params: script.remove("params").unwrap_or_else(|| Value::Object(Map::new())) }
}

/// Applies an update to its document.
pub(crate) fn update(
    index: &mut Index,
    target: UpdateTarget<'_>,
    body: &UpdateBody,
    scripts: ScriptBook<'_>,
    now: Duration,
) -> Result<Written, EsError> {
    let existing = index.get(target.id).cloned();
    if let (Some(document), Some(seq_no), Some(term)) =
        (&existing, target.guard.if_seq_no, target.guard.if_primary_term)
        && (document.seq_no != seq_no || term != PRIMARY_TERM)
    {
        return Err(index.conflict(
            target.id,
            &format!(
                "required seqNo [{seq_no}], primary term [{term}]. current document has seqNo [{}] and primary term \
                 [{PRIMARY_TERM}]",
                document.seq_no
            ),
        ));
    }
    let Some(document) = existing else {
        return insert(index, target, body, scripts, now);
    };
    let noop = |index: &Index| Written {
        index: index.name.clone(),
        id: target.id.into(),
        version: document.version,
        result: "noop",
        seq_no: Some(document.seq_no),
        status: 200,
        shards: (1 + index.settings.replicas(), 1),
    };
    let Ok(Value::Object(mut source)) = serde_json::from_str::<Value>(document.source.get()) else {
        return Err(EsError::illegal_argument("the document cannot be read as an object"));
    };
    source.values_mut().for_each(as_java_holds_it);
    let routing = target.routing.or(document.routing.as_deref());
    if let Some(script) = &body.script {
        return match run(index, target.id, script, &mut source, scripts, false)? {
            ScriptOp::Index => write_source(index, target.id, routing, source, now),
            ScriptOp::None => Ok(noop(index)),
            ScriptOp::Delete => {
                let guard = Guard::default();
                index.write(&Write { kind: WriteKind::Delete, id: target.id, routing, guard }, now)
            }
        };
    }
    let changed = body.doc.as_ref().is_some_and(|doc| merge(&mut source, doc));
    match changed || body.keep_noop {
        true => write_source(index, target.id, routing, source, now),
        false => Ok(noop(index)),
    }
}

fn insert(
    index: &mut Index,
    target: UpdateTarget<'_>,
    body: &UpdateBody,
    scripts: ScriptBook<'_>,
    now: Duration,
) -> Result<Written, EsError> {
    let upsert = if body.doc_as_upsert { body.doc.as_ref() } else { body.upsert.as_ref() };
    let Some(mut source) = upsert.cloned() else {
        let missing = EsError::new(404, "document_missing_exception", format!("[{}]: document missing", target.id));
        return Err(index.located(missing));
    };
    if let (Some(script), true) = (&body.script, body.scripted_upsert)
        && run(index, target.id, script, &mut source, scripts, true)? != ScriptOp::Index
    {
        let shards = (1 + index.settings.replicas(), 1);
        let (index, id) = (index.name.clone(), target.id.into());
        return Ok(Written { index, id, version: -1, result: "noop", seq_no: None, status: 200, shards });
    }
    write_source(index, target.id, target.routing, source, now)
}

fn run(
    index: &Index,
    id: &str,
    script: &Script,
    source: &mut Map<String, Value>,
    scripts: ScriptBook<'_>,
    is_new: bool,
) -> Result<ScriptOp, EsError> {
    let failed = |cause| EsError::illegal_argument("failed to execute script").caused_by(cause);
    let Some(script_id) = &script.id else {
        return Err(failed(EsError::illegal_argument("the embedded store runs stored scripts only")));
    };
    if !scripts.stored.contains_key(script_id) {
        let reason = format!("unable to find script [{script_id}] in cluster state");
        return Err(failed(EsError::new(404, "resource_not_found_exception", reason)));
    }
    let Some(function) = scripts.native.function(script_id) else {
        let reason = format!("the embedded store has no native function for script [{script_id}]");
        return Err(failed(EsError::illegal_argument(reason)));
    };
    let mut context = ScriptContext {
        index: &index.name,
        id,
        source,
        params: &script.params,
        is_new,
        op: ScriptOp::Index,
        failure: None,
    };
    function(&mut context);
    match context.failure {
        None => Ok(context.op),
        Some(reason) => {
            let cause = EsError::illegal_argument(reason);
            Err(failed(EsError::new(400, "script_exception", "runtime error").caused_by(cause)))
        }
    }
}

fn write_source(
    index: &mut Index,
    id: &str,
    routing: Option<&str>,
    mut source: Map<String, Value>,
    now: Duration,
) -> Result<Written, EsError> {
    for value in source.values_mut() {
        as_java_holds_it(value);
    }
    let bytes = serde_json::to_vec(&source).unwrap_or_default();
    index.write(&Write { kind: WriteKind::Index(&bytes), id, routing, guard: Guard::default() }, now)
}

/// Lays `from` over `into`, objects member by member; tells whether anything changed.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => changed |= merge(into, from),
            (Some(existing), value) if existing == value => {}
            _ => {
                into.insert(name.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}
