//! Native functions that run in place of stored scripts, and the document that such a function sees and changes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// What happens to the document after a script has run (`ctx.op` in Painless).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptOp {
    /// The document is written as the script left it.
    Index,
    /// Nothing changes; the result is `noop`.
    None,
    /// The document is deleted.
    Delete,
}

/// The document and parameters that a script works on (`ctx` and `params` in Painless).
#[derive(Debug)]
pub struct ScriptContext<'a> {
    /// The index of the document.
    pub index: &'a str,
    /// The ID of the document.
    pub id: &'a str,
    /// The document's fields (`ctx._source`), or those of `upsert` if the document is new.
    pub source: &'a mut Map<String, Value>,
    /// The parameters of the request.
    pub params: &'a Value,
    /// True if the document does not exist yet (`ctx.op == "create"`).
    pub is_new: bool,
    /// What happens to the document; [`ScriptOp::Index`] unless the script sets something else.
    pub op: ScriptOp,
    /// Set by a script to fail the item with this reason, as an exception in Painless does.
    pub failure: Option<String>,
}

/// A native function that runs in place of a stored script.
pub type ScriptFunction = Arc<dyn Fn(&mut ScriptContext<'_>) + Send + Sync>;

/// The scripts that updates can name.
#[derive(Clone, Default)]
pub(crate) struct Scripts {
    /// The definitions that `PUT /_scripts/{id}` stored.
    pub(crate) stored: HashMap<String, Value>,
    /// The native functions that the embedding program registered.
    pub(crate) functions: HashMap<String, ScriptFunction>,
}

impl fmt::Debug for Scripts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.functions.keys()).finish()
    }
}
