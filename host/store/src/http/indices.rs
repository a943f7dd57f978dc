//! Handlers of requests for indices: creation and deletion, settings, mappings, aliases, refresh.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::request::Request;
use crate::cluster::{Cluster, Missing};
use crate::error::EsError;
use crate::index::Index;
use crate::json::as_list;
use crate::names::{check_index_name, wildcard_matches};
use crate::settings::{Changes, Settings};
use crate::shared::Shared;

const PARAMETERS: &str = "ignore_unavailable allow_no_indices expand_wildcards flat_settings";

/// An answer with one member for each index that the expression means.
fn each(
    cluster: &Cluster,
    request: &Request,
    expression: &str,
    shown: impl Fn(&Index) -> Value,
) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let names = cluster.resolve(expression, request.missing())?;
    let indices = names.iter().filter_map(|name| cluster.indices.get(name));
    let body: Map<String, Value> = indices.map(|index| (index.name.clone(), shown(index))).collect();
    Ok(Answer::json(200, Value::Object(body)))
}

pub(super) fn show(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    let flat = request.flag("flat_settings");
    each(&shared.cluster(), request, expression, |index| {
        json!({
            "aliases": index.aliases,
            "mappings": index.mapping.to_json(),
            "settings": index.settings.to_json(flat, &index.uuid),
        })
    })
}

pub(super) fn mappings(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    each(&shared.cluster(), request, expression, |index| json!({ "mappings": index.mapping.to_json() }))
}

pub(super) fn settings(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    let flat = request.flag("flat_settings");
    each(
        &shared.cluster(),
        request,
        expression,
        |index| json!({ "settings": index.settings.to_json(flat, &index.uuid) }),
    )
}

pub(super) fn create(shared: &Shared, request: &Request, name: &str) -> Result<Answer, EsError> {
    request.check_parameters("")?;
    check_index_name(name)?;
    let body = request.json()?;
    let (mut settings, mut mapping, mut aliases) = (Changes::new(), &Value::Null, BTreeMap::new());
    for (key, value) in body.as_object().into_iter().flatten() {
        match key.as_str() {
            "settings" => settings = Settings::parse(value)?,
            "mappings" => mapping = value,
            "aliases" => {
                for (alias, options) in value.as_object().into_iter().flatten() {
                    aliases.insert(alias.clone(), alias_options(options)?);
                }
            }
            other => {
                let reason = format!("unknown key [{other}] for create index");
                return Err(EsError::new(400, "parse_exception", reason));
            }
        }
    }
    shared.cluster().create_index(name, settings, mapping, aliases)?;
    Ok(Answer::json(200, json!({ "acknowledged": true, "shards_acknowledged": true, "index": name })))
}

pub(super) fn delete(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let mut cluster = shared.cluster();
    if let Some(alias) = expression.split(',').find(|part| cluster.is_alias(part)) {
        return Err(EsError::illegal_argument(format!("[{alias}] is an alias, specify its indices instead")));
    }
    if expression.contains('*') || expression == "_all" {
        return Err(EsError::illegal_argument("Wildcard expressions or all indices are not allowed"));
    }
    for name in cluster.resolve(expression, request.missing())? {
        cluster.indices.remove(&name);
    }
    Ok(Answer::acknowledged())
}

pub(super) fn refresh(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    let names = cluster.resolve(expression, request.missing())?;
    let (mut total, mut successful) = (0, 0);
    cluster.each(&names, |index| {
        index.refresh(now);
        successful += index.settings.shards();
        total += index.settings.shards() * (1 + index.settings.replicas());
    });
    Ok(Answer::json(200, json!({ "_shards": { "total": total, "successful": successful, "failed": 0 } })))
}

pub(super) fn put_settings(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    request.require_body()?;
    let body = request.json()?;
    let mut cluster = shared.cluster();
    let names = cluster.resolve(expression, request.missing())?;
    let changes = Settings::parse(body.get("settings").unwrap_or(&body))?;
    if changes.contains_key("number_of_shards") {
        return Err(EsError::illegal_argument("the number of shards of an index cannot change"));
    }
    cluster.each(&names, |index| index.settings.apply(changes.clone()));
    Ok(Answer::acknowledged())
}

pub(super) fn aliases(shared: &Shared, request: &Request, expression: &str, wanted: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let cluster = shared.cluster();
    let names = cluster.resolve(expression, request.missing())?;
    let is_wanted = |alias: &str| wanted.split(',').any(|pattern| wildcard_matches(pattern, alias));
    let mut body = Map::new();
    for index in names.iter().filter_map(|name| cluster.indices.get(name)) {
        let found: BTreeMap<_, _> = index.aliases.iter().filter(|(alias, _)| is_wanted(alias)).collect();
        if !found.is_empty() || wanted == "*" {
            body.insert(index.name.clone(), json!({ "aliases": found }));
        }
    }
    if body.is_empty() && !wanted.contains('*') {
        let error = format!("alias [{wanted}] missing");
        return Ok(Answer::json(404, json!({ "error": error, "status": 404 })));
    }
    Ok(Answer::json(200, Value::Object(body)))
}

/// Refuses the options of an alias that the store does not support.
fn alias_options(options: &Value) -> Result<Value, EsError> {
    match options.as_object().into_iter().flatten().find(|(name, _)| *name != "is_write_index") {
        Some((name, _)) => {
            Err(EsError::illegal_argument(format!("the embedded store supports no aliases with [{name}]")))
        }
        None => Ok(options.clone()),
    }
}

/// Applies all actions of a request, or none of them.
pub(super) fn change_aliases(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    request.check_parameters("")?;
    let body = request.json()?;
    let mut cluster = shared.cluster();
    let mut changes = Vec::new();
    let actions = as_list(&body["actions"]).iter().filter_map(Value::as_object).flatten();
    for (verb, action) in actions {
        let mut options = action.as_object().cloned().unwrap_or_default();
        let mut names = |one: &str, many: &str| -> Vec<String> {
            let value = options.remove(one).or_else(|| options.remove(many)).unwrap_or_default();
            as_list(&value).iter().filter_map(Value::as_str).map(Into::into).collect()
        };
        let indices = cluster.resolve(&names("index", "indices").join(","), Missing::Refused)?;
        let aliases = names("alias", "aliases");
        let options = alias_options(&Value::Object(options))?;
        for alias in aliases {
            match verb.as_str() {
                "add" if cluster.indices.contains_key(&alias) => {
                    let reason = format!("Invalid alias name [{alias}]: an index has the same name");
                    return Err(EsError::new(400, "invalid_alias_name_exception", reason));
                }
                "add" => changes.push((indices.clone(), alias, Some(options.clone()))),
                "remove" if !cluster.is_alias(&alias) => {
                    let reason = format!("aliases [{alias}] missing");
                    return Err(EsError::new(404, "aliases_not_found_exception", reason));
                }
                "remove" => changes.push((indices.clone(), alias, None)),
                other => return Err(EsError::illegal_argument(format!("unknown action [{other}]"))),
            }
        }
    }
    for (indices, alias, options) in changes {
        cluster.each(&indices, |index| match &options {
            Some(options) => drop(index.aliases.insert(alias.clone(), options.clone())),
            None => drop(index.aliases.remove(&alias)),
        });
    }
    Ok(Answer::json(200, json!({ "acknowledged": true, "errors": false })))
}
