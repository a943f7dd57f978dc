//! Elasticsearch, or the embedded store, as a test looks into it: over HTTP, by nothing of Rowmill's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::given;
use crate::secured::{PASSWORD, Secured, USER};

/// Names a real Elasticsearch.
pub const VARIABLE: &str = "ROWMILL_TEST_ELASTICSEARCH";

/// A server.
#[derive(Debug)]
pub struct Elasticsearch {
    /// Where it is.
    pub url: String,
    /// Whether it asks who one is.
    secured: bool,
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

impl Elasticsearch {
    /// The real server that the environment names.
    ///
    /// # Panics
    /// The environment names none.
    pub fn real() -> Self {
        Self::at(&given(VARIABLE))
    }

    /// The server at an address.
    ///
    /// # Panics
    /// No client can be made.
    pub fn at(url: &str) -> Self {
        Self::with(url, reqwest::Client::builder(), false)
    }

    /// A server that asks who one is.
    ///
    /// # Panics
    /// The authority of its certificate cannot be read.
    pub fn secured(server: &Secured) -> Self {
        let pem = std::fs::read(server.ca()).expect("the authority's certificate");
        let ca = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        Self::with(&server.address, reqwest::Client::builder().add_root_certificate(ca), true)
    }

    fn with(url: &str, client: reqwest::ClientBuilder, secured: bool) -> Self {
        Self {
            url: url.trim_end_matches('/').into(),
            secured,
            client: client.no_proxy().timeout(Duration::from_secs(60)).build().expect("a client"),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        }
    }

    /// Sends a request; returns the status and the body, `null` if it is not JSON.
    ///
    /// # Panics
    /// There is no answer.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, text) = self.send(method, path, body.map(Value::to_string));
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Sends a request whose body is JSON, or lines of it; returns the status and the text of the answer.
    ///
    /// # Panics
    /// There is no answer.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: Option<String>) -> (u16, String) {
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if self.secured {
            request = request.basic_auth(USER, Some(PASSWORD));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        });
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
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
