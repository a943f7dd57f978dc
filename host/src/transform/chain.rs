//! The plugins that rows go through: the published chain, and each worker's instances of it.

use std::collections::HashMap;
use std::sync::Arc;

use rowmill_decode::TableVersion;
use rowmill_runtime::{CallError, Description, Guest, Mode, Pattern, Plugin, Table};

/// A plugin in a chain: what it says of itself, and how to make instances of it.
pub struct ChainPlugin {
    /// Its name.
    pub name: Arc<str>,
    /// Which load of it this is: rises with every load of any plugin.
    pub generation: u64,
    /// SHA-256 of its file.
    pub hash: String,
    /// What it says of itself.
    pub description: Description,
    /// The indices that its documents may name.
    pub indices: Vec<Pattern>,
    tables: Vec<Pattern>,
    make: MakeGuest,
}

/// Makes a configured instance, or says why it cannot.
pub type MakeGuest = Box<dyn Fn() -> Result<Box<dyn Guest>, String> + Send + Sync>;

impl ChainPlugin {
    /// A sandboxed plugin with its settings (a JSON object).
    pub fn sandboxed(plugin: Plugin, settings: String, generation: u64) -> Self {
        let description = plugin.description().clone();
        let hash = plugin.hash().to_string();
        let make = move || match plugin.instantiate(&settings) {
            Ok(instance) => Ok(Box::new(instance) as Box<dyn Guest>),
            Err(refusal) => Err(refusal.to_string()),
        };
        Self::new(description, hash, generation, Box::new(make))
    }

    /// A plugin of any making, for benchmarks and test harnesses.
    pub fn new(description: Description, hash: String, generation: u64, make: MakeGuest) -> Self {
        Self {
            name: description.name.as_str().into(),
            generation,
            hash,
            indices: description
                .indices
                .iter()
                .filter(|index| !index.name.is_empty())
                .map(|index| Pattern::new(&index.name))
                .collect(),
            tables: description.tables.iter().map(|table| Pattern::new(table)).collect(),
            description,
            make,
        }
    }

    /// Whether it wants rows of this table.
    pub fn wants(&self, table: &TableVersion) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(&table.database, &table.name))
    }

    /// A configured instance.
    ///
    /// # Errors
    /// The plugin traps or refuses its settings.
    pub fn instantiate(&self) -> Result<Box<dyn Guest>, String> {
        (self.make)()
    }

    /// Whether it sees changes and not rows, and so answers for deletes itself.
    pub fn is_change_mode(&self) -> bool {
        self.description.mode == Mode::Change
    }

    /// The mapping for the index that the configuration names, if the plugin gives one; `Some(None)` if it says that
    /// it writes there and gives none.
    pub fn mapping_of_route_index(&self) -> Option<Option<&str>> {
        self.description.indices.iter().find(|index| index.name.is_empty()).map(|index| index.mapping.as_deref())
    }

    /// The mapping for an index that the plugin names.
    pub fn mapping_of(&self, index: &str) -> Option<&str> {
        let named = self.description.indices.iter().filter(|described| !described.name.is_empty());
        named
            .filter(|described| Pattern::new(&described.name).matches(index))
            .find_map(|described| described.mapping.as_deref())
    }
}

impl std::fmt::Debug for ChainPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainPlugin")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The chain as it is published: never changed, only replaced as a whole.
#[derive(Debug, Default)]
pub struct Chain {
    /// Rises with every publication.
    pub number: u64,
    /// The plugins in the order in which rows go through them.
    pub plugins: Vec<Arc<ChainPlugin>>,
}

/// A worker's own instance of a plugin.
pub(super) struct Running {
    pub plugin: Arc<ChainPlugin>,
    /// `None` while no instance could be made; its rows fail with the reason.
    guest: Result<Box<dyn Guest>, String>,
    /// For each table version that the instance knows: the columns that it reads, or why it refuses the table.
    tables: HashMap<u32, Result<Arc<[u32]>, String>>,
}

impl Running {
    pub fn start(plugin: Arc<ChainPlugin>) -> Self {
        Self { guest: plugin.instantiate(), plugin, tables: HashMap::new() }
    }

    /// The columns that the plugin reads of a table version, which it is told of if it does not know it.
    pub fn columns(&mut self, number: u32, table: &TableVersion) -> Result<Arc<[u32]>, String> {
        if let Some(known) = self.tables.get(&number) {
            return known.clone();
        }
        let columns = match &mut self.guest {
            Ok(guest) => match guest.define_table(&contract_table(number, table)) {
                Ok(columns) => Ok(columns.into()),
                Err(CallError::Refused(reason)) => Err(format!("refuses the table {}: {reason}", table.full_name())),
                Err(CallError::Trapped(reason)) => {
                    // The instance is spent. The next table gets a new one; this one would only do it again.
                    self.guest = self.plugin.instantiate();
                    self.tables.clear();
                    Err(format!("fails on the table {}: {reason}", table.full_name()))
                }
            },
            Err(reason) => Err(reason.clone()),
        };
        self.tables.insert(number, columns.clone());
        columns
    }

    /// The instance; `None` while none could be made.
    pub fn guest(&mut self) -> Option<&mut Box<dyn Guest>> {
        self.guest.as_mut().ok()
    }

    /// A way to make a new instance that knows this table version.
    pub fn renewal(&self, number: u32, table: &TableVersion) -> impl FnMut() -> Result<Box<dyn Guest>, String> + use<> {
        let plugin = self.plugin.clone();
        let definition = contract_table(number, table);
        move || {
            let mut guest = plugin.instantiate()?;
            guest.define_table(&definition).map_err(|error| error.to_string())?;
            Ok(guest)
        }
    }

    /// To be called after a trap: the new instance knows only this table version.
    pub fn forget_other_tables(&mut self, number: u32) {
        self.tables.retain(|known, _| *known == number);
    }

    pub fn is_change_mode(&self) -> bool {
        self.plugin.is_change_mode()
    }
}

fn contract_table(number: u32, table: &TableVersion) -> Table {
    let columns = table.columns.iter().map(|column| (&*column.name, column.column_type.kind()));
    Table::new(number, &table.database, &table.name, columns, &table.key)
}
