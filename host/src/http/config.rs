//! `[http]`: the keys as written, and the validated settings.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::{Secret, address, duration, secret};
use crate::config::{Result, error};

/// The default of `http.stalled_after`.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// The address of the HTTP server, and who may use `/plugins`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpConfig {
    /// The address, if it is configured.
    pub listen: Option<SocketAddr>,
    /// The token that callers of `/plugins` must send, if it is configured.
    pub token: Option<Secret>,
    /// The gateway is not ready if there is lag and nothing is settled for this long.
    pub stalled_after: Duration,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHttp {
    pub listen: Option<String>,
    pub token: Option<Secret>,
    pub token_file: Option<String>,
    pub stalled_after: Option<String>,
}

pub fn http(raw: &RawHttp) -> Result<HttpConfig> {
    let token = secret("http.token", raw.token.as_ref(), raw.token_file.as_deref())?;
    // Other characters cannot be sent in a header.
    if token.as_ref().is_some_and(|token| token.0.is_empty() || !token.0.bytes().all(|byte| byte.is_ascii_graphic())) {
        return error(
            "http.token (or the content of http.token_file) must be one word of visible ASCII characters; create one with `openssl rand -hex 32`",
        );
    }
    Ok(HttpConfig {
        listen: raw.listen.as_deref().map(|text| address("http.listen", text)).transpose()?,
        token,
        stalled_after: duration("http.stalled_after", raw.stalled_after.as_deref())?.unwrap_or(STALLED_AFTER),
    })
}
