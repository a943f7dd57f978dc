//! The HTTP server: connections, requests, and the handlers that answer them.

mod answer;
mod connection;
mod documents;
mod indices;
mod request;
mod search;
mod server;

pub(crate) use self::server::serve;
