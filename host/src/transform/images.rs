//! The images of a batch on their way through the chain, and what became of each.

use std::time::Instant;

use rowmill_rows::{Cell, Operation, RowBatch};
use rowmill_sandbox::isolate::{self, Part};
use rowmill_sandbox::{Batch, Expect, Output, Verdict};

use super::Shared;
use super::plan::TablePlan;
use super::running::Running;
use crate::dead_letter::Stage;

/// Images that go into one call of a plugin.
const IMAGES_PER_CALL: usize = 512;

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on its way; at the end it becomes a document of its own columns.
    Alive,
    /// A plugin filtered it: it gives no document.
    Dropped,
    /// A plugin of the mode `change` answered for the change: nothing is written or deleted for this image.
    Suppressed,
    /// These documents.
    Documents {
        /// Which answer.
        part: u32,
        /// Which image of it.
        image: u32,
        /// Whether the plugin has the mode `change`.
        change: bool,
    },
    /// It cannot be processed; a number of a failure.
    Failed(u32),
}

struct Image {
    row: u32,
    /// Where its cells begin.
    cells: u32,
    fate: Fate,
}

const NONE: u32 = u32::MAX;

/// The images of one batch. Reused from batch to batch.
#[derive(Default)]
pub(super) struct Images {
    images: Vec<Image>,
    /// For each row: its image before and its image after.
    of_rows: Vec<(u32, u32)>,
    tables: Vec<u32>,
    /// The images of the table that is at work.
    selected: Vec<u32>,
    /// The images of the call that is at work; in the mode `change` pairs of them.
    called: Vec<(u32, u32)>,
    parts: Vec<(usize, Part)>,
    answers: Vec<Part>,
    /// Whether these rows were counted before: a generation's figures are of rows that flow.
    pub is_probe: bool,
    failures: Vec<(usize, Stage, String)>,
    batch: Batch,
}

impl Images {
    /// Begins with the images of those of the rows that `takes` chooses.
    pub fn start(&mut self, rows: &RowBatch, takes: impl Fn(usize) -> bool) {
        self.images.clear();
        self.of_rows.clear();
        self.tables.clear();
        self.parts.clear();
        self.failures.clear();
        for (place, row) in rows.rows.iter().enumerate() {
            if !takes(place) {
                self.of_rows.push((NONE, NONE));
                continue;
            }
            let mut image = |cells: Option<u32>| match cells {
                Some(cells) => {
                    self.images.push(Image { row: place as u32, cells, fate: Fate::Alive });
                    self.images.len() as u32 - 1
                }
                None => NONE,
            };
            // An image before of which only the key is known says nothing of what the row was.
            let before = image(row.before.filter(|_| row.before_is_complete));
            let after = image(row.after);
            self.of_rows.push((before, after));
            if !self.tables.contains(&row.table) {
                self.tables.push(row.table);
            }
        }
    }

    /// The table versions of the batch.
    pub fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// The images before and after of a row.
    pub fn of_row(&self, row: usize) -> (Option<u32>, Option<u32>) {
        let (before, after) = self.of_rows[row];
        (Some(before).filter(|image| *image != NONE), Some(after).filter(|image| *image != NONE))
    }

    /// What became of an image.
    pub fn fate(&self, image: u32) -> Fate {
        self.images[image as usize].fate
    }

    /// Where an image's cells begin.
    pub fn cells(&self, image: u32) -> u32 {
        self.images[image as usize].cells
    }

    /// A failure: the plugin's place in the chain, the stage, the reason.
    pub fn failure(&self, failure: u32) -> (usize, Stage, &str) {
        let (plugin, stage, reason) = &self.failures[failure as usize];
        (*plugin, *stage, reason)
    }

    /// Whether any image failed in a plugin that `at` chooses by its place in the chain.
    pub fn has_failures(&self, at: impl Fn(usize) -> bool) -> bool {
        self.failures.iter().any(|(place, ..)| at(*place))
    }

    /// Where in the chain a row failed, and why, if it did.
    pub fn failure_of(&self, row: usize) -> Option<(usize, &str)> {
        let (before, after) = self.of_row(row);
        [before, after].into_iter().flatten().find_map(|image| match self.fate(image) {
            Fate::Failed(failure) => {
                let (place, _, reason) = self.failure(failure);
                Some((place, reason))
            }
            _ => None,
        })
    }

