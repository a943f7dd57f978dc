//! Poison: rows that the plugin fails, and documents that the sink rejects, one of 100 and all of them, beside none. Every one
//! becomes a dead letter in a file. Documents of other rows must be complete.

use std::io::{BufRead, BufReader};

use anyhow::ensure;
use serde_json::json;

use crate::bench::{Bench, End, setting};
use crate::broker::Topic;
use crate::events::{Poison, Pool, event_of};
use crate::index::Index;
use crate::process::{Configuration, Run};
use crate::table;

/// What is poisoned, and every how many-th event.
const VARIANTS: [(&str, Option<(Poison, u64)>); 5] = [
    ("no poison", None),
    ("1 % poison rows", Some((Poison::Row, 100))),
    ("100 % poison rows", Some((Poison::Row, 1))),
    ("1 % poison documents", Some((Poison::Document, 100))),
    ("100 % poison documents", Some((Poison::Document, 1))),
];

/// A topic, and what its events contain.
struct Variant {
    name: &'static str,
    poison: Option<(Poison, u64)>,
    topic: Topic,
    events: u64,
}

impl Variant {
    fn is_poison(&self, n: u64) -> bool {
        self.poison.is_some_and(|(_, every)| n % every == every / 2)
    }

    fn poisoned(&self) -> u64 {
        (0..self.events).filter(|n| self.is_poison(*n)).count() as u64
    }

    fn fill(&self, seed: u64) -> anyhow::Result<()> {
        let good = Pool::of_kept(seed, None);
        let bad = Pool::of_kept(seed, self.poison.map(|(poison, _)| poison));
        let (mut producer, mut event) = (self.topic.producer("20")?, Vec::new());
        for n in 0..self.events {
            if self.is_poison(n) { &bad } else { &good }.write(n, &mut event);
            producer.send(n, &event)?;
        }
        producer.flush()
    }
}

/// Measures each kind and share of poison in turn, and prints medians.
///
/// # Errors
/// A server does not do its part, the gateway fails, or the documents or letters are not the expected ones.
pub fn measure(bench: &Bench, end: End) -> anyhow::Result<()> {
    let events = setting("POISON_EVENTS", 100_000)?;
    let mut variants = Vec::new();
    for (name, poison) in VARIANTS {
        let variant = Variant { name, poison, topic: Topic::create(&bench.brokers, 1), events };
        variant.fill(bench.seed)?;
        variants.push(variant);
    }
    let mut runs: Vec<Vec<Run>> = variants.iter().map(|_| Vec::new()).collect();
    for round in 0..=bench.rounds {
        for (variant, runs) in variants.iter().zip(&mut runs) {
            let run = match end {
                End::Counting => into_counting(bench, variant)?,
                End::Elasticsearch => into_elasticsearch(bench, variant)?,
            };
            check_letters(bench, variant, &run)?;
            // The first round warms up.
            if round > 0 {
                runs.push(run);
            }
        }
    }
    table::heading(&format!("poison into {}, {} rows", end.name(), table::thousands(events as f64)));
    let mut none = None;
    for (variant, runs) in variants.iter().zip(runs) {
        let Some(run) = table::median(runs, |run| run.seconds) else { continue };
        let seconds = *none.get_or_insert(run.seconds);
        table::line(
            variant.name,
            &[
                table::rate(events as f64 / run.seconds, "rows"),
                format!("{:.2} of none", seconds / run.seconds),
                table::cpu(&run, events),
                table::peak(&run),
                format!("{} letters", table::thousands(variant.poisoned() as f64)),
                table::plural(run.log_lines as u64, "log line"),
            ],
        );
    }
    Ok(())
}

fn run(bench: &Bench, variant: &Variant, url: &str) -> anyhow::Result<Run> {
    bench.folder.letter_files()?.iter().try_for_each(std::fs::remove_file)?;
    let configuration = Configuration { topics: &[&variant.topic.name], url, ..Default::default() };
    bench.folder.gateway(&configuration, &["--until-caught-up"])?.wait()
}

fn into_counting(bench: &Bench, variant: &Variant) -> anyhow::Result<Run> {
    bench.counting.take_documents();
    bench.counting.start_log();
    let run = run(bench, variant, &bench.counting.url)?;
    let (accepted, log) = (bench.counting.take_documents(), bench.counting.take_log());
    bench.counting.stop_log();
    let mut arrived = vec![false; variant.events as usize];
    log.iter().flat_map(|request| &request.events).for_each(|n| arrived[*n as usize] = true);
    let missing = (0..variant.events).filter(|n| !variant.is_poison(*n) && !arrived[*n as usize]).count();
    ensure!(missing == 0, "{missing} documents are missing with {}", variant.name);
    let good = variant.events - variant.poisoned();
    ensure!(accepted == good, "{accepted} documents instead of {good} with {}", variant.name);
    Ok(run)
}

fn into_elasticsearch(bench: &Bench, variant: &Variant) -> anyhow::Result<Run> {
    let url = bench.elasticsearch();
    let index = Index::new(&url);
    index.delete();
    index.create(&json!({ "mappings": { "properties": { "quantity": { "type": "long" } } } }))?;
    let run = run(bench, variant, &url)?;
    let documents = index.documents()?;
    let expected = (0..variant.events).filter(|n| !variant.is_poison(*n));
    let found = documents.iter().filter(|(n, stored)| event_of(stored.version) == Some(**n)).map(|(n, _)| *n);
    ensure!(found.eq(expected), "the documents with {} are not the expected ones", variant.name);
    index.delete();
    Ok(run)
}

/// Each poisoned event has one letter.
fn check_letters(bench: &Bench, variant: &Variant, run: &Run) -> anyhow::Result<()> {
    let mut lines = 0;
    for path in bench.folder.letter_files()? {
        lines += BufReader::new(std::fs::File::open(path)?).split(b'\n').count() as u64;
    }
    let (counted, expected) = (run.summary["dead_letters"].as_u64(), variant.poisoned());
    let name = variant.name;
    ensure!(
        lines == expected && counted == Some(expected),
        "{lines} letters in the file with {name}, {counted:?} counted, expected {expected}: {}",
        run.log
    );
    Ok(())
}
