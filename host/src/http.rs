//! The HTTP side: metrics and health for machines, plugins for people.
//!
//! `/metrics`, `/healthz` and `/readyz` are open. `/plugins` changes what becomes of rows, so it has a door of its own.

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

/// Whether the pipeline is ready, as `/readyz` tells it.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is served, and to whom.
#[derive(Clone)]
pub struct Served {
    /// The figures of `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` tells.
    pub ready: Ready,
    /// Who answers for `/plugins`.
    pub control: Control,
    /// What a caller of `/plugins` must know; `None` lets everyone in on a loopback address, and nobody on another.
    pub token: Option<Secret>,
}

/// Serves until the runtime ends. Returns the address, of which the port may have been left to the system.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(address: SocketAddr, served: Served) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (http.listen)"))?;
    let address = listener.local_addr()?;
    let router = router(address, served);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP side ended");
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