    /// An answer of a plugin: the plugin's place in the chain, and what it said.
    pub fn output(&self, part: u32) -> (usize, &Output) {
        let (plugin, part) = &self.parts[part as usize];
        match &part.result {
            Ok(output) => (*plugin, output),
            Err(_) => unreachable!("only answers that can be read become documents"),
        }
    }

    /// Turns to the images of one table version.
    pub fn select(&mut self, table: u32, rows: &RowBatch) {
        self.selected.clear();
        self.selected.extend(
            (0..self.images.len() as u32)
                .filter(|image| rows.rows[self.images[*image as usize].row as usize].table == table),
        );
    }

    /// Sends the selected images that are alive through one plugin.
    #[allow(clippy::too_many_arguments, reason = "one step's whole surroundings")]
    pub fn run(
        &mut self,
        place: usize,
        running: &mut Running,
        number: u32,
        plan: &TablePlan,
        rows: &mut RowBatch,
        shared: &Shared,
        records: &[u8],
    ) {
        let change = running.is_change_mode();
        self.gather(change);
        if self.called.is_empty() {
            return;
        }
        let called = std::mem::take(&mut self.called);
        let failures = self.failures.len();
        match running.columns(number, &plan.table) {
            Err(reason) => {
                for &(first, second) in &called {
                    self.fail(place, [first, second], reason.clone());
                }
            }
            Ok(columns) => {
                for chunk in called.chunks(IMAGES_PER_CALL) {
                    self.call(place, running, number, plan, &columns, chunk, change, rows, shared, records);
                }
            }
        }
        if self.failures.len() > failures && !self.is_probe {
            running.plugin.health.add_failed((self.failures.len() - failures) as u64);
        }
        self.called = called;
    }

