//! What an answer of Elasticsearch means for an operation: the retry table.
//!
//! | answer | index, delete | merge |
//! |---|---|---|
//! | 200, 201 | written | written |
//! | 404 of a delete | written: the document does not exist | – |
//! | 404 `index_not_found_exception` | the index is created again | the same |
//! | 409 | stale: the index has a newer version | retry |
//! | 429 | retry, with backoff | the same |
//! | 502, 503, 504 of one item | the index waits until it is available | the same |
//! | 403, 429 `cluster_block_exception` | the index waits: a block (disk full, read-only) is temporary | the same |
//! | 400 `index_closed_exception` | the index waits until somebody opens it again | the same |
//! | 400, the merge script is not stored | – | the script is stored again |
//! | other 403 of one item | the index is refused: see [`super::index_states`] | the same |
//! | 401, other 403 of a request | fatal | fatal |
//! | 400, 413 of one item | rejected: a dead letter | the same |
//! | no answer (time-out, reset) | retry: writes are idempotent | the same |
//! | anything else of one item | retry, [`UNKNOWN_ATTEMPTS`] times; then rejected | the same |
//! | 500 and above of a request | retry | the same |
//! | anything else of a request | fatal: nothing is skipped without understanding why | the same |

use rowmill_engine::Action;

use crate::sink::Outcome;

/// What the answer to one item of a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemResult {
    /// The operation has its outcome.
    Settled(Outcome),
    /// The operation is sent again. The reason is counted.
    Retry(&'static str),
    /// The whole index has a problem.
    Index(IndexProblem),
    /// Rowmill does not know this error. The operation is sent again a few times, and is then rejected for this reason.
    Unknown(String),
    /// Nothing can be written until somebody changes something.
    Fatal(String),
}

/// Why an index accepts no writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexProblem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// What is counted.
    pub counted: &'static str,
    /// Elasticsearch's reason, or the client's.
    pub reason: String,
}

/// What is to be done about an index that accepts no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is waited for: the index is closed, blocked, or not available.
    Temporary,
    /// A request with documents of the index, and perhaps of others, was not answered in time.
    Unanswered,
    /// Something does not exist: the index, or the merge script.
    Missing,
    /// Access to the index is refused, or it is missing and may not be created. If this is so for all indices, the
    /// configuration is wrong.
    Access,
    /// Elasticsearch refuses the index itself: its mapping, its name, its number of fields, or one more index.
    Refused,
}

/// How often an operation with an unknown error is sent.
pub const UNKNOWN_ATTEMPTS: u32 = 6;

/// What the answer to a whole request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// Each item has a result of its own.
    Items,
    /// The request is sent again.
    Retry(&'static str),
    /// The request is sent again in two halves; a single operation is rejected.
    Split(String),
    /// Nothing can be written until somebody changes something.
    Fatal(String),
}

/// The result of an item with this status and, if it failed, this error type and reason.
pub fn of_item(action: Action, status: u16, error_type: &str, reason: &str) -> ItemResult {
    let message = || if error_type.is_empty() { format!("status {status}") } else { format!("{error_type}: {reason}") };
    let index = |kind, counted| ItemResult::Index(IndexProblem { kind, counted, reason: message() });
    match status {
        200 | 201 => ItemResult::Settled(Outcome::Written),
        404 if action == Action::Delete && error_type.is_empty() => ItemResult::Settled(Outcome::Written),
        404 if error_type == "index_not_found_exception" => index(ProblemKind::Missing, "missing"),
        409 if action.is_merge() => ItemResult::Retry("conflict"),
        409 => ItemResult::Settled(Outcome::Stale),
        403 | 429 if error_type == "cluster_block_exception" => index(ProblemKind::Temporary, "blocked"),
        429 => ItemResult::Retry("rejected"),
        502..=504 => index(ProblemKind::Temporary, "unavailable"),
        403 => index(ProblemKind::Access, "refused"),
        401 => ItemResult::Fatal(format!(
            "Elasticsearch refuses writes ({}); check the credentials and the role's privileges",
            message()
        )),
        400 if error_type == "index_closed_exception" => index(ProblemKind::Temporary, "closed"),
        400 | 404 if action.is_merge() && reason.contains("unable to find script [") => {
            index(ProblemKind::Missing, "missing")
        }
        400 | 413 => ItemResult::Settled(Outcome::Rejected(message())),
        _ => ItemResult::Unknown(format!("unexpected answer from Elasticsearch (status {status}): {}", message())),
    }
}

