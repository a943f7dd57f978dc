//! Access control for `/plugins`.
//!
//! On a loopback address, every local user has access unless a token is configured. On any other address, a token must be
//! configured and sent. Web pages in a local browser must have no access: a request other than GET with an `Origin` header
//! comes from a page, and a `Host` header with a domain name is a DNS rebinding attack.

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

/// The rules for requests to `/plugins`.
pub(super) struct Access {
    is_loopback: bool,
    token: Option<Secret>,
}

impl Access {
    pub fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Self { is_loopback: address.ip().to_canonical().is_loopback(), token }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// The request is denied: the status, and why.
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if self.is_loopback && !is_address_or_localhost(headers) {
            return Err((
                StatusCode::FORBIDDEN,
                "the Host header must be an IP address or localhost; use the gateway's IP address, or have your proxy set the header",
            ));
        }
        if *method != Method::GET && headers.contains_key(header::ORIGIN) {
            return Err((
                StatusCode::FORBIDDEN,
                "requests from web pages (with an Origin header) cannot change anything here; use `rowmill plugins` or another client",
            ));
        }
        match (&self.token, self.is_loopback) {
            (None, true) => Ok(()),
            (None, false) => Err((
                StatusCode::FORBIDDEN,
                "without a token, /plugins is available only on a loopback address; set http.token_file in the gateway's configuration",
            )),
            (Some(token), _) if has_token(token, headers) => Ok(()),
            (Some(_), _) => Err((
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong; send `Authorization: Bearer TOKEN` with the value of http.token or http.token_file (`rowmill plugins --token-file FILE`)",
            )),
        }
    }
}

/// Checks every request to `/plugins` before its body is read.
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

/// Returns true if the request carries the token. Compares hashes in constant time, so that the response time does not reveal
/// the token.
fn has_token(token: &Secret, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    let hash = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
    given.is_some_and(|given| hash(given).as_slice().ct_eq(&hash(&token.0)).into())
}
