//! `[sink]`: the keys as written, and the validated settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::{Secret, Size, address, duration, one_of, secret};
use crate::config::{Result, error};

/// Where documents go.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SinkConfig {
    /// An Elasticsearch cluster.
    Elasticsearch(ElasticsearchConfig),
    /// The in-memory store in this process.
    Embedded {
        /// The address that it listens on.
        listen: SocketAddr,
        /// Batches and retries, as for Elasticsearch.
        #[serde(flatten)]
        bulk: BulkConfig,
    },
    /// Lines of JSON in a file, or on standard output (`-`).
    Ndjson {
        /// The file, which is appended to.
        path: PathBuf,
    },
    /// Operations are counted and discarded.
    Null,
}

impl SinkConfig {
    /// Batches and retries; the defaults for a sink without these settings.
    pub fn bulk(&self) -> BulkConfig {
        match self {
            Self::Elasticsearch(elasticsearch) => elasticsearch.bulk,
            Self::Embedded { bulk, .. } => *bulk,
            _ => BulkConfig::default(),
        }
    }
}

/// An Elasticsearch cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ElasticsearchConfig {
    /// Its nodes.
    #[serde(serialize_with = "as_strings")]
    pub urls: Vec<url::Url>,
    /// How to authenticate; `None` for no authentication.
    #[serde(rename = "username, sink.password or sink.api_key")]
    pub credentials: Option<Credentials>,
    /// A PEM file with the certificate authority.
    pub ca: Option<PathBuf>,
    /// Whether request bodies are compressed.
    pub gzip: bool,
    /// Batches and retries.
    #[serde(flatten)]
    pub bulk: BulkConfig,
}

/// How to authenticate to Elasticsearch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Credentials {
    /// Username and password.
    Basic(String, Secret),
    /// An API key, as Elasticsearch returns it in `encoded`.
    ApiKey(Secret),
}

/// How documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BulkConfig {
    /// The maximum number of bytes in a bulk request.
    #[serde(rename = "bulk_bytes")]
    pub bytes: usize,
    /// The maximum number of operations in a bulk request.
    #[serde(rename = "bulk_documents")]
    pub documents: usize,
    /// How long the first operation of a request waits for others.
    pub linger: Duration,
    /// The maximum number of concurrent bulk requests.
    pub in_flight: usize,
    /// How long a request may take before it is retried.
    pub timeout: Duration,
    /// The wait before the first retry of an operation; it doubles with each retry.
    pub retry_wait: Duration,
    /// The longest wait before a retry.
    pub retry_wait_max: Duration,
    /// Whether missing indices are created.
    pub create_indices: bool,
    /// What becomes of the documents of an index that is refused.
    pub on_index_error: IndexErrorPolicy,
}