/// Returns true if an item was rejected because its index has as many fields as it may have. Documents without new fields are
/// still accepted.
pub fn is_field_limit(reason: &str) -> bool {
    reason.contains("Limit of total fields [")
}

/// The result of a request with this status.
pub fn of_request(status: u16, body: &str) -> RequestResult {
    let message = || format!("status {status}: {}", reason(body));
    match status {
        200 => RequestResult::Items,
        429 => RequestResult::Retry("rejected"),
        500.. => RequestResult::Retry("unavailable"),
        403 if body.contains("cluster_block_exception") => RequestResult::Retry("blocked"),
        401 | 403 => RequestResult::Fatal(format!(
            "Elasticsearch refuses access ({}); check sink.username, sink.password or sink.api_key, and the role's privileges",
            message()
        )),
        400 | 413 => RequestResult::Split(message()),
        _ => RequestResult::Fatal(format!("unexpected answer from Elasticsearch: {}", message())),
    }
}

/// The error of the answer; if the answer is not Elasticsearch's, its beginning.
pub fn reason(body: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match (answer["error"]["type"].as_str(), answer["error"]["reason"].as_str()) {
        (Some(error_type), Some(reason)) => format!("{error_type}: {}", shorten(reason)),
        _ => shorten(body).into(),
    }
}

fn shorten(text: &str) -> &str {
    match text.char_indices().nth(300) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let item = |action, status, error_type| of_item(action, status, error_type, "reason");
        assert_eq!(item(Action::Index, 201, ""), ItemResult::Settled(Outcome::Written));
        assert_eq!(item(Action::Delete, 404, ""), ItemResult::Settled(Outcome::Written));
        assert_eq!(item(Action::Index, 409, "version_conflict_engine_exception"), ItemResult::Settled(Outcome::Stale));
        assert_eq!(item(Action::Delete, 409, "version_conflict_engine_exception"), ItemResult::Settled(Outcome::Stale));
        assert_eq!(item(Action::Merge, 409, "version_conflict_engine_exception"), ItemResult::Retry("conflict"));
        assert_eq!(item(Action::Index, 429, "es_rejected_execution_exception"), ItemResult::Retry("rejected"));
        let of_index = |status, error_type| match item(Action::Index, status, error_type) {
            ItemResult::Index(problem) => (problem.kind, problem.counted),
            other => panic!("{status} {error_type}: {other:?}"),
        };
        assert_eq!(of_index(503, "unavailable_shards_exception"), (ProblemKind::Temporary, "unavailable"));
        assert_eq!(of_index(403, "cluster_block_exception"), (ProblemKind::Temporary, "blocked"));
        assert_eq!(of_index(429, "cluster_block_exception"), (ProblemKind::Temporary, "blocked"));
        assert_eq!(of_index(400, "index_closed_exception"), (ProblemKind::Temporary, "closed"));
        assert_eq!(of_index(403, "security_exception"), (ProblemKind::Access, "refused"));
        assert_eq!(of_index(404, "index_not_found_exception"), (ProblemKind::Missing, "missing"));
        let no_script = of_item(Action::Merge, 400, "illegal_argument_exception", "unable to find script [x]");
        assert!(matches!(no_script, ItemResult::Index(IndexProblem { kind: ProblemKind::Missing, .. })));
        assert_eq!(
            item(Action::Index, 400, "document_parsing_exception"),
            ItemResult::Settled(Outcome::Rejected("document_parsing_exception: reason".into()))
        );
        assert!(matches!(item(Action::Index, 401, ""), ItemResult::Fatal(_)));
        for (status, error_type) in [(500, "x"), (0, ""), (302, "")] {
            assert!(matches!(item(Action::Index, status, error_type), ItemResult::Unknown(_)), "{status}");
        }
        // A delete into a missing index says that the index is missing, not the document.
        assert!(matches!(item(Action::Delete, 404, "index_not_found_exception"), ItemResult::Index(_)));
    }

    #[test]
    fn whole_requests() {
        assert_eq!(of_request(200, ""), RequestResult::Items);
        assert_eq!(of_request(429, ""), RequestResult::Retry("rejected"));
        assert_eq!(of_request(503, ""), RequestResult::Retry("unavailable"));
        assert_eq!(of_request(500, ""), RequestResult::Retry("unavailable"));
        assert!(matches!(of_request(413, ""), RequestResult::Split(_)));
        assert!(matches!(of_request(401, ""), RequestResult::Fatal(_)));
        assert!(matches!(of_request(418, ""), RequestResult::Fatal(_)));
    }
}
