//! Who may see and change plugins.
//!
//! On a loopback address whoever is on this machine may, unless a token is configured; on any other address a token must
//! be configured and given. Web pages that a browser on this machine shows are nobody: a request that changes something
//! and tells an `Origin` is one of theirs, and a `Host` that is a name is one that was made to point here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::plugins::failure;
use crate::config::Secret;

/// The door of `/plugins`.
pub(super) struct Access {
    is_loopback: bool,
    token: Option<Secret>,
}

impl Access {
    pub fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Self { is_loopback: address.ip().to_canonical().is_loopback(), token }
    }

    /// Lets a request pass, or says why not.
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if self.is_loopback && !is_address_or_localhost(headers) {
            return Err((
                StatusCode::FORBIDDEN,
                "the Host header names neither an IP address nor localhost; call the gateway by its address, and let a proxy before it set the header",
            ));
        }
        if *method != Method::GET && headers.contains_key(header::ORIGIN) {
            return Err((
                StatusCode::FORBIDDEN,
                "requests of web pages (with an Origin header) change nothing here; use `rowmill plugins`, or a client that is no browser",
            ));
        }
        match (&self.token, self.is_loopback) {
            (None, true) => Ok(()),
            (None, false) => Err((
                StatusCode::FORBIDDEN,
                "plugins are shown on a loopback address, or with a token: set http.token_file in the gateway's configuration",
            )),
            (Some(token), _) if is_given(token, headers) => Ok(()),
            (Some(_), _) => Err((
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong: send `Authorization: Bearer TOKEN` with the text of http.token or http.token_file (`rowmill plugins --token-file FILE`)",
            )),
        }
    }
}

/// Runs before every request of `/plugins`, before its body is read.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => failure(status, why),
    }
}

fn is_address_or_localhost(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether the request carries the token. The time that it takes tells nothing of it: hashes of one length are compared.
fn is_given(token: &Secret, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    let hash = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
    given.is_some_and(|given| hash(given).as_slice().ct_eq(&hash(&token.0)).into())
}
