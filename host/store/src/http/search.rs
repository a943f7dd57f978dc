//! Handlers of searches, counts and scrolls.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::request::Request;
use crate::cluster::ID_LENGTH;
use crate::error::EsError;
use crate::filter::SourceFilter;
use crate::json::as_list;
use crate::query::Query;
use crate::search::{self, Search};
use crate::settings::parse_duration;
use crate::shared::Shared;

const PARAMETERS: &str = "q size from sort _source scroll ignore_unavailable allow_no_indices expand_wildcards";

pub(super) fn search(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let search = read_search(request)?;
    let now = shared.clock.now();
    let keep_alive = request.parameter("scroll").map(keep_alive).transpose()?;
    if keep_alive.is_some() && search.size == 0 {
        return Err(EsError::validation(&["[size] cannot be [0] in a scroll context".into()]));
    }
    let views = shared.cluster().views(expression, request.missing(), now)?;
    let Some(keep_alive) = keep_alive else {
        return Ok(Answer::rendered(200, search.run(&views)?));
    };
    let id = shared.cluster().generate_id();
    let (answer, scroll) = search.scroll(&views, &id, now, keep_alive)?;
    let mut cluster = shared.cluster();
    cluster.scrolls.retain(|_, scroll| scroll.expires_at > now);
    cluster.scrolls.insert(id, scroll);
    Ok(Answer::rendered(200, answer))
}

/// Reads the body, over which the parameters take precedence.
fn read_search(request: &Request) -> Result<Search, EsError> {
    let mut body = match request.json()? {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    for name in ["size", "from", "sort", "_source"] {
        let value = match (name, request.parameter(name)) {
            (_, None) => continue,
            ("_source", Some(text)) => SourceFilter::value_of_parameter(text),
            ("sort", Some(text)) => text.split(',').collect(),
            (_, Some(text)) => text.into(),
        };
        body.insert(name.into(), value);
    }
    let mut search = Search::parse(&Value::Object(body))?;
    if let Some(text) = request.parameter("q") {
        search.query = Query::parse_parameter(text)?;
    }
    Ok(search)
}

fn keep_alive(text: &str) -> Result<Duration, EsError> {
    parse_duration(text)?.ok_or_else(|| EsError::illegal_argument("a scroll has to expire"))
}

pub(super) fn count(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(PARAMETERS)?;
    let body = request.json()?;
    if let Some(name) = body.as_object().and_then(|body| body.keys().find(|name| *name != "query")) {
        return Err(EsError::new(400, "parsing_exception", format!("request does not support [{name}]")));
    }
    let search = read_search(request)?;
    let now = shared.clock.now();
    let views = shared.cluster().views(expression, request.missing(), now)?;
    let count = search::count(&views, &search.query);
    Ok(Answer::json(200, json!({ "count": count, "_shards": search::shards_json(&views) })))
}

pub(super) fn next_page(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    request.check_parameters("")?;
    let body = request.json()?;
    let Some(id) = body["scroll_id"].as_str() else {
        return Err(EsError::validation(&["scrollId is missing".into()]));
    };
    let keep_alive = body["scroll"].as_str().map(keep_alive).transpose()?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    cluster.scrolls.retain(|_, scroll| scroll.expires_at > now);
    match cluster.scrolls.get_mut(id) {
        Some(scroll) => Ok(Answer::rendered(200, scroll.next(id, now, keep_alive))),
        None if id.len() != ID_LENGTH => Err(EsError::illegal_argument("Cannot parse scroll id")),
        None => {
            let reason = format!("No search context found for id [{id}]");
            Err(EsError::new(404, "search_phase_execution_exception", reason))
        }
    }
}

pub(super) fn end_scrolls(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    let body = request.json()?;
    let ids: Vec<&str> = as_list(&body["scroll_id"]).iter().filter_map(Value::as_str).collect();
    let mut cluster = shared.cluster();
    let n_ended = ids.iter().filter(|id| cluster.scrolls.remove(**id).is_some()).count();
    let status = if n_ended == 0 { 404 } else { 200 };
    Ok(Answer::json(status, json!({ "succeeded": true, "num_freed": n_ended })))
}
