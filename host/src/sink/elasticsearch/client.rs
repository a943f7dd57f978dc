//! Elasticsearch over HTTP, through its official client: the few requests that Rowmill makes.

mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use elasticsearch::auth::Credentials as ClientCredentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde_json::{Value, json};

use self::nodes::Nodes;
use super::merge::{SCRIPT, SCRIPT_ID};
use crate::config::{Credentials, ElasticsearchConfig};

/// How long Elasticsearch remembers a delete, so that an older write that arrives late cannot restore the document. The
/// default of 60 seconds is shorter than a retry or a slow partition may take.
const GC_DELETES: &str = "1h";

/// The most documents that a search may return without a scroll.
pub(super) const MAX_DOCUMENTS: usize = 10_000;

/// A bulk request waits for shards for this share of `sink.timeout`…
const SHARD_WAIT_SHARE: u64 = 6;
/// … and at most this long.
const MAX_SHARD_WAIT: Duration = Duration::from_secs(10);

/// Elasticsearch refuses access, or its certificate is not trusted. Retrying does not help; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Elasticsearch refuses one request for lack of a privilege; the text says which and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NoAnswer {
    reason: String,
    /// Whether the time ended. Otherwise the connection failed.
    pub is_timeout: bool,
}

/// Elasticsearch cannot answer the request at present; the text is its answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Busy(String);

/// An answer: its status and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Fails if the cluster cannot answer at present ([`Busy`]), so that the request has to be repeated.
    fn unless_busy(self) -> anyhow::Result<Self> {
        let is_blocked = self.status == 403 && self.body.contains("cluster_block_exception");
        if is_blocked || matches!(self.status, 429 | 500..) {
            anyhow::bail!(Busy(format!("status {}: {}", self.status, self.body)));
        }
        Ok(self)
    }

    /// The same; also fails if the credentials are refused ([`Refused`]), or this request is ([`Forbidden`]). `request` names
    /// the request.
    pub(super) fn if_permitted(self, request: &str) -> anyhow::Result<Self> {
        let answer = self.unless_busy()?;
        if matches!(answer.status, 401 | 403) {
            let reason = answer.json()["error"]["reason"].as_str().unwrap_or_default().to_string();
            let text = format!(
                "Elasticsearch refuses to {request} (status {}, {reason}); check sink.username, sink.password or sink.api_key, \
                 and the role's privileges",
                answer.status
            );
            return Err(if answer.status == 401 { Refused(text).into() } else { Forbidden(text).into() });
        }
        Ok(answer)
    }
}

/// A client of one cluster.
#[derive(Clone, Debug)]
pub struct Client {
    nodes: Arc<Nodes>,
    /// How long a request may take, in milliseconds; shared with clones.
    timeout: Arc<AtomicU64>,
}

impl Client {
    /// A client for the configured cluster; it does not connect yet.
    ///
    /// # Errors
    /// The certificate authority cannot be read, or the client cannot be built.
    pub fn new(config: &ElasticsearchConfig) -> anyhow::Result<Self> {
        let transports: anyhow::Result<Vec<Transport>> = config.urls.iter().map(|url| transport(config, url)).collect();
        Ok(Self {
            nodes: Arc::new(Nodes::new(transports?)),
            timeout: Arc::new(AtomicU64::new(milliseconds(config.bulk.timeout))),
        })
    }

    /// Changes how long a request of this client and its clones may take. Requests in flight keep their time.
    pub fn set_timeout(&self, timeout: Duration) {
        self.timeout.store(milliseconds(timeout), Ordering::Relaxed);
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content_type: &'static str,
        body: Option<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let timeout = Duration::from_millis(self.timeout.load(Ordering::Relaxed));
        let mut result = Err(anyhow::anyhow!("there is no node"));
        for node in self.nodes.candidates() {
            let transport = self.nodes.transport(node);
            let answer = async {
                let (headers, body) = (headers.clone(), body.clone());
                let response = transport.send(method, path, headers, Some(&query), body, Some(timeout)).await?;
                Ok::<_, elasticsearch::Error>(Answer {
                    status: response.status_code().as_u16(),
                    body: response.text().await?,
                })
            };
            match answer.await {
                Ok(answer) => {
                    self.nodes.note(node, true);
                    return Ok(answer);
                }
                Err(error) => {
                    self.nodes.note(node, false);
                    let is_timeout = error.is_timeout();
                    result = Err(plain(error));
                    // The whole time is over.
                    if is_timeout {
                        break;
                    }
                }
            }
        }
        result
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        self.send(method, path, query, "application/json", body.map(|body| Bytes::from(body.to_string()))).await
    }

