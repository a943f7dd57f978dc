//! The status and the operator commands of a running gateway's plugins: over HTTP, and with `rowmill plugins`.

mod by_command;
mod fake;
mod over_http;
