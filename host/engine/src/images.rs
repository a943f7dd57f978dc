//! The images of a batch on their way through the chain, and what becomes of each.

use std::time::{Duration, Instant};

use rowmill_rows::{Operation, RowBatch};
use rowmill_sandbox::isolate::{self, Part};
use rowmill_sandbox::{Batch as GuestBatch, Expect, Limits, NameRules, Output, Verdict};

use crate::batch::Batch;
use crate::call::Call;
use crate::failure::Stage;
use crate::plan::TablePlan;
use crate::plugin_instance::PluginInstance;

/// Images per call of a plugin.
const IMAGES_PER_CALL: usize = 512;

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It is on its way through the chain; at the end it becomes a document of its own columns.
    Pending,
    /// A plugin filtered it: it becomes no document.
    Dropped,
    /// A plugin in change mode answered for the change: nothing is written or deleted for this image.
    Suppressed,
    /// It becomes these documents.
    Documents {
        /// The number of the answer.
        part: u32,
        /// The image's number in the answer.
        image: u32,
        /// Whether the plugin is in change mode.
        change: bool,
    },
    /// It cannot be processed; the number of a failure.
    Failed(u32),
}

struct Image {
    row: u32,
    /// The place of its first cell.
    cells: u32,
    disposition: Disposition,
}

/// A plugin's turn with the images of one table version.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// The plugin's place in the chain.
    pub place: usize,
    /// The decoder's number of the table version.
    pub table: u32,
    pub plan: &'a TablePlan,
    pub limits: &'a Limits,
    pub rules: &'a NameRules,
}

impl Turn<'_> {
    /// A call that cost nothing.
    fn call(self) -> Call {
        let (table, time) = (self.plan.full_name.clone(), Duration::ZERO);
        Call { place: self.place, table, images: 0, failed: 0, faults: 0, time }
    }
}

const NONE: u32 = u32::MAX;

/// The images of one batch. Its memory is reused from batch to batch.
#[derive(Default)]
pub(crate) struct Images {
    images: Vec<Image>,
    /// For each row its before image and its after image.
    of_rows: Vec<(u32, u32)>,
    tables: Vec<u32>,
    /// The images of the current table.
    selected: Vec<u32>,
    /// The images of the current plugin's calls; in change mode pairs of them.
    called: Vec<(u32, u32)>,
    parts: Vec<(usize, Part)>,
    answers: Vec<Part>,
    failures: Vec<(usize, Stage, String)>,
    call: GuestBatch,
}

