//! A plugin under test, native or in the sandbox, and the outcomes of rows.

use std::sync::Arc;

use rowmill_engine::ChainPlugin;
use rowmill_sandbox::{Batch, CallError, Description, Guest, Mode, Pattern, Table};

use crate::figures::{self, Figures};
use crate::input::{Image, Input, Operation, Row};
use crate::outcome::Outcome;
use crate::through_engine;

/// Images per call when costs are measured, as in the gateway.
const IMAGES_PER_CALL: usize = 512;

/// Creates an instance with these settings (a JSON object), or returns why the plugin refuses them.
pub type Make = Arc<dyn Fn(&str) -> Result<Box<dyn Guest>, String> + Send + Sync>;

/// A plugin, and how to create instances of it.
pub struct Subject {
    description: Description,
    tables: Vec<Pattern>,
    make: Make,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Subject {
    /// A plugin with this description.
    pub fn new(description: Description, make: Make) -> Self {
        let tables = description.tables.iter().map(|table| Pattern::new(table)).collect();
        Self { tables, description, make }
    }

    /// The answer of the plugin's `describe`.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The outcomes of the rows, in order, from the engine with only this plugin in the chain. Rows of tables that the plugin
    /// does not process have no outcome.
    pub fn run(&self, settings: &str, input: &Input) -> Vec<Outcome> {
        let (make, with) = (self.make.clone(), settings.to_string());
        let plugin = ChainPlugin::new(self.description.clone(), String::new(), 1, Box::new(move || make(&with)));
        if let Err(reason) = plugin.prepare(1) {
            return vec![Outcome::because(0, "refused", reason)];
        }
        let mut outcomes = through_engine::run(plugin, input);
        let undecodable = input.rows.iter().enumerate().filter_map(|(place, (_, row))| {
            row.as_ref().err().map(|reason| Outcome::because(place + 1, "undecodable", reason))
        });
        outcomes.extend(undecodable);
        // Stable: the outcomes of one row keep their order.
        outcomes.sort_by_key(|outcome| outcome.row);
        outcomes
    }

    /// The columns that the plugin reads of a table.
    ///
    /// # Errors
    /// The plugin refuses the settings or the table, or traps.
    pub fn columns(&self, settings: &str, table: &Table) -> Result<Vec<u32>, String> {
        let mut guest = (self.make)(settings)?;
        guest.define_table(table).map_err(|error| error.to_string())
    }

    /// Returns true if the plugin wants rows of this table.
    pub fn wants(&self, table: &Table) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(&table.database, &table.name))
    }

    /// The cost of the rows; the calls are repeated until the time per row is meaningful. `None` if the plugin refuses the
    /// settings or fails.
    pub fn figures(&self, settings: &str, input: &Input) -> Option<Figures> {
        let mut guest = (self.make)(settings).ok()?;
        let mut batches = Vec::new();
        for (number, table) in input.tables.iter().enumerate() {
            let rows = self.rows_of(input, number);
            if !rows.is_empty() {
                let columns = match guest.define_table(table) {
                    Ok(columns) => columns,
                    Err(CallError::Refused(_)) => continue,
                    Err(CallError::Trapped(_)) => return None,
                };
                let units = self.units(&rows);
                batches.extend(units.chunks(IMAGES_PER_CALL).map(|units| self.batch(table, &columns, &rows, units)));
            }
        }
        figures::measure(guest.as_mut(), &batches)
    }

    /// The rows of a table with their places in the input; empty if the plugin does not want the table.
    fn rows_of<'i>(&self, input: &'i Input, table: usize) -> Vec<(usize, &'i Row)> {
        if !self.wants(&input.tables[table]) {
            return Vec::new();
        }
        let rows = input.rows.iter().enumerate().filter_map(|(place, (_, row))| Some((place, row.as_ref().ok()?)));
        rows.filter(|(_, row)| row.table == table).collect()
    }

    fn is_change_mode(&self) -> bool {
        self.description.mode == Mode::Change
    }

    /// The units that the plugin is called with: whole changes, or single images.
    fn units(&self, rows: &[(usize, &Row)]) -> Vec<Unit> {
        let mut units = Vec::new();
        for (place, (_, row)) in rows.iter().enumerate() {
            match self.is_change_mode() {
                true if row.before.is_some() || row.after.is_some() => units.push(Unit { place, part: Part::Change }),
                true => {}
                false => {
                    units.extend(row.before.as_ref().map(|_| Unit { place, part: Part::Before }));
                    units.extend(row.after.as_ref().map(|_| Unit { place, part: Part::After }));
                }
            }
        }
        units
    }

    fn batch(&self, table: &Table, columns: &[u32], rows: &[(usize, &Row)], units: &[Unit]) -> Batch {
        let mut batch = Batch { table: table.id, count: units.len() as u32, ..Batch::default() };
        let mut add = |image: Option<&Image>| {
            for &column in columns {
                batch.bytes.extend_from_slice(image.map_or(&[][..], |image| &image[column as usize]));
                batch.cells.push(batch.bytes.len() as u32);
            }
        };
        let mut operations = Vec::new();
        for Unit { place, part } in units {
            let row = rows[*place].1;
            match part {
                Part::Before => add(row.before.as_ref()),
                Part::After => add(row.after.as_ref()),
                Part::Change => {
                    add(row.before.as_ref());
                    add(row.after.as_ref());
                    operations.push(operation_of(row) as u8);
                }
            }
        }
        batch.operations = operations;
        batch
    }
}

/// One unit of a call.
#[derive(Clone, Copy)]
struct Unit {
    /// The place of the row in the table's rows.
    place: usize,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    After,
    Change,
}

/// The operation that a plugin in change mode sees: it follows from the images that exist.
fn operation_of(row: &Row) -> Operation {
    match (&row.before, &row.after) {
        (None, Some(_)) if matches!(row.operation, Operation::Snapshot | Operation::Update) => row.operation,
        (None, _) => Operation::Insert,
        (Some(_), None) => Operation::Delete,
        (Some(_), Some(_)) => Operation::Update,
    }
}
