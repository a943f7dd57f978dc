//! `/plugins`: what there is, and what a person asks of them.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /plugins` | 200, all as a [`Status`] |
//! | `GET /plugins/NAME` | 200, one as a [`PluginStatus`] |
//! | `POST /plugins/NAME/rollback`, `enable`, `disable`, `promote`, `discard` | 200 `{"done": "a sentence"}` |
//! | `POST /plugins/NAME/rollout` with a [`RolloutChange`] | the same; keys left out stay as they are |
//!
//! Every other answer is `{"error": "what is wrong, and what to do"}`: 400 for a body that is not understood, 404 for a
//! plugin or an order that does not exist, 409 for what cannot be done now, 413 for a body over 64 KiB, 503 while the
//! gateway ends, and those of [`access`](super::access).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;

use super::access::{Access, guard};
use crate::config::{RolloutChange, nearest};
use crate::plugins::control::Control;
use crate::plugins::status::{CommandError, OperatorCommand, PluginStatus, Status};

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 << 10;

/// What can be asked of a plugin, as the last part of the path.
const ORDERS: [&str; 6] = ["rollback", "enable", "disable", "promote", "discard", "rollout"];

/// The routes of `/plugins`.
pub(super) fn router(control: Control, access: Access) -> Router {
    Router::new()
        .route("/plugins", get(all))
        .route("/plugins/{name}", get(one))
        .route("/plugins/{name}/{order}", post(order))
        .method_not_allowed_fallback(|| async {
            failure(StatusCode::METHOD_NOT_ALLOWED, "GET /plugins and /plugins/NAME, POST /plugins/NAME/ORDER")
        })
        .route_layer(from_fn_with_state(Arc::new(access), guard))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(control)
}

async fn all(State(control): State<Control>) -> Response {
    match ask(move || status(&control)).await {
        Ok(status) => answer(StatusCode::OK, &status),
        Err(refused) => refused.into_response(),
    }
}

async fn one(State(control): State<Control>, Path(name): Path<String>) -> Response {
    match ask(move || plugin(&control, &name)).await {
        Ok(plugin) => answer(StatusCode::OK, &plugin),
        Err(refused) => refused.into_response(),
    }
}

async fn order(
    State(control): State<Control>,
    Path((name, order)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let text = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "the body has more than 64 KiB".to_string(),
                _ => rejection.body_text(),
            };
            return failure(rejection.status(), &text);
        }
    };
    match ask(move || carry_out(&control, &name, &order, &body)).await {
        Ok(done) => answer(StatusCode::OK, &json!({ "done": done })),
        Err(refused) => refused.into_response(),
    }
}

/// A request that is not answered as it was meant, with the reason.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        failure(self.0, &self.1)
    }
}

/// Runs what waits for the thread that owns the plugins, off the runtime's own threads.
async fn ask<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request of /plugins ended by a bug in Rowmill");
        Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, "a bug in Rowmill; its log has more".into()))
    })
}

fn status(control: &Control) -> Result<Status, Refused> {
    control.status().ok_or_else(|| Refused(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending".into()))
}

fn plugin(control: &Control, name: &str) -> Result<PluginStatus, Refused> {
    let Status { plugins, .. } = status(control)?;
    let names: Vec<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    plugins.into_iter().find(|plugin| plugin.name == name).ok_or_else(|| {
        let there_are = match names.is_empty() {
            true => "no plugin runs".to_string(),
            false => format!("there are: {}", names.join(", ")),
        };
        Refused(StatusCode::NOT_FOUND, format!("no plugin is called {name:?}; {there_are}"))
    })
}

fn carry_out(control: &Control, name: &str, order: &str, body: &[u8]) -> Result<String, Refused> {
    let order = match order {
        "rollback" => OperatorCommand::Rollback,
        "enable" => OperatorCommand::Enable,
        "disable" => OperatorCommand::Disable,
        "promote" => OperatorCommand::Promote,
        "discard" => OperatorCommand::Discard,
        "rollout" => {
            let change: RolloutChange = serde_json::from_slice(body).map_err(|error| {
                Refused(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "{error}; the body is JSON with some of mode (direct, shadow, canary), rows, share, publish and max_changed, for example {{\"mode\": \"shadow\", \"rows\": 5000}}"
                    ),
                )
            })?;
            let present = plugin(control, name)?.rollout;
            OperatorCommand::Rollout(change.on(present).map_err(|problem| Refused(StatusCode::BAD_REQUEST, problem))?)
        }
        unknown => {
            let hint = nearest(unknown, ORDERS.into_iter())
                .map_or(format!("there are {}", ORDERS.join(", ")), |order| format!("did you mean {order:?}?"));
            return Err(Refused(StatusCode::NOT_FOUND, format!("nothing is called {unknown:?}; {hint}")));
        }
    };
    control.command(name, order).map_err(|error| match error {
        CommandError::Unknown(text) => Refused(StatusCode::NOT_FOUND, text),
        CommandError::Conflict(text) => Refused(StatusCode::CONFLICT, text),
    })
}

/// `{"error": "…"}`.
pub(super) fn failure(status: StatusCode, why: &str) -> Response {
    let mut response = answer(status, &json!({ "error": why }));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (status, headers, text + "\n").into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
