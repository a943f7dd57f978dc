//! The chain of plugins that rows go through.

use std::sync::{Arc, Mutex, PoisonError};

use rowmill_rows::TableVersion;
use rowmill_sandbox::{Description, Guest, Mode, Pattern};

use crate::health::Health;
use crate::route::Route;

/// A plugin generation in a chain: its description, its counters, and a way to make instances of it.
pub struct ChainPlugin {
    /// The plugin's name.
    pub name: Arc<str>,
    /// The generation's number: rises with every load of any plugin.
    pub generation: u64,
    /// SHA-256 of the plugin's file, hexadecimal.
    pub hash: String,
    /// The answer of `describe`.
    pub description: Description,
    /// The indices that its documents may name.
    pub indices: Vec<Pattern>,
    /// The generation's counters.
    pub health: Health,
    tables: Vec<Pattern>,
    make: MakeGuest,
    /// Instances made ahead of time, so that no batch waits for them.
    prepared: Mutex<Vec<Box<dyn Guest>>>,
}

/// Makes a configured instance, or returns why it cannot.
pub type MakeGuest = Box<dyn Fn() -> Result<Box<dyn Guest>, String> + Send + Sync>;

impl ChainPlugin {
    /// A sandboxed plugin with its settings, a JSON object.
    #[cfg(feature = "sandbox")]
    pub fn sandboxed(plugin: Arc<rowmill_sandbox::Plugin>, settings: String, generation: u64) -> Self {
        let description = plugin.description().clone();
        let hash = plugin.hash().to_string();
        let make = move || match plugin.instantiate(&settings) {
            Ok(instance) => Ok(Box::new(instance) as Box<dyn Guest>),
            Err(refusal) => Err(refusal.to_string()),
        };
        Self::new(description, hash, generation, Box::new(make))
    }

    /// A plugin whose instances are made by `make`: sandboxed, or native in benchmarks and the test harness.
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
            health: Health::default(),
            make,
            prepared: Mutex::default(),
        }
    }

    /// Returns true if the plugin wants rows of this table.
    pub fn wants(&self, table: &TableVersion) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(&table.database, &table.name))
    }

    /// A configured instance: one that was made ahead of time if there is one.
    ///
    /// # Errors
    /// The plugin traps or refuses its settings.
    pub fn instantiate(&self) -> Result<Box<dyn Guest>, String> {
        if let Some(guest) = self.prepared().pop() {
            return Ok(guest);
        }
        (self.make)()
    }

    /// Makes instances ahead of time for the next callers of [`ChainPlugin::instantiate`].
    ///
    /// # Errors
    /// As [`ChainPlugin::instantiate`].
    pub fn prepare(&self, instances: usize) -> Result<(), String> {
        let made = self.prepared().len();
        for _ in made..instances {
            let guest = (self.make)()?;
            self.prepared().push(guest);
        }
        Ok(())
    }

    /// The name, number and hash as one text: `NAME#GENERATION@HASH`, the hash cut to 12 digits.
    pub(crate) fn stamp(&self) -> String {
        format!("{}#{}@{}", self.name, self.generation, &self.hash[..self.hash.len().min(12)])
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Guest>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the plugin sees changes instead of rows, and so answers for deletes itself.
    pub fn is_change_mode(&self) -> bool {
        self.description.mode == Mode::Change
    }

    /// The plugin's mapping for the index that the route names; `Some(None)` if the plugin declares that it writes there
    /// without a mapping, `None` if it does not declare it.
    pub fn mapping_of_route_index(&self) -> Option<Option<&str>> {
        self.description.indices.iter().find(|index| index.name.is_empty()).map(|index| index.mapping.as_deref())
    }

    /// The mapping that the plugin gives for an index that it names.
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

/// The plugins that rows go through, in order, and the routes of their documents. Never changed, only replaced.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The plugins in the order in which rows go through them.
    pub plugins: Vec<Arc<ChainPlugin>>,
    /// The routes of the tables; the first matching route wins.
    pub routes: Arc<[Route]>,
    /// Whether documents name the generations that made them.
    pub stamp: bool,
}

impl Chain {
    /// Returns true if the generation at this place is also in the other chain.
    pub fn shares(&self, place: usize, other: &Self) -> bool {
        let generation = self.plugins[place].generation;
        other.plugins.iter().any(|plugin| plugin.generation == generation)
    }
}
