//! The status and the operator commands of a running gateway's plugins: over HTTP, and with `rowmill plugins`.

#[path = "plugins/by_command.rs"]
mod by_command;
#[path = "plugins/fake.rs"]
mod fake;
#[path = "plugins/over_http.rs"]
mod over_http;
