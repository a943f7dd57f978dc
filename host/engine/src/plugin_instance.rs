//! A worker's own instances of plugins, what turning to new ones takes, and where old ones go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill_rows::TableVersion;
use rowmill_sandbox::{CallError, Guest, Limits, Table};

use super::chain::{Chain, ChainPlugin};

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
