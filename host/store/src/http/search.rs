//! Requests that search: search, count, scroll.

use std::time::Duration;

use serde_json::{Value, json};

use super::Answer;
use super::request::Request;
use crate::cluster::{Cluster, Missing};
use crate::error::EsError;
use crate::filter::SourceFilter;
use crate::query::Query;
use crate::search::{Search, SearchAnswer, count, views};
use crate::settings::parse_duration;
use crate::sort::parse_sort;
use crate::store::Shared;

const PARAMETERS: [&str; 24] = [
    "q",
    "size",
    "from",
    "sort",
    "_source",
    "_source_includes",
    "_source_excludes",
    "scroll",
    "version",
    "seq_no_primary_term",
    "track_total_hits",
    "rest_total_hits_as_int",
    "ignore_unavailable",
    "allow_no_indices",
    "expand_wildcards",
    "preference",
    "routing",
    "search_type",
    "request_cache",
    "typed_keys",
    "ccs_minimize_roundtrips",
    "allow_partial_search_results",
    "batched_reduce_size",
    "df",
];

/// The answer, if this is such a request.
pub(super) fn route(shared: &Shared, request: &Request) -> Option<Result<Answer, EsError>> {
    let segments = request.segments();
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("GET" | "POST", ["_search"]) => search(shared, request, "*"),
        ("GET" | "POST", [index, "_search"]) => search(shared, request, index),
        ("GET" | "POST", ["_count"]) => count_documents(shared, request, "*"),
        ("GET" | "POST", [index, "_count"]) => count_documents(shared, request, index),
        ("GET" | "POST", ["_search", "scroll"]) => next_page(shared, request),
        ("DELETE", ["_search", "scroll"]) => end_scrolls(shared, request),
        (_, ["_search"] | [_, "_search"] | ["_count"] | [_, "_count"]) => Ok(request.wrong_method("GET, POST")),
        _ => return None,
    })
}

/// What becomes of names without an index, by the request's parameters.
pub(super) fn missing(request: &Request) -> Missing {
    match request.flag("ignore_unavailable") {
        true => Missing::Skipped,
        false => Missing::Refused,
    }
}

fn search(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let mut search = Search::parse(&request.json()?)?;
    overrides(&mut search, request)?;
    let now = shared.clock.now();
    let keep = request.parameter("scroll").map(keep_alive).transpose()?;
    if keep.is_some() && search.size == 0 {
        return Err(EsError::validation(&["[size] cannot be [0] in a scroll context".into()]));
    }
    let views = {
        let mut cluster = shared.cluster();
        let names = cluster.resolve(expression, missing(request))?;
        views(&mut cluster, &names, now)
    };
    let (mut answer, scroll) = search.run(&views, keep.map(|keep| (now, keep)))?;
    if let Some(scroll) = scroll {
        let mut cluster = shared.cluster();
        cluster.scrolls.retain(|_, scroll| scroll.expires_at > now);
        let id = cluster.make_id();
        cluster.scrolls.insert(id.clone(), scroll);
        answer.scroll_id = Some(id);
    }
    finish(request, answer)
}

fn finish(request: &Request, mut answer: SearchAnswer) -> Result<Answer, EsError> {
    if request.flag("rest_total_hits_as_int") {
        let total = answer.hits.total.as_ref().and_then(|total| total.get("value")).cloned();
        answer.hits.total = Some(total.unwrap_or_else(|| json!(-1)));
    }
    Ok(Answer::json(200, &answer))
}

