//! Requests about indices: making and removing them, settings, mappings, aliases, refresh.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Answer;
use super::request::Request;
use super::search::missing;
use crate::cluster::{Cluster, Missing};
use crate::error::EsError;
use crate::index::Index;
use crate::mapping::Mapping;
use crate::names::{check_index_name, wildcard_matches};
use crate::settings::{Settings, fixed_settings};
use crate::store::Shared;

const PARAMETERS: [&str; 9] = [
    "ignore_unavailable",
    "allow_no_indices",
    "expand_wildcards",
    "flat_settings",
    "include_defaults",
    "local",
    "name",
    "preserve_existing",
    "features",
];

/// The answer, if this is such a request.
pub(super) fn route(shared: &Shared, request: &Request) -> Option<Result<Answer, EsError>> {
    let segments = request.segments();
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("POST" | "GET", ["_refresh"]) => refresh(shared, request, "*"),
        ("POST" | "GET", [index, "_refresh"]) => refresh(shared, request, index),
        ("POST" | "GET", ["_flush"]) => refresh(shared, request, "*"),
        ("POST" | "GET", [index, "_flush"]) => refresh(shared, request, index),
        ("POST", ["_aliases"]) => change_aliases(shared, &request.json()),
        ("GET" | "HEAD", ["_alias"]) => aliases(shared, request, "*", "*"),
        ("GET" | "HEAD", ["_alias", alias]) => aliases(shared, request, "*", alias),
        ("GET" | "HEAD", [index, "_alias"]) => aliases(shared, request, index, "*"),
        ("GET" | "HEAD", [index, "_alias", alias]) => aliases(shared, request, index, alias),
        ("PUT" | "POST", [index, "_alias", alias]) => change_alias(shared, "add", index, alias, request),
        ("DELETE", [index, "_alias", alias]) => change_alias(shared, "remove", index, alias, request),
        ("GET", ["_mapping"]) => mappings(shared, request, "*"),
        ("GET", [index, "_mapping"]) => mappings(shared, request, index),
        ("PUT" | "POST", [index, "_mapping"]) => put_mapping(shared, request, index),
        ("GET", ["_settings"]) => settings(shared, request, "*", "*"),
        ("GET", [index, "_settings"]) => settings(shared, request, index, "*"),
        ("GET", [index, "_settings", name]) => settings(shared, request, index, name),
        ("PUT", ["_settings"]) => put_settings(shared, request, "*"),
        ("PUT", [index, "_settings"]) => put_settings(shared, request, index),
        ("PUT", [index]) => create(shared, request, index),
        ("GET" | "HEAD", [index]) => show(shared, request, index),
        ("DELETE", [index]) => delete(shared, request, index),
        ("POST", [_]) => Ok(request.wrong_method("DELETE, GET, HEAD, PUT")),
        ("GET" | "PUT" | "DELETE", [_, name]) if name.starts_with('_') => Ok(request.wrong_method("POST")),
        _ => return None,
    })
}

/// One object a named index.
fn each(cluster: &Cluster, names: &[String], shown: impl Fn(&Index) -> Value) -> Answer {
    let found = names.iter().filter_map(|name| cluster.indices.get(name));
    let body: Map<String, Value> = found.map(|index| (index.name.clone(), shown(index))).collect();
    Answer::json(200, &body)
}

fn create(shared: &Shared, request: &Request, name: &str) -> Result<Answer, EsError> {
    request.check_parameters(&[])?;
    check_index_name(name)?;
    let body = request.json()?;
    let mut parts = (None, None, BTreeMap::new());
    for (key, value) in body.as_object().into_iter().flatten() {
        match key.as_str() {
            "settings" => parts.0 = Some(Settings::parse(value)?),
            "mappings" => parts.1 = Some(value),
            "aliases" => parts.2.extend(value.as_object().cloned().unwrap_or_default()),
            other => {
                let reason = format!("unknown key [{other}] for create index");
                return Err(EsError::new(400, "parse_exception", reason));
            }
        }
    }
    let (settings, mapping, aliases) = parts;
    shared.cluster().create_index(name, settings.unwrap_or_default(), mapping, aliases)?;
    Ok(Answer::json(200, &json!({ "acknowledged": true, "shards_acknowledged": true, "index": name })))
}

