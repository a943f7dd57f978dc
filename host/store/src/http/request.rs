//! A request as handlers read it: method, decoded path, parameters and body.

use std::collections::BTreeMap;

use axum::http::Method;
use axum::http::request::Parts;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::cluster::Missing;
use crate::error::EsError;

/// Parameters that every request may have.
const COMMON: [&str; 6] = ["pretty", "human", "error_trace", "filter_path", "master_timeout", "timeout"];

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it was sent, without parameters.
    pub(crate) path: String,
    segments: Vec<String>,
    parameters: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(head: &Parts, body: Bytes) -> Request {
        let path = head.uri.path();
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect();
        let query = head.uri.query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Request { method: head.method.clone(), path: path.into(), segments, parameters, body }
    }

    /// The decoded segments of the path.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Returns true if a parameter has the value `true` or no value.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("" | "true"))
    }

    /// The value of a parameter that is a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, EsError> {
        let refused =
            |text| EsError::illegal_argument(format!("Failed to parse long parameter [{name}] with value [{text}]"));
        self.parameter(name).map(|text| text.parse().map_err(|_| refused(text))).transpose()
    }

    /// Refuses parameters that are neither common nor among `known`, a list of names separated by spaces.
    pub(crate) fn check_parameters(&self, known: &str) -> Result<(), EsError> {
        let is_known = |name: &str| COMMON.contains(&name) || known.split(' ').any(|known| known == name);
        match self.parameters.keys().find(|name| !is_known(name)) {
            Some(name) => {
                let reason = format!("request [{}] contains unrecognized parameter: [{name}]", self.path);
                Err(EsError::illegal_argument(reason))
            }
            None => Ok(()),
        }
    }

    /// Returns true if parameters ask for another form of the answer.
    pub(crate) fn shapes_answer(&self) -> bool {
        self.parameter("filter_path").is_some() || self.flag("pretty")
    }

    /// The handling of names without an index that the request asks for.
    pub(crate) fn missing(&self) -> Missing {
        if self.flag("ignore_unavailable") { Missing::Ignored } else { Missing::Refused }
    }

    /// Refuses a request without a body.
    pub(crate) fn require_body(&self) -> Result<(), EsError> {
        if self.body.is_empty() { Err(EsError::body_required()) } else { Ok(()) }
    }

    /// The body as JSON; `null` if there is none.
    pub(crate) fn json(&self) -> Result<Value, EsError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|error| EsError::malformed_body(&error))
    }
}
