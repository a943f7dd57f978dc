//! Elasticsearch, or the embedded store, as a test looks into it: over HTTP, by nothing of Rowmill's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// Names a real Elasticsearch.
pub const VARIABLE: &str = "ROWMILL_TEST_ELASTICSEARCH";

/// A server.
#[derive(Debug)]
pub struct Elasticsearch {
    /// Where it is.
    pub url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// A document as a search gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its version.
    pub version: u64,
    /// Its source.
    pub source: Value,
}

/// Says that a test is skipped for want of a server.
#[allow(clippy::print_stdout, reason = "what a person who runs the tests should see")]
pub fn skip(variable: &str) {
    println!("skipped: {variable} names no server; run make test");
}

impl Elasticsearch {
    /// The real server, if the environment names one; else says that the test is skipped.
    pub fn real() -> Option<Self> {
        match std::env::var(VARIABLE) {
            Ok(url) if !url.is_empty() => Some(Self::at(&url)),
            _ => {
                skip(VARIABLE);
                None
            }
        }
    }

    /// The server at an address.
    ///
    /// # Panics
    /// No client can be made.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').into(),
            client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client"),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        }
    }

    /// Sends a request; returns the status and the body, `null` if it is not JSON.
    ///
    /// # Panics
    /// There is no answer.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        });
        let (status, text) = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Every document of an index by its id, refreshed; none where there is no index.
    ///
    /// # Panics
    /// The search fails, or there are more than 10 000.
    #[track_caller]
    pub fn documents(&self, index: &str) -> BTreeMap<String, Document> {
        if self.ask("POST", &format!("/{index}/_refresh"), None).0 == 404 {
            return BTreeMap::new();
        }
        let query = json!({ "size": 10_000, "version": true, "track_total_hits": true });
        let (status, answer) = self.ask("POST", &format!("/{index}/_search"), Some(&query));
        assert_eq!(status, 200, "{answer}");
        let hits = answer["hits"]["hits"].as_array().expect("hits");
        assert_eq!(answer["hits"]["total"]["value"].as_u64(), Some(hits.len() as u64), "a page holds them all");
        hits.iter()
            .map(|hit| {
                let version = hit["_version"].as_u64().expect("a version");
                (hit["_id"].as_str().expect("an id").to_string(), Document { version, source: hit["_source"].clone() })
            })
            .collect()
    }

    /// The sources of all documents of an index by id.
    #[track_caller]
    pub fn sources(&self, index: &str) -> BTreeMap<String, Value> {
        self.documents(index).into_iter().map(|(id, document)| (id, document.source)).collect()
    }
}
