//! The server: connections that can be reset on demand, and the way from a request to its answer.

mod cluster;
mod connection;
mod documents;
mod indices;
mod request;
mod search;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tokio::sync::watch;

use self::connection::{Connections, Reset};
use self::request::Request;
use crate::error::EsError;
use crate::fault::{FaultEffect, effect_error};
use crate::filter::filter_path;
use crate::store::Shared;

/// How long open requests may go on once the store shall stop.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until `stopped` says so.
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
        // An error means that the handle is gone, which is as good as the word to stop.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    tokio::select! {
        served = server => served,
        () = async {
            let _ = drain.wait_for(|stop| *stop).await;
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

/// An answer before it is written.
pub(crate) struct Answer {
    status: u16,
    body: AnswerContent,
}

enum AnswerContent {
    Json(Vec<u8>),
    Text(String),
    Empty,
}

impl Answer {
    /// This as JSON.
    pub(crate) fn json(status: u16, body: &impl serde::Serialize) -> Answer {
        match serde_json::to_vec(body) {
            Ok(body) => Answer { status, body: AnswerContent::Json(body) },
            Err(error) => Answer::error(&EsError::new(500, "exception", error.to_string())),
        }
    }

    /// JSON that is written already.
    pub(crate) fn raw_json(status: u16, body: &str) -> Answer {
        Answer { status, body: AnswerContent::Json(body.as_bytes().to_vec()) }
    }

    /// Plain text.
    pub(crate) fn text(status: u16, body: String) -> Answer {
        Answer { status, body: AnswerContent::Text(body) }
    }

    /// No body.
    pub(crate) fn empty(status: u16) -> Answer {
        Answer { status, body: AnswerContent::Empty }
    }

    /// An error.
    pub(crate) fn error(error: &EsError) -> Answer {
        Answer::json(error.status, &error.to_body())
    }

    /// `{"acknowledged": true}`
    pub(crate) fn acknowledged() -> Answer {
        Answer::raw_json(200, "{\"acknowledged\":true}")
    }

    fn into_response(self, request: Option<&Request>) -> Response {
        let shaped = |body: Vec<u8>| match request {
            Some(request) => shape(body, request),
            None => body,
        };
        let (body, kind) = match self.body {
            AnswerContent::Json(body) => (shaped(body), Some("application/json")),
            AnswerContent::Text(body) => (body.into_bytes(), Some("text/plain; charset=UTF-8")),
            AnswerContent::Empty => (Vec::new(), None),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));
        if let Some(kind) = kind {
            // Clients that ask for the compatible form are answered in it.
            let kind = match request {
                Some(request) if kind == "application/json" && request.wants_compatible => {
                    "application/vnd.elasticsearch+json;compatible-with=8"
                }
                _ => kind,
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        response
    }
}

/// Applies `filter_path` and `pretty`.
fn shape(body: Vec<u8>, request: &Request) -> Vec<u8> {
    let paths = request.parameter("filter_path");
    let pretty = request.flag("pretty");
    if paths.is_none() && !pretty {
        return body;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    if let Some(paths) = paths {
        value = filter_path(value, paths);
    }
    let shaped = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
    shaped.unwrap_or(body)
}

async fn handle(
    ConnectInfo(reset): ConnectInfo<Reset>,
    State(shared): State<Arc<Shared>>,
    request: HttpRequest,
) -> Response {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let Ok(body) = axum::body::to_bytes(body, shared.largest_body).await else {
        shared.counting.request(0);
        return Answer::empty(413).into_response(None);
    };
    shared.counting.request(body.len());
    let gzip = head.headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip");
    let body = match unpack(body, gzip, shared.largest_body) {
        Ok(body) => body,
        Err(answer) => return answer.into_response(None),
    };
    let request = match Request::new(&head, body) {
        Ok(request) => request,
        Err(error) => return Answer::error(&error).into_response(None),
    };
    let fault = shared.faults().request(&request.path);
    let mut reset_after = false;
    match fault {
        Some(FaultEffect::ResetBefore) => {
            reset.arm();
            return Answer::empty(500).into_response(None);
        }
        Some(FaultEffect::ResetAfter) => reset_after = true,
        Some(FaultEffect::Delay(by)) => tokio::time::sleep(by).await,
        Some(FaultEffect::TooLarge) => return Answer::empty(413).into_response(None),
        Some(effect) => {
            if let Some(error) = effect_error(&effect, false) {
                return Answer::error(&error).into_response(Some(&request));
            }
        }
        None => {}
    }
    let answer = answer(&shared, &request);
    if reset_after {
        reset.arm();
    }
    let mut response = answer.into_response(Some(&request));
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

fn unpack(body: Bytes, gzip: bool, largest: usize) -> Result<Bytes, Answer> {
    if !gzip {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    match MultiGzDecoder::new(body.as_ref()).take(limit).read_to_end(&mut unpacked) {
        Ok(_) if unpacked.len() > largest => Err(Answer::empty(413)),
        Ok(_) => Ok(unpacked.into()),
        Err(error) => {
            let reason = format!("request body is not gzip: {error}");
            Err(Answer::error(&EsError::new(400, "zip_exception", reason)))
        }
    }
}

/// What the request asks for, done.
fn answer(shared: &Shared, request: &Request) -> Answer {
    let found = documents::route(shared, request)
        .or_else(|| search::route(shared, request))
        .or_else(|| cluster::route(shared, request))
        .or_else(|| indices::route(shared, request));
    match found {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => Answer::error(&error),
        None => request.unknown(),
    }
}
