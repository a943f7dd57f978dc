//! What a person sees and does of a running gateway's plugins: over HTTP, and by `rowmill plugins`.

mod by_command;
mod fake;
mod over_http;
