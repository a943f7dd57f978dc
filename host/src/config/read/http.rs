//! `[http]`.

use super::value::{address, secret};
use super::{Result, error};
use crate::config::HttpConfig;
use crate::config::raw::RawHttp;

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
