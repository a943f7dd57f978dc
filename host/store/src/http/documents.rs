//! Requests for documents: bulk, one document, many by id.

use std::time::Instant;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::Answer;
use super::request::Request;
use crate::bulk::{self, AnswerBody, BulkDefaults, id_complaints};
use crate::cluster::{Action, Operation};
use crate::error::EsError;
use crate::filter::SourceFilter;
use crate::index::{Document, Guard, Index, PRIMARY_TERM, VersionType, WriteKind};
use crate::search::shown_source;
use crate::store::Shared;
use crate::update::UpdateBody;

const WRITE_PARAMETERS: [&str; 12] = [
    "refresh",
    "routing",
    "version",
    "version_type",
    "if_seq_no",
    "if_primary_term",
    "op_type",
    "pipeline",
    "require_alias",
    "require_data_stream",
    "include_source_on_error",
    "retry_on_conflict",
];

const READ_PARAMETERS: [&str; 11] = [
    "_source",
    "_source_includes",
    "_source_excludes",
    "realtime",
    "refresh",
    "routing",
    "version",
    "version_type",
    "preference",
    "stored_fields",
    "ids",
];

/// The answer, if this is such a request.
pub(super) fn route(shared: &Shared, request: &Request) -> Option<Result<Answer, EsError>> {
    let segments = request.segments();
    let method = request.method.as_str();
    Some(match (method, segments.as_slice()) {
        ("POST" | "PUT", ["_bulk"]) => bulk(shared, request, None),
        ("POST" | "PUT", [index, "_bulk"]) => bulk(shared, request, Some(index)),
        (_, ["_bulk"] | [_, "_bulk"]) => Ok(request.wrong_method("POST, PUT")),
        ("GET" | "POST", ["_mget"]) => multi_get(shared, request, None),
        ("GET" | "POST", [index, "_mget"]) => multi_get(shared, request, Some(index)),
        ("GET" | "HEAD", [index, "_doc", id]) => get(shared, request, index, id),
        ("GET" | "HEAD", [index, "_source", id]) => get_source(shared, request, index, id),
        ("POST" | "PUT", [index, "_doc", id]) => {
            let create = request.parameter("op_type") == Some("create");
            write(shared, request, index, Some(id), create)
        }
        ("POST" | "PUT", [index, "_create", id]) => write(shared, request, index, Some(id), true),
        ("POST", [index, "_doc"]) => write(shared, request, index, None, false),
        (_, [_, "_doc"]) => Ok(request.wrong_method("POST")),
        ("DELETE", [index, "_doc", id]) => delete(shared, request, index, id),
        ("POST", [index, "_update", id]) => update(shared, request, index, id),
        _ => return None,
    })
}

/// When a write shall be seen by searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresh {
    Later,
    Now,
    Awaited,
}

fn refresh(request: &Request) -> Result<Refresh, EsError> {
    match request.parameter("refresh") {
        None | Some("false") => Ok(Refresh::Later),
        Some("" | "true") => Ok(Refresh::Now),
        Some("wait_for") => Ok(Refresh::Awaited),
        Some(other) => Err(EsError::illegal_argument(format!("Unknown value for refresh: [{other}]."))),
    }
}

fn bulk(shared: &Shared, request: &Request, index: Option<&str>) -> Result<Answer, EsError> {
    let started = Instant::now();
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    request.check_parameters(&[
        "refresh",
        "routing",
        "pipeline",
        "require_alias",
        "_source",
        "_source_includes",
        "_source_excludes",
        "require_data_stream",
        "list_executed_pipelines",
        "include_source_on_error",
        "type",
    ])?;
    let refresh = refresh(request)?;
    let defaults = BulkDefaults {
        index: index.map(Into::into),
        routing: request.parameter("routing").map(Into::into),
        require_alias: request.flag("require_alias"),
    };
    let items = bulk::parse(&request.body, &defaults)?;
    shared.counting.bulk(items.len());
    let now = shared.clock.now();
    let mut answer = {
        let mut cluster = shared.cluster();
        let mut faults = shared.faults();
        let mut answer = bulk::execute(&mut cluster, &items, now, |index, id| faults.item(&request.path, index, id));
        if refresh != Refresh::Later {
            cluster.each(&answer.written_indices(), |index| index.refresh(now));
        }
        if refresh == Refresh::Now {
            answer.set_refreshed();
        }
        answer
    };
    answer.set_took(u64::try_from(started.elapsed().as_millis()).unwrap_or_default());
    Ok(Answer::json(200, &answer))
}

