//! Truncates: documents of older rows of the table are deleted, documents of newer rows remain, in whatever order both
//! arrive.
//!
//! If a topic has several partitions a truncate is not ordered with the rows that it deletes, but its version is. So every
//! document of the table is deleted *with the truncate's version*, which Elasticsearch refuses if the document is newer.
//! Rows that arrive later with an older version are dropped: by this instance, and, since the version is stored in an
//! index, by every other instance and after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rowmill_engine::Action;
use rowmill_sandbox::literal;
use serde_json::{Value, json};

use super::bulk;
use super::client::Client;
use super::merge::SCRIPT_ID;
use super::outcome::{self, ItemResult};
use crate::sink::Outcome;

/// The index with the versions of truncates. It holds a document for each table and its own index, so that gateways which
/// write one table to several indices, each with other versions, do not delete each other's rows.
const STATE_INDEX: &str = "rowmill-truncates";

/// For each table the version of its latest truncate; older rows are dropped.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<Arc<str>, u64>);

impl Floors {
    pub fn raise(&mut self, table: &Arc<str>, version: u64) {
        let floor = self.0.entry(table.clone()).or_default();
        *floor = version.max(*floor);
    }

    pub fn is_below(&self, table: &Arc<str>, version: u64) -> bool {
        !self.0.is_empty() && self.0.get(table).is_some_and(|floor| version < *floor)
    }
}

/// Stores a truncate's version for other instances and for the next start.
pub(super) async fn store(client: &Client, table: &str, index: &str, version: u64) -> anyhow::Result<()> {
    if !client.has_index(STATE_INDEX).await? {
        let mapping = json!({ "properties": { "table": { "type": "keyword" }, "index": { "type": "keyword" }, "version": { "type": "long" } } }).to_string();
        client.create_index(STATE_INDEX, Some(&mapping)).await?;
    }
    let body = json!({ "table": table, "index": index, "version": version });
    client.put_state(STATE_INDEX, &format!("{table} {index}"), version, &body).await
}

/// The stored versions by table, as far as they are for the index that `own_index` returns for the table.
pub(super) async fn load(client: &Client, own_index: impl Fn(&str) -> String) -> anyhow::Result<Vec<(Arc<str>, u64)>> {
    let mut floors = Vec::new();
    for_each_page(client, STATE_INDEX, async |hits| {
        for hit in hits {
            let state = &hit["_source"];
            if let (Some(table), Some(index), Some(version)) =
                (state["table"].as_str(), state["index"].as_str(), state["version"].as_u64())
                && own_index(table) == index
            {
                floors.push((table.into(), version));
            }
        }
        Ok(())
    })
    .await?;
    Ok(floors)
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
    client.refresh(&indices.join(",")).await?;
    let mut deleted = 0;
    for indices in indices {
        let is_own = indices == index;
        for_each_page(client, indices, async |hits| {
            let mut body = Vec::new();
            let mut actions = Vec::new();
            for hit in &hits {
                if let Some((action, parts)) = action_on(&hit["_source"]["_rowmill"], table, version, is_own) {
                    write(&mut body, action, hit, version, &parts);
                    actions.push(action);
                }
            }
            if !actions.is_empty() {
                deleted += delete(client, body, &actions).await?;
            }
            Ok(())
        })
        .await?;
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
    let answer = client.bulk(Bytes::from(body)).await?;
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

/// Calls `page` with the hits of every page of these indices; never if they do not exist.
async fn for_each_page(
    client: &Client,
    indices: &str,
    mut page: impl AsyncFnMut(Vec<Value>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut answer = client.scroll_start(indices).await?;
    let mut scroll = None;
    let result = loop {
        if answer.status == 404 && scroll.is_none() {
            break Ok(());
        }
        if answer.status != 200 {
            break Err(anyhow::anyhow!("status {}: {}", answer.status, answer.body));
        }
        let mut json = answer.json();
        scroll = json["_scroll_id"].as_str().map(str::to_string).or(scroll);
        let hits = match json["hits"]["hits"].take() {
            Value::Array(hits) if !hits.is_empty() => hits,
            _ => break Ok(()),
        };
        if let Err(error) = page(hits).await {
            break Err(error);
        }
        answer = match &scroll {
            Some(scroll) => client.scroll_next(scroll).await?,
            None => break Ok(()),
        };
    };
    if let Some(scroll) = scroll {
        client.scroll_end(&scroll).await;
    }
    result
}
