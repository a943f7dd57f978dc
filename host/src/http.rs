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
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::config::Secret;
use crate::metrics::Metrics;
use crate::plugins::control::Control;

/// Whether the pipeline is ready, as `/readyz` reports it.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Sets the state.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Returns true if the pipeline is ready.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything the server needs to answer requests.
#[derive(Clone)]
pub struct Served {
    /// The metrics for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The state for `/readyz`.
    pub ready: Ready,
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
    let router = router(address, served);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server stopped");
        }
    });
    Ok(address)
}

fn router(address: SocketAddr, served: Served) -> Router {
    let Served { metrics, ready, control, token } = served;
    Router::new()
        .route(
            "/metrics",
            get(|State((metrics, _)): State<(Arc<Metrics>, Ready)>| async move {
                ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
            }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|State((_, ready)): State<(Arc<Metrics>, Ready)>| async move {
                if ready.is_set() {
                    (StatusCode::OK, "ready\n").into_response()
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
                }
            }),
        )
        .with_state((metrics, ready))
        .merge(plugins::router(control, access::Access::new(address, token)))
}
