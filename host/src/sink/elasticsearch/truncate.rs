//! Truncates: documents of older rows of the table are deleted, documents of newer rows remain, in whatever order both
//! arrive.
//!
//! If a topic has several partitions a truncate is not ordered with the rows that it deletes, but its version is. So every
//! document of the table is deleted *with the truncate's version*, which Elasticsearch refuses if the document is newer.
//! Rows with an older version that arrive later are deleted too: by this instance, and, since the version is stored in an
//! index, by every other instance and after a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rowmill_engine::Action;
use rowmill_sandbox::literal;
use serde_json::{Value, json};

use super::bulk;
use super::client::{Client, MAX_DOCUMENTS};
use super::merge::SCRIPT_ID;
use super::outcome::{self, ItemResult};
use crate::sink::Outcome;

/// The index with the versions of truncates. It holds documents for each table and its own index, so that gateways which
/// write one table to several indices, each with other versions, do not delete each other's rows.
const STATE_INDEX: &str = "rowmill-truncates";
/// How often the UUIDs of the tables' indices are asked for.
const UUIDS_INTERVAL: Duration = Duration::from_secs(5);

/// For each table the version of its latest truncate; older rows are deleted.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<Arc<str>, u64>);

impl Floors {
    pub fn raise(&mut self, table: &Arc<str>, version: u64) {
        let floor = self.0.entry(table.clone()).or_default();
        *floor = version.max(*floor);
    }

    /// Removes a truncate with this version, if there is no later one.
    pub fn forget(&mut self, table: &Arc<str>, version: u64) {
        if self.0.get(table) == Some(&version) {
            self.0.remove(table);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The version of the table's latest truncate, if it is newer than this version.
    pub fn above(&self, table: &Arc<str>, version: u64) -> Option<u64> {
        self.0.get(table).copied().filter(|floor| version < *floor)
    }
}

/// What a truncate's version can be compared with: versions that are made in the same way, for documents in the same index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// The table's own index.
    pub index: String,
    /// The strategy that versions are made with.
    pub strategy: String,
    /// The highest part of the version.
    pub epoch: u64,
}

/// A stored version of a truncate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub table: Arc<str>,
    pub scope: Scope,
    /// The UUIDs of the table's own index, several if it is an alias; none if there was no such index.
    pub uuids: Vec<String>,
    pub version: u64,
}

/// All stored versions, and the UUIDs of their indices.
#[derive(Debug)]
pub(super) struct Loaded {
    pub stored: Vec<Stored>,
    uuids: HashMap<String, Vec<String>>,
    at: Instant,
}

impl Loaded {
    /// Why a stored version cannot be compared with those of the table's rows; `None` if it can.
    pub fn difference(&self, stored: &Stored, now: &Scope) -> Option<String> {
        let Scope { strategy, epoch, .. } = &stored.scope;
        let current = self.uuids.get(&stored.scope.index).map_or(&[][..], Vec::as_slice);
        if *strategy != now.strategy {
            return Some(format!("its version was made with the strategy {strategy}, not {}", now.strategy));
        }
        if *epoch > now.epoch {
            return Some(format!("it has epoch {epoch}, and the route has {}", now.epoch));
        }
        if !stored.uuids.is_empty() && !stored.uuids.iter().any(|uuid| current.contains(uuid)) {
            return Some("the index was deleted, or was created again, since then".into());
        }
        None
    }
}

/// Stores a truncate's version for other instances and for the next start.
pub(super) async fn store(client: &Client, table: &str, scope: &Scope, version: u64) -> anyhow::Result<()> {
    if !client.has_index(STATE_INDEX).await? {
        let keyword = json!({ "type": "keyword" });
        let mapping = json!({ "properties": {
            "table": keyword, "index": keyword, "strategy": keyword, "uuids": keyword,
            "epoch": { "type": "long" }, "version": { "type": "long" },
        } });
        client.create_index(STATE_INDEX, Some(&mapping.to_string())).await?;
    }
    let Scope { index, strategy, epoch } = scope;
    let uuids = client.uuids(index).await?;
    let body = json!({
        "table": table, "index": index, "strategy": strategy, "epoch": epoch, "uuids": uuids, "version": version,
    });
    // One document for each thing that versions can be compared in, so that none keeps another from being stored.
    let first = uuids.first().map_or("", String::as_str);
    client.put_state(STATE_INDEX, &format!("{table} {index} {strategy} {first} {epoch}"), version, &body).await
}

