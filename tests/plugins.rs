//! What a person sees and does of a running gateway's plugins, over HTTP.

#[path = "plugins/fake.rs"]
mod fake;
#[path = "plugins/over_http.rs"]
mod over_http;