fn guard(request: &Request) -> Result<Guard, EsError> {
    Ok(Guard {
        version: request.number("version")?,
        version_type: request.parameter("version_type").map(VersionType::of).transpose()?.unwrap_or_default(),
        if_seq_no: request.number("if_seq_no")?,
        if_primary_term: request.number("if_primary_term")?,
    })
}

fn write(shared: &Shared, request: &Request, index: &str, id: Option<&str>, create: bool) -> Result<Answer, EsError> {
    request.check_parameters(&WRITE_PARAMETERS)?;
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let guard = guard(request)?;
    let mut complaints = Vec::new();
    guard.complaints(create, id.is_some(), &mut complaints);
    id_complaints(id, &mut complaints);
    refuse(&complaints)?;
    let kind = if create { WriteKind::Create(&request.body) } else { WriteKind::Index(&request.body) };
    apply(shared, request, index, id, guard, Action::Write(kind))
}

fn delete(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    request.check_parameters(&WRITE_PARAMETERS)?;
    let guard = guard(request)?;
    let mut complaints = Vec::new();
    guard.complaints(false, true, &mut complaints);
    refuse(&complaints)?;
    apply(shared, request, index, Some(id), guard, Action::Write(WriteKind::Delete))
}

fn update(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    let mut known = WRITE_PARAMETERS.to_vec();
    known.extend(["_source", "_source_includes", "_source_excludes", "lang"]);
    request.check_parameters(&known)?;
    if request.parameter("version").is_some() {
        let guard = Guard { version: request.number("version")?, ..Guard::default() };
        let mut complaints = Vec::new();
        guard.complaints(false, true, &mut complaints);
        refuse(&complaints)?;
    }
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let body = UpdateBody::parse(&request.body_text())?;
    let mut complaints = Vec::new();
    body.complaints(&mut complaints);
    refuse(&complaints)?;
    apply(shared, request, index, Some(id), guard(request)?, Action::Update(&body))
}

fn refuse(complaints: &[String]) -> Result<(), EsError> {
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(EsError::validation(complaints)),
    }
}

fn apply(
    shared: &Shared,
    request: &Request,
    index: &str,
    id: Option<&str>,
    guard: Guard,
    action: Action<'_>,
) -> Result<Answer, EsError> {
    let refresh = refresh(request)?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    let made = id.map_or_else(|| cluster.make_id(), Into::into);
    let is_update = matches!(action, Action::Update(_));
    let operation = Operation {
        target: index,
        id: &made,
        routing: request.parameter("routing"),
        guard,
        require_alias: request.flag("require_alias"),
        action,
    };
    let mut written = cluster.apply(&operation, now)?;
    if refresh != Refresh::Later {
        cluster.each(std::slice::from_ref(&written.index), |index| index.refresh(now));
    }
    if is_update && written.result == "noop" {
        written.shards = (0, 0);
    }
    let status = written.status;
    let mut body = AnswerBody::done(&written);
    body.status = None;
    body.forced_refresh = refresh == Refresh::Now && written.result != "noop";
    Ok(Answer::json(status, &body))
}

fn source_filter(request: &Request) -> SourceFilter {
    let names = |name: &str| -> Vec<String> {
        request.parameter(name).map(|names| names.split(',').map(Into::into).collect()).unwrap_or_default()
    };
    let mut filter = match request.parameter("_source") {
        None | Some("" | "true") => SourceFilter::default(),
        Some("false") => SourceFilter { hidden: true, ..SourceFilter::default() },
        Some(_) => SourceFilter { include: names("_source"), ..SourceFilter::default() },
    };
    filter.include.extend(names("_source_includes"));
    filter.exclude.extend(names("_source_excludes"));
    filter
}

fn find<'a>(request: &Request, index: &'a Index, id: &str) -> Result<Option<&'a Document>, EsError> {
    let found = match request.parameter("realtime") {
        Some("false") => index.get_searchable(id),
        _ => index.get(id),
    };
    if let (Some(document), Some(version)) = (found, request.number("version")?)
        && document.version != version
    {
        let there = document.version;
        return Err(
            index.conflict(id, &format!("current version [{there}] is different than the one provided [{version}]"))
        );
    }
    Ok(found.map(|document| &**document))
}

