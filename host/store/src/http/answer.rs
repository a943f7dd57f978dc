//! An answer before it is sent, and its HTTP response.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use super::request::Request;
use crate::error::EsError;
use crate::filter::keep_paths;

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Json(Value),
    /// JSON that keeps the bytes of documents.
    Rendered(String),
    Empty,
}

impl Answer {
    /// An answer with this JSON.
    pub(crate) fn json(status: u16, body: Value) -> Answer {
        Answer { status, content: Content::Json(body) }
    }

    /// An answer with JSON that is rendered already.
    pub(crate) fn rendered(status: u16, body: String) -> Answer {
        Answer { status, content: Content::Rendered(body) }
    }

    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Answer {
        Answer { status, content: Content::Empty }
    }

    /// An answer that reports an error.
    pub(crate) fn error(error: &EsError) -> Answer {
        Answer::json(error.status, error.to_body())
    }

    /// `{"acknowledged": true}`
    pub(crate) fn acknowledged() -> Answer {
        Answer::json(200, serde_json::json!({ "acknowledged": true }))
    }

    /// Makes the HTTP response, shaped by `filter_path` and `pretty` of the request.
    pub(crate) fn into_response(self, request: Option<&Request>) -> Response {
        let has_body = !matches!(self.content, Content::Empty);
        let body = match self.content {
            Content::Empty => String::new(),
            Content::Json(value) => shape(value, request),
            Content::Rendered(text) if request.is_none_or(|request| !request.shapes_answer()) => text,
            Content::Rendered(text) => serde_json::from_str(&text).map_or(text, |value| shape(value, request)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        // Elasticsearch's clients refuse a server that does not send this.
        headers.insert(HeaderName::from_static("x-elastic-product"), HeaderValue::from_static("Elasticsearch"));
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}

fn shape(mut value: Value, request: Option<&Request>) -> String {
    let Some(request) = request else {
        return value.to_string();
    };
    if let Some(paths) = request.parameter("filter_path") {
        let paths: Vec<String> = paths.split(',').map(|path| path.trim().to_owned()).collect();
        value = keep_paths(value, &paths);
    }
    match request.flag("pretty") {
        true => format!("{value:#}"),
        false => value.to_string(),
    }
}
