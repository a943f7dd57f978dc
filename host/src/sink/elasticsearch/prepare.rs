//! What must exist in the cluster before documents are written: their indices, and the merge script.

use std::collections::HashSet;

use rowmill_engine::{IndexNumber, Indices};

use super::pending::Entry;
use super::retry::Retry;

/// What is known to exist.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    indices: HashSet<IndexNumber>,
    has_script: bool,
}

impl Preparation {
    /// Makes sure that everything exists that these entries need.
    ///
    /// # Errors
    /// An index may not or cannot be created, or the run was aborted.
    pub async fn prepare(&mut self, entries: &[Entry], indices: &Indices, retry: Retry<'_>) -> anyhow::Result<()> {
        for entry in entries {
            let operation = entry.first().operation();
            if !self.indices.contains(&operation.index) {
                prepare_index(operation.index, indices, retry).await?;
                self.indices.insert(operation.index);
            }
            if operation.action.is_merge() && !self.has_script {
                retry.until_ok("store the merge script", async |client| client.store_script().await).await?;
                self.has_script = true;
            }
        }
        Ok(())
    }
}

async fn prepare_index(index: IndexNumber, indices: &Indices, retry: Retry<'_>) -> anyhow::Result<()> {
    let name = indices.name(index);
    if retry.until_ok("look up the index", async |client| client.has_index(&name).await).await? {
        let is_long = retry.until_ok("read the index' settings", async |client| client.raise_gc_deletes(&name).await);
        if !is_long.await? {
            tracing::warn!(
                index = %name,
                "index.gc_deletes is shorter than an hour and cannot be raised: a write that arrives later than that can \
                 restore a deleted document"
            );
        }
        return Ok(());
    }
    anyhow::ensure!(
        retry.bulk.create_indices,
        "the index {name} does not exist and sink.create_indices is false; create the index, or set it to true"
    );
    let mapping = indices.mapping(index);
    let create =
        retry.until_ok("create the index", async |client| client.create_index(&name, mapping.as_deref()).await);
    let answer = create.await?;
    match answer.status {
        200 => tracing::info!(index = %name, "index created"),
        400 if answer.body.contains("resource_already_exists_exception") => {}
        status => anyhow::bail!("cannot create the index {name}: status {status}: {}", answer.body),
    }
    Ok(())
}
