//! What the parts of the benchmark share: its settings, the servers, the filled topics, and the rates that were measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, ensure};
use rowmill_tests::{elasticsearch, gateway, kafka};

use crate::broker::Topic;
use crate::counting::{Captured, CountingServer};
use crate::events::MAX_EVENTS;
use crate::process::{Configuration, Folder};
use crate::table;

/// Where documents go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// The bulk server that only counts.
    Counting,
    /// The real Elasticsearch.
    Elasticsearch,
}

impl End {
    /// Its name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting server",
            Self::Elasticsearch => "Elasticsearch",
        }
    }
}

/// The benchmark.
pub struct Bench {
    /// The number of events in a topic; `EVENTS`.
    pub events: u64,
    /// The number of rounds whose median is printed; `ROUNDS`.
    pub rounds: usize,
    /// The seed of the events; `SEED`.
    pub seed: u64,
    /// The brokers of the real Kafka.
    pub brokers: String,
    /// Where gateways run.
    pub folder: Folder,
    /// The bulk server that only counts.
    pub counting: CountingServer,
    /// The gateway's events per second, by where the documents went; from topics with one partition.
    pub rates: BTreeMap<End, f64>,
    filled: BTreeMap<u64, Rc<Filled>>,
}

/// A topic with events, and the requests that a gateway made of them.
pub struct Filled {
    /// The topic.
    pub topic: Topic,
    /// The number of events that the filter keeps.
    pub kept: u64,
    /// The bulk requests.
    pub captured: Captured,
}

impl Bench {
    /// Reads the settings and starts the counting server.
    ///
    /// # Errors
    /// A setting is not a number, or there is no free port.
    pub fn new() -> anyhow::Result<Self> {
        let brokers = rowmill_tests::given(kafka::VARIABLE);
        let set: String = setting("SET", String::new())?;
        let binary = std::env::var_os("GATEWAY").map_or_else(gateway::binary, PathBuf::from);
        println!("gateway {}, built {} s ago", binary.display(), age(&binary)?.as_secs());
        let bench = Self {
            events: setting("EVENTS", 600_000)?,
            rounds: setting("ROUNDS", 3)?,
            seed: setting("SEED", 7)?,
            folder: Folder::new(&binary, &brokers, set.split_whitespace().map(str::to_string).collect())?,
            counting: CountingServer::start()?,
            brokers,
            rates: BTreeMap::new(),
            filled: BTreeMap::new(),
        };
        ensure!((1..=MAX_EVENTS).contains(&bench.events), "EVENTS must be from 1 to {MAX_EVENTS}");
        ensure!(bench.rounds > 0, "ROUNDS must be at least 1");
        println!(
            "{} events, SEED={}, median of {}, {} CPUs",
            table::thousands(bench.events as f64),
            bench.seed,
            table::plural(bench.rounds as u64, "round"),
            std::thread::available_parallelism()?,
        );
        if !set.is_empty() {
            println!("not the defaults: {set}");
        }
        Ok(bench)
    }

    /// The URL of the real Elasticsearch.
    pub fn elasticsearch(&self) -> String {
        rowmill_tests::given(elasticsearch::VARIABLE)
    }

    /// A topic with the benchmark's events. The first call for a number of partitions fills it and has a gateway read it once.
    ///
    /// # Errors
    /// A server does not do its part, or the gateway fails.
    pub fn filled(&mut self, partitions: u64) -> anyhow::Result<Rc<Filled>> {
        if let Some(filled) = self.filled.get(&partitions) {
            return Ok(filled.clone());
        }
        let topic = Topic::create(&self.brokers, partitions);
        let (kept, bytes) = topic.fill(self.events, self.seed)?;
        self.counting.start_capture();
        self.counting.take_documents();
        let configuration = Configuration { topics: &[&topic.name], url: &self.counting.url, ..Default::default() };
        self.folder.gateway(&configuration, &["--until-caught-up"])?.wait()?;
        let (captured, documents) = (self.counting.take_captured(), self.counting.take_documents());
        ensure!(documents == kept, "the gateway wrote {documents} documents, expected {kept}");
        println!(
            "topic with {}: {} bytes per event, the filter keeps {:.1} %",
            table::plural(partitions, "partition"),
            bytes / self.events,
            100.0 * kept as f64 / self.events as f64
        );
        let filled = Rc::new(Filled { topic, kept, captured });
        self.filled.insert(partitions, filled.clone());
        Ok(filled)
    }
}

fn age(file: &Path) -> anyhow::Result<Duration> {
    let modified =
        std::fs::metadata(file).and_then(|data| data.modified()).with_context(|| file.display().to_string())?;
    Ok(modified.elapsed().unwrap_or_default())
}

/// A number in the environment, or its default.
///
/// # Errors
/// It is not a number.
pub fn setting<T: FromStr>(variable: &str, default: T) -> anyhow::Result<T> {
    match std::env::var(variable).ok().filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text.parse().ok().with_context(|| format!("{variable}={text} is not a valid number")),
    }
}
