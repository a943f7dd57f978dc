//! A running instance of a plugin: its store, its limits, and calls of its functions.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};

use crate::bindings::rowmill::plugin::types;
use crate::bindings::{Transform, TransformPre};
use crate::contract::{Batch, CallError, ColumnKind, Description, Guest, Index, Mode, RawOutput, Table};
use crate::engine::{Sandbox, ticks};
use crate::host_state::HostState;
use crate::single_line::single_line;
use crate::wasi;

/// A running instance. After [`CallError::Trapped`] it must be replaced by a new one.
pub struct Instance {
    sandbox: Arc<Sandbox>,
    store: Store<HostState>,
    bindings: Transform,
}

impl Instance {
    pub(crate) fn start(
        sandbox: &Arc<Sandbox>,
        pre: &TransformPre<HostState>,
        plugin: &str,
    ) -> Result<Self, CallError> {
        let limits = &sandbox.limits;
        let mut store = Store::new(&sandbox.engine, HostState::new(plugin, limits));
        store.limiter(|state| state);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(ticks(limits.setup_time));
        store.set_hostcall_fuel(1 << 20);
        match pre.instantiate(&mut store) {
            Ok(bindings) => Ok(Self { sandbox: sandbox.clone(), store, bindings }),
            Err(error) => Err(trapped(&store, &error, limits.setup_time, limits.memory_bytes)),
        }
    }

    pub(crate) fn describe(&mut self) -> Result<Description, CallError> {
        let time = self.sandbox.limits.setup_time;
        self.prepare(time, 1 << 20);
        let result = self.bindings.rowmill_plugin_guest().call_describe(&mut self.store);
        self.answer(result, time).map(Description::from)
    }

    pub(crate) fn configure(&mut self, settings: &str) -> Result<(), CallError> {
        let time = self.sandbox.limits.setup_time;
        self.prepare(time, 1 << 20);
        let result = self.bindings.rowmill_plugin_guest().call_configure(&mut self.store, settings);
        self.answer(result, time)?.map_err(|reason| CallError::Refused(single_line(&reason)))
    }

    /// Sets the limits of the next call: its time, and the size of its answer.
    fn prepare(&mut self, time: Duration, answer_bytes: usize) {
        self.store.set_epoch_deadline(ticks(time));
        self.store.set_hostcall_fuel(answer_bytes);
        let state = self.store.data_mut();
        state.log_messages_left = self.sandbox.limits.log_messages_per_call;
        state.refused = None;
        state.wasi.begin();
    }

    fn answer<T>(&mut self, result: wasmtime::Result<T>, time: Duration) -> Result<T, CallError> {
        let state = self.store.data_mut();
        state.end_lines();
        let dropped = std::mem::take(&mut state.log_messages_dropped);
        if dropped > 0 {
            tracing::warn!(target: "rowmill::plugin", plugin = %state.plugin, "dropped {dropped} more log messages of this call");
        }
        result.map_err(|error| trapped(&self.store, &error, time, self.sandbox.limits.memory_bytes))
    }
}

impl Guest for Instance {
    fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, CallError> {
        let time = self.sandbox.limits.setup_time;
        self.prepare(time, 1 << 20);
        let columns: Vec<types::Column<'_>> =
            table.columns.iter().map(|column| types::Column { name: &column.name, kind: column.kind.into() }).collect();
        let table_record = types::Table {
            id: table.id,
            database: &table.database,
            name: &table.name,
            columns: &columns,
            key: &table.key,
        };
        let result = self.bindings.rowmill_plugin_guest().call_define_table(&mut self.store, table_record);
        let wanted = self.answer(result, time)?.map_err(|reason| CallError::Refused(single_line(&reason)))?;
        let mut seen = vec![false; table.columns.len()];
        for &column in &wanted {
            match seen.get_mut(column as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(CallError::Trapped(format!("define-table asked for column {column} twice"))),
                None => {
                    return Err(CallError::Trapped(format!(
                        "define-table asked for column {column} of {}",
                        table.columns.len()
                    )));
                }
            }
        }
        Ok(wanted)
    }

    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError> {
        let limits = &self.sandbox.limits;
        let time = limits.batch_time + limits.image_time * batch.count;
        let answer_bytes = limits.output_bytes + limits.output_bytes_per_input_byte * batch.bytes.len();
        self.prepare(time, answer_bytes);
        let record = types::Batch {
            table: batch.table,
            count: batch.count,
            operations: &batch.operations,
            cells: &batch.cells,
            bytes: &batch.bytes,
        };
        let result = self.bindings.rowmill_plugin_guest().call_transform(&mut self.store, record);
        let output = self.answer(result, time)?;
        Ok(RawOutput { verdicts: output.verdicts, names: output.names, bytes: output.bytes })
    }

