//! Handlers of requests for documents: bulk, one document, several by ID; and the stored scripts of updates.

use serde_json::{Value, json};

use super::answer::Answer;
use super::request::Request;
use crate::bulk::{self, validate_id};
use crate::error::EsError;
use crate::filter::{SourceFilter, document_json};
use crate::index::{Index, Write, WriteKind};
use crate::json::scalar_text;
use crate::shared::Shared;
use crate::version::{Guard, PRIMARY_TERM, VersionType};

const WRITE_PARAMETERS: &str = "refresh routing version version_type if_seq_no if_primary_term op_type";

const READ_PARAMETERS: &str = "_source routing";

pub(super) fn bulk(shared: &Shared, request: &Request, index: Option<&str>) -> Result<Answer, EsError> {
    request.require_body()?;
    // The store has no shards to wait for.
    request.check_parameters("refresh timeout")?;
    let refreshes = refreshes(request)?;
    let items = bulk::parse(&request.body, index)?;
    {
        let mut counters = shared.counters();
        counters.bulk_requests += 1;
        counters.items += items.len() as u64;
    }
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    let mut faults = shared.faults();
    let fault = |index: &str, id: &str| faults.on_item(&request.path, index, id);
    Ok(Answer::json(200, bulk::execute(&mut cluster, &items, refreshes, now, fault)))
}

/// Returns true if searches shall see the writes at once. `wait_for` would make Elasticsearch wait for the next refresh.
fn refreshes(request: &Request) -> Result<bool, EsError> {
    match request.parameter("refresh") {
        None | Some("false") => Ok(false),
        Some("" | "true" | "wait_for") => Ok(true),
        Some(other) => Err(EsError::illegal_argument(format!("Unknown value for refresh: [{other}]."))),
    }
}

fn guard(request: &Request) -> Result<Guard, EsError> {
    Ok(Guard {
        version: request.number("version")?,
        version_type: request.parameter("version_type").map(VersionType::of).transpose()?.unwrap_or_default(),
        if_seq_no: request.number("if_seq_no")?,
        if_primary_term: request.number("if_primary_term")?,
    })
}

pub(super) fn write(shared: &Shared, request: &Request, index: &str, id: Option<&str>) -> Result<Answer, EsError> {
    request.require_body()?;
    let is_create = request.segments().contains(&"_create") || request.parameter("op_type") == Some("create");
    let kind = if is_create { WriteKind::Create(&request.body) } else { WriteKind::Index(&request.body) };
    apply(shared, request, index, id, kind)
}

pub(super) fn delete(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    apply(shared, request, index, Some(id), WriteKind::Delete)
}

fn apply(
    shared: &Shared,
    request: &Request,
    index: &str,
    id: Option<&str>,
    kind: WriteKind<'_>,
) -> Result<Answer, EsError> {
    request.check_parameters(WRITE_PARAMETERS)?;
    let guard = guard(request)?;
    let mut problems = Vec::new();
    guard.validate(matches!(kind, WriteKind::Create(_)), id.is_some(), &mut problems);
    validate_id(id, &mut problems);
    if !problems.is_empty() {
        return Err(EsError::validation(&problems));
    }
    let refreshes = refreshes(request)?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    let id = id.map_or_else(|| cluster.generate_id(), Into::into);
    let write = Write { kind, id: &id, routing: request.parameter("routing"), guard };
    let written = cluster.write(index, &write, now)?;
    if refreshes {
        cluster.each(std::slice::from_ref(&written.index), |index| index.refresh(now));
    }
    Ok(Answer::json(written.status, written.to_json()))
}

/// The part of sources that the request asks for.
fn shown_source(request: &Request) -> SourceFilter {
    let value = request.parameter("_source").map_or(Value::Null, SourceFilter::value_of_parameter);
    SourceFilter::parse(&value)
}

