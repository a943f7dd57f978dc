//! Stalls: a sink that answers no bulk request for a while, several times during one run with a backlog that does not end before
//! the last stall. After each stall: the time until documents arrive at full speed again. At the end: no document is missing.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::{Bench, setting};
use crate::broker::Topic;
use crate::bulk::Request;
use crate::events::{MAX_EVENTS, Pool};
use crate::process::{Configuration, Process};
use crate::table;

/// Small requests, so that 100 ms contain many of them. The timeout is longer than the longest stall, which otherwise would end
/// together with the gateway's patience and show how it retries instead.
const SINK: &str = "bulk_documents = 200\ntimeout = \"120s\"";
/// The time that documents flow before the first stall and after each one.
const FLOW: Duration = Duration::from_secs(3);
/// The part of it, at its end, in which the speed before a stall is measured.
const REFERENCE: Duration = Duration::from_secs(2);
/// Speed is measured in windows of this length, which start every `STEP`.
const WINDOW: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(10);
/// The share of the speed before the stall that counts as full.
const FULL: f64 = 0.9;
/// Full speed must last this long: a burst followed by a gap does not count.
const LASTING: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures the recovery from stalls with a topic of this many partitions, and prints it.
///
/// # Errors
/// A server does not do its part, the gateway fails, the backlog ends too early, or a document is missing.
pub fn measure(bench: &Bench, partitions: u64) -> anyhow::Result<()> {
    let backlog: u64 = setting("BACKLOG", 1_800_000)?;
    ensure!((1..=MAX_EVENTS).contains(&backlog), "BACKLOG must be from 1 to {MAX_EVENTS}");
    let delay = Duration::from_millis(setting("STALL_DELAY_MS", 10)?);
    let stalls = stalls()?;
    let pool = Pool::new(bench.seed);
    let topic = Topic::create(&bench.brokers, partitions);
    let mut producer = topic.producer("20")?;
    let mut event = Vec::new();
    for n in 0..backlog {
        pool.write(n, &mut event);
        producer.send(n, &event)?;
    }
    producer.flush()?;
    drop(producer);

    table::heading(&format!(
        "stalls of the counting server, {}, {} events, each answer takes {} ms",
        table::plural(partitions, "partition"),
        table::thousands(backlog as f64),
        delay.as_millis()
    ));
    bench.counting.set_delay(delay);
    bench.counting.start_log();
    let configuration =
        Configuration { topics: &[&topic.name], url: &bench.counting.url, sink: SINK, ..Default::default() };
    let gateway = bench.folder.gateway(&configuration, &["--until-caught-up"])?;
    let result = run(bench, gateway, &stalls, &pool, backlog);
    bench.counting.set_delay(Duration::ZERO);
    bench.counting.stop_log();
    result
}

/// The numbers of partitions in `PARTITIONS`, separated by commas.
///
/// # Errors
/// It is not a list of numbers.
pub fn partitions() -> anyhow::Result<Vec<u64>> {
    let text = setting("PARTITIONS", "1,50".to_string())?;
    let numbers = text.split(',').map(|number| number.trim().parse().ok());
    numbers.collect::<Option<_>>().with_context(|| format!("PARTITIONS={text} is not a list of numbers"))
}

/// The stalls: seconds in `STALLS`, separated by commas.
fn stalls() -> anyhow::Result<Vec<Duration>> {
    let text = setting("STALLS", "0.1,1,10,60".to_string())?;
    let seconds = text.split(',').map(|seconds| seconds.trim().parse().ok());
    let durations = seconds.map(|seconds| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()));
    durations.collect::<Option<_>>().with_context(|| format!("STALLS={text} is not a list of seconds"))
}

