//! Reads single documents, as they are now and not as the last refresh shows them.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;

/// For how long Elasticsearch remembers deletes in an index without a setting.
const DEFAULT_GC_DELETES: Duration = Duration::from_secs(60);

/// A document to read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The index, or an alias of it.
    pub index: String,
    /// The document's ID.
    pub id: String,
    /// The routing value that it was written with.
    pub routing: Option<String>,
}

/// A document that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its version.
    pub version: u64,
    /// Its source; `null` if it was not asked for.
    pub source: Value,
}

impl Client {
    /// The documents in the order of `wanted`; `None` for one that does not exist. `with_source` also returns their sources.
    ///
    /// # Errors
    /// There was no answer, or another one than expected.
    pub async fn documents(&self, wanted: &[Wanted], with_source: bool) -> anyhow::Result<Vec<Option<Found>>> {
        let docs: Vec<Value> = wanted
            .iter()
            .map(|one| {
                let mut doc = json!({ "_index": one.index, "_id": one.id, "_source": with_source });
                if let Some(routing) = &one.routing {
                    doc["routing"] = routing.as_str().into();
                }
                doc
            })
            .collect();
        let answer = self.post("/_mget", &json!({ "docs": docs })).await?;
        let body = answer.json();
        let docs = body["docs"].as_array().filter(|docs| answer.status == 200 && docs.len() == wanted.len());
        let docs = docs.ok_or_else(|| anyhow::anyhow!("status {}: {}", answer.status, answer.body))?;
        docs.iter().map(found).collect()
    }
}

impl Client {
    /// The UUID of an index, or those of the indices behind an alias, sorted; none if there is no such index.
    ///
    /// # Errors
    /// There was no answer, or another one than expected.
    pub async fn uuids(&self, index: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.settings(index).await?.if_permitted(&format!("read the settings of the index {index}"))?;
        match answer.status {
            200 => {}
            404 => return Ok(Vec::new()),
            status => anyhow::bail!("status {status}: {}", answer.body),
        }
        let settings = answer.json();
        let all = settings.as_object().into_iter().flatten();
        let mut uuids: Vec<String> =
            all.filter_map(|(_, index)| index["settings"]["index.uuid"].as_str().map(str::to_string)).collect();
        uuids.sort_unstable();
        Ok(uuids)
    }

    /// For how long an index remembers deletes, the shortest time if the name is an alias of several; `None` if there is no
    /// such index.
    ///
    /// # Errors
    /// There was no answer, or another one than expected.
    pub async fn gc_deletes(&self, index: &str) -> anyhow::Result<Option<Duration>> {
        let answer = self.settings(index).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            status => anyhow::bail!("status {status}: {}", answer.body),
        }
        let settings = answer.json();
        let times = settings.as_object().into_iter().flatten().map(|(_, index)| {
            let time = index["settings"]["index.gc_deletes"].as_str();
            time.map_or(Ok(DEFAULT_GC_DELETES), humantime::parse_duration)
        });
        Ok(times.map(|time| time.unwrap_or(Duration::ZERO)).min())
    }
}

fn found(doc: &Value) -> anyhow::Result<Option<Found>> {
    match doc["error"]["type"].as_str() {
        None | Some("index_not_found_exception") => {}
        Some(_) => anyhow::bail!("{}", doc["error"]),
    }
    let version = doc["_version"].as_u64().filter(|_| doc["found"] == true);
    Ok(version.map(|version| Found { version, source: doc["_source"].clone() }))
}
