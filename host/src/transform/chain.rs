//! The plugins that rows go through: the chain as it is published.

use std::sync::{Arc, Mutex, PoisonError};

use rowmill_engine::Route;
use rowmill_rows::TableVersion;
use rowmill_sandbox::{Description, Guest, Mode, Pattern, Plugin};

use super::health::{Alarm, Health};
use super::trial::Trial;

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
    /// How it does.
    pub health: Health,
    tables: Vec<Pattern>,
    make: MakeGuest,
    /// Instances that were made ahead, so that no batch waits for them.
    ready: Mutex<Vec<Box<dyn Guest>>>,
}

/// Makes a configured instance, or says why it cannot.
pub type MakeGuest = Box<dyn Fn() -> Result<Box<dyn Guest>, String> + Send + Sync>;

impl ChainPlugin {
    /// A sandboxed plugin with its settings (a JSON object).
    pub fn sandboxed(plugin: Arc<Plugin>, settings: String, generation: u64) -> Self {
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
            health: Health::default(),
            make,
            ready: Mutex::default(),
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
        if let Some(guest) = self.ready().pop() {
            return Ok(guest);
        }
        (self.make)()
    }

    /// Makes instances ahead, to be taken by the next that ask.
    ///
    /// # Errors
    /// As [`ChainPlugin::instantiate`].
    pub fn prepare(&self, instances: usize) -> Result<(), String> {
        let made = self.ready().len();
        for _ in made..instances {
            let guest = (self.make)()?;
            self.ready().push(guest);
        }
        Ok(())
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Guest>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Where tables go; the first route that fits a table holds.
    pub routes: Arc<[Route]>,
    /// Whether documents tell which generations made them.
    pub stamp: bool,
    /// The chain of last good generations, while one of this chain is on probation: a batch with rows that only the new
    /// one fails is transformed by that instead.
    pub last_good: Option<Arc<Chain>>,
    /// A generation on trial beside this chain.
    pub trial: Option<Beside>,
    /// Rung when a generation on probation or in a canary fails a row.
    pub alarm: Option<Alarm>,
}

/// What runs beside the published chain.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The chain with the generation that is tried in its place.
    pub chain: Arc<Chain>,
    /// Which rows it gets, and what came of it.
    pub trial: Arc<Trial>,
}

impl Chain {
    /// Whether the plugin at this place is the same generation in both chains.
    pub fn shares(&self, place: usize, other: &Self) -> bool {
        let generation = self.plugins[place].generation;
        other.plugins.iter().any(|plugin| plugin.generation == generation)
    }
}
