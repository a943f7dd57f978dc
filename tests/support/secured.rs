//! The servers of `tests/stack` with authentication: their addresses, and how to log in.

use std::path::PathBuf;

use crate::given;

/// A user with all privileges, as in `tests/stack`.
pub const USER: &str = "rowmill";
/// The password of [`USER`].
pub const PASSWORD: &str = "stack-secret";

/// A server with TLS that knows [`USER`].
#[derive(Debug)]
pub struct Secured {
    /// Its address: a URL, or `host:port`.
    pub address: String,
    certificates: PathBuf,
}

impl Secured {
    /// Kafka's listener with TLS and SASL.
    ///
    /// # Panics
    /// The environment names none; `tests/stack` starts one.
    pub fn kafka() -> Self {
        Self::named("ROWMILL_TEST_KAFKA_SECURED")
    }

    /// Elasticsearch with HTTPS and users.
    ///
    /// # Panics
    /// The environment names none; `tests/stack` starts one.
    pub fn elasticsearch() -> Self {
        Self::named("ROWMILL_TEST_ELASTICSEARCH_SECURED")
    }

    fn named(variable: &str) -> Self {
        Self { address: given(variable), certificates: given("ROWMILL_TEST_CERTIFICATES").into() }
    }

    /// The authority that signed the server's certificate, a PEM file.
    pub fn ca(&self) -> String {
        self.certificates.join("ca.pem").display().to_string()
    }

    /// An authority that did not sign it.
    pub fn other_ca(&self) -> String {
        self.certificates.join("other-ca.pem").display().to_string()
    }
}
