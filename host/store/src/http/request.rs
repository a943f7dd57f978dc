//! A request in the store's terms: method, decoded path, parameters, body; and the answers to those that nothing serves.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use axum::http::{Method, header};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Answer;
use crate::error::EsError;

/// Parameters that every request may have.
const COMMON: [&str; 9] = [
    "pretty",
    "human",
    "error_trace",
    "filter_path",
    "format",
    "source",
    "master_timeout",
    "timeout",
    "wait_for_active_shards",
];

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it came, without parameters.
    pub(crate) path: String,
    uri: String,
    segments: Vec<String>,
    parameters: BTreeMap<String, String>,
    pub(crate) body: Bytes,
    pub(super) wants_compatible: bool,
}

impl Request {
    pub(super) fn new(head: &Parts, body: Bytes) -> Result<Request, EsError> {
        let path = head.uri.path();
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            segments.push(decode(segment, false)?);
        }
        let mut parameters = BTreeMap::new();
        for pair in head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.insert(decode(name, true)?, decode(value, true)?);
        }
        let uri = head.uri.path_and_query().map_or(path, |both| both.as_str()).to_owned();
        let compatible = |name| {
            let value = head.headers.get(name);
            value.is_some_and(|value| value.as_bytes().starts_with(b"application/vnd.elasticsearch+"))
        };
        let wants_compatible = compatible(header::ACCEPT);
        Ok(Request {
            method: head.method.clone(),
            path: path.into(),
            uri,
            segments,
            parameters,
            body,
            wants_compatible,
        })
    }

    /// The parts of the path.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// A parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Whether a parameter is on: there without a value, or `true`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("" | "true"))
    }

    /// A parameter that is a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, EsError> {
        let Some(text) = self.parameter(name) else {
            return Ok(None);
        };
        let refused =
            || EsError::illegal_argument(format!("Failed to parse long parameter [{name}] with value [{text}]"));
        text.parse().map(Some).map_err(|_| refused())
    }

    /// Refuses parameters that are neither common nor among `known`.
    pub(crate) fn check_parameters(&self, known: &[&str]) -> Result<(), EsError> {
        let unknown =
            self.parameters.keys().find(|name| !COMMON.contains(&name.as_str()) && !known.contains(&name.as_str()));
        match unknown {
            Some(name) => Err(EsError::illegal_argument(format!(
                "request [{}] contains unrecognized parameter: [{name}]",
                self.path
            ))),
            None => Ok(()),
        }
    }

    /// Whether there is a body.
    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// The body as text; bytes that are no UTF-8 become replacement characters, which no JSON check lets through
    /// outside of strings.
    pub(crate) fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` where there is none.
    pub(crate) fn json(&self) -> Result<Value, EsError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|error| EsError::malformed_body(&error))
    }

    /// 405 with the methods that there are.
    pub(crate) fn wrong_method(&self, allowed: &str) -> Answer {
        let error =
            format!("Incorrect HTTP method for uri [{}] and method [{}], allowed: [{allowed}]", self.uri, self.method);
        Answer::json(405, &json!({ "error": error, "status": 405 }))
    }

    /// What nothing serves.
    pub(super) fn unknown(&self) -> Answer {
        let error = format!("no handler found for uri [{}] and method [{}]", self.uri, self.method);
        Answer::json(400, &json!({ "error": error }))
    }
}

/// Undoes percent-encoding.
fn decode(text: &str, plus_is_space: bool) -> Result<String, EsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                    _ => {
                        return Err(EsError::illegal_argument(format!(
                            "partial escape sequence at end of string: {text}"
                        )));
                    }
                }
            }
            b'+' if plus_is_space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
