//! Updates: a stored script applied to a document.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::EsError;
use crate::index::{Index, Write, WriteKind, Written};
use crate::json::round_decimals;
use crate::script::{ScriptContext, ScriptOp, Scripts};
use crate::version::Guard;

/// The body of an update. Partial documents (`doc`) are not supported.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateBody {
    script: Option<ScriptCall>,
    upsert: Option<Map<String, Value>>,
    #[serde(default)]
    scripted_upsert: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct ScriptCall {
    id: String,
    #[serde(default)]
    params: Map<String, Value>,
}

impl UpdateBody {
    /// Reads the body of an update.
    pub(crate) fn parse(body: &[u8]) -> Result<UpdateBody, EsError> {
        serde_json::from_slice(body).map_err(|error| EsError::malformed_body(&error))
    }

    /// Adds what is wrong with the body to `problems`.
    pub(crate) fn validate(&self, problems: &mut Vec<String>) {
        if self.script.is_none() {
            problems.push("script is missing".into());
        }
    }
}

/// Applies an update to the document of this ID.
pub(crate) fn update(
    index: &mut Index,
    target: &Write<'_>,
    body: &UpdateBody,
    scripts: &Scripts,
    now: Duration,
) -> Result<Written, EsError> {
    let id = target.id;
    let existing = index.get(id).cloned();
    let (mut source, runs) = match &existing {
        Some(document) => {
            target.guard.check_seq_no(id, Some(document.seq_no))?;
            let Ok(mut source) = serde_json::from_str::<Value>(document.source.get()) else {
                return Err(EsError::illegal_argument("the document is nested too deep for an update"));
            };
            round_decimals(&mut source);
            (source.as_object().cloned().unwrap_or_default(), true)
        }
        None => match &body.upsert {
            Some(upsert) => (upsert.clone(), body.scripted_upsert),
            None => {
                let reason = format!("[{id}]: document missing");
                return Err(EsError::new(404, "document_missing_exception", reason));
            }
        },
    };
    let op = match &body.script {
        Some(call) if runs => run(&index.name, id, call, &mut source, scripts, existing.is_none())?,
        _ => ScriptOp::Index,
    };
    let routing = target.routing.or(existing.as_ref().and_then(|document| document.routing.as_deref()));
    let guard = Guard::default();
    match (op, &existing) {
        (ScriptOp::Index, _) => {
            let mut source = Value::Object(source);
            round_decimals(&mut source);
            let source = source.to_string();
            index.write(&Write { kind: WriteKind::Index(source.as_bytes()), id, routing, guard }, now)
        }
        (ScriptOp::Delete, Some(_)) => index.write(&Write { kind: WriteKind::Delete, id, routing, guard }, now),
        (ScriptOp::None, Some(document)) => Ok(index.written(id, document.version, "noop", Some(document.seq_no))),
        (_, None) => Ok(index.written(id, -1, "noop", None)),
    }
}

fn run(
    index: &str,
    id: &str,
    call: &ScriptCall,
    source: &mut Map<String, Value>,
    scripts: &Scripts,
    is_new: bool,
) -> Result<ScriptOp, EsError> {
    let failed = |reason: String| EsError::illegal_argument(format!("failed to execute script: {reason}"));
    if !scripts.stored.contains_key(&call.id) {
        return Err(failed(format!("unable to find script [{}]", call.id)));
    }
    let Some(function) = scripts.functions.get(&call.id) else {
        return Err(failed(format!("the embedded store has no native function for script [{}]", call.id)));
    };
    let params = Value::Object(call.params.clone());
    let mut context = ScriptContext { index, id, source, params: &params, is_new, op: ScriptOp::Index, failure: None };
    function(&mut context);
    match context.failure {
        None => Ok(context.op),
        Some(reason) => Err(failed(reason)),
    }
}