/// Renders the document of this ID, or that there is none.
fn found_json(index: &Index, id: &str, shown: &SourceFilter) -> String {
    let Some(document) = index.get(id) else {
        return json!({ "_index": index.name, "_id": id, "found": false }).to_string();
    };
    let mut frame = json!({
        "_index": index.name,
        "_id": id,
        "_version": document.version,
        "_seq_no": document.seq_no,
        "_primary_term": PRIMARY_TERM,
        "found": true,
    });
    if let Some(routing) = &document.routing {
        frame["_routing"] = routing.as_str().into();
    }
    document_json(&frame, document, shown)
}

pub(super) fn get(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    request.check_parameters(READ_PARAMETERS)?;
    let cluster = shared.cluster();
    let index = cluster.single(index)?;
    let shown = shown_source(request);
    let status = if index.get(id).is_some() { 200 } else { 404 };
    Ok(Answer::rendered(status, found_json(index, id, &shown)))
}

pub(super) fn get_source(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    request.check_parameters(READ_PARAMETERS)?;
    let cluster = shared.cluster();
    let index = cluster.single(index)?;
    let shown = shown_source(request);
    match index.get(id).and_then(|document| shown.apply(document)) {
        Some(source) => Ok(Answer::rendered(200, source)),
        None => {
            let reason = format!("Document not found [{}]/[{id}]", index.name);
            Err(EsError::new(404, "resource_not_found_exception", reason))
        }
    }
}

pub(super) fn multi_get(shared: &Shared, request: &Request, default_index: Option<&str>) -> Result<Answer, EsError> {
    request.require_body()?;
    request.check_parameters(READ_PARAMETERS)?;
    let body = request.json()?;
    let mut wanted = Vec::new();
    for (key, entries) in body.as_object().into_iter().flatten() {
        let entries = entries.as_array().into_iter().flatten();
        match key.as_str() {
            "ids" => wanted.extend(entries.map(|id| json!({ "_id": id }))),
            "docs" => wanted.extend(entries.cloned()),
            other => {
                let reason = format!("unknown key [{other}], expected [docs] or [ids]");
                return Err(EsError::new(400, "parsing_exception", reason));
            }
        }
    }
    let text = |entry: &Value, name: &str| entry.get(name).and_then(scalar_text);
    let is_complete =
        |entry: &Value| text(entry, "_id").is_some() && (default_index.is_some() || text(entry, "_index").is_some());
    if wanted.is_empty() || !wanted.iter().all(is_complete) {
        return Err(EsError::validation(&["every document to get needs an index and an id".into()]));
    }
    let cluster = shared.cluster();
    let shown = shown_source(request);
    let mut documents = Vec::new();
    for entry in &wanted {
        let name = text(entry, "_index").or_else(|| default_index.map(Into::into)).unwrap_or_default();
        let id = text(entry, "_id").unwrap_or_default();
        let shown = entry.get("_source").map_or_else(|| shown.clone(), SourceFilter::parse);
        documents.push(match cluster.single(&name) {
            Ok(index) => found_json(index, &id, &shown),
            Err(error) => json!({ "_index": name, "_id": id, "error": error.to_answer() }).to_string(),
        });
    }
    Ok(Answer::rendered(200, format!("{{\"docs\":[{}]}}", documents.join(","))))
}

pub(super) fn put_script(shared: &Shared, request: &Request, id: &str) -> Result<Answer, EsError> {
    request.require_body()?;
    let body = request.json()?;
    let script = match body.as_object() {
        Some(body) if body.len() == 1 => body.get("script"),
        _ => None,
    };
    let Some(script) = script else {
        return Err(EsError::new(400, "parsing_exception", "expected an object with the member [script] only"));
    };
    match (script["lang"].as_str(), script["source"].as_str()) {
        (Some("painless"), Some(source)) if !source.is_empty() => {}
        (Some("painless"), _) => return Err(EsError::illegal_argument("must specify source for stored script")),
        (None, _) => return Err(EsError::illegal_argument("must specify lang for stored script")),
        (Some(lang), _) => {
            let reason = format!("unable to put stored script with unsupported lang [{lang}]");
            return Err(EsError::illegal_argument(reason));
        }
    }
    shared.cluster().scripts.stored.insert(id.into(), script.clone());
    Ok(Answer::acknowledged())
}