fn show(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    let flat = request.flag("flat_settings");
    Ok(each(&cluster, &names, |index| {
        json!({
            "aliases": index.aliases,
            "mappings": index.mapping.to_json(),
            "settings": index.settings.to_json(flat, |_| true),
        })
    }))
}

fn delete(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let mut cluster = shared.cluster();
    let is_alias = |part: &str| {
        !cluster.indices.contains_key(part) && cluster.indices.values().any(|index| index.aliases.contains_key(part))
    };
    if let Some(alias) = expression.split(',').find(|part| is_alias(part)) {
        return Err(EsError::illegal_argument(format!(
            "The provided expression [{alias}] matches an alias, specify the corresponding concrete indices instead."
        )));
    }
    if expression.contains('*') || expression == "_all" {
        return Err(EsError::illegal_argument("Wildcard expressions or all indices are not allowed"));
    }
    for name in cluster.resolve(expression, missing(request))? {
        cluster.indices.remove(&name);
    }
    Ok(Answer::acknowledged())
}

fn refresh(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    let (mut total, mut successful) = (0, 0);
    cluster.each(&names, |index| {
        index.refresh(now);
        successful += index.settings.shards();
        total += index.settings.shards() * (1 + index.settings.replicas());
    });
    let shards = json!({ "total": total, "successful": successful, "failed": 0 });
    Ok(Answer::json(200, &json!({ "_shards": shards })))
}

fn mappings(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    Ok(each(&cluster, &names, |index| json!({ "mappings": index.mapping.to_json() })))
}

fn put_mapping(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&["ignore_unavailable", "allow_no_indices", "expand_wildcards", "write_index_only"])?;
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let addition = Mapping::parse(&request.json()?)?;
    let mut cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    cluster.put_mapping(&names, &addition)?;
    Ok(Answer::acknowledged())
}

fn settings(shared: &Shared, request: &Request, expression: &str, pattern: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    let flat = request.flag("flat_settings");
    let defaults = request.flag("include_defaults");
    Ok(each(&cluster, &names, |index| {
        let keep = |name: &str| pattern.split(',').any(|pattern| wildcard_matches(pattern, name));
        let mut shown = json!({ "settings": index.settings.to_json(flat, keep) });
        if defaults {
            shown["defaults"] = default_settings(index).to_json(flat, keep);
        }
        shown
    }))
}

/// The settings that the store acts on and that this index does not set.
fn default_settings(index: &Index) -> Settings {
    let mut defaults = Settings::default();
    for (name, value) in [
        ("index.gc_deletes", "60s"),
        ("index.refresh_interval", "1s"),
        ("index.max_result_window", "10000"),
        ("index.mapping.total_fields.limit", "1000"),
        ("index.mapping.ignore_malformed", "false"),
    ] {
        if index.settings.text(name).is_none() {
            defaults.set(name, value);
        }
    }
    defaults
}

fn put_settings(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    if !request.has_body() {
        return Err(EsError::body_required());
    }
    let body = request.json()?;
    let inner = match body.get("settings") {
        Some(inner @ Value::Object(_)) => inner,
        _ => &body,
    };
    let mut cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    let changes = Settings::parse(inner)?;
    let fixed = fixed_settings(&changes);
    if !fixed.is_empty() {
        let indices = names.iter().filter_map(|name| cluster.indices.get(name));
        let open: Vec<String> = indices.map(|index| format!("[{}/{}]", index.name, index.uuid)).collect();
        return Err(EsError::illegal_argument(format!(
            "Can't update non dynamic settings [[{}]] for open indices [{}] unless the `reopen` query parameter is set to \
             true. Alternatively, close the indices, apply the settings changes, and reopen the indices",
            fixed.join(", "),
            open.join(", ")
        )));
    }
    cluster.each(&names, |index| {
        index.settings.apply(changes.clone());
        index.settings.set_default("index.number_of_replicas", "1");
    });
    Ok(Answer::acknowledged())
}

