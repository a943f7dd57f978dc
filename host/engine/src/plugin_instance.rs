//! A worker's own instance of a plugin, and the tables that the instance was given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rowmill_rows::TableVersion;
use rowmill_sandbox::{CallError, Guest, Limits, Table};

use crate::chain::ChainPlugin;
use crate::pause::{Pause, Stopwatch};

/// Calls of the maximum time that a failing batch may take while another generation can answer for it. It is more than
/// the number of halvings until one image is left, each of which takes half as long.
const CALLS_BEFORE_GIVING_UP: u32 = 8;

/// A worker's own instance of a plugin.
pub struct PluginInstance {
    /// The generation.
    pub plugin: Arc<ChainPlugin>,
    /// Whether another generation answers for rows that this one fails on.
    pub has_fallback: bool,
    /// The instance, or why none could be made; its rows then fail with this reason.
    guest: Result<Box<dyn Guest>, String>,
    /// For each table version that the instance was given: the columns that it reads, or why it refuses the table.
    tables: HashMap<u32, Result<Arc<[u32]>, String>>,
    /// Time spent in `define-table` since [`PluginInstance::take_definition_time`].
    definition_time: Pause,
}

impl PluginInstance {
    /// Makes an instance. If that fails, every row that reaches it fails with the reason.
    pub fn start(plugin: Arc<ChainPlugin>) -> Self {
        let (guest, tables) = (plugin.instantiate(), HashMap::new());
        Self { guest, plugin, has_fallback: false, tables, definition_time: Pause::default() }
    }

    /// The columns that the plugin reads of a table version. Defines the table in the instance if that was not done yet.
    ///
    /// # Errors
    /// The plugin refuses the table, traps on it, or has no instance.
    pub(crate) fn columns(&mut self, number: u32, table: &TableVersion) -> Result<Arc<[u32]>, String> {
        if let Some(known) = self.tables.get(&number) {
            return known.clone();
        }
        let stopwatch = Stopwatch::start();
        let columns = match &mut self.guest {
            Ok(guest) => match guest.define_table(&contract_table(number, table)) {
                Ok(columns) => Ok(columns.into()),
                Err(CallError::Refused(reason)) => Err(format!("refuses the table {}: {reason}", table.full_name())),
                Err(CallError::Trapped(reason)) => {
                    // The instance cannot be used any more. The next table gets a new one; for this table it would trap again.
                    self.guest = self.plugin.instantiate();
                    self.tables.clear();
                    Err(format!("fails on the table {}: {reason}", table.full_name()))
                }
            },
            Err(reason) => Err(reason.clone()),
        };
        self.tables.insert(number, columns.clone());
        self.definition_time = self.definition_time + stopwatch.stop();
        columns
    }

    /// The time spent in `define-table` since the last call of this method.
    pub(crate) fn take_definition_time(&mut self) -> Pause {
        std::mem::take(&mut self.definition_time)
    }

    /// How long to search for the good images beside a bad one. Where another generation answers for rows that fail, it
    /// is enough to find one image that runs into its time limit; a generation that does so on every image would
    /// otherwise delay its rows for minutes before it is rolled back.
    pub(crate) fn isolation_time(&self, limits: &Limits, n_images: usize) -> Duration {
        match self.has_fallback {
            true => CALLS_BEFORE_GIVING_UP * (limits.batch_time + limits.image_time * n_images as u32),
            false => Duration::MAX,
        }
    }

    /// The instance; `None` if none could be made.
    pub(crate) fn guest(&mut self) -> Option<&mut Box<dyn Guest>> {
        self.guest.as_mut().ok()
    }

    /// Returns a function that makes a new instance which knows this table version.
    pub(crate) fn renewal(
        &self,
        number: u32,
        table: &TableVersion,
    ) -> impl FnMut() -> Result<Box<dyn Guest>, String> + use<> {
        let plugin = self.plugin.clone();
        let definition = contract_table(number, table);
        move || {
            let mut guest = plugin.instantiate()?;
            guest.define_table(&definition).map_err(|error| error.to_string())?;
            Ok(guest)
        }
    }

    /// Forgets all table versions but this one, as the new instance after a trap knows no other.
    pub(crate) fn keep_only_table(&mut self, number: u32) {
        self.tables.retain(|known, _| *known == number);
    }
}

impl std::fmt::Debug for PluginInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginInstance").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

fn contract_table(number: u32, table: &TableVersion) -> Table {
    let columns = table.columns.iter().map(|column| (&*column.name, column.column_type.kind()));
    Table::new(number, &table.database, &table.name, columns, &table.key)
}