fn found_json(index: &str, document: &Document, filter: &SourceFilter) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("_index".into(), index.into());
    body.insert("_id".into(), document.id.as_str().into());
    body.insert("_version".into(), document.version.into());
    body.insert("_seq_no".into(), document.seq_no.into());
    body.insert("_primary_term".into(), PRIMARY_TERM.into());
    if let Some(routing) = &document.routing {
        body.insert("_routing".into(), routing.as_str().into());
    }
    body.insert("found".into(), true.into());
    if !filter.hidden
        && !filter.is_all()
        && let Some(source) = shown_source(document, filter)
    {
        body.insert("_source".into(), serde_json::from_str(source.get()).unwrap_or_default());
    }
    body
}

/// The frame of a document as text, with its source behind it byte for byte.
fn found_text(index: &str, document: &Document, filter: &SourceFilter) -> String {
    let mut text = Value::Object(found_json(index, document, filter)).to_string();
    if filter.is_all() {
        text.truncate(text.len() - 1);
        text.push_str(",\"_source\":");
        text.push_str(document.source.get());
        text.push('}');
    }
    text
}

fn get(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    request.check_parameters(&READ_PARAMETERS)?;
    let mut cluster = shared.cluster();
    if request.flag("refresh") {
        let now = shared.clock.now();
        cluster.each(&[index.to_owned()], |index| index.refresh(now));
    }
    let index = cluster.single(index)?;
    match find(request, index, id)? {
        Some(document) => Ok(Answer::raw_json(200, &found_text(&index.name, document, &source_filter(request)))),
        None => Ok(Answer::json(404, &json!({ "_index": index.name, "_id": id, "found": false }))),
    }
}

fn get_source(shared: &Shared, request: &Request, index: &str, id: &str) -> Result<Answer, EsError> {
    request.check_parameters(&READ_PARAMETERS)?;
    let cluster = shared.cluster();
    let index = cluster.single(index)?;
    let source = find(request, index, id)?.and_then(|document| shown_source(document, &source_filter(request)));
    match source {
        Some(source) => Ok(Answer::raw_json(200, source.get())),
        None => {
            let reason = format!("Document not found [{}]/[{id}]", index.name);
            Err(EsError::new(404, "resource_not_found_exception", reason))
        }
    }
}

fn multi_get(shared: &Shared, request: &Request, default: Option<&str>) -> Result<Answer, EsError> {
    request.check_parameters(&READ_PARAMETERS)?;
    if !request.has_body() && request.method != Method::HEAD {
        return Err(EsError::new(400, "parse_exception", "request body or source parameter is required"));
    }
    let body = request.json()?;
    let mut wanted = Vec::new();
    for (key, value) in body.as_object().into_iter().flatten() {
        let Value::Array(entries) = value else {
            continue;
        };
        match key.as_str() {
            "ids" => wanted.extend(entries.iter().map(|id| json!({ "_id": id }))),
            "docs" => wanted.extend(entries.iter().cloned()),
            other => {
                let reason = format!("unknown key [{other}] for a START_ARRAY, expected [docs] or [ids]");
                return Err(EsError::new(400, "parsing_exception", reason).with("line", 1).with("col", 1));
            }
        }
    }
    let mut complaints = Vec::new();
    if wanted.is_empty() {
        complaints.push("no documents to get".into());
    }
    let text = |entry: &Value, name: &str| match entry.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    for (position, entry) in wanted.iter().enumerate() {
        if text(entry, "_index").is_none() && default.is_none() {
            complaints.push(format!("index is missing for doc {position}"));
        }
        if text(entry, "_id").is_none() {
            complaints.push(format!("id is missing for doc {position}"));
        }
    }
    refuse(&complaints)?;
    let cluster = shared.cluster();
    let overall = source_filter(request);
    let mut documents = Vec::new();
    for entry in &wanted {
        let name = text(entry, "_index").or_else(|| default.map(Into::into)).unwrap_or_default();
        let id = text(entry, "_id").unwrap_or_default();
        let filter = entry.get("_source").map_or_else(|| overall.clone(), SourceFilter::parse);
        let found = cluster.single(&name).and_then(|index| Ok((index, find(request, index, &id)?)));
        documents.push(match found {
            Ok((index, Some(document))) => found_text(&index.name, document, &filter),
            Ok((index, None)) => json!({ "_index": index.name, "_id": id, "found": false }).to_string(),
            Err(error) => json!({ "_index": name, "_id": id, "error": error.to_answer() }).to_string(),
        });
    }
    Ok(Answer::raw_json(200, &format!("{{\"docs\":[{}]}}", documents.join(","))))
}