/// What the parameters say besides the body.
fn overrides(search: &mut Search, request: &Request) -> Result<(), EsError> {
    let mut body = serde_json::Map::new();
    for name in ["size", "from"] {
        if let Some(number) = request.number(name)? {
            body.insert(name.into(), number.into());
        }
    }
    let numbers = Search::parse(&Value::Object(body))?;
    if request.parameter("size").is_some() {
        search.size = numbers.size;
    }
    if request.parameter("from").is_some() {
        search.from = numbers.from;
    }
    if let Some(sort) = request.parameter("sort") {
        search.sort = sort.split(',').flat_map(|key| parse_sort(&key.into())).collect();
    }
    match request.parameter("_source") {
        None | Some("true") => {}
        Some("false") => search.source = SourceFilter { hidden: true, ..SourceFilter::default() },
        Some(names) => {
            let include = names.split(',').map(Into::into).collect();
            search.source = SourceFilter { include, ..SourceFilter::default() };
        }
    }
    match request.parameter("q") {
        None | Some("*" | "*:*") => {}
        Some(text) => match text.split_once(':') {
            Some((field, value)) => {
                search.query = Query::Match(field.into(), value.trim_matches('"').into());
            }
            None => {
                return Err(EsError::illegal_argument("the embedded store takes [q] as field:value only"));
            }
        },
    }
    Ok(())
}

fn keep_alive(text: &str) -> Result<Duration, EsError> {
    match parse_duration(text) {
        Ok(Some(duration)) => Ok(duration),
        _ => Err(EsError::illegal_argument(format!(
            "failed to parse setting [scroll] with value [{text}] as a time value: unit is missing or unrecognized"
        ))),
    }
}

fn count_documents(shared: &Shared, request: &Request, expression: &str) -> Result<Answer, EsError> {
    request.check_parameters(&PARAMETERS)?;
    let body = request.json()?;
    if let Some(name) = body.as_object().and_then(|body| body.keys().find(|name| *name != "query")) {
        let reason = format!("request does not support [{name}]");
        return Err(EsError::new(400, "parsing_exception", reason).with("line", 1).with("col", 2));
    }
    let mut search = Search::parse(&body)?;
    overrides(&mut search, request)?;
    let now = shared.clock.now();
    let views = {
        let mut cluster = shared.cluster();
        let names = cluster.resolve(expression, missing(request))?;
        views(&mut cluster, &names, now)
    };
    let (number, shards) = count(&views, &search.query);
    Ok(Answer::json(
        200,
        &json!({
            "count": number,
            "_shards": { "total": shards, "successful": shards, "skipped": 0, "failed": 0 },
        }),
    ))
}

fn scroll_id(request: &Request, body: &Value) -> Option<String> {
    let given = body.get("scroll_id").and_then(Value::as_str).or_else(|| request.parameter("scroll_id"));
    given.map(Into::into)
}

fn next_page(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    request.check_parameters(&["scroll", "scroll_id", "rest_total_hits_as_int"])?;
    let body = request.json()?;
    let Some(id) = scroll_id(request, &body) else {
        return Err(EsError::validation(&["scrollId is missing".into()]));
    };
    let keep = body.get("scroll").and_then(Value::as_str).or_else(|| request.parameter("scroll"));
    let keep = keep.map(keep_alive).transpose()?;
    let now = shared.clock.now();
    let mut cluster = shared.cluster();
    cluster.scrolls.retain(|_, scroll| scroll.expires_at > now);
    if !looks_like_an_id(&cluster, &id) {
        return Err(EsError::illegal_argument("Cannot parse scroll id"));
    }
    let Some(scroll) = cluster.scrolls.get_mut(&id) else {
        let cause =
            EsError::new(404, "search_context_missing_exception", format!("No search context found for id [{id}]"));
        let failed = EsError::new(404, "search_phase_execution_exception", "all shards failed")
            .with("phase", "query")
            .with("grouped", true)
            .with("failed_shards", json!([{ "shard": -1, "index": null, "reason": cause.to_item() }]));
        return Err(failed.rooted_in(cause));
    };
    let mut answer = scroll.next(now, keep);
    answer.scroll_id = Some(id);
    finish(request, answer)
}

fn looks_like_an_id(cluster: &Cluster, id: &str) -> bool {
    id.len() == cluster.uuid.len()
}

fn end_scrolls(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    let body = request.json()?;
    let ids: Vec<String> = match body.get("scroll_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ => scroll_id(request, &body).into_iter().collect(),
    };
    let mut cluster = shared.cluster();
    let freed = ids.iter().filter(|id| cluster.scrolls.remove(*id).is_some()).count();
    let status = if freed == 0 && !ids.is_empty() { 404 } else { 200 };
    Ok(Answer::json(status, &json!({ "succeeded": true, "num_freed": freed })))
}