    /// Posts a request with a JSON body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.json(Method::Post, path, &[], Some(body)).await
    }

    /// The settings of an index, or of those of an alias.
    pub(super) async fn settings(&self, index: &str) -> anyhow::Result<Answer> {
        self.json(Method::Get, &path(index, "/_settings"), &[("flat_settings", "true")], None).await
    }

    /// Sends a bulk request.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn bulk(&self, body: Bytes) -> anyhow::Result<Answer> {
        // Only the needed fields of the answer, which has a line for every item.
        let fields = "errors,items.*.status,items.*.result,items.*.error.type,items.*.error.reason,items.*.error.caused_by,error,status";
        // A request waits this long for shards that are not available, and all its items with it.
        let wait = Duration::from_millis(self.timeout.load(Ordering::Relaxed) / SHARD_WAIT_SHARE).min(MAX_SHARD_WAIT);
        let wait = format!("{}ms", wait.as_millis().max(1));
        let query = [("filter_path", fields), ("timeout", wait.as_str())];
        self.send(Method::Post, "/_bulk", &query, "application/x-ndjson", Some(body)).await
    }

    /// The cluster's version.
    ///
    /// # Errors
    /// There was no answer, or access is refused ([`Refused`]).
    pub async fn version(&self) -> anyhow::Result<String> {
        let answer = self.json(Method::Get, "/", &[], None).await?;
        match answer.status {
            200 => Ok(answer.json()["version"]["number"].as_str().unwrap_or("unknown").to_string()),
            401 | 403 => {
                let reason = answer.json()["error"]["reason"].as_str().unwrap_or_default().to_string();
                anyhow::bail!(Refused(format!(
                    "access is refused (status {}{}{reason}); check sink.username and sink.password, or sink.api_key, and the role's privileges",
                    answer.status,
                    if reason.is_empty() { "" } else { ", " },
                )))
            }
            status => anyhow::bail!("status {status}: {}", answer.body),
        }
    }

    /// Whether an index, or an alias of it, exists.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn has_index(&self, index: &str) -> anyhow::Result<bool> {
        let answer = self.json(Method::Head, &path(index, ""), &[], None).await?;
        Ok(answer.if_permitted(&format!("look up the index {index}"))?.status == 200)
    }

    /// Creates an index with a mapping. The answer says if it exists already.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn create_index(&self, index: &str, mapping: Option<&str>) -> anyhow::Result<Answer> {
        let mut mappings: Value = match mapping {
            Some(mapping) => serde_json::from_str(mapping).context("the mapping is not JSON")?,
            None => json!({ "date_detection": false }),
        };
        // Rowmill's metadata in a document is read from the source, never searched.
        mappings["properties"]["_rowmill"] = json!({ "type": "object", "enabled": false });
        let body = json!({
            // The database decides which values are valid. One that the mapping cannot index (a zero date) stays in the
            // document and is listed in its `_ignored`; otherwise the whole row would be rejected.
            "settings": { "index.gc_deletes": GC_DELETES, "index.mapping.ignore_malformed": true },
            "mappings": mappings,
        });
        let answer = self.json(Method::Put, &path(index, ""), &[], Some(&body)).await?;
        answer.if_permitted(&format!("create the index {index}"))
    }

    /// Raises `gc_deletes` of an existing index. Returns true if it is now at least an hour.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn raise_gc_deletes(&self, index: &str) -> anyhow::Result<bool> {
        let settings = self.json(Method::Get, &path(index, "/_settings"), &[("flat_settings", "true")], None).await?;
        let settings = settings.unless_busy()?.json();
        let every = settings
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, index)| index["settings"]["index.gc_deletes"].as_str().unwrap_or("60s").to_string());
        if every
            .into_iter()
            .all(|time| humantime::parse_duration(&time).is_ok_and(|time| time >= Duration::from_secs(3600)))
        {
            return Ok(true);
        }
        let answer = self
            .json(Method::Put, &path(index, "/_settings"), &[], Some(&json!({ "index.gc_deletes": GC_DELETES })))
            .await?;
        Ok(answer.unless_busy()?.status == 200)
    }

    /// Stores the script that merges documents.
    ///
    /// # Errors
    /// There was no answer, or the script was rejected.
    pub async fn store_script(&self) -> anyhow::Result<()> {
        let body = json!({ "script": { "lang": "painless", "source": SCRIPT } });
        let answer = self.json(Method::Put, &format!("/_scripts/{SCRIPT_ID}"), &[], Some(&body)).await?;
        let answer = answer.if_permitted("store the merge script")?;
        anyhow::ensure!(answer.status == 200, "Elasticsearch rejected the merge script: {}", answer.body);
        Ok(())
    }

    /// Makes all writes visible to searches.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn refresh(&self, index: &str) -> anyhow::Result<Answer> {
        self.json(
            Method::Post,
            &path(index, "/_refresh"),
            &[("ignore_unavailable", "true"), ("allow_no_indices", "true")],
            None,
        )
        .await
    }

    /// The number of documents in an index; `None` if it does not exist.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn count(&self, index: &str) -> anyhow::Result<Option<u64>> {
        let answer = self.json(Method::Get, &path(index, "/_count"), &[], None).await?;
        Ok(answer.json()["count"].as_u64())
    }

    /// A document's source, if the document exists.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn document(&self, index: &str, id: &str) -> anyhow::Result<Option<String>> {
        let answer = self.json(Method::Get, &path(index, &format!("/_source/{}", encode(id))), &[], None).await?;
        Ok((answer.status == 200).then_some(answer.body))
    }

    /// Writes a document of Rowmill's own with an external version, unless the existing one is newer.
    ///
    /// # Errors
    /// There was no answer, or the document was rejected.
    pub async fn put_state(&self, index: &str, id: &str, version: u64, body: &Value) -> anyhow::Result<()> {
        let version = version.to_string();
        let query = [("version", version.as_str()), ("version_type", "external_gte"), ("refresh", "true")];
        let answer = self.json(Method::Put, &path(index, &format!("/_doc/{}", encode(id))), &query, Some(body)).await?;
        let answer = answer.if_permitted(&format!("write to the index {index}"))?;
        anyhow::ensure!(matches!(answer.status, 200 | 201 | 409), "status {}: {}", answer.status, answer.body);
        Ok(())
    }

    /// All documents of a small index, in one answer of at most `MAX_DOCUMENTS`.
    ///
    /// # Errors
    /// There was no answer, or access is refused ([`Refused`], [`Forbidden`]).
    pub async fn documents_of(&self, index: &str) -> anyhow::Result<Answer> {
        let body = json!({ "size": MAX_DOCUMENTS });
        let answer = self.post(&path(index, "/_search"), &body).await?;
        answer.if_permitted(&format!("search the index {index}"))
    }

    /// The first page of all documents of these indices: hits with ID, index, version and Rowmill's metadata.
    ///
    /// # Errors
    /// There was no answer, or access is refused ([`Refused`], [`Forbidden`]).
    pub async fn scroll_start(&self, indices: &str) -> anyhow::Result<Answer> {
        let body = json!({ "size": 1000, "sort": ["_doc"], "version": true, "_source": ["_rowmill", "_rowmill.*"] });
        // A closed index is an error, so that its documents are not taken for missing.
        let query = [("scroll", "5m"), ("allow_no_indices", "true")];
        let answer = self.json(Method::Post, &path(indices, "/_search"), &query, Some(&body)).await?;
        answer.if_permitted(&format!("search the index {indices}"))
    }

    /// The next page.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn scroll_next(&self, scroll_id: &str) -> anyhow::Result<Answer> {
        self.json(Method::Post, "/_search/scroll", &[], Some(&json!({ "scroll": "5m", "scroll_id": scroll_id }))).await
    }

    /// Ends a scroll. Errors are ignored: the scroll also expires.
    pub async fn scroll_end(&self, scroll_id: &str) {
        let _ = self.json(Method::Delete, "/_search/scroll", &[], Some(&json!({ "scroll_id": scroll_id }))).await;
    }
}

