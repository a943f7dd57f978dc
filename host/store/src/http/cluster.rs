//! Requests about the whole: info, health, scripts, templates, cluster settings.

use serde_json::{Map, Value, json};

use super::Answer;
use super::request::Request;
use crate::cluster::Missing;
use crate::error::EsError;
use crate::names::wildcard_matches;
use crate::store::Shared;
use crate::template::Template;

/// The answer, if this is such a request.
pub(super) fn route(shared: &Shared, request: &Request) -> Option<Result<Answer, EsError>> {
    let segments = request.segments();
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("GET" | "HEAD", []) => Ok(info(shared)),
        ("GET", ["_cluster", "health"]) => health(shared, "*"),
        ("GET", ["_cluster", "health", index]) => health(shared, index),
        ("GET", ["_cluster", "settings"]) => Ok(cluster_settings(shared)),
        ("PUT", ["_cluster", "settings"]) => put_cluster_settings(shared, request),
        ("GET", ["_license"]) => Ok(Answer::json(200, &json!({ "license": { "status": "active", "type": "basic" } }))),
        ("GET", ["_cat", "indices"]) => cat_indices(shared, request, "*"),
        ("GET", ["_cat", "indices", index]) => cat_indices(shared, request, index),
        ("PUT" | "POST", ["_scripts", id]) => put_script(shared, request, id),
        ("GET", ["_scripts", id]) => Ok(get_script(shared, id)),
        ("DELETE", ["_scripts", id]) => delete_script(shared, id),
        ("PUT" | "POST", ["_index_template", name]) => put_template(shared, request, name),
        ("GET" | "HEAD", ["_index_template"]) => get_templates(shared, "*"),
        ("GET" | "HEAD", ["_index_template", name]) => get_templates(shared, name),
        ("DELETE", ["_index_template", name]) => delete_template(shared, name),
        _ => return None,
    })
}

fn info(shared: &Shared) -> Answer {
    let uuid = shared.cluster().uuid.clone();
    Answer::json(
        200,
        &json!({
            "name": "embedded",
            "cluster_name": "rowmill-store",
            "cluster_uuid": uuid,
            "version": {
                "number": "8.19.0",
                "build_flavor": "default",
                "build_type": "embedded",
                "build_hash": "rowmill",
                "build_date": "2026-01-01T00:00:00.000000000Z",
                "build_snapshot": false,
                "lucene_version": "9.12.2",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }),
    )
}

fn health(shared: &Shared, expression: &str) -> Result<Answer, EsError> {
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, Missing::Skipped)?;
    let (mut active, mut unassigned) = (0, 0);
    for index in names.iter().filter_map(|name| cluster.indices.get(name)) {
        active += index.settings.shards();
        unassigned += index.settings.shards() * index.settings.replicas();
    }
    let percent = if active + unassigned == 0 { 100.0 } else { 100.0 * active as f64 / (active + unassigned) as f64 };
    Ok(Answer::json(
        200,
        &json!({
            "cluster_name": "rowmill-store",
            "status": if unassigned == 0 { "green" } else { "yellow" },
            "timed_out": false,
            "number_of_nodes": 1,
            "number_of_data_nodes": 1,
            "active_primary_shards": active,
            "active_shards": active,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": unassigned,
            "unassigned_primary_shards": 0,
            "delayed_unassigned_shards": 0,
            "number_of_pending_tasks": 0,
            "number_of_in_flight_fetch": 0,
            "task_max_waiting_in_queue_millis": 0,
            "active_shards_percent_as_number": percent,
        }),
    ))
}

fn cluster_settings(shared: &Shared) -> Answer {
    let auto_create = shared.cluster().auto_create.clone();
    let persistent = match auto_create.as_str() {
        "true" => json!({}),
        _ => json!({ "action": { "auto_create_index": auto_create } }),
    };
    Answer::json(200, &json!({ "persistent": persistent, "transient": {} }))
}

fn put_cluster_settings(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    let body = request.json()?;
    for kind in ["persistent", "transient"] {
        let Some(settings) = body.get(kind) else {
            continue;
        };
        let value = settings
            .get("action.auto_create_index")
            .or_else(|| settings.get("action").and_then(|action| action.get("auto_create_index")));
        match value {
            Some(Value::Null) => shared.cluster().set_auto_create(None),
            Some(Value::Bool(flag)) => shared.cluster().set_auto_create(Some(&flag.to_string())),
            Some(Value::String(text)) => shared.cluster().set_auto_create(Some(text)),
            _ => {}
        }
    }
    let set = |kind: &str| body.get(kind).cloned().unwrap_or_else(|| json!({}));
    let answer = json!({ "acknowledged": true, "persistent": set("persistent"), "transient": set("transient") });
    Ok(Answer::json(200, &answer))
}

