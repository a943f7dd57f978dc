//! The plugins that rows go through: the published chain, and each worker's instances of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rowmill_decode::TableVersion;
use rowmill_runtime::{CallError, Description, Guest, Limits, Mode, Pattern, Plugin, Table};

use super::trial::Trial;
use crate::config::Route;

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

/// How a generation does: counted by the workers, read by whoever decides whether it stays.
#[derive(Debug, Default)]
pub struct Health {
    rows: AtomicU64,
    failed: AtomicU64,
    regressed: AtomicU64,
    faults: AtomicU64,
    nanoseconds: AtomicU64,
    first_regressed: OnceLock<String>,
}

/// The figures of a generation at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Images of rows that it saw.
    pub rows: u64,
    /// Those that it failed.
    pub failed: u64,
    /// Rows that it failed and the last good generation did not.
    pub regressed: u64,
    /// Traps and answers that cannot be read.
    pub faults: u64,
    /// Time spent in it.
    pub time: Duration,
}

impl Health {
    /// Adds a call.
    pub(super) fn add(&self, rows: u64, time: Duration, faults: u32) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        if faults > 0 {
            self.faults.fetch_add(u64::from(faults), Ordering::Relaxed);
        }
    }

    /// Adds images that it failed.
    pub(super) fn add_failed(&self, images: u64) {
        self.failed.fetch_add(images, Ordering::Relaxed);
    }

    /// Adds a row that it failed and the last good generation did not; `why` is its table and the reason.
    pub(super) fn add_regressed(&self, why: impl FnOnce() -> String) {
        self.first_regressed.get_or_init(why);
        self.regressed.fetch_add(1, Ordering::Relaxed);
    }

    /// The first row that it failed and the last good generation did not: its table, and why it failed.
    pub fn first_regressed(&self) -> Option<&str> {
        self.first_regressed.get().map(String::as_str)
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            rows: of(&self.rows),
            failed: of(&self.failed),
            regressed: of(&self.regressed),
            faults: of(&self.faults),
            time: Duration::from_nanos(of(&self.nanoseconds)),
        }
    }
}

impl Figures {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rows: self.rows - earlier.rows,
            failed: self.failed - earlier.failed,
            regressed: self.regressed - earlier.regressed,
            faults: self.faults - earlier.faults,
            time: self.time.saturating_sub(earlier.time),
        }
    }

    /// Microseconds an image, on average; `None` before the first.
    pub fn us_per_row(self) -> Option<f64> {
        (self.rows > 0).then(|| self.time.as_secs_f64() * 1e6 / self.rows as f64)
    }
}

/// Calls the thread that decides over generations, so that it looks at their figures now.
#[derive(Clone, Debug)]
pub struct Alarm(crossbeam_channel::Sender<()>);

impl Alarm {
    /// An alarm, and where it is heard. Any number of rings that were not heard yet are one.
    pub fn channel() -> (Self, crossbeam_channel::Receiver<()>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        (Self(sender), receiver)
    }

    /// Rings.
    pub fn ring(&self) {
        // Full: it is about to be heard. Closed: nobody decides any more.
        let _ = self.0.try_send(());
    }
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

/// What a batch waited for a newly published chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// On the clock, with whatever else the machine did meanwhile.
    pub wall: Duration,
    /// What the worker itself spent.
    pub processor: Duration,
}

impl std::ops::Add for Pause {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, processor: self.processor + other.processor }
    }
}

/// Measures a pause.
pub(super) struct Stopwatch(Instant, cpu_time::ThreadTime);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now(), cpu_time::ThreadTime::now())
    }

    pub fn stop(self) -> Pause {
        Pause { wall: self.0.elapsed(), processor: self.1.elapsed() }
    }
}

/// What a worker has no more use for. Dropping it gives memory back to the system, which takes longer than a batch should
/// wait.
pub struct Retired {
    _running: Vec<Running>,
    _chains: Vec<Arc<Chain>>,
}

impl Retired {
    pub(super) fn new(running: Vec<Running>, chains: Vec<Arc<Chain>>) -> Self {
        Self { _running: running, _chains: chains }
    }
}

/// The way to a thread that drops what is retired; the default drops it on the spot.
#[derive(Clone, Default)]
pub struct Retire(Option<crossbeam_channel::Sender<Retired>>);

impl Retire {
    /// The way, and where it ends.
    pub fn channel() -> (Self, crossbeam_channel::Receiver<Retired>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Self(Some(sender)), receiver)
    }

    pub(super) fn take(&self, retired: Retired) {
        if let Some(sender) = &self.0 {
            // Nobody drops any more: it is dropped here.
            let _ = sender.send(retired);
        }
    }
}

/// Calls of the longest time: more than the halvings of a call's images until one is left, of which each takes half as
/// long.
const PATIENCE: u32 = 8;

/// A worker's own instance of a plugin.
pub(super) struct Running {
    pub plugin: Arc<ChainPlugin>,
    /// Whether other generations answer for what it fails.
    pub is_tried: bool,
    /// `None` while no instance could be made; its rows fail with the reason.
    guest: Result<Box<dyn Guest>, String>,
    /// For each table version that the instance knows: the columns that it reads, or why it refuses the table.
    tables: HashMap<u32, Result<Arc<[u32]>, String>>,
    /// Time that telling it of tables took, and was not asked for yet.
    telling: Pause,
}

impl Running {
    pub fn start(plugin: Arc<ChainPlugin>) -> Self {
        Self { guest: plugin.instantiate(), plugin, is_tried: false, tables: HashMap::new(), telling: Pause::default() }
    }

    /// The columns that the plugin reads of a table version, which it is told of if it does not know it.
    pub fn columns(&mut self, number: u32, table: &TableVersion) -> Result<Arc<[u32]>, String> {
        if let Some(known) = self.tables.get(&number) {
            return known.clone();
        }
        let stopwatch = Stopwatch::start();
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
        self.telling = self.telling + stopwatch.stop();
        columns
    }

    /// What telling the plugin of tables took since this was asked before.
    pub fn take_telling(&mut self) -> Pause {
        std::mem::take(&mut self.telling)
    }

    /// How long the good images beside a bad one are looked for. Where another generation answers for what fails, enough
    /// to find one image that runs into its time limit, and no more: a generation that does so on all of them would keep
    /// its rows waiting for minutes before it is taken back.
    pub fn patience(&self, limits: &Limits, images: usize) -> Duration {
        match self.is_tried {
            true => PATIENCE * (limits.batch_time + limits.image_time * images as u32),
            false => Duration::MAX,
        }
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