impl Images {
    /// Starts with the images of the rows that `takes` selects.
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
                    self.images.push(Image { row: place as u32, cells, disposition: Disposition::Pending });
                    self.images.len() as u32 - 1
                }
                None => NONE,
            };
            // A before image that holds only the key does not say what the row was.
            let before = image(row.before.filter(|_| row.before_is_complete));
            let after = image(row.after);
            self.of_rows.push((before, after));
            if !self.tables.contains(&row.table) {
                self.tables.push(row.table);
            }
        }
    }

    /// The numbers of the table versions in the batch.
    pub fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// The before and after images of a row.
    pub fn of_row(&self, row: usize) -> (Option<u32>, Option<u32>) {
        let (before, after) = self.of_rows[row];
        (Some(before).filter(|image| *image != NONE), Some(after).filter(|image| *image != NONE))
    }

    /// What becomes of an image.
    pub fn disposition(&self, image: u32) -> Disposition {
        self.images[image as usize].disposition
    }

    /// The place of an image's first cell.
    pub fn cells(&self, image: u32) -> u32 {
        self.images[image as usize].cells
    }

    /// A failure: the plugin's place in the chain, the stage, the reason.
    pub fn failure(&self, failure: u32) -> (usize, Stage, &str) {
        let (plugin, stage, reason) = &self.failures[failure as usize];
        (*plugin, *stage, reason)
    }

    /// Returns true if any image failed in a plugin that `at` selects by its place in the chain.
    pub fn has_failures(&self, at: impl Fn(usize) -> bool) -> bool {
        self.failures.iter().any(|(place, ..)| at(*place))
    }

    /// The place in the chain where a row failed, and the reason; `None` if it did not fail.
    pub fn failure_of(&self, row: usize) -> Option<(usize, &str)> {
        let (before, after) = self.of_row(row);
        [before, after].into_iter().flatten().find_map(|image| match self.disposition(image) {
            Disposition::Failed(failure) => {
                let (place, _, reason) = self.failure(failure);
                Some((place, reason))
            }
            _ => None,
        })
    }

    /// An answer: the plugin's place in the chain, and its output.
    pub fn output(&self, part: u32) -> (usize, &Output) {
        let (plugin, part) = &self.parts[part as usize];
        match &part.result {
            Ok(output) => (*plugin, output),
            Err(_) => unreachable!("only valid answers become documents"),
        }
    }

    /// Selects the images of one table version.
    pub fn select(&mut self, table: u32, rows: &RowBatch) {
        self.selected.clear();
        self.selected.extend(
            (0..self.images.len() as u32)
                .filter(|image| rows.rows[self.images[*image as usize].row as usize].table == table),
        );
    }

    /// Runs the selected images that are still pending through one plugin.
    pub fn run(&mut self, turn: Turn<'_>, instance: &mut PluginInstance, batch: &mut Batch<'_>, calls: &mut Vec<Call>) {
        self.gather(instance.plugin.is_change_mode());
        if self.called.is_empty() {
            return;
        }
        let called = std::mem::take(&mut self.called);
        let (n_failures, n_calls) = (self.failures.len(), calls.len());
        match instance.columns(turn.table, &turn.plan.table) {
            Err(reason) => {
                for &images in &called {
                    self.fail(turn.place, images, reason.clone());
                }
            }
            Ok(columns) => {
                for chunk in called.chunks(IMAGES_PER_CALL) {
                    calls.extend(self.call(turn, instance, &columns, chunk, batch));
                }
            }
        }
        let failed = (self.failures.len() - n_failures) as u64;
        if failed > 0 {
            if calls.len() == n_calls {
                calls.push(turn.call());
            }
            calls[n_calls].failed = failed;
        }
        self.called = called;
    }

    /// Collects the images that the plugin is called with: single images, or pairs of before and after.
    fn gather(&mut self, change: bool) {
        self.called.clear();
        let pending =
            |image: u32, images: &[Image]| image != NONE && images[image as usize].disposition == Disposition::Pending;
        for &image in &self.selected {
            if !pending(image, &self.images) {
                continue;
            }
            if !change {
                self.called.push((image, NONE));
                continue;
            }
            let (before, after) = self.of_rows[self.images[image as usize].row as usize];
            let before = if pending(before, &self.images) { before } else { NONE };
            let after = if pending(after, &self.images) { after } else { NONE };
            // Both images of a change are selected one after the other: it is taken at its first.
            if image == before || before == NONE {
                self.called.push((before, after));
            }
        }
    }

    /// Calls the plugin with these images and takes over its answers. Returns `None` if it has no instance.
    fn call(
        &mut self,
        turn: Turn<'_>,
        instance: &mut PluginInstance,
        columns: &[u32],
        called: &[(u32, u32)],
        batch: &mut Batch<'_>,
    ) -> Option<Call> {
        let plugin = instance.plugin.clone();
        let change = plugin.is_change_mode();
        self.fill_call(turn.table, columns, called, change, batch);
        let expect = Expect {
            count: self.call.count,
            columns: turn.plan.table.columns.len() as u32,
            indices: &plugin.indices,
            change_mode: change,
            documents_per_image: turn.limits.documents_per_image,
            rules: turn.rules,
        };
        let cells_per_image = columns.len() * if change { 2 } else { 1 };
        let begin = Instant::now();
        let mut renew = instance.renewal(turn.table, &turn.plan.table);
        let time_limit = instance.isolation_time(turn.limits, IMAGES_PER_CALL);
        let guest = instance.guest()?;
        let mut answers = std::mem::take(&mut self.answers);
        let faults =
            isolate::transform_within(time_limit, guest, &self.call, cells_per_image, expect, &mut renew, &mut answers);
        let time = begin.elapsed();
        if faults > 0 {
            instance.keep_only_table(turn.table);
        }
        for part in answers.drain(..) {
            self.take(turn, part, called, change, batch);
        }
        self.answers = answers;
        Some(Call { images: called.len() as u64, time, faults, ..turn.call() })
    }

    fn fill_call(&mut self, table: u32, columns: &[u32], called: &[(u32, u32)], change: bool, batch: &Batch<'_>) {
        self.call.clear();
        self.call.table = table;
        self.call.count = called.len() as u32;
        for &(first, second) in called {
            self.add_cells(first, columns, batch);
            if change {
                self.add_cells(second, columns, batch);
                self.call.operations.push(self.operation(first, second, batch.rows));
            }
        }
    }

    fn add_cells(&mut self, image: u32, columns: &[u32], batch: &Batch<'_>) {
        for &column in columns {
            if image != NONE {
                let cell = self.images[image as usize].cells as usize + column as usize;
                self.call.bytes.extend_from_slice(batch.bytes_of(cell));
            }
            self.call.cells.push(self.call.bytes.len() as u32);
        }
    }

    fn operation(&self, before: u32, after: u32, rows: &RowBatch) -> u8 {
        let of_row = |image: u32| rows.rows[self.images[image as usize].row as usize].operation;
        let operation = match (before, after) {
            (NONE, after) if of_row(after) == Operation::Snapshot => Operation::Snapshot,
            // An update whose before image the source does not send is still an update.
            (NONE, after) if of_row(after) == Operation::Update => Operation::Update,
            (NONE, _) => Operation::Insert,
            (_, NONE) => Operation::Delete,
            _ => Operation::Update,
        };
        operation as u8
    }

    /// Takes over the plugin's answer to a part of the call.
    fn take(&mut self, turn: Turn<'_>, part: Part, called: &[(u32, u32)], change: bool, batch: &mut Batch<'_>) {
        let called = &called[part.first as usize..(part.first + part.count) as usize];
        let output = match &part.result {
            Ok(output) => output,
            Err(reason) => {
                for &images in called {
                    self.fail(turn.place, images, reason.clone());
                }
                return;
            }
        };
        let number = self.parts.len() as u32;
        for (at, &(first, second)) in called.iter().enumerate() {
            let at = at as u32;
            match output.verdict(at) {
                Verdict::Keep => {}
                Verdict::Drop if change => self.set(first, second, Disposition::Suppressed, Disposition::Suppressed),
                Verdict::Drop => self.set(first, second, Disposition::Dropped, Disposition::Dropped),
                Verdict::Edit(edits) => {
                    // In change mode the plugin edits the after image, or the before image of a delete.
                    let image = if second == NONE { first } else { second };
                    let cells = self.images[image as usize].cells;
                    self.images[image as usize].cells = batch.edit(cells, turn.plan.table.columns.len(), edits);
                }
                Verdict::Documents(_) => {
                    let documents = Disposition::Documents { part: number, image: at, change };
                    match (change, first, second) {
                        // The documents of a change are written once: by the after image if there is one.
                        (true, _, NONE) | (false, ..) => self.set(first, second, documents, Disposition::Suppressed),
                        (true, ..) => self.set(first, second, Disposition::Suppressed, documents),
                    }
                }
                Verdict::Fail(reason) => self.fail(turn.place, (first, second), rowmill_sandbox::single_line(reason)),
                Verdict::Refused(reason) => {
                    self.fail(turn.place, (first, second), format!("broke the contract: {reason}"));
                }
            }
        }
        self.parts.push((turn.place, part));
    }

    fn set(&mut self, first: u32, second: u32, of_first: Disposition, of_second: Disposition) {
        for (image, disposition) in [(first, of_first), (second, of_second)] {
            if image != NONE {
                self.images[image as usize].disposition = disposition;
            }
        }
    }

    fn fail(&mut self, place: usize, (first, second): (u32, u32), reason: String) {
        self.failures.push((place, Stage::Plugin, reason));
        let failure = self.failures.len() as u32 - 1;
        self.set(first, second, Disposition::Failed(failure), Disposition::Failed(failure));
    }
}