    fn memory_bytes(&self) -> Option<usize> {
        Some(self.sandbox.limits.memory_bytes - self.store.data().memory_left)
    }
}

impl From<types::Description> for Description {
    fn from(description: types::Description) -> Self {
        Self {
            name: description.name,
            version: description.version,
            tables: description.tables,
            mode: match description.mode {
                types::Mode::Image => Mode::Image,
                types::Mode::Change => Mode::Change,
            },
            indices: description
                .indices
                .into_iter()
                .map(|index| Index { name: index.name, mapping: index.mapping })
                .collect(),
            settings_schema: description.settings_schema,
        }
    }
}

impl From<ColumnKind> for types::ColumnKind {
    fn from(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Unknown => Self::Unknown,
            ColumnKind::Integer => Self::Integer,
            ColumnKind::UnsignedInteger => Self::UnsignedInteger,
            ColumnKind::Boolean => Self::Boolean,
            ColumnKind::Bit => Self::Bit,
            ColumnKind::Float => Self::Float,
            ColumnKind::Double => Self::Double,
            ColumnKind::Decimal => Self::Decimal,
            ColumnKind::Date => Self::Date,
            ColumnKind::Time => Self::Time,
            ColumnKind::DateTime => Self::DateTime,
            ColumnKind::Timestamp => Self::Timestamp,
            ColumnKind::Text => Self::Text,
            ColumnKind::Binary => Self::Binary,
            ColumnKind::Enumeration => Self::Enumeration,
            ColumnKind::Set => Self::Set,
            ColumnKind::Json => Self::Json,
        }
    }
}

/// Describes why a call was ended.
fn trapped(store: &Store<HostState>, error: &wasmtime::Error, time: Duration, memory: usize) -> CallError {
    let reason = match (store.data().refused, error.downcast_ref::<Trap>()) {
        (Some("memory"), _) => format!("it needs more memory than the limit of {memory} bytes"),
        (Some(what), _) => format!("it needs more {what} than the limit"),
        (None, Some(Trap::Interrupt)) => format!("it ran longer than the limit of {} ms", time.as_millis()),
        (None, Some(Trap::StackOverflow)) => "its stack overflowed: endless recursion?".to_string(),
        (None, Some(Trap::MemoryOutOfBounds)) => {
            "it left its memory: a wrong pointer, or endless recursion (a Rust plugin's stack lies at the memory's start)".to_string()
        }
        (None, Some(Trap::UnreachableCodeReached)) => "it panicked or aborted (unreachable code)".to_string(),
        (None, Some(trap)) => format!("it trapped: {trap}"),
        // Wasmtime has no error type for the next two.
        (None, None) if error.is::<wasi::Refused>() => error.root_cause().to_string(),
        (None, None) if error.root_cause().to_string().contains("fuel allocated for hostcalls") => {
            "its answer or message is longer than the limit".to_string()
        }
        (None, None) if error.root_cause().to_string().starts_with("resource limit exceeded") => {
            error.root_cause().to_string()
        }
        (None, None) => format!("its answer cannot be read: {}", error.root_cause()),
    };
    CallError::Trapped(reason)
}