/// A transport to one node.
fn transport(config: &ElasticsearchConfig, url: &Url) -> anyhow::Result<Transport> {
    let builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.clone()));
    let mut builder = builder.disable_proxy().request_body_compression(config.gzip).timeout(config.bulk.timeout);
    builder = match &config.credentials {
        None => builder,
        Some(Credentials::Basic(user, password)) => {
            builder.auth(ClientCredentials::Basic(user.clone(), password.0.clone()))
        }
        Some(Credentials::ApiKey(key)) => builder.auth(ClientCredentials::EncodedApiKey(key.0.clone())),
    };
    if let Some(path) = &config.ca {
        let pem = std::fs::read(path).with_context(|| format!("cannot read sink.ca {}", path.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .with_context(|| format!("sink.ca {} is not a PEM certificate", path.display()))?;
        builder = builder.cert_validation(CertificateValidation::Full(certificate));
    }
    builder.build().context("cannot build the Elasticsearch client")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An error of the client with all its causes on one line, and no backtrace.
fn plain(error: elasticsearch::Error) -> anyhow::Error {
    let is_timeout = error.is_timeout();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = next.source();
    }
    if text.contains("certificate") {
        return Refused(format!(
            "its certificate is not trusted ({text}); set sink.ca to a PEM file with the authority that signed it, and use the host name in sink.urls that it was issued for"
        ))
        .into();
    }
    NoAnswer { reason: text, is_timeout }.into()
}

fn path(index: &str, rest: &str) -> String {
    format!("/{}{rest}", index.split(',').map(|index| encode(index).replace("%2A", "*")).collect::<Vec<_>>().join(","))
}

/// Encodes a text as one segment of a path.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
