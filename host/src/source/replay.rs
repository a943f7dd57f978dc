//! Dead letters as a source: their records run through the pipeline once more, with their versions.
//!
//! Letters are replayed in groups. Once everything of a group is settled, written or stored as a new letter, its letters are
//! noted as replayed, so a replay that is interrupted goes on where it was, and a second one has nothing to do.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Intake, Source};
use crate::dead_letter::stored::{LetterFilter, LetterId, LetterStore, ReplayNotes, StoredLetter};
use crate::report::Report;

/// The most letters of a group.
const GROUP: u32 = 1000;
/// How long it may take until the source notices that the run is to end, or that a group is settled.
const TICK: Duration = Duration::from_millis(2);

/// How long a run that is to end waits for a group.
const PATIENCE: Duration = Duration::from_secs(5);

/// A replay of dead letters. No configuration file has this source; `rowmill dead-letters replay` does.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayConfig {
    /// Where the letters are.
    pub store: LetterStore,
    /// Which of them are replayed.
    pub filter: LetterFilter,
    /// The most letters per second; `None` for as many as the sink takes.
    pub rate: Option<NonZeroU32>,
    /// Whether documents are created whose row may have been deleted since.
    pub recreates: bool,
    /// Whether nothing is noted as replayed.
    pub is_dry: bool,
}

/// Reads letters, and waits until each group is settled.
pub(super) struct ReplaySource {
    config: ReplayConfig,
}

impl ReplaySource {
    pub fn new(config: ReplayConfig) -> Self {
        Self { config }
    }
}

impl Source for ReplaySource {
    fn check(&self, report: &mut Report) {
        report.ok("source", &format!("dead letters in {}", self.config.store.name()));
    }

    fn run(self: Box<Self>, mut intake: Intake) -> anyhow::Result<()> {
        let ReplayConfig { store, filter, rate, is_dry, .. } = self.config;
        let replayed = store.replayed();
        // Reserved before they are read: what another replay noted until now must not be missed.
        let notes = (!is_dry).then(|| replayed.reserve()).transpose()?;
        let mut group = Group {
            known: replayed.read()?,
            notes,
            limit: rate.map_or(GROUP, |rate| rate.get().min(GROUP)) as usize,
            rate,
            begin: Instant::now(),
            ids: Vec::new(),
        };
        store.read(|letter| {
            if filter.selects(&letter) && group.known.insert(letter.id) {
                group.add(&letter, &mut intake)?;
            }
            Ok(!intake.shutdown().is_requested())
        })?;
        group.finish(&mut intake)
    }
}

/// Letters that are in the pipeline.
struct Group {
    /// The letters that have been replayed, and those of this run.
    known: HashSet<LetterId>,
    /// `None` in a dry run.
    notes: Option<ReplayNotes>,
    limit: usize,
    rate: Option<NonZeroU32>,
    /// When the first letter was added.
    begin: Instant,
    ids: Vec<LetterId>,
}

impl Group {
    fn add(&mut self, letter: &StoredLetter, intake: &mut Intake) -> anyhow::Result<()> {
        while !intake.wait_for_room(TICK) {
            if intake.shutdown().is_requested() {
                return Ok(());
            }
        }
        if self.ids.is_empty() {
            self.begin = Instant::now();
        }
        super::file::push(intake, &letter.record)?;
        self.ids.push(letter.id);
        if self.ids.len() >= self.limit { self.finish(intake) } else { Ok(()) }
    }

    /// Waits until the group is settled, notes its letters, and waits as the rate demands.
    fn finish(&mut self, intake: &mut Intake) -> anyhow::Result<()> {
        intake.flush();
        let begin = Instant::now();
        while !intake.is_settled() {
            let shutdown = intake.shutdown();
            // What is not noted is replayed again, which changes nothing.
            if shutdown.is_aborted() || shutdown.is_requested() && begin.elapsed() > PATIENCE {
                return Ok(());
            }
            std::thread::park_timeout(TICK);
        }
        let count = self.ids.len();
        let ids = self.ids.drain(..);
        if let Some(notes) = self.notes.as_mut().filter(|_| count > 0) {
            notes.add(ids)?;
        }
        let Some(rate) = self.rate else { return Ok(()) };
        let due = self.begin + Duration::from_secs_f64(count as f64 / f64::from(rate.get()));
        while Instant::now() < due && !intake.shutdown().is_requested() {
            std::thread::park_timeout(TICK);
        }
        Ok(())
    }
}