/// What becomes of the documents of an index that Elasticsearch refuses until somebody changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexErrorPolicy {
    /// They become dead letters.
    DeadLetter,
    /// They wait until the index is accepted.
    Pause,
    /// The run ends.
    Stop,
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self {
            bytes: 5 << 20,
            documents: 10_000,
            linger: Duration::from_millis(200),
            in_flight: 3,
            timeout: Duration::from_secs(60),
            retry_wait: Duration::from_millis(50),
            retry_wait_max: Duration::from_secs(15),
            create_indices: true,
            on_index_error: IndexErrorPolicy::DeadLetter,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSink {
    pub kind: Option<String>,
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<String>,
    pub api_key: Option<Secret>,
    pub api_key_file: Option<String>,
    pub ca: Option<String>,
    pub gzip: Option<bool>,
    pub bulk_bytes: Option<Size>,
    pub bulk_documents: Option<usize>,
    pub linger: Option<String>,
    pub in_flight: Option<usize>,
    pub timeout: Option<String>,
    pub retry_wait: Option<String>,
    pub retry_wait_max: Option<String>,
    pub create_indices: Option<bool>,
    pub on_index_error: Option<String>,
    /// The file of the sink `ndjson`.
    pub path: Option<String>,
    /// The address of the embedded store.
    pub listen: Option<String>,
}

fn as_strings<S: serde::Serializer>(urls: &[url::Url], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(urls.iter().map(url::Url::as_str))
}

pub fn sink(raw: &RawSink) -> Result<SinkConfig> {
    let bulk = bulk(raw)?;
    let kinds = [("elasticsearch", 0), ("embedded", 1), ("null", 2), ("ndjson", 3)];
    match one_of("sink.kind", raw.kind.as_deref(), &kinds)? {
        1 => {
            let listen = address("sink.listen", raw.listen.as_deref().unwrap_or("127.0.0.1:0"))?;
            if listen.ip() != std::net::Ipv4Addr::LOCALHOST {
                return error("sink.listen: the embedded store has no access control and listens on 127.0.0.1 only");
            }
            Ok(SinkConfig::Embedded { listen, bulk })
        }
        2 => Ok(SinkConfig::Null),
        3 => match &raw.path {
            Some(path) => Ok(SinkConfig::Ndjson { path: path.into() }),
            None => error("sink.kind = \"ndjson\" needs sink.path: a file, or \"-\" for standard output"),
        },
        _ => elasticsearch(raw, bulk).map(SinkConfig::Elasticsearch),
    }
}

fn bulk(raw: &RawSink) -> Result<BulkConfig> {
    let default = BulkConfig::default();
    let bulk = BulkConfig {
        bytes: raw.bulk_bytes.map_or(default.bytes, |size| size.0),
        documents: raw.bulk_documents.unwrap_or(default.documents),
        linger: duration("sink.linger", raw.linger.as_deref())?.unwrap_or(default.linger),
        in_flight: raw.in_flight.unwrap_or(default.in_flight),
        timeout: duration("sink.timeout", raw.timeout.as_deref())?.unwrap_or(default.timeout),
        retry_wait: duration("sink.retry_wait", raw.retry_wait.as_deref())?.unwrap_or(default.retry_wait),
        retry_wait_max: duration("sink.retry_wait_max", raw.retry_wait_max.as_deref())?
            .unwrap_or(default.retry_wait_max),
        create_indices: raw.create_indices.unwrap_or(true),
        on_index_error: one_of(
            "sink.on_index_error",
            raw.on_index_error.as_deref(),
            &[
                ("dead_letter", IndexErrorPolicy::DeadLetter),
                ("pause", IndexErrorPolicy::Pause),
                ("stop", IndexErrorPolicy::Stop),
            ],
        )?,
    };
    if !(1..=64).contains(&bulk.in_flight) {
        return error("sink.in_flight must be from 1 to 64");
    }
    if bulk.bytes < 1024 || bulk.bytes > 90 << 20 {
        return error("sink.bulk_bytes must be from 1KiB to 90MiB; Elasticsearch refuses requests over 100 MB");
    }
    if bulk.documents == 0 {
        return error("sink.bulk_documents must be at least 1");
    }
    if bulk.retry_wait.is_zero() {
        return error("sink.retry_wait must be more than 0; write it like \"50ms\"");
    }
    if bulk.retry_wait_max < bulk.retry_wait {
        return error(format!(
            "sink.retry_wait_max ({}) must be at least sink.retry_wait ({})",
            humantime::format_duration(bulk.retry_wait_max),
            humantime::format_duration(bulk.retry_wait)
        ));
    }
    Ok(bulk)
}

fn elasticsearch(raw: &RawSink, bulk: BulkConfig) -> Result<ElasticsearchConfig> {
    if raw.urls.is_empty() {
        return error("sink.kind = \"elasticsearch\" needs sink.urls, for example [\"http://127.0.0.1:9200\"]");
    }
    let urls = raw
        .urls
        .iter()
        .map(|text| match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            _ => error(format!("sink.urls: {text:?} is not a URL like \"http://127.0.0.1:9200\"")),
        })
        .collect::<Result<_>>()?;
    let password = secret("sink.password", raw.password.as_ref(), raw.password_file.as_deref())?;
    let api_key = secret("sink.api_key", raw.api_key.as_ref(), raw.api_key_file.as_deref())?;
    let credentials = match (&raw.username, password, api_key) {
        (None, None, None) => None,
        (Some(user), Some(password), None) => Some(Credentials::Basic(user.clone(), password)),
        (None, None, Some(key)) => Some(Credentials::ApiKey(key)),
        (Some(_), None, None) => return error("sink.username needs sink.password or sink.password_file"),
        (None, Some(_), None) => return error("sink.password needs sink.username"),
        _ => return error("sink: give either username and password, or an api_key"),
    };
    Ok(ElasticsearchConfig {
        urls,
        credentials,
        ca: raw.ca.as_ref().map(PathBuf::from),
        gzip: raw.gzip.unwrap_or(false),
        bulk,
    })
}
