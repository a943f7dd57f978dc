//! What an answer of Elasticsearch means for an operation: the retry table.
//!
//! | answer | index, delete | merge |
//! |---|---|---|
//! | 200, 201 | written | written |
//! | 404 of a delete | written: it is not there | – |
//! | 404 `index_not_found_exception` | stop: the index is missing and may not be created | the same |
//! | 409 | stale: the index has a newer version | again |
//! | 429, 502, 503, 504 | again, with backoff | the same |
//! | 403 `cluster_block_exception` | again: a block (full disk, read-only) ends | the same |
//! | 401, 403 | stop | stop |
//! | 400, 413 of one item | dead letter | dead letter |
//! | no answer (time-out, reset) | again: writes are idempotent | the same |
//! | anything else | stop: never skip what is not understood | the same |

use crate::operation::Action;

/// What becomes of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the index.
    Written,
    /// The index has a newer version: settled.
    Stale,
    /// To be sent again, for a reason that is counted.
    Again(&'static str),
    /// Elasticsearch will never take it, for its own reason.
    DeadLetter(String),
    /// Nothing can go on until a person has done something.
    Stop(String),
}

/// What becomes of a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Its items have outcomes of their own.
    Items,
    /// All of it again.
    Again(&'static str),
    /// In two halves; one operation alone is a dead letter.
    Split(String),
    /// Nothing can go on.
    Stop(String),
}

/// The outcome of an item with this status and, if it failed, error type and reason.
pub fn of_item(action: Action, status: u16, error_type: &str, reason: &str) -> Outcome {
    let told = || if error_type.is_empty() { format!("status {status}") } else { format!("{error_type}: {reason}") };
    match status {
        200 | 201 => Outcome::Written,
        404 if action == Action::Delete && error_type.is_empty() => Outcome::Written,
        404 if error_type == "index_not_found_exception" => Outcome::Stop(format!(
            "{}; create the index, or let Rowmill create it (sink.create_indices = true)",
            told()
        )),
        409 if action.is_merge() => Outcome::Again("conflict"),
        409 => Outcome::Stale,
        429 => Outcome::Again("rejected"),
        502..=504 => Outcome::Again("unavailable"),
        403 if error_type == "cluster_block_exception" => Outcome::Again("blocked"),
        401 | 403 => Outcome::Stop(format!(
            "Elasticsearch does not let us write ({}); check the credentials and the role's privileges",
            told()
        )),
        400 | 413 => Outcome::DeadLetter(told()),
        _ => Outcome::Stop(format!("an answer that is not understood: {}", told())),
    }
}

/// The outcome of a request with this status.
pub fn of_request(status: u16, body: &str) -> RequestOutcome {
    let told = || format!("status {status}: {}", reason(body));
    match status {
        200 => RequestOutcome::Items,
        429 => RequestOutcome::Again("rejected"),
        502..=504 => RequestOutcome::Again("unavailable"),
        403 if body.contains("cluster_block_exception") => RequestOutcome::Again("blocked"),
        401 | 403 => RequestOutcome::Stop(format!(
            "Elasticsearch does not let us in ({}); check sink.username, sink.password or sink.api_key, and the role's privileges",
            told()
        )),
        400 | 413 => RequestOutcome::Split(told()),
        _ => RequestOutcome::Stop(format!("an answer that is not understood: {}", told())),
    }
}

/// Elasticsearch's own words, if the answer is its; else the answer's beginning.
fn reason(body: &str) -> String {
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
        assert_eq!(item(Action::Index, 201, ""), Outcome::Written);
        assert_eq!(item(Action::Delete, 404, ""), Outcome::Written);
        assert_eq!(item(Action::Index, 409, "version_conflict_engine_exception"), Outcome::Stale);
        assert_eq!(item(Action::Delete, 409, "version_conflict_engine_exception"), Outcome::Stale);
        assert_eq!(item(Action::Merge, 409, "version_conflict_engine_exception"), Outcome::Again("conflict"));
        assert_eq!(item(Action::Index, 429, "es_rejected_execution_exception"), Outcome::Again("rejected"));
        assert_eq!(item(Action::Index, 503, "unavailable_shards_exception"), Outcome::Again("unavailable"));
        assert_eq!(item(Action::Index, 403, "cluster_block_exception"), Outcome::Again("blocked"));
        assert_eq!(
            item(Action::Index, 400, "document_parsing_exception"),
            Outcome::DeadLetter("document_parsing_exception: reason".into())
        );
        for (status, error_type) in
            [(401, ""), (403, "security_exception"), (404, "index_not_found_exception"), (500, "x"), (0, ""), (302, "")]
        {
            assert!(matches!(item(Action::Index, status, error_type), Outcome::Stop(_)), "{status}");
        }
        // A delete into a missing index says that the index is missing, not the document.
        assert!(matches!(item(Action::Delete, 404, "index_not_found_exception"), Outcome::Stop(_)));
    }

    #[test]
    fn whole_requests() {
        assert_eq!(of_request(200, ""), RequestOutcome::Items);
        assert_eq!(of_request(429, ""), RequestOutcome::Again("rejected"));
        assert_eq!(of_request(503, ""), RequestOutcome::Again("unavailable"));
        assert!(matches!(of_request(413, ""), RequestOutcome::Split(_)));
        assert!(matches!(of_request(401, ""), RequestOutcome::Stop(_)));
        assert!(matches!(of_request(418, ""), RequestOutcome::Stop(_)));
    }
}
