//! Truncates: older rows of the table go, newer ones stay, whatever the order in which both arrive.
//!
//! A truncate is not ordered with the rows that it removes when a topic has several partitions. Its version is: so every
//! document that the table's rows left is deleted *with the truncate's version*, which Elasticsearch refuses for a
//! document that is newer; and rows that come later with an older version are dropped, by this instance and, since the
//! version is kept in an index, by every other and after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rowmill_sandbox::literal;
use serde_json::{Value, json};

use super::client::Client;
use super::merge::SCRIPT_ID;
use super::outcome::{self, Outcome};
use crate::operation::Action;

/// The index in which the versions of truncates are kept: a document for each table and index of its own, so that
/// gateways that bring one table into several indices, each with versions of its own, do not cut each other's rows.
const STATE_INDEX: &str = "rowmill-truncates";

/// For each table the version of its latest truncate; rows below it are gone.
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

/// Keeps a truncate's version for other instances and the next start.
pub(super) async fn keep(client: &Client, table: &str, index: &str, version: u64) -> anyhow::Result<()> {
    if !client.has_index(STATE_INDEX).await? {
        let mapping = json!({ "properties": { "table": { "type": "keyword" }, "index": { "type": "keyword" }, "version": { "type": "long" } } }).to_string();
        client.create_index(STATE_INDEX, Some(&mapping)).await?;
    }
    let body = json!({ "table": table, "index": index, "version": version });
    client.put_state(STATE_INDEX, &format!("{table} {index}"), version, &body).await
}

/// All versions that were kept for tables where they have the index of their own that `own_index` tells.
pub(super) async fn load(
    client: &Client,
    own_index: &(dyn Fn(&str) -> String + Send + Sync),
) -> anyhow::Result<Vec<(Arc<str>, u64)>> {
    let mut floors = Vec::new();
    each_page(client, STATE_INDEX, async |hits| {
        for hit in hits {
            let kept = &hit["_source"];
            if let (Some(table), Some(index), Some(version)) =
                (kept["table"].as_str(), kept["index"].as_str(), kept["version"].as_u64())
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

/// Deletes what rows older than `version` left: in the table's own index, and in `others` what is marked as the table's.
/// Returns how many documents went or lost a part.
pub(super) async fn apply(
    client: &Client,
    table: &str,
    index: &str,
    others: &[String],
    version: u64,
) -> anyhow::Result<u64> {
    let mut indices = vec![index.to_string()];
    indices.extend(others.iter().cloned());
    client.refresh(&indices.join(",")).await?;
    let mut gone = 0;
    for indices in indices {
        let own = indices == index;
        each_page(client, &indices, async |hits| {
            let mut body = Vec::new();
            let mut actions = Vec::new();
            for hit in &hits {
                let mark = &hit["_source"]["_rowmill"];
                let parts = parts_of(mark, table, version);
                let action = match (mark["table"].as_str(), !parts.is_empty(), mark["parts"].is_object()) {
                    (_, true, _) => Action::MergeRemove,
                    (_, false, true) => continue,
                    (Some(marked), ..) if marked != table => continue,
                    (None, ..) if !own => continue,
                    _ => Action::Delete,
                };
                write(&mut body, action, hit, version, &parts);
                actions.push(action);
            }
            if actions.is_empty() {
                return Ok(());
            }
            let answer = client.bulk(Bytes::from(body)).await?;
            anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
            let items = answer.json();
            for (place, action) in actions.iter().enumerate() {
                let item = items["items"][place]
                    .as_object()
                    .and_then(|item| item.values().next())
                    .cloned()
                    .unwrap_or_default();
                let status = item["status"].as_u64().unwrap_or(0) as u16;
                let error = &item["error"];
                match outcome::of_item(
                    *action,
                    status,
                    error["type"].as_str().unwrap_or_default(),
                    error["reason"].as_str().unwrap_or_default(),
                ) {
                    Outcome::Written => gone += 1,
                    // Newer than the truncate: it stays.
                    Outcome::Stale => {}
                    other => anyhow::bail!("{other:?}"),
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(gone)
}

/// What a table gave to a merged document, each part as the merge script takes it out.
fn parts_of(mark: &Value, table: &str, version: u64) -> Vec<Value> {
    let mut parts = Vec::new();
    if mark["parts"][table].is_object() {
        parts.push(json!({ "source": table, "version": version, "fields": {} }));
    }
    for (array, items) in mark["items"].as_object().into_iter().flatten() {
        for item in items.as_array().into_iter().flatten().filter(|item| item["s"] == table) {
            parts.push(json!({ "source": table, "version": version, "array": array, "key": item["k"] }));
        }
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

/// Calls `page` with the hits of every page of some indices; none if they are not there.
async fn each_page(
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
