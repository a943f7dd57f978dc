//! Serves connections: reads each request, applies injected faults, and calls the request's handler.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::{Method, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::json;
use tokio::sync::watch;

use super::answer::Answer;
use super::connection::{Connections, Reset};
use super::request::Request;
use super::{documents, indices, search};
use crate::error::EsError;
use crate::fault::FaultEffect;
use crate::shared::Shared;

/// The time that open requests have to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until `stopped` becomes true or its sender is dropped.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let connections = Connections::new(tokio::net::TcpListener::from_std(listener)?);
    let router = Router::new().fallback(handle).with_state(shared);
    let service = router.into_make_service_with_connect_info::<Reset>();
    let mut drain = stopped.clone();
    let server = axum::serve(connections, service).with_graceful_shutdown(async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    tokio::select! {
        served = server => served,
        () = async {
            let _ = drain.wait_for(|stop| *stop).await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        } => Ok(()),
    }
}

async fn handle(
    ConnectInfo(reset): ConnectInfo<Reset>,
    State(shared): State<Arc<Shared>>,
    request: HttpRequest,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, shared.max_body_bytes).await else {
        shared.counters().requests += 1;
        return Answer::empty(413).into_response(None);
    };
    {
        let mut counters = shared.counters();
        counters.requests += 1;
        counters.bytes += body.len() as u64;
    }
    let is_gzip = head.headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip");
    let body = match decompress(body, is_gzip, shared.max_body_bytes) {
        Ok(body) => body,
        Err(answer) => return answer.into_response(None),
    };
    let request = Request::new(&head, body);
    // Taken before the fault is looked up, so that no release is missed.
    let cleared = shared.faults_cleared.notified();
    let fault = shared.faults().on_request(&request.path, &request.body);
    let mut resets_after = false;
    match fault {
        Some(FaultEffect::ResetBefore) => {
            reset.arm();
            return Answer::empty(500).into_response(None);
        }
        Some(FaultEffect::ResetAfter) => resets_after = true,
        Some(FaultEffect::Delay(by)) => tokio::time::sleep(by).await,
        Some(FaultEffect::Hold) => cleared.await,
        Some(FaultEffect::TooLarge) => return Answer::empty(413).into_response(None),
        Some(effect) => {
            if let Some(error) = effect.error(false) {
                return Answer::error(&error).into_response(Some(&request));
            }
        }
        None => {}
    }
    let answer = route(&shared, &request).unwrap_or_else(|error| Answer::error(&error));
    if resets_after {
        reset.arm();
    }
    let mut response = answer.into_response(Some(&request));
    if request.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

fn decompress(body: Bytes, is_gzip: bool, max_bytes: usize) -> Result<Bytes, Answer> {
    if !is_gzip {
        return Ok(body);
    }
    let mut decompressed = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(body.as_ref()).take(limit).read_to_end(&mut decompressed) {
        Ok(_) if decompressed.len() > max_bytes => Err(Answer::empty(413)),
        Ok(_) => Ok(decompressed.into()),
        Err(error) => {
            let reason = format!("request body is not gzip: {error}");
            Err(Answer::error(&EsError::new(400, "zip_exception", reason)))
        }
    }
}

/// Calls the handler of the request. These are all requests that the store supports.
fn route(shared: &Shared, request: &Request) -> Result<Answer, EsError> {
    let segments = request.segments();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET" | "HEAD", []) => Ok(info()),
        ("POST" | "PUT", ["_bulk"]) => documents::bulk(shared, request, None),
        ("POST" | "PUT", [index, "_bulk"]) => documents::bulk(shared, request, Some(index)),
        ("GET" | "POST", ["_mget"]) => documents::multi_get(shared, request, None),
        ("GET" | "POST", [index, "_mget"]) => documents::multi_get(shared, request, Some(index)),
        ("GET" | "HEAD", [index, "_doc", id]) => documents::get(shared, request, index, id),
        ("GET" | "HEAD", [index, "_source", id]) => documents::get_source(shared, request, index, id),
        ("POST" | "PUT", [index, "_doc" | "_create", id]) => documents::write(shared, request, index, Some(id)),
        ("POST", [index, "_doc"]) => documents::write(shared, request, index, None),
        ("DELETE", [index, "_doc", id]) => documents::delete(shared, request, index, id),
        ("PUT" | "POST", ["_scripts", id]) => documents::put_script(shared, request, id),
        ("GET" | "POST", ["_search"]) => search::search(shared, request, "*"),
        ("GET" | "POST", [index, "_search"]) => search::search(shared, request, index),
        ("GET" | "POST", ["_count"]) => search::count(shared, request, "*"),
        ("GET" | "POST", [index, "_count"]) => search::count(shared, request, index),
        ("GET" | "POST", ["_search", "scroll"]) => search::next_page(shared, request),
        ("DELETE", ["_search", "scroll"]) => search::end_scrolls(shared, request),
        ("POST" | "GET", ["_refresh"]) => indices::refresh(shared, request, "*"),
        ("POST" | "GET", [index, "_refresh"]) => indices::refresh(shared, request, index),
        ("POST", ["_aliases"]) => indices::change_aliases(shared, request),
        ("GET" | "HEAD", ["_alias", alias]) => indices::aliases(shared, request, "*", alias),
        ("GET" | "HEAD", [index, "_alias"]) => indices::aliases(shared, request, index, "*"),
        ("GET", [index, "_mapping"]) => indices::mappings(shared, request, index),
        ("GET", [index, "_settings"]) => indices::settings(shared, request, index),
        ("PUT", [index, "_settings"]) => indices::put_settings(shared, request, index),
        ("PUT", [index]) => indices::create(shared, request, index),
        ("GET" | "HEAD", [index]) => indices::show(shared, request, index),
        ("DELETE", [index]) => indices::delete(shared, request, index),
        _ => Ok(not_supported(request, &segments)),
    }
}

fn info() -> Answer {
    let version = json!({ "number": "8.19.0", "build_flavor": "default", "lucene_version": "9.12.2" });
    let body = json!({
        "name": "embedded",
        "cluster_name": "rowmill-store",
        "version": version,
        "tagline": "You Know, for Search",
    });
    Answer::json(200, body)
}

/// The answer to a request without a handler: 405 if Elasticsearch has handlers for other methods of the path, and
/// otherwise 400.
fn not_supported(request: &Request, segments: &[&str]) -> Answer {
    let status = match segments {
        [] | [_] | [_, _] | [_, "_doc" | "_create" | "_source", _] => 405,
        _ => 400,
    };
    let error = format!("the embedded store does not support {} {}", request.method, request.path);
    Answer::json(status, json!({ "error": error, "status": status }))
}
