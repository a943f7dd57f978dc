//! Throughput: the gateway empties a topic, beside a raw consumer of the topic and a raw sender of the same documents. Rounds
//! alternate between them, and a first round only warms them up.

use anyhow::Context;
use rowmill::config::BulkConfig;
use serde_json::Value;

use crate::bench::{Bench, End, Filled};
use crate::counting::Captured;
use crate::index::Index;
use crate::process::{Configuration, Run};
use crate::raw_sender;
use crate::table;

/// The figures of a round.
struct Round {
    gateway: Run,
    consumer: Option<Run>,
    /// The raw sender's seconds.
    sender: f64,
}

/// Measures the throughput from a topic with this many partitions, and prints it.
///
/// # Errors
/// A server does not do its part, the gateway fails, or a document is missing.
pub fn measure(bench: &mut Bench, end: End, partitions: u64) -> anyhow::Result<()> {
    let filled = bench.filled(partitions)?;
    let rounds = match end {
        End::Counting => counting(bench, &filled)?,
        End::Elasticsearch => elasticsearch(bench, &filled, partitions)?,
    };
    let (events, kept) = (bench.events as f64, filled.kept as f64);
    let (ceiling, share): (_, fn(&Round) -> f64) = match end {
        End::Counting => {
            ("raw consumer", |round| round.consumer.as_ref().map_or(0.0, |run| run.seconds) / round.gateway.seconds)
        }
        End::Elasticsearch => ("raw sender", |round| round.sender / round.gateway.seconds),
    };
    let median_share = table::median(rounds.iter().map(share).collect(), |share| *share).unwrap_or_default();
    let sender = table::median(rounds.iter().map(|round| round.sender).collect(), |seconds| *seconds);
    let (gateways, consumers): (Vec<Run>, Vec<Option<Run>>) =
        rounds.into_iter().map(|round| (round.gateway, round.consumer)).unzip();
    let gateway = table::median(gateways, |run| run.seconds).context("a round")?;
    if partitions == 1 {
        bench.rates.insert(end, events / gateway.seconds);
    }

    table::heading(&format!("throughput into {}, {}", end.name(), table::plural(partitions, "partition")));
    table::line(
        "gateway",
        &[
            table::rate(events / gateway.seconds, "events"),
            table::rate(kept / gateway.seconds, "documents"),
            table::cpu(&gateway, bench.events),
            table::peak(&gateway),
        ],
    );
    if let Some(consumer) = table::median(consumers.into_iter().flatten().collect(), |run| run.seconds) {
        let figures =
            [table::rate(events / consumer.seconds, "events"), " ".repeat(21), table::cpu(&consumer, bench.events)];
        table::line("raw consumer", &figures);
    }
    table::line("raw sender", &[" ".repeat(18), table::rate(kept / sender.unwrap_or(f64::NAN), "documents")]);
    table::line(&format!("share of the {ceiling}"), &[format!("{:>9.0} %", 100.0 * median_share)]);
    Ok(())
}

fn counting(bench: &Bench, filled: &Filled) -> anyhow::Result<Vec<Round>> {
    let in_flight = BulkConfig::default().in_flight;
    let mut rounds = Vec::new();
    for round in 0..=bench.rounds {
        bench.counting.take_documents();
        let gateway = gateway(bench, filled, &bench.counting.url)?;
        let written = bench.counting.take_documents();
        anyhow::ensure!(written == filled.kept, "the gateway wrote {written} documents, expected {}", filled.kept);
        let consumer = bench.folder.consumer(&filled.topic.name, bench.events)?.wait()?;
        let sender = raw_sender::send(&bench.counting.url, &filled.captured, in_flight)?;
        if round > 0 {
            rounds.push(Round { gateway, consumer: Some(consumer), sender });
        }
    }
    Ok(rounds)
}

fn elasticsearch(bench: &Bench, filled: &Filled, partitions: u64) -> anyhow::Result<Vec<Round>> {
    let url = bench.elasticsearch();
    let index = Index::new(&url);
    let bulk = BulkConfig::default();
    let requests = raw_sender::cut(&filled.captured, bulk.bytes);
    let (events, kept) = (bench.events as f64, filled.kept as f64);
    table::heading(&format!("rounds into Elasticsearch, {}", table::plural(partitions, "partition")));
    let mut definition = None;
    let mut rounds = Vec::new();
    for round in 0..=bench.rounds {
        // The raw sender's index has the mapping and settings of the gateway's, so the gateway comes first in the first round.
        // Later, each comes first in turn: what a round leaves behind must not favour one of them.
        let mut sender = None;
        if let Some(definition) = definition.as_ref().filter(|_| round % 2 == 0) {
            sender = Some(raw(&index, &url, definition, &requests, filled.kept, bulk.in_flight)?);
        }
        index.delete();
        let gateway = gateway(bench, filled, &url)?;
        index.check_count(filled.kept)?;
        let definition = definition.get_or_insert_with(|| index.definition());
        let sender = match sender {
            Some(seconds) => seconds,
            None => raw(&index, &url, definition, &requests, filled.kept, bulk.in_flight)?,
        };
        let name = if round == 0 { "warm-up".to_string() } else { format!("round {round}") };
        table::line(
            &name,
            &[
                format!("gateway{}", table::rate(kept / gateway.seconds, "documents")),
                table::rate(events / gateway.seconds, "events"),
                table::cpu(&gateway, bench.events),
                table::peak(&gateway),
                format!("raw sender{}", table::rate(kept / sender, "documents")),
                format!("share {:.0} %", 100.0 * sender / gateway.seconds),
            ],
        );
        if round > 0 {
            rounds.push(Round { gateway, consumer: None, sender });
        }
    }
    index.delete();
    Ok(rounds)
}

fn gateway(bench: &Bench, filled: &Filled, url: &str) -> anyhow::Result<Run> {
    let configuration = Configuration { topic: &filled.topic.name, url, sink: "" };
    bench.folder.gateway(&configuration, &["--until-caught-up"])?.wait()
}

/// Sends the requests into a fresh index; returns the seconds that it took.
fn raw(
    index: &Index,
    url: &str,
    definition: &Value,
    requests: &Captured,
    kept: u64,
    in_flight: usize,
) -> anyhow::Result<f64> {
    index.delete();
    index.create(definition)?;
    let seconds = raw_sender::send(url, requests, in_flight)?;
    index.check_count(kept)?;
    Ok(seconds)
}
