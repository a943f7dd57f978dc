//! Runs a plugin: the contract's four functions with plain structs, on any target.

use std::cell::RefCell;

use crate::contract::{Batch, Description, Mode, Output, Table};
use crate::fail::Fail;
use crate::out::{Hint, Out};
use crate::plugin::{Changes, Drive, Images};
use crate::row::{Change, Operation, Row};
use crate::table::TableState;

/// A [`Transform`](crate::Transform) that is called in this process instead of in the sandbox, through the same four functions.
pub type Native<T> = Driver<Images<T>>;

/// A [`ChangeTransform`](crate::ChangeTransform) that is called in this process.
pub type NativeChange<T> = Driver<Changes<T>>;

/// One instance of a plugin, which implements the contract's exports.
#[derive(Debug)]
pub struct Driver<D> {
    plugin: Option<D>,
    /// By ascending id.
    tables: Vec<TableState>,
    hint: Hint,
}

impl<D> Default for Driver<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> Driver<D> {
    /// An instance that is not configured yet.
    pub const fn new() -> Self {
        Self { plugin: None, tables: Vec::new(), hint: Hint::EMPTY }
    }
}

impl<D: Drive> Driver<D> {
    /// The plugin's description of itself.
    pub fn describe() -> Description {
        Description { name: D::NAME.to_owned(), version: D::VERSION.to_owned(), mode: D::MODE, ..D::describe() }
    }

    /// Passes the settings, a JSON object. An error says what is wrong with them.
    pub fn configure(&mut self, settings: &str) -> Result<(), String> {
        let settings = serde_json::from_str(settings).map_err(|e| settings_error(&e))?;
        self.plugin = Some(D::new(settings)?);
        self.tables.clear();
        Ok(())
    }

    /// Defines a table version and returns the columns that the plugin reads. An error says why its rows cannot be processed.
    pub fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, String> {
        let plugin = self.plugin.as_ref().ok_or("the plugin is not configured")?;
        let state = TableState::new(table, &plugin.columns(table)?)?;
        let asked = state.asked.clone();
        match self.tables.binary_search_by_key(&table.id, |t| t.id) {
            Ok(at) => self.tables[at] = state,
            Err(at) => self.tables.insert(at, state),
        }
        Ok(asked)
    }

    /// Returns one verdict for each image (change) of the batch. If the batch violates the contract, every row fails.
    pub fn transform(&mut self, batch: &Batch) -> Output {
        let found = self.tables.binary_search_by_key(&batch.table, |t| t.id);
        let (Some(plugin), Ok(at)) = (&self.plugin, found) else {
            return refuse(batch, "the table version was not defined");
        };
        let table = &self.tables[at];
        let changes = D::MODE == Mode::Change;
        let width = table.asked.len();
        let images = if changes { 2 } else { 1 };
        let n = batch.count as usize;
        if Some(batch.cells.len()) != n.checked_mul(images * width)
            || batch.operations.len() != if changes { n } else { 0 }
            || !batch.cells.is_sorted()
            || batch.cells.last().is_some_and(|&end| end as usize > batch.bytes.len())
        {
            return refuse(batch, "the batch does not have the cells that the plugin asked for");
        }
        let mut out = Out::new(table, &self.hint);
        for i in 0..n {
            let image = |which: usize| Row {
                table,
                ends: &batch.cells,
                first: (i * images + which) * width,
                bytes: &batch.bytes,
            };
            let change = if changes {
                let operation = match batch.operations[i] {
                    0 => Operation::Insert,
                    1 => Operation::Update,
                    2 => Operation::Delete,
                    _ => Operation::Snapshot,
                };
                Change {
                    operation,
                    before: matches!(operation, Operation::Update | Operation::Delete).then(|| image(0)),
                    after: (operation != Operation::Delete).then(|| image(1)),
                }
            } else {
                Change { operation: Operation::Snapshot, before: None, after: Some(image(0)) }
            };
            out.begin();
            let result = plugin.one(&change, &mut out);
            out.end(result);
        }
        out.finish(&mut self.hint)
    }
}

#[cold]
fn refuse(batch: &Batch, reason: &str) -> Output {
    let state = TableState::default();
    let mut out = Out::new(&state, &Hint::EMPTY);
    for _ in 0..batch.count {
        out.begin();
        out.end(Err(Fail::new(reason)));
    }
    out.finish(&mut Hint::default())
}

/// serde's message without the position in the JSON text, which means nothing to users who wrote TOML.
fn settings_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(place.as_str()).unwrap_or(&message);
    let quoted = message.chars().map(|c| if c == '`' { '\'' } else { c });
    "settings: ".chars().chain(quoted).collect()
}

/// An instance as the exports hold it: guests have one thread and are never entered twice.
#[doc(hidden)]
#[derive(Debug)]
pub struct Instance<D>(RefCell<Driver<D>>);

impl<D: Drive> Instance<D> {
    /// See [`Driver::new`].
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(RefCell::new(Driver::new()))
    }

    /// The description; its version defaults to that of the plugin's crate.
    pub fn describe(crate_version: &str) -> Description {
        let mut description = Driver::<D>::describe();
        if description.version.is_empty() {
            description.version = crate_version.to_owned();
        }
        description
    }

    /// See [`Driver::configure`].
    pub fn configure(&self, settings: &str) -> Result<(), String> {
        tell_panics();
        self.0.borrow_mut().configure(settings)
    }

    /// See [`Driver::define_table`].
    pub fn define_table(&self, table: &Table) -> Result<Vec<u32>, String> {
        self.0.borrow_mut().define_table(table)
    }

    /// See [`Driver::transform`].
    pub fn transform(&self, batch: &Batch) -> Output {
        self.0.borrow_mut().transform(batch)
    }
}

/// Logs the location of a panic before the trap, but not its message, which may contain row values.
fn tell_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            crate::log::error(&format!("panicked at {}:{}", place.file(), place.line()));
        }
    }));
}