fn aliases(shared: &Shared, request: &Request, expression: &str, wanted: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, missing(request))?;
    let fits = |alias: &str| wanted.split(',').any(|pattern| wildcard_matches(pattern, alias));
    let mut body = Map::new();
    for index in names.iter().filter_map(|name| cluster.indices.get(name)) {
        let found: Map<String, Value> = index
            .aliases
            .iter()
            .filter(|(alias, _)| fits(alias))
            .map(|(alias, value)| (alias.clone(), value.clone()))
            .collect();
        if !found.is_empty() || wanted == "*" && expression != "*" {
            body.insert(index.name.clone(), json!({ "aliases": found }));
        }
    }
    if body.is_empty() && !wanted.contains('*') {
        let error = format!("alias [{wanted}] missing");
        return Ok(Answer::json(404, &json!({ "error": error, "status": 404 })));
    }
    Ok(Answer::json(200, &body))
}

fn change_alias(shared: &Shared, verb: &str, index: &str, alias: &str, request: &Request) -> Result<Answer, EsError> {
    let mut action = match request.json()? {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    action.insert("index".into(), index.into());
    action.insert("alias".into(), alias.into());
    change_aliases(shared, &Ok(json!({ "actions": [{ verb: action }] })))
}

fn change_aliases(shared: &Shared, body: &Result<Value, EsError>) -> Result<Answer, EsError> {
    let body = body.as_ref().map_err(Clone::clone)?;
    let mut cluster = shared.cluster();
    let mut changes = Vec::new();
    for action in body.get("actions").and_then(Value::as_array).into_iter().flatten() {
        for (verb, action) in action.as_object().into_iter().flatten() {
            let several = |one: &str, many: &str| -> Vec<String> {
                let value = action.get(one).or_else(|| action.get(many));
                match value {
                    Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(Into::into).collect(),
                    Some(Value::String(name)) => vec![name.clone()],
                    _ => Vec::new(),
                }
            };
            let names = cluster.resolve(&several("index", "indices").join(","), Missing::Refused)?;
            for alias in several("alias", "aliases") {
                if verb == "add" {
                    if cluster.indices.contains_key(&alias) {
                        let reason = format!(
                            "Invalid alias name [{alias}]: an index or data stream exists with the same name as the alias"
                        );
                        return Err(EsError::new(400, "invalid_alias_name_exception", reason));
                    }
                    let kept = ["is_write_index", "filter", "routing", "index_routing", "search_routing"];
                    let shown: Map<String, Value> =
                        kept.iter().filter_map(|name| Some(((*name).into(), action.get(*name)?.clone()))).collect();
                    changes.extend(
                        names.iter().map(|name| (name.clone(), alias.clone(), Some(Value::Object(shown.clone())))),
                    );
                    continue;
                }
                let has =
                    |name: &String| cluster.indices.get(name).is_some_and(|index| index.aliases.contains_key(&alias));
                if !names.iter().any(has) {
                    let reason = format!("aliases [{alias}] missing");
                    return Err(EsError::new(404, "aliases_not_found_exception", reason)
                        .with("resource.type", "aliases")
                        .with("resource.id", alias));
                }
                changes.extend(names.iter().map(|name| (name.clone(), alias.clone(), None)));
            }
        }
    }
    for (name, alias, value) in changes {
        if let Some(index) = cluster.indices.get_mut(&name) {
            match value {
                Some(value) => drop(index.aliases.insert(alias, value)),
                None => drop(index.aliases.remove(&alias)),
            }
        }
    }
    Ok(Answer::json(200, &json!({ "acknowledged": true, "errors": false })))
}