fn run(bench: &Bench, mut gateway: Process, stalls: &[Duration], pool: &Pool, backlog: u64) -> anyhow::Result<()> {
    let kept = (0..backlog).filter(|n| pool.is_kept(*n)).count();
    let mut arrivals = Arrivals::new(backlog);
    let begin = Instant::now();
    while arrivals.n == 0 {
        ensure!(begin.elapsed() < PATIENCE, "the gateway writes no document");
        gateway.check_running()?;
        std::thread::sleep(STEP);
        arrivals.add(bench.counting.take_log());
    }
    std::thread::sleep(FLOW);
    for stall in stalls {
        let stalled = Instant::now();
        let released = bench.counting.stall(*stall);
        std::thread::sleep(FLOW);
        arrivals.add(bench.counting.take_log());
        ensure!(arrivals.n < kept, "the backlog ended before the stalls did: choose a larger BACKLOG");
        let (median, mean) = arrivals.speed_before(stalled);
        // In a flow of bursts and gaps, the median may be zero.
        let recovery = arrivals.recovery(released, median.max(mean));
        let events_per_document = backlog as f64 / kept as f64;
        table::line(
            &format!("stall of {} s", stall.as_secs_f64()),
            &[
                format!("before: median{}", table::rate(median * events_per_document, "events")),
                format!("mean{}", table::rate(mean * events_per_document, "events")),
                match recovery {
                    Some(time) => format!("full speed again after {} ms", time.as_millis()),
                    None => format!("full speed not again within {} s", (FLOW - LASTING).as_secs()),
                },
                format!("longest gap after it {} ms", arrivals.longest_gap(released).as_millis()),
            ],
        );
    }
    bench.counting.set_delay(Duration::ZERO);
    let run = gateway.wait()?;
    arrivals.add(bench.counting.take_log());
    ensure!(
        arrivals.n == kept,
        "{} of {kept} documents are missing; the gateway: {} {}",
        kept - arrivals.n,
        run.summary,
        run.log
    );
    table::line("at the end", &["no document is missing".into(), table::peak(&run), table::cpu(&run, backlog)]);
    Ok(())
}

/// When new documents arrived.
struct Arrivals {
    /// The time of each request, with the number of documents that it was the first to write.
    requests: Vec<(Instant, u32)>,
    has_arrived: Vec<bool>,
    /// The number of different documents.
    n: usize,
}

impl Arrivals {
    fn new(events: u64) -> Self {
        Self { requests: Vec::new(), has_arrived: vec![false; events as usize], n: 0 }
    }

    fn add(&mut self, requests: Vec<Request>) {
        for request in requests {
            let mut new = 0;
            for n in request.events {
                new += u32::from(!std::mem::replace(&mut self.has_arrived[n as usize], true));
            }
            self.n += new as usize;
            self.requests.push((request.arrived, new));
        }
        // Requests are logged when they are answered.
        self.requests.sort_by_key(|(arrived, _)| *arrived);
    }

    /// The number of documents that arrived from `begin` on, for `duration`.
    fn count(&self, begin: Instant, duration: Duration) -> f64 {
        f64::from(self.within(begin, duration).map(|(_, new)| *new).sum::<u32>())
    }

    fn within(&self, begin: Instant, duration: Duration) -> impl Iterator<Item = &(Instant, u32)> {
        let from = self.requests.partition_point(|(arrived, _)| *arrived < begin);
        self.requests[from..].iter().take_while(move |(arrived, _)| *arrived < begin + duration)
    }

    /// The longest time without a request after the end of a stall.
    fn longest_gap(&self, released: Instant) -> Duration {
        let times = self.within(released, FLOW).map(|(arrived, _)| *arrived).chain([released + FLOW]);
        let mut last = released;
        times.map(|time| time - std::mem::replace(&mut last, time)).max().unwrap_or_default()
    }

    /// Documents per second before a stall: the median of the windows, and the mean.
    fn speed_before(&self, stall: Instant) -> (f64, f64) {
        let begin = stall.checked_sub(REFERENCE).unwrap_or(stall);
        let starts = (0..).map(|step| STEP * step).take_while(|start| *start + WINDOW <= REFERENCE);
        let windows = starts.map(|start| self.count(begin + start, WINDOW) / WINDOW.as_secs_f64());
        let median = table::median(windows.collect(), |speed| *speed).unwrap_or_default();
        (median, self.count(begin, REFERENCE) / REFERENCE.as_secs_f64())
    }

    /// The time from the end of a stall until the first window at full speed that lasts.
    fn recovery(&self, released: Instant, before: f64) -> Option<Duration> {
        let is_full = |start: Duration, duration: Duration| {
            self.count(released + start, duration) / duration.as_secs_f64() >= FULL * before
        };
        let mut starts = (0..).map(|step| STEP * step).take_while(|start| *start + LASTING <= FLOW);
        starts.find(|start| is_full(*start, WINDOW) && is_full(*start, LASTING))
    }
}
