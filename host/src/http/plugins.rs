//! `/plugins`: the status of plugins, and operator commands.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /plugins` | 200, all plugins as a [`Status`] |
//! | `GET /plugins/NAME` | 200, one plugin as a [`PluginStatus`] |
//! | `POST /plugins/NAME/rollback`, `enable`, `disable`, `promote`, `discard` | 200 `{"done": "a sentence"}` |
//! | `POST /plugins/NAME/rollout` with a [`RolloutChange`] | the same; omitted keys keep their values |
//!
//! Every other answer is `{"error": "what is wrong, and what to do"}`: 400 for an invalid body, 404 for an
//! unknown plugin or command, 409 for a command that is not possible now, 413 for a body over 64 KiB, 503 while the gateway
//! shuts down, and those of [`access`](super::access).

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

/// The largest request body, in bytes.
const MAX_BODY: usize = 64 << 10;

/// The commands, as the last segment of the path.
const COMMANDS: [&str; 6] = ["rollback", "enable", "disable", "promote", "discard", "rollout"];

/// The routes of `/plugins`.
pub(super) fn router(control: Control, access: Access) -> Router {
    Router::new()
        .route("/plugins", get(all))
        .route("/plugins/{name}", get(one))
        .route("/plugins/{name}/{command}", post(command))
        .method_not_allowed_fallback(|| async {
            failure(StatusCode::METHOD_NOT_ALLOWED, "GET /plugins and /plugins/NAME, POST /plugins/NAME/COMMAND")
        })
        .route_layer(from_fn_with_state(Arc::new(access), guard))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

async fn all(State(control): State<Control>) -> Response {
    match ask(move || status(&control)).await {
        Ok(status) => answer(StatusCode::OK, &status),
        Err(error) => error.into_response(),
    }
}

async fn one(State(control): State<Control>, Path(name): Path<String>) -> Response {
    match ask(move || plugin(&control, &name)).await {
        Ok(plugin) => answer(StatusCode::OK, &plugin),
        Err(error) => error.into_response(),
    }
}

async fn command(
    State(control): State<Control>,
    Path((name, command)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let text = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "the request body is larger than 64 KiB".to_string(),
                _ => rejection.body_text(),
            };
            return failure(rejection.status(), &text);
        }
    };
    match ask(move || execute(&control, &name, &command, &body)).await {
        Ok(done) => answer(StatusCode::OK, &json!({ "done": done })),
        Err(error) => error.into_response(),
    }
}

/// An error response: the status and the message.
struct ErrorResponse(StatusCode, String);

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        failure(self.0, &self.1)
    }
}

/// Runs a blocking request to the supervisor outside the async threads.
async fn ask<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorResponse> + Send + 'static,
) -> Result<T, ErrorResponse> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request to /plugins failed because of a bug in Rowmill");
        Err(ErrorResponse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed because of a bug in Rowmill; see the gateway's log".into(),
        ))
    })
}

fn status(control: &Control) -> Result<Status, ErrorResponse> {
    control
        .status()
        .ok_or_else(|| ErrorResponse(StatusCode::SERVICE_UNAVAILABLE, "the gateway is shutting down".into()))
}

fn plugin(control: &Control, name: &str) -> Result<PluginStatus, ErrorResponse> {
    let Status { plugins, .. } = status(control)?;
    let names: Vec<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
    plugins.into_iter().find(|plugin| plugin.name == name).ok_or_else(|| {
        let known = match names.is_empty() {
            true => "there are no plugins".to_string(),
            false => format!("plugins: {}", names.join(", ")),
        };
        ErrorResponse(StatusCode::NOT_FOUND, format!("no plugin is named {name:?}; {known}"))
    })
}

fn execute(control: &Control, name: &str, command: &str, body: &[u8]) -> Result<String, ErrorResponse> {
    let command = match command {
        "rollback" => OperatorCommand::Rollback,
        "enable" => OperatorCommand::Enable,
        "disable" => OperatorCommand::Disable,
        "promote" => OperatorCommand::Promote,
        "discard" => OperatorCommand::Discard,
        "rollout" => {
            let change: RolloutChange = serde_json::from_slice(body).map_err(|error| {
                ErrorResponse(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "{error}; send a JSON object with any of mode (direct, shadow, canary), rows, share, publish and max_changed, for example {{\"mode\": \"shadow\", \"rows\": 5000}}"
                    ),
                )
            })?;
            let present = plugin(control, name)?.rollout;
            OperatorCommand::Rollout(
                change.on(present).map_err(|problem| ErrorResponse(StatusCode::BAD_REQUEST, problem))?,
            )
        }
        unknown => {
            let hint = nearest(unknown, COMMANDS.into_iter())
                .map_or(format!("commands: {}", COMMANDS.join(", ")), |command| format!("did you mean {command:?}?"));
            return Err(ErrorResponse(StatusCode::NOT_FOUND, format!("unknown command {unknown:?}; {hint}")));
        }
    };
    control.command(name, command).map_err(|error| match error {
        CommandError::Unknown(text) => ErrorResponse(StatusCode::NOT_FOUND, text),
        CommandError::Conflict(text) => ErrorResponse(StatusCode::CONFLICT, text),
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
