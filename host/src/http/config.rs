//! `[http]`: its keys, and the usable settings.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::value::{Secret, address, secret};
use crate::config::{Result, error};

/// Where metrics, health and plugins are served, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HttpConfig {
    /// The address; `None` where none is written.
    pub listen: Option<SocketAddr>,
    /// What a caller must know to see and change plugins.
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHttp {
    pub listen: Option<String>,
    pub token: Option<Secret>,
    pub token_file: Option<String>,
}

pub fn http(raw: &RawHttp) -> Result<HttpConfig> {
    let token = secret("http.token", raw.token.as_ref(), raw.token_file.as_deref())?;
    // What cannot stand in a header could never be sent.
    if token.as_ref().is_some_and(|token| token.0.is_empty() || !token.0.bytes().all(|byte| byte.is_ascii_graphic())) {
        return error(
            "http.token (or the file of http.token_file) must be one word of visible ASCII characters; make one with `openssl rand -hex 32`",
        );
    }
    Ok(HttpConfig { listen: raw.listen.as_deref().map(|text| address("http.listen", text)).transpose()?, token })
}