/// All stored versions. The UUIDs of the indices are asked for when the stored versions have changed, and now and then.
pub(super) async fn load(client: &Client, last: Option<Arc<Loaded>>) -> anyhow::Result<Arc<Loaded>> {
    let stored = load_stored(client).await?;
    if let Some(last) = last.filter(|last| last.stored == stored && last.at.elapsed() < UUIDS_INTERVAL) {
        return Ok(last);
    }
    let mut uuids = HashMap::new();
    for Stored { scope: Scope { index, .. }, .. } in &stored {
        if !uuids.contains_key(index) {
            uuids.insert(index.clone(), client.uuids(index).await?);
        }
    }
    Ok(Arc::new(Loaded { stored, uuids, at: Instant::now() }))
}

async fn load_stored(client: &Client) -> anyhow::Result<Vec<Stored>> {
    let answer = client.documents_of(STATE_INDEX).await?;
    if answer.status == 404 {
        return Ok(Vec::new());
    }
    anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
    let mut json = answer.json();
    ensure_all_shards(&json)?;
    let Value::Array(hits) = json["hits"]["hits"].take() else { anyhow::bail!("an answer without hits: {json}") };
    anyhow::ensure!(
        hits.len() < MAX_DOCUMENTS,
        "the index {STATE_INDEX} has {MAX_DOCUMENTS} documents or more; delete old ones"
    );
    let stored = hits.iter().filter_map(|hit| {
        let state = &hit["_source"];
        let text = |name: &str| state[name].as_str().map(str::to_string);
        let scope = Scope { index: text("index")?, strategy: text("strategy")?, epoch: state["epoch"].as_u64()? };
        let uuids = state["uuids"].as_array()?.iter().filter_map(|uuid| uuid.as_str().map(str::to_string)).collect();
        Some(Stored { table: state["table"].as_str()?.into(), scope, uuids, version: state["version"].as_u64()? })
    });
    Ok(stored.collect())
}

/// Deletes the documents of rows older than `version`: in the table's own index all of them, in `other_indices` those that
/// are marked as the table's. Returns how many documents were deleted or lost a part.
pub(super) async fn apply(
    client: &Client,
    table: &str,
    index: &str,
    other_indices: &[String],
    version: u64,
) -> anyhow::Result<u64> {
    let indices: Vec<&str> = std::iter::once(index).chain(other_indices.iter().map(String::as_str)).collect();
    let refreshed = client.refresh(&indices.join(",")).await?;
    anyhow::ensure!(refreshed.status == 200, "status {}: {}", refreshed.status, refreshed.body);
    ensure_all_shards(&refreshed.json())?;
    let mut deleted = 0;
    for indices in indices {
        let is_own = indices == index;
        let mut pages = Pages::new(client, indices);
        while let Some(hits) = pages.next().await? {
            let mut body = Vec::new();
            let mut actions = Vec::new();
            for hit in &hits {
                if let Some((action, parts)) = action_on(&hit["_source"]["_rowmill"], table, version, is_own) {
                    write(&mut body, action, hit, version, &parts);
                    actions.push(action);
                }
            }
            if !actions.is_empty() {
                match delete(client, body, &actions).await {
                    Ok(n) => deleted += n,
                    Err(error) => {
                        pages.end().await;
                        return Err(error);
                    }
                }
            }
        }
    }
    Ok(deleted)
}

/// What to do to a document with this mark: remove the table's parts from it, delete it, or nothing.
fn action_on(mark: &Value, table: &str, version: u64, is_own_index: bool) -> Option<(Action, Vec<Value>)> {
    let parts = parts_of(mark, table, version);
    match mark["table"].as_str() {
        _ if !parts.is_empty() => Some((Action::MergeRemove, parts)),
        _ if mark["parts"].is_object() => None,
        Some(marked) if marked != table => None,
        None if !is_own_index => None,
        _ => Some((Action::Delete, parts)),
    }
}

