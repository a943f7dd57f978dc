//! What must exist in the cluster before documents of an index are written: the index, and the merge script.

use super::client::{Busy, Client, Forbidden, NoAnswer, Refused};
use super::outcome::{IndexProblem, ProblemKind};

/// What an index needs.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// The name of the index.
    pub name: String,
    /// The mapping to create it with.
    pub mapping: Option<String>,
    /// Whether it may be created.
    pub may_create: bool,
    /// Whether the merge script must be stored.
    pub script: bool,
}

/// Why an index could not be prepared.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no answer.
    NoAnswer(String),
    /// The index has a problem.
    Index(IndexProblem),
    /// Nothing can be written until somebody changes something.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if error.is::<NoAnswer>() {
            return Self::NoAnswer(error.to_string());
        }
        if error.is::<Refused>() {
            return Self::Fatal(error);
        }
        let (kind, counted) = match () {
            () if error.is::<Busy>() => (ProblemKind::Temporary, "unavailable"),
            () if error.is::<Forbidden>() => (ProblemKind::Access, "refused"),
            // The merge script or the mapping is invalid: repetition does not help.
            () => (ProblemKind::Refused, "refused"),
        };
        Self::Index(IndexProblem { kind, counted, reason: error.to_string() })
    }
}

/// The problem of an index that could not be looked up because there was no answer.
pub(super) fn unreachable(name: &str, reason: &str) -> IndexProblem {
    let reason = format!("cannot look up the index {name}: {reason}");
    IndexProblem { kind: ProblemKind::Temporary, counted: "no answer", reason }
}

/// Makes sure that everything exists that an index needs. One attempt.
///
/// # Errors
/// Something does not exist and could not be created.
pub(super) async fn prepare(client: &Client, needs: &Needs) -> Result<(), Failure> {
    if needs.script {
        client.store_script().await?;
    }
    let name = &needs.name;
    if client.has_index(name).await? {
        if !client.raise_gc_deletes(name).await? {
            tracing::warn!(
                index = %name,
                "index.gc_deletes is shorter than an hour and cannot be raised: a write that arrives later than that can \
                 restore a deleted document"
            );
        }
        return Ok(());
    }
    let refused = |kind, reason| Failure::Index(IndexProblem { kind, counted: "refused", reason });
    if !needs.may_create {
        return Err(refused(
            ProblemKind::Access,
            format!(
                "the index {name} does not exist and sink.create_indices is false; create the index, or set it to true"
            ),
        ));
    }
    let answer = client.create_index(name, needs.mapping.as_deref()).await?;
    match answer.status {
        200 => tracing::info!(index = %name, "index created"),
        400 if answer.body.contains("resource_already_exists_exception") => {}
        status => {
            let reason = format!("cannot create the index {name}: status {status}: {}", answer.body);
            return Err(refused(ProblemKind::Refused, reason));
        }
    }
    Ok(())
}
