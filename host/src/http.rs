//! The HTTP server: metrics and health checks for machines, plugin status and commands for operators.
//!
//! `/metrics`, `/healthz` and `/readyz` need no authentication. `/plugins` can change how rows are processed, so
//! `access` guards it.

mod access;
pub mod address;
pub(crate) mod config;
mod plugins;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;

use crate::config::Secret;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::plugins::control::Control;
use crate::shutdown::Shutdown;

/// Everything the server needs to answer requests.
#[derive(Clone)]
pub struct Served {
    /// The metrics for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The state for `/readyz` and `/healthz`.
    pub health: Health,
    /// Ends the run if the server fails.
    pub shutdown: Shutdown,
    /// Answers the requests to `/plugins`.
    pub control: Control,
    /// The token required for `/plugins`. With `None`, `/plugins` is open on a loopback address and closed on others.
    pub token: Option<Secret>,
}

/// Serves until the runtime ends. Returns the bound address: port 0 in `address` lets the system choose one.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(address: SocketAddr, served: Served) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (http.listen)"))?;
    let address = listener.local_addr()?;
    let shutdown = served.shutdown.clone();
    let router = router(address, served);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            shutdown.fail(anyhow::Error::new(error).context("the HTTP server stopped"));
        }
    });
    Ok(address)
}

fn router(address: SocketAddr, served: Served) -> Router {
    let Served { metrics, health, control, token, .. } = served;
    let state = {
        let (health, alarms) = (health.clone(), metrics.alarms.clone());
        move || format!("{}{}", health.text(), alarms.text())
    };
    Router::new()
        .route(
            "/metrics",
            get(async move || {
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
            }),
        )
        // Always 200: a restart does not help against what holds the pipeline up.
        .route(
            "/healthz",
            get({
                let state = state.clone();
                async move || state()
            }),
        )
        .route(
            "/readyz",
            get(async move || {
                let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                (status, state())
            }),
        )
        .merge(plugins::router(control, access::Access::new(address, token)))
}
