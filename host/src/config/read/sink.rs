//! `[sink]`.

use std::path::PathBuf;

use super::value::{address, duration, one_of, secret};
use super::{Result, error};
use crate::config::raw::RawSink;
use crate::config::{BulkConfig, Credentials, ElasticsearchConfig, SinkConfig};

pub fn sink(raw: &RawSink) -> Result<SinkConfig> {
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
            "sink.retry_wait_max ({}) is the longest wait and cannot be less than sink.retry_wait ({}), the first one",
            humantime::format_duration(bulk.retry_wait_max),
            humantime::format_duration(bulk.retry_wait)
        ));
    }
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
        _ => {
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
            Ok(SinkConfig::Elasticsearch(ElasticsearchConfig {
                urls,
                credentials,
                ca: raw.ca.as_ref().map(PathBuf::from),
                gzip: raw.gzip.unwrap_or(false),
                bulk,
            }))
        }
    }
}