fn cat_indices(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, Missing::Refused)?;
    let mut rows = Vec::new();
    for index in names.iter().filter_map(|name| cluster.indices.get(name)) {
        let replicas = index.settings.replicas();
        rows.push(json!({
            "health": if replicas == 0 { "green" } else { "yellow" },
            "status": "open",
            "index": index.name,
            "uuid": index.uuid,
            "pri": index.settings.shards().to_string(),
            "rep": replicas.to_string(),
            "docs.count": index.live().to_string(),
            "docs.deleted": "0",
            "store.size": "0b",
            "pri.store.size": "0b",
            "dataset.size": "0b",
        }));
    }
    if request.parameter("format") == Some("json") {
        return Ok(Answer::json(200, &rows));
    }
    let columns = ["health", "status", "index", "uuid", "pri", "rep", "docs.count", "docs.deleted"];
    let line = |row: &Value| columns.map(|name| row[name].as_str().unwrap_or_default().to_owned()).join(" ") + "\n";
    Ok(Answer::text(200, rows.iter().map(line).collect()))
}

fn put_script(shared: &Shared, request: &Request, id: &str) -> Result<Answer, EsError> {
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let Value::Object(body) = request.json()? else {
        return Err(EsError::new(400, "parsing_exception", "unexpected token, expected [{]"));
    };
    if let Some(name) = body.keys().find(|name| *name != "script") {
        let reason = format!("unexpected field [{name}], expected [script]");
        return Err(EsError::new(400, "parsing_exception", reason).with("line", 1).with("col", 2));
    }
    let script = body.get("script").cloned().unwrap_or_default();
    match script.get("lang").and_then(Value::as_str) {
        None => {
            return Err(EsError::illegal_argument("must specify lang for stored script"));
        }
        Some("painless" | "mustache" | "expression") => {}
        Some(lang) => {
            let reason = format!("unable to put stored script with unsupported lang [{lang}]");
            return Err(EsError::illegal_argument(reason));
        }
    }
    if script.get("source").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(EsError::illegal_argument("must specify source for stored script"));
    }
    shared.cluster().stored_scripts.insert(id.into(), script);
    Ok(Answer::acknowledged())
}

fn get_script(shared: &Shared, id: &str) -> Answer {
    match shared.cluster().stored_scripts.get(id) {
        Some(script) => Answer::json(200, &json!({ "_id": id, "found": true, "script": script })),
        None => Answer::json(404, &json!({ "_id": id, "found": false })),
    }
}

fn delete_script(shared: &Shared, id: &str) -> Result<Answer, EsError> {
    match shared.cluster().stored_scripts.remove(id) {
        Some(_) => Ok(Answer::acknowledged()),
        None => {
            let reason = format!("stored script [{id}] does not exist and cannot be deleted");
            Err(EsError::new(404, "resource_not_found_exception", reason))
        }
    }
}

fn put_template(shared: &Shared, request: &Request, name: &str) -> Result<Answer, EsError> {
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let template = Template::parse(&request.body_text())?;
    let mut cluster = shared.cluster();
    if request.flag("create") && cluster.templates.contains_key(name) {
        let reason = format!("index template [{name}] already exists");
        return Err(EsError::illegal_argument(reason));
    }
    template.check_against(name, &cluster.templates)?;
    cluster.templates.insert(name.into(), template);
    Ok(Answer::acknowledged())
}

fn get_templates(shared: &Shared, pattern: &str) -> Result<Answer, EsError> {
    let cluster = shared.cluster();
    let found: Vec<Value> = cluster
        .templates
        .iter()
        .filter(|(name, _)| wildcard_matches(pattern, name))
        .map(|(name, template)| json!({ "name": name, "index_template": template.to_json() }))
        .collect();
    if found.is_empty() && !pattern.contains('*') {
        let reason = format!("index template matching [{pattern}] not found");
        return Err(EsError::new(404, "resource_not_found_exception", reason));
    }
    let mut body = Map::new();
    body.insert("index_templates".into(), Value::Array(found));
    Ok(Answer::json(200, &body))
}

fn delete_template(shared: &Shared, pattern: &str) -> Result<Answer, EsError> {
    let mut cluster = shared.cluster();
    let before = cluster.templates.len();
    cluster.templates.retain(|name, _| !wildcard_matches(pattern, name));
    if cluster.templates.len() == before && !pattern.contains('*') {
        let reason = format!("index_template [{pattern}] missing");
        return Err(EsError::new(404, "index_template_missing_exception", reason));
    }
    Ok(Answer::acknowledged())
}
