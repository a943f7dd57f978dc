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

/// The raw sender warms Elasticsearch up until it takes more than this share of its shortest time so far, at most this often.
const FASTER: f64 = 0.9;
const MOST_WARM_UPS: usize = 8;

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
    table::heading(&format!("rounds into Elasticsearch, {}", table::plural(partitions, "partition")));
    let target = Target::warmed_up(bench, filled)?;
    let (events, kept) = (bench.events as f64, filled.kept as f64);
    let mut rounds = Vec::new();
    for round in 1..=bench.rounds {
        // Each comes first in turn: what one leaves behind must not always burden the other.
        let (gateway, sender) = if round % 2 == 0 {
            let sender = target.send()?;
            (target.run_gateway(bench, filled)?, sender)
        } else {
            let gateway = target.run_gateway(bench, filled)?;
            (gateway, target.send()?)
        };
        table::line(
            &format!("round {round}"),
            &[
                format!("gateway{}", table::rate(kept / gateway.seconds, "documents")),
                table::rate(events / gateway.seconds, "events"),
                table::cpu(&gateway, bench.events),
                table::peak(&gateway),
                format!("raw sender{}", table::rate(kept / sender, "documents")),
                format!("share {:.0} %", 100.0 * sender / gateway.seconds),
            ],
        );
        rounds.push(Round { gateway, consumer: None, sender });
    }
    target.index.delete();
    Ok(rounds)
}

/// Elasticsearch, and the same documents for the raw sender.
struct Target {
    url: String,
    index: Index,
    /// The mapping and the settings of the gateway's index.
    definition: Value,
    requests: Captured,
    kept: u64,
    in_flight: usize,
}

impl Target {
    /// Lets the gateway write the documents once, and then the raw sender until it gets no faster: a Java server compiles
    /// itself while it works.
    fn warmed_up(bench: &Bench, filled: &Filled) -> anyhow::Result<Self> {
        let (url, bulk) = (bench.elasticsearch(), BulkConfig::default());
        let requests = raw_sender::cut(&filled.captured, bulk.bytes);
        let index = Index::new(&url);
        let mut target =
            Self { url, index, definition: Value::Null, requests, kept: filled.kept, in_flight: bulk.in_flight };
        target.run_gateway(bench, filled)?;
        target.definition = target.index.definition();
        let mut fastest = target.send()?;
        for _ in 0..MOST_WARM_UPS {
            let seconds = target.send()?;
            if seconds > FASTER * fastest {
                break;
            }
            fastest = seconds;
        }
        let rate = table::rate(filled.kept as f64 / fastest, "documents");
        table::line("warm-up", &[format!("raw sender up to {}", rate.trim_start())]);
        Ok(target)
    }

    /// The gateway writes into an index that it creates.
    fn run_gateway(&self, bench: &Bench, filled: &Filled) -> anyhow::Result<Run> {
        self.index.delete();
        let run = gateway(bench, filled, &self.url)?;
        self.index.check_count(self.kept)?;
        Ok(run)
    }

    /// The raw sender writes into a fresh index with the definition of the gateway's; returns the seconds that it took.
    fn send(&self) -> anyhow::Result<f64> {
        self.index.delete();
        self.index.create(&self.definition)?;
        let seconds = raw_sender::send(&self.url, &self.requests, self.in_flight)?;
        self.index.check_count(self.kept)?;
        Ok(seconds)
    }
}

fn gateway(bench: &Bench, filled: &Filled, url: &str) -> anyhow::Result<Run> {
    let configuration = Configuration { topics: &[&filled.topic.name], url, ..Default::default() };
    bench.folder.gateway(&configuration, &["--until-caught-up"])?.wait()
}