    /// Collects what the plugin is shown: single images, or pairs of before and after.
    fn gather(&mut self, change: bool) {
        self.called.clear();
        let alive = |image: u32, images: &[Image]| image != NONE && images[image as usize].fate == Fate::Alive;
        for &image in &self.selected {
            if !alive(image, &self.images) {
                continue;
            }
            if !change {
                self.called.push((image, NONE));
                continue;
            }
            let (before, after) = self.of_rows[self.images[image as usize].row as usize];
            let before = if alive(before, &self.images) { before } else { NONE };
            let after = if alive(after, &self.images) { after } else { NONE };
            // Both images of a change are selected one after the other: it is taken at its first.
            if image == before || before == NONE {
                self.called.push((before, after));
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call's whole surroundings")]
    fn call(
        &mut self,
        place: usize,
        running: &mut Running,
        number: u32,
        plan: &TablePlan,
        columns: &[u32],
        called: &[(u32, u32)],
        change: bool,
        rows: &mut RowBatch,
        shared: &Shared,
        records: &[u8],
    ) {
        self.batch.clear();
        self.batch.table = number;
        self.batch.count = called.len() as u32;
        for &(first, second) in called {
            self.add_cells(first, columns, rows, records);
            if change {
                self.add_cells(second, columns, rows, records);
                self.batch.operations.push(self.operation(first, second, rows));
            }
        }
        let plugin = running.plugin.clone();
        let expect = Expect {
            count: self.batch.count,
            columns: plan.table.columns.len() as u32,
            indices: &plugin.indices,
            change_mode: change,
            documents_per_image: shared.config.limits.documents_per_image,
            rules: &crate::sink::rules::elasticsearch(),
        };
        let cells_per_image = columns.len() * if change { 2 } else { 1 };
        let begin = Instant::now();
        let mut renew = running.renewal(number, &plan.table);
        let patience = running.patience(&shared.config.limits, IMAGES_PER_CALL);
        let Some(guest) = running.guest() else { return };
        let mut answers = std::mem::take(&mut self.answers);
        let faults =
            isolate::transform_within(patience, guest, &self.batch, cells_per_image, expect, &mut renew, &mut answers);
        let time = begin.elapsed();
        if !self.is_probe {
            plugin.health.add(called.len() as u64, time, faults);
        }
        shared.metrics.plugin(&plugin.name, plugin.generation, called.len() as u64, time, faults);
        if faults > 0 {
            running.forget_other_tables(number);
            tracing::warn!(plugin = %plugin.name, generation = plugin.generation, table = %plan.full_name, faults, "the plugin failed on rows of this table");
        }
        for part in answers.drain(..) {
            self.take(place, part, called, change, plan, rows);
        }
        self.answers = answers;
    }

    fn add_cells(&mut self, image: u32, columns: &[u32], rows: &RowBatch, records: &[u8]) {
        for &column in columns {
            if image != NONE {
                let cell = rows.cells[self.images[image as usize].cells as usize + column as usize];
                self.batch.bytes.extend_from_slice(cell.bytes(records, &rows.scratch));
            }
            self.batch.cells.push(self.batch.bytes.len() as u32);
        }
    }

    fn operation(&self, before: u32, after: u32, rows: &RowBatch) -> u8 {
        let told = |image: u32| rows.rows[self.images[image as usize].row as usize].operation;
        let operation = match (before, after) {
            (NONE, after) if told(after) == Operation::Snapshot => Operation::Snapshot,
            // Without an image before, an update still is one.
            (NONE, after) if told(after) == Operation::Update => Operation::Update,
            (NONE, _) => Operation::Insert,
            (_, NONE) => Operation::Delete,
            _ => Operation::Update,
        };
        operation as u8
    }

    /// Takes over what a plugin said of a part of the call.
    #[allow(clippy::too_many_arguments, reason = "one answer's whole surroundings")]
    fn take(
        &mut self,
        place: usize,
        part: Part,
        called: &[(u32, u32)],
        change: bool,
        plan: &TablePlan,
        rows: &mut RowBatch,
    ) {
        let called = &called[part.first as usize..(part.first + part.count) as usize];
        let output = match &part.result {
            Ok(output) => output,
            Err(reason) => {
                for &(first, second) in called {
                    self.fail(place, [first, second], reason.clone());
                }
                return;
            }
        };
        let number = self.parts.len() as u32;
        for (at, &(first, second)) in called.iter().enumerate() {
            let at = at as u32;
            let set = |images: &mut [Image], first_fate: Fate, second_fate: Fate| {
                for (image, fate) in [(first, first_fate), (second, second_fate)] {
                    if image != NONE {
                        images[image as usize].fate = fate;
                    }
                }
            };
            match output.verdict(at) {
                Verdict::Keep => {}
                Verdict::Drop if change => set(&mut self.images, Fate::Suppressed, Fate::Suppressed),
                Verdict::Drop => set(&mut self.images, Fate::Dropped, Fate::Dropped),
                Verdict::Edit(edits) => {
                    // In the mode `change` the edit is of the image after, or of the image before of a delete.
                    let image = if second == NONE { first } else { second };
                    let edited = edit(rows, self.images[image as usize].cells, plan.table.columns.len(), edits);
                    self.images[image as usize].cells = edited;
                }
                Verdict::Documents(_) => {
                    let fate = Fate::Documents { part: number, image: at, change };
                    match (change, first, second) {
                        // The documents of a change are written once, by the image after where there is one.
                        (true, _, NONE) | (false, ..) => set(&mut self.images, fate, Fate::Suppressed),
                        (true, ..) => set(&mut self.images, Fate::Suppressed, fate),
                    }
                }
                Verdict::Fail(reason) => self.fail(place, [first, second], rowmill_sandbox::single_line(reason)),
                Verdict::Refused(reason) => self.fail(place, [first, second], format!("broke the contract: {reason}")),
            }
        }
        self.parts.push((place, part));
    }

    fn fail(&mut self, place: usize, images: [u32; 2], reason: String) {
        self.failures.push((place, Stage::Plugin, reason));
        let failure = self.failures.len() as u32 - 1;
        for image in images.into_iter().filter(|image| *image != NONE) {
            self.images[image as usize].fate = Fate::Failed(failure);
        }
    }
}

/// Copies an image's cells with some of them replaced; the original stays, since other verdicts may refer to it.
fn edit<'a>(rows: &mut RowBatch, cells: u32, columns: usize, edits: impl Iterator<Item = (u32, &'a [u8])>) -> u32 {
    let start = rows.cells.len();
    rows.cells.extend_from_within(cells as usize..cells as usize + columns);
    for (column, value) in edits {
        rows.cells[start + column as usize] = match value {
            [] => Cell::ABSENT,
            value => {
                let at = rows.scratch.len();
                rows.scratch.extend_from_slice(value);
                Cell::in_scratch(at, rows.scratch.len())
            }
        };
    }
    start as u32
}
