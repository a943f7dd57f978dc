//! Native twins of stored scripts: what an embedding program registers, and what such a function may see and change.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// What becomes of the document after a script has run (`ctx.op` in Painless).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptOp {
    /// The document is written as the script left it.
    Index,
    /// Nothing happens; the result is `noop`.
    None,
    /// The document is deleted.
    Delete,
}

/// What a script works on (`ctx` and `params` in Painless).
#[derive(Debug)]
pub struct ScriptContext<'a> {
    /// The index of the document.
    pub index: &'a str,
    /// The id of the document.
    pub id: &'a str,
    /// The document's fields (`ctx._source`); those of `upsert` where the document is new.
    pub source: &'a mut Map<String, Value>,
    /// The parameters of the request.
    pub params: &'a Value,
    /// Whether the document does not exist yet (`ctx.op == "create"`).
    pub is_new: bool,
    /// What shall become of the document; `Index` until the script says otherwise.
    pub op: ScriptOp,
    /// Set by a script to fail the item with this reason, as an exception in Painless does.
    pub failure: Option<String>,
}

/// A native twin of a stored script.
pub type ScriptFunction = Arc<dyn Fn(&mut ScriptContext<'_>) + Send + Sync>;

/// The registered functions by script id.
#[derive(Clone, Default)]
pub(crate) struct Scripts {
    functions: HashMap<String, ScriptFunction>,
}

impl Scripts {
    pub(crate) fn register(&mut self, id: &str, function: ScriptFunction) {
        self.functions.insert(id.into(), function);
    }

    pub(crate) fn function(&self, id: &str) -> Option<&ScriptFunction> {
        self.functions.get(id)
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.functions.keys()).finish()
    }
}
