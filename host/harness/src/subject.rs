//! A plugin under test, native or in the sandbox, and what it makes of rows.

use rowmill_sandbox::isolate::{self, Part};
use rowmill_sandbox::{Batch, CallError, Description, Expect, Guest, Limits, Mode, NameRules, Pattern, Table};

use crate::fate::{Fate, Fates};
use crate::figures::{self, Figures};
use crate::input::{Image, Input, Operation, Row};
use crate::outcome::Outcome;

/// Images that go into one call, as in the gateway.
const IMAGES_PER_CALL: usize = 512;

/// Makes an instance with these settings (a JSON object), or says why the plugin refuses them.
pub type Make<'a> = Box<dyn Fn(&str) -> Result<Box<dyn Guest>, String> + 'a>;

/// A plugin, and how to make instances of it.
pub struct Subject<'a> {
    description: Description,
    tables: Vec<Pattern>,
    indices: Vec<Pattern>,
    make: Make<'a>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("description", &self.description).finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// A plugin that describes itself so.
    pub fn new(description: Description, make: Make<'a>) -> Self {
        let patterns = |names: &mut dyn Iterator<Item = &String>| names.map(|name| Pattern::new(name)).collect();
        Self {
            tables: patterns(&mut description.tables.iter()),
            indices: patterns(&mut description.indices.iter().map(|index| &index.name).filter(|name| !name.is_empty())),
            description,
            make,
        }
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What becomes of the rows, in their order. Rows of tables that the plugin does not want are passed over.
    pub fn run(&self, settings: &str, input: &Input) -> Vec<Outcome> {
        let mut guest = match (self.make)(settings) {
            Ok(guest) => Some(guest),
            Err(reason) => return vec![Outcome::because(0, "refused", reason)],
        };
        let mut outcomes = Vec::new();
        for (number, table) in input.tables.iter().enumerate() {
            let rows = self.rows_of(input, number);
            if rows.is_empty() {
                continue;
            }
            let fates = self.fates(&mut guest, settings, table, &rows);
            let others: Vec<&str> = self.indices.iter().filter(|index| index.is_exact()).map(Pattern::as_str).collect();
            for ((place, row), fates) in rows.into_iter().zip(fates) {
                outcomes.extend(fates.outcomes(place + 1, row, table, &others));
            }
        }
        let undecodable = input.rows.iter().enumerate().filter_map(|(place, (_, row))| {
            row.as_ref().err().map(|reason| Outcome::because(place + 1, "undecodable", reason))
        });
        outcomes.extend(undecodable);
        // Stable: the outcomes of one row keep their order.
        outcomes.sort_by_key(|outcome| outcome.row);
        outcomes
    }

    /// The columns that the plugin reads of a table; an error is why it refuses the settings or the table.
    ///
    /// # Errors
    /// The plugin refuses, or traps.
    pub fn columns(&self, settings: &str, table: &Table) -> Result<Vec<u32>, String> {
        let mut guest = (self.make)(settings)?;
        guest.define_table(table).map_err(|error| error.to_string())
    }

    /// Whether the plugin wants rows of this table.
    pub fn wants(&self, table: &Table) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_table(&table.database, &table.name))
    }

    /// What the rows cost: the calls are repeated until the time a row is worth telling. `None` where the plugin refuses
    /// or fails.
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
                let shown = self.shown(&rows);
                batches.extend(shown.chunks(IMAGES_PER_CALL).map(|shown| self.batch(table, &columns, &rows, shown)));
            }
        }
        figures::measure(guest.as_mut(), &batches)
    }

    /// The rows of a table, with their places in the input; none where the plugin does not want the table.
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

    /// What the plugin is shown: whole changes, or single images.
    fn shown(&self, rows: &[(usize, &Row)]) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (place, (_, row)) in rows.iter().enumerate() {
            match self.is_change_mode() {
                true if row.before.is_some() || row.after.is_some() => shown.push(Shown { place, part: Which::Change }),
                true => {}
                false => {
                    shown.extend(row.before.as_ref().map(|_| Shown { place, part: Which::Before }));
                    shown.extend(row.after.as_ref().map(|_| Shown { place, part: Which::After }));
                }
            }
        }
        shown
    }

    fn batch(&self, table: &Table, columns: &[u32], rows: &[(usize, &Row)], shown: &[Shown]) -> Batch {
        let mut batch = Batch { table: table.id, count: shown.len() as u32, ..Batch::default() };
        let mut add = |image: Option<&Image>| {
            for &column in columns {
                batch.bytes.extend_from_slice(image.map_or(&[][..], |image| &image[column as usize]));
                batch.cells.push(batch.bytes.len() as u32);
            }
        };
        let mut operations = Vec::new();
        for Shown { place, part } in shown {
            let row = rows[*place].1;
            match part {
                Which::Before => add(row.before.as_ref()),
                Which::After => add(row.after.as_ref()),
                Which::Change => {
                    add(row.before.as_ref());
                    add(row.after.as_ref());
                    operations.push(told(row) as u8);
                }
            }
        }
        batch.operations = operations;
        batch
    }

    fn fates(
        &self,
        guest: &mut Option<Box<dyn Guest>>,
        settings: &str,
        table: &Table,
        rows: &[(usize, &Row)],
    ) -> Vec<Fates> {
        let mut fates: Vec<Fates> = rows.iter().map(|_| Fates::default()).collect();
        let fail = |fates: &mut Vec<Fates>, reason: &str| {
            for fates in fates {
                fates.after = Some(Fate::Failed(reason.to_string()));
            }
        };
        let columns = match guest {
            None => Err("no new instance could be made".to_string()),
            Some(instance) => match instance.define_table(table) {
                Ok(columns) => Ok(columns),
                Err(CallError::Refused(reason)) => Err(format!("refuses the table {}: {reason}", table.full_name())),
                Err(CallError::Trapped(reason)) => {
                    *guest = (self.make)(settings).ok();
                    Err(format!("fails on the table {}: {reason}", table.full_name()))
                }
            },
        };
        let columns = match (columns, guest.as_mut()) {
            (Ok(columns), Some(_)) => columns,
            (Ok(_), None) => return fates,
            (Err(reason), _) => {
                fail(&mut fates, &reason);
                return fates;
            }
        };
        let change = self.is_change_mode();
        let shown = self.shown(rows);
        for shown in shown.chunks(IMAGES_PER_CALL) {
            let batch = self.batch(table, &columns, rows, shown);
            let expect = Expect {
                count: batch.count,
                columns: table.columns.len() as u32,
                indices: &self.indices,
                change_mode: change,
                documents_per_image: Limits::default().documents_per_image,
                rules: &NameRules::default(),
            };
            let cells_per_image = columns.len() * if change { 2 } else { 1 };
            let mut renew = || {
                let mut guest = (self.make)(settings)?;
                guest.define_table(table).map_err(|error| error.to_string())?;
                Ok(guest)
            };
            let Some(instance) = guest.as_mut() else { break };
            let mut parts = Vec::new();
            // After a trap the new instance knows this table alone; the others are defined before their own rows.
            isolate::transform(instance, &batch, cells_per_image, expect, &mut renew, &mut parts);
            for part in parts {
                take(&part, shown, table, rows, &mut fates);
            }
        }
        fates
    }
}

/// One thing that the plugin is shown.
#[derive(Clone, Copy)]
struct Shown {
    /// The place of the row in the table's rows.
    place: usize,
    part: Which,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Before,
    After,
    Change,
}

/// The operation as a plugin of the mode `change` is told of it: by the images that there are.
fn told(row: &Row) -> Operation {
    match (&row.before, &row.after) {
        (None, Some(_)) if matches!(row.operation, Operation::Snapshot | Operation::Update) => row.operation,
        (None, _) => Operation::Insert,
        (Some(_), None) => Operation::Delete,
        (Some(_), Some(_)) => Operation::Update,
    }
}

/// Takes over what the plugin said of a part of a call.
fn take(part: &Part, shown: &[Shown], table: &Table, rows: &[(usize, &Row)], fates: &mut [Fates]) {
    for at in 0..part.count {
        let Shown { place, part: which } = shown[(part.first + at) as usize];
        let row = rows[place].1;
        let fates = &mut fates[place];
        match which {
            Which::Before => fates.before = Some(Fate::of(&part.result, at, table, row.before.as_ref())),
            Which::After => fates.after = Some(Fate::of(&part.result, at, table, row.after.as_ref())),
            Which::Change => fates.set_change(&part.result, at, table, row),
        }
    }
}
