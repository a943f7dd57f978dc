//! The flow that a user gets: records of a real Kafka, a plugin, documents in a bulk server that only counts and in a real
//! Elasticsearch. The gateway is a child process with default settings. Each figure stands beside its ceiling of the same run: a
//! raw consumer of the same topic, and a raw sender of the same bulk bodies. `make bench`.
//!
//! Arguments choose parts: `counting`, `elasticsearch`, `latency` (or `latency-counting`, `latency-elasticsearch`), `stalls`,
//! `letters`, `poison` (or `poison-counting`, `poison-elasticsearch`); without arguments, the first three run. Machines are noisy:
//! compare figures of one run.
//!
//! Settings in the environment, with their defaults:
//!
//! - `EVENTS=600000`, `ROUNDS=3`, `SEED=7`.
//! - `GATEWAY`: another program to run than the one beside this. `SET` replaces defaults of the gateway:
//!   `SET="sink.linger=10ms sink.in_flight=4"`.
//! - For `latency`: `LATENCY_SECONDS=20` and `RATE`, in events per second (default: half of the gateway's maximum).
//! - For `stalls`: `PARTITIONS=1,50`; `STALLS=0.1,1,10,60`, in seconds; `BACKLOG=1800000`, in events; `STALL_DELAY_MS=10`, the time that each
//!   answer takes.
//! - For `letters`: `LETTERS=100000`; `REPLAY_RATE=2000`, in letters per second, 0 for no limit; `RATE=2000`, in live events per
//!   second; `LATENCY_SECONDS=20`, before the replay.
//! - For `poison`: `POISON_EVENTS=100000`.

#![allow(clippy::print_stdout, reason = "figures are what a benchmark is for")]

mod bench;
mod throughput;

mod latency;
mod letters;
mod poison;
mod stalls;

mod broker;
mod events;
mod process;

mod bulk;
mod counting;
mod http;
mod index;
mod proxy;
mod raw_sender;

mod table;

use std::process::ExitCode;

use anyhow::{Context, bail};

use bench::{Bench, End};

/// The first argument of a child process that is a raw consumer.
const CONSUME: &str = "--consume";

const PARTS: [&str; 10] = [
    "counting",
    "elasticsearch",
    "latency",
    "latency-counting",
    "latency-elasticsearch",
    "stalls",
    "letters",
    "poison",
    "poison-counting",
    "poison-elasticsearch",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [command, brokers, topic, events] = arguments.as_slice()
        && command == CONSUME
    {
        return broker::consume(brokers, topic, events.parse().context("a number of events")?);
    }
    if let Some(unknown) = arguments.iter().find(|argument| !PARTS.contains(&argument.as_str())) {
        bail!("there is no part {unknown:?}; choose from {}", PARTS.join(", "));
    }
    let is_chosen = |part: &str| match arguments.as_slice() {
        [] => ["counting", "elasticsearch", "latency"].contains(&part),
        chosen => chosen.iter().any(|one| one == part),
    };
    let mut bench = Bench::new()?;
    for (part, end) in [("counting", End::Counting), ("elasticsearch", End::Elasticsearch)] {
        if is_chosen(part) {
            for partitions in [1, 4] {
                throughput::measure(&mut bench, end, partitions)?;
            }
        }
    }
    for (part, end) in [("latency-counting", End::Counting), ("latency-elasticsearch", End::Elasticsearch)] {
        if is_chosen("latency") || is_chosen(part) {
            latency::measure(&mut bench, end)?;
        }
    }
    if is_chosen("letters") {
        letters::measure(&bench)?;
    }
    for (part, end) in [("poison-counting", End::Counting), ("poison-elasticsearch", End::Elasticsearch)] {
        if is_chosen("poison") || is_chosen(part) {
            poison::measure(&bench, end)?;
        }
    }
    if is_chosen("stalls") {
        for partitions in stalls::partitions()? {
            stalls::measure(&bench, partitions)?;
        }
    }
    Ok(())
}
