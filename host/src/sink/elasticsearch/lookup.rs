//! Reads single documents, as they are now and not as the last refresh shows them.

use serde_json::{Value, json};

use super::client::Client;

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

fn found(doc: &Value) -> anyhow::Result<Option<Found>> {
    match doc["error"]["type"].as_str() {
        None | Some("index_not_found_exception") => {}
        Some(_) => anyhow::bail!("{}", doc["error"]),
    }
    let version = doc["_version"].as_u64().filter(|_| doc["found"] == true);
    Ok(version.map(|version| Found { version, source: doc["_source"].clone() }))
}
