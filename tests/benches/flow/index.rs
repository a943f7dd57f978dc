//! The index in Elasticsearch: deleted and created between rounds, counted, and watched for what a search sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rowmill_tests::elasticsearch::Elasticsearch;
use serde_json::{Value, json};

use crate::events::FIRST_ID;
use crate::process::INDEX;

/// How often a search asks for the newest visible document.
const POLL: Duration = Duration::from_millis(20);

/// How many documents a search returns.
const PAGE: usize = 5_000;

/// The index.
pub struct Index {
    server: Elasticsearch,
    name: String,
}

/// A document in the index.
#[derive(Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its version.
    pub version: u64,
    /// Its content.
    pub source: Value,
}

impl Index {
    /// The gateways' index on the server of this URL.
    pub fn new(url: &str) -> Self {
        Self::named(url, INDEX)
    }

    /// The index with this name.
    pub fn named(url: &str, name: &str) -> Self {
        Self { server: Elasticsearch::at(url), name: name.into() }
    }

    /// All documents, by the number of the document, which is its ID less that of document 0.
    ///
    /// # Errors
    /// A search fails, or a document is not one of the benchmark's.
    pub fn documents(&self) -> anyhow::Result<BTreeMap<u64, Stored>> {
        let name = &self.name;
        self.server.ask("POST", &format!("/{name}/_refresh"), None);
        // An index without documents has no field to sort by.
        let sort = json!([{ "id": { "unmapped_type": "long" } }]);
        let mut query = json!({ "size": PAGE, "version": true, "sort": sort, "track_total_hits": false });
        let mut documents = BTreeMap::new();
        loop {
            let (status, mut answer) = self.server.ask("POST", &format!("/{name}/_search"), Some(&query));
            ensure!(status == 200, "{answer}");
            let hits = answer["hits"]["hits"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let Some(last) = hits.last() else { return Ok(documents) };
            query["search_after"] = last["sort"].clone();
            for mut hit in hits {
                let id: Option<u64> = hit["_id"].as_str().and_then(|id| id.parse().ok());
                let document = id.and_then(|id| id.checked_sub(FIRST_ID)).context("the ID of a document")?;
                let version = hit["_version"].as_u64().context("the version of a document")?;
                documents.insert(document, Stored { version, source: hit["_source"].take() });
            }
        }
    }

    /// Deletes the index, if it exists.
    pub fn delete(&self) {
        self.server.ask("DELETE", &format!("/{}", self.name), None);
    }

    /// The mapping and the settings of the index, as another one can be created with them.
    pub fn definition(&self) -> Value {
        let name = self.name.as_str();
        let of = |path: &str| self.server.ask("GET", &format!("/{name}/{path}"), None).1[name].take();
        let mappings = of("_mapping")["mappings"].take();
        let mut settings = of("_settings?flat_settings=true")["settings"].take();
        if let Some(settings) = settings.as_object_mut() {
            const OF_ONE_INDEX: [&str; 4] = ["uuid", "version", "creation_date", "provided_name"];
            settings.retain(|key, _| !OF_ONE_INDEX.contains(&key.split('.').nth(1).unwrap_or_default()));
        }
        json!({ "mappings": mappings, "settings": settings })
    }

    /// Creates the index.
    ///
    /// # Errors
    /// Elasticsearch refuses it.
    pub fn create(&self, definition: &Value) -> anyhow::Result<()> {
        let (status, answer) = self.server.ask("PUT", &format!("/{}", self.name), Some(definition));
        ensure!(status == 200, "the index cannot be created: {answer}");
        Ok(())
    }

    /// Fails unless the index has this many documents.
    ///
    /// # Errors
    /// It has more or fewer.
    pub fn check_count(&self, expected: u64) -> anyhow::Result<()> {
        self.server.ask("POST", &format!("/{}/_refresh", self.name), None);
        let count = self.server.ask("GET", &format!("/{}/_count", self.name), None).1["count"].as_u64();
        ensure!(count == Some(expected), "Elasticsearch has {count:?} documents, expected {expected}");
        Ok(())
    }

    /// The highest number of an event whose document a search finds.
    pub fn newest(&self) -> Option<u64> {
        let query = json!({ "size": 0, "aggs": { "newest": { "max": { "field": "id" } } } });
        let answer = self.server.ask("POST", &format!("/{}/_search", self.name), Some(&query)).1;
        let id = answer["aggregations"]["newest"]["value"].as_f64()?;
        (id as u64).checked_sub(FIRST_ID)
    }
}

/// Asks repeatedly which documents a search finds.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(Instant, u64)>>,
}

impl Watch {
    /// Starts to ask.
    pub fn start(url: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (url, stopped) = (url.to_string(), stop.clone());
        let thread = std::thread::spawn(move || {
            let index = Index::new(&url);
            let mut seen: Vec<(Instant, u64)> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let newest = index.newest();
                if let Some(newest) = newest.filter(|newest| seen.last().is_none_or(|(_, last)| newest > last)) {
                    seen.push((Instant::now(), newest));
                }
                std::thread::sleep(POLL);
            }
            seen
        });
        Self { stop, thread }
    }

    /// Stops, and returns each answer with a newer document than those before: its time, and the number of the event.
    ///
    /// # Errors
    /// Elasticsearch did not answer.
    pub fn stop(self) -> anyhow::Result<Vec<(Instant, u64)>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("Elasticsearch does not answer searches"))
    }
}
