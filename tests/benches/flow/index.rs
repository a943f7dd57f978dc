//! The index in Elasticsearch: deleted and created between rounds, counted, and watched for what a search sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rowmill_tests::elasticsearch::Elasticsearch;
use serde_json::{Value, json};

use crate::events::FIRST_ID;
use crate::process::INDEX;

/// How often a search asks for the newest visible document.
const POLL: Duration = Duration::from_millis(20);

/// The index.
pub struct Index {
    server: Elasticsearch,
}

impl Index {
    /// The index on the server of this URL.
    pub fn new(url: &str) -> Self {
        Self { server: Elasticsearch::at(url) }
    }

    /// Deletes the index, if it exists.
    pub fn delete(&self) {
        self.server.ask("DELETE", &format!("/{INDEX}"), None);
    }

    /// The mapping and the settings of the index, as another one can be created with them.
    pub fn definition(&self) -> Value {
        let of = |path: &str| self.server.ask("GET", &format!("/{INDEX}/{path}"), None).1[INDEX].take();
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
        let (status, answer) = self.server.ask("PUT", &format!("/{INDEX}"), Some(definition));
        ensure!(status == 200, "the index cannot be created: {answer}");
        Ok(())
    }

    /// Fails unless the index has this many documents.
    ///
    /// # Errors
    /// It has more or fewer.
    pub fn check_count(&self, expected: u64) -> anyhow::Result<()> {
        self.server.ask("POST", &format!("/{INDEX}/_refresh"), None);
        let count = self.server.ask("GET", &format!("/{INDEX}/_count"), None).1["count"].as_u64();
        ensure!(count == Some(expected), "Elasticsearch has {count:?} documents, expected {expected}");
        Ok(())
    }

    /// The highest number of an event whose document a search finds.
    pub fn newest(&self) -> Option<u64> {
        let query = json!({ "size": 0, "aggs": { "newest": { "max": { "field": "id" } } } });
        let answer = self.server.ask("POST", &format!("/{INDEX}/_search"), Some(&query)).1;
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
