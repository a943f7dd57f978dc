//! Errors as Elasticsearch reports them: a status, a type and a reason.
//!
//! Statuses and types are those of the real server, which clients act on. The reasons are written for people and are
//! not the real server's texts.

use serde_json::{Value, json};

/// An error of a request or of one bulk item.
#[derive(Debug, Clone)]
pub(crate) struct EsError {
    /// The HTTP status of the answer or of the bulk item.
    pub(crate) status: u16,
    kind: &'static str,
    reason: String,
}

impl EsError {
    pub(crate) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> EsError {
        EsError { status, kind, reason: reason.into() }
    }

    /// `illegal_argument_exception`, status 400.
    pub(crate) fn illegal_argument(reason: impl Into<String>) -> EsError {
        EsError::new(400, "illegal_argument_exception", reason)
    }

    /// `action_request_validation_exception`, status 400.
    pub(crate) fn validation(problems: &[String]) -> EsError {
        let reason = format!("Validation Failed: {}", problems.join("; "));
        EsError::new(400, "action_request_validation_exception", reason)
    }

    /// `parse_exception`, status 400: the request needs a body and has none.
    pub(crate) fn body_required() -> EsError {
        EsError::new(400, "parse_exception", "request body is required")
    }

    /// A request body that is not valid JSON.
    pub(crate) fn malformed_body(error: &serde_json::Error) -> EsError {
        let kind = if error.is_eof() { "x_content_e_o_f_exception" } else { "x_content_parse_exception" };
        EsError::new(400, kind, error.to_string())
    }

    /// `index_not_found_exception`, status 404.
    pub(crate) fn index_not_found(index: &str) -> EsError {
        EsError::new(404, "index_not_found_exception", format!("no such index [{index}]"))
    }

    /// The error as a bulk item shows it.
    pub(crate) fn to_item(&self) -> Value {
        json!({ "type": self.kind, "reason": self.reason })
    }

    /// The error with its root cause, as an answer shows it.
    pub(crate) fn to_answer(&self) -> Value {
        json!({ "root_cause": [self.to_item()], "type": self.kind, "reason": self.reason })
    }

    /// The whole body of an answer that reports this error.
    pub(crate) fn to_body(&self) -> Value {
        json!({ "error": self.to_answer(), "status": self.status })
    }
}
