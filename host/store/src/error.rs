//! The errors of Elasticsearch: a status, a type, a reason and what belongs to them, as answers and bulk items show them.

use serde_json::{Map, Value, json};

/// An error in the words of Elasticsearch.
#[derive(Debug, Clone)]
pub(crate) struct EsError {
    /// The HTTP status of the answer or of the bulk item.
    pub(crate) status: u16,
    kind: &'static str,
    reason: String,
    details: Vec<(&'static str, Value)>,
    cause: Option<Box<EsError>>,
    /// What `root_cause` names, where that is not the error itself.
    root: Option<Box<EsError>>,
}

impl EsError {
    /// An error of this status, type and reason.
    pub(crate) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> EsError {
        let reason = reason.into();
        EsError { status, kind, reason, details: Vec::new(), cause: None, root: None }
    }

    /// `illegal_argument_exception`, status 400.
    pub(crate) fn illegal_argument(reason: impl Into<String>) -> EsError {
        EsError::new(400, "illegal_argument_exception", reason)
    }

    /// `action_request_validation_exception` of these complaints, numbered as Elasticsearch numbers them.
    pub(crate) fn validation(complaints: &[String]) -> EsError {
        let mut reason = String::from("Validation Failed: ");
        for (position, complaint) in complaints.iter().enumerate() {
            reason.push_str(&format!("{}: {complaint};", position + 1));
        }
        EsError::new(400, "action_request_validation_exception", reason)
    }

    /// `parse_exception`: the request needs a body and has none.
    pub(crate) fn body_required() -> EsError {
        EsError::new(400, "parse_exception", "request body is required")
    }

    /// A request body that is not JSON.
    pub(crate) fn malformed_body(error: &serde_json::Error) -> EsError {
        let (kind, cause) = match error.is_eof() {
            true => ("x_content_e_o_f_exception", "json_e_o_f_exception"),
            false => ("x_content_parse_exception", "json_parse_exception"),
        };
        let place = format!("[{}:{}]", error.line(), error.column() + usize::from(error.is_eof()));
        let reason = match error.is_eof() {
            true => format!("{place} Unexpected end of file"),
            false => format!("{place} {error}"),
        };
        EsError::new(400, kind, reason).caused_by(EsError::new(400, cause, error.to_string()))
    }

    /// `index_not_found_exception` for a plain name.
    pub(crate) fn index_not_found(index: &str) -> EsError {
        EsError::new(404, "index_not_found_exception", format!("no such index [{index}]"))
            .with("resource.type", "index_or_alias")
            .with("resource.id", index)
            .with("index_uuid", "_na_")
            .with("index", index)
    }

    /// Adds a field that stands beside `type` and `reason`.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> EsError {
        self.details.push((name, value.into()));
        self
    }

    /// Adds the error below this one.
    pub(crate) fn caused_by(mut self, cause: EsError) -> EsError {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Adds the error below this one, which answers then name as the root cause.
    pub(crate) fn rooted_in(self, cause: EsError) -> EsError {
        self.with_root(cause.clone()).caused_by(cause)
    }

    /// Makes answers name this as the root cause.
    pub(crate) fn with_root(mut self, root: EsError) -> EsError {
        self.root = Some(Box::new(root));
        self
    }

    /// The reason in words.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// The error as it stands in a bulk item.
    pub(crate) fn to_item(&self) -> Value {
        let mut item = self.plain();
        if let Some(cause) = &self.cause {
            item.insert("caused_by".into(), cause.to_item());
        }
        Value::Object(item)
    }

    /// The error with its root cause, as `error` of an answer.
    pub(crate) fn to_answer(&self) -> Value {
        let root = self.root.as_deref().unwrap_or(self).plain();
        let mut answer = Map::new();
        answer.insert("root_cause".into(), json!([root]));
        if let Value::Object(item) = self.to_item() {
            answer.extend(item);
        }
        Value::Object(answer)
    }

    /// The whole body of an answer that is this error.
    pub(crate) fn to_body(&self) -> Value {
        json!({ "error": self.to_answer(), "status": self.status })
    }

    fn plain(&self) -> Map<String, Value> {
        let mut plain = Map::new();
        plain.insert("type".into(), self.kind.into());
        plain.insert("reason".into(), self.reason.as_str().into());
        for (name, value) in &self.details {
            plain.insert((*name).into(), value.clone());
        }
        plain
    }
}