/// Sends a request with these actions. Returns how many of its items changed a document.
async fn delete(client: &Client, body: Vec<u8>, actions: &[Action]) -> anyhow::Result<u64> {
    let answer = client.bulk(Bytes::from(body)).await?.if_permitted("delete documents")?;
    anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
    let mut deleted = 0;
    for (action, item) in actions.iter().zip(bulk::items(&answer.body, actions.len())?) {
        let (error_type, reason) = item.error();
        match outcome::of_item(*action, item.status, error_type, &reason) {
            ItemResult::Settled(Outcome::Written) => deleted += 1,
            // Newer than the truncate: it remains.
            ItemResult::Settled(Outcome::Stale) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(deleted)
}

/// The parts that a table contributes to a merged document, each as the merge script removes it.
fn parts_of(mark: &Value, table: &str, version: u64) -> Vec<Value> {
    let mut parts = Vec::new();
    if mark["parts"][table].is_object() {
        parts.push(json!({ "source": table, "version": version, "fields": {} }));
    }
    let mut item = |array: &str, key: &str| {
        parts.push(json!({ "source": table, "version": version, "array": array, "key": key }));
    };
    for (array, items) in mark["items"].as_object().into_iter().flatten() {
        let of_table = items.as_array().into_iter().flatten().filter(|item| item["s"] == table);
        of_table.filter_map(|one| one["k"].as_str()).for_each(|key| item(array, key));
    }
    for (array, tables) in mark["gone"].as_object().into_iter().flatten() {
        tables[table].as_object().into_iter().flatten().for_each(|(key, _)| item(array, key));
    }
    parts
}

fn write(out: &mut Vec<u8>, action: Action, hit: &Value, version: u64, parts: &[Value]) {
    out.extend_from_slice(if action == Action::Delete {
        b"{\"delete\":{\"_index\":"
    } else {
        b"{\"update\":{\"_index\":"
    });
    literal::write_string(out, hit["_index"].as_str().unwrap_or_default());
    out.extend_from_slice(b",\"_id\":");
    literal::write_string(out, hit["_id"].as_str().unwrap_or_default());
    if let Some(routing) = hit["_routing"].as_str() {
        out.extend_from_slice(b",\"routing\":");
        literal::write_string(out, routing);
    }
    if action == Action::Delete {
        out.extend_from_slice(format!(",\"version\":{version},\"version_type\":\"external\"}}}}\n").as_bytes());
    } else {
        let script = json!({ "scripted_upsert": true, "upsert": {}, "script": { "id": SCRIPT_ID, "params": { "parts": parts } } });
        out.extend_from_slice(format!(",\"retry_on_conflict\":5}}}}\n{script}\n").as_bytes());
    }
}

/// Fails if an answer is without some shards, whose documents it says nothing about.
fn ensure_all_shards(answer: &Value) -> anyhow::Result<()> {
    let failed = answer["_shards"]["failed"].as_u64().unwrap_or(0);
    anyhow::ensure!(failed == 0, "{failed} shards are not available: {}", answer["_shards"]["failures"]);
    Ok(())
}

/// The hits of these indices, page by page; none if they do not exist.
struct Pages<'a> {
    client: &'a Client,
    indices: &'a str,
    scroll: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(client: &'a Client, indices: &'a str) -> Self {
        Self { client, indices, scroll: None }
    }

    /// The next page; `None` after the last. After an error there is nothing to end.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Value>>> {
        let answer = match &self.scroll {
            None => self.client.scroll_start(self.indices).await?,
            Some(scroll) => self.client.scroll_next(scroll).await?,
        };
        if answer.status == 404 && self.scroll.is_none() {
            return Ok(None);
        }
        if answer.status != 200 {
            self.end().await;
            anyhow::bail!("status {}: {}", answer.status, answer.body);
        }
        let mut json = answer.json();
        if let Err(error) = ensure_all_shards(&json) {
            self.end().await;
            return Err(error);
        }
        if let Some(scroll) = json["_scroll_id"].as_str() {
            self.scroll = Some(scroll.into());
        }
        match json["hits"]["hits"].take() {
            Value::Array(hits) if !hits.is_empty() && self.scroll.is_some() => Ok(Some(hits)),
            _ => {
                self.end().await;
                Ok(None)
            }
        }
    }

    async fn end(&mut self) {
        if let Some(scroll) = self.scroll.take() {
            self.client.scroll_end(&scroll).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_some_shards_is_an_error() {
        let answer = |failed: u64| json!({ "_shards": { "total": 5, "successful": 5 - failed, "failed": failed } });
        assert!(ensure_all_shards(&answer(0)).is_ok());
        let error = ensure_all_shards(&answer(2)).expect_err("two shards failed").to_string();
        assert!(error.contains("2 shards"), "{error}");
    }
}
