//! Latency at half of the maximum rate: from the time at which a record is due to be sent until its document's bulk request is
//! answered, and until a search finds the document. The rate is constant and does not depend on the answers (an open loop), so
//! that the time for which a record waits behind others counts.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::bench::{Bench, End, setting};
use crate::broker::{RawConsumer, RecordProducer, Schedule, Topic};
use crate::bulk::Request;
use crate::events::Pool;
use crate::index::{Index, Watch};
use crate::process::{Configuration, Process};
use crate::proxy::Proxy;
use crate::table;
use crate::throughput;

/// How long records are sent before those that count: until every thread has had work, and the index its mapping.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often a record is sent until the gateway reads the topic.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long the producer waits for a batch to fill.
const PRODUCER_LINGER_MS: &str = "1";
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the latency with a short linger and with the default, and prints it.
///
/// # Errors
/// A server does not do its part, the gateway fails, or a document is missing.
pub fn measure(bench: &mut Bench, end: End) -> anyhow::Result<()> {
    let mut rate = setting("RATE", 0.0)?;
    if rate <= 0.0 {
        if !bench.rates.contains_key(&end) {
            throughput::measure(bench, end, 1)?;
        }
        rate = bench.rates.get(&end).map_or(1_000.0, |rate| rate / 2.0);
    }
    let seconds: f64 = setting("LATENCY_SECONDS", 20.0)?;
    let pool = Pool::new(bench.seed);
    table::heading(&format!("latency into {}, {}, {seconds} s", end.name(), table::rate(rate, "events").trim_start()));
    let (consumed, late) = raw_consumer(bench, &pool, rate, seconds.min(5.0))?;
    table::line("raw consumer", &[format!("produce to consumed:     {}", consumed.join(", "))]);
    table::line("raw consumer", &[format!("the producer was at most {} late", table::milliseconds(late))]);
    for (name, sink) in [("linger = \"10ms\"", "linger = \"10ms\""), ("default linger", "")] {
        let run = Attempt { bench, pool: &pool, end, rate, seconds, sink };
        let figures = run.measure()?;
        table::line(name, &[format!("produce to acknowledged: {}", figures.acknowledged.join(", "))]);
        if let Some(searchable) = figures.searchable {
            table::line(name, &[format!("produce to searchable:   {}", searchable.join(", "))]);
        }
        let late = table::milliseconds(figures.late);
        table::line(name, &[format!("{:.0} MiB peak; the producer was at most {late} late", figures.peak_mib)]);
    }
    Ok(())
}

/// The ceiling: the latency of a raw consumer at the same rate. Returns its percentiles, and by how much the producer missed its
/// schedule at most.
fn raw_consumer(bench: &Bench, pool: &Pool, rate: f64, seconds: f64) -> anyhow::Result<(Vec<String>, Duration)> {
    let topic = Topic::create(&bench.brokers, 1);
    let consumer = RawConsumer::start(&bench.brokers, &topic.name)?;
    let counted_from = (rate * WARM_UP.as_secs_f64()) as usize;
    let end = counted_from as u64 + (rate * seconds) as u64;
    let mut producer = topic.producer(PRODUCER_LINGER_MS)?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut times = Vec::with_capacity(end as usize);
            consumer.read(end, |_| times.push(Instant::now())).map(|()| times)
        });
        let schedule = Schedule { first: 0, end, begin: Instant::now(), rate };
        let late = producer.send_on_time(&schedule, pool)?;
        let times = reader.join().map_err(|_| anyhow::anyhow!("the raw consumer panicked"))??;
        // One partition keeps the order.
        let counted = times.iter().enumerate().skip(counted_from);
        let latencies = counted.map(|(n, time)| time.saturating_duration_since(schedule.time_of(n as u64)));
        Ok((table::percentiles(latencies.collect()), late))
    })
}

struct Attempt<'a> {
    bench: &'a Bench,
    pool: &'a Pool,
    end: End,
    /// Events per second.
    rate: f64,
    /// The duration of the records that count.
    seconds: f64,
    /// Lines of `[sink]`.
    sink: &'a str,
}

struct Figures {
    acknowledged: Vec<String>,
    searchable: Option<Vec<String>>,
    /// By how much the producer missed its schedule at most.
    late: Duration,
    peak_mib: f64,
}

/// The receiver of the documents: the counting server, or a proxy in front of Elasticsearch.
enum Receiver<'a> {
    Counting(&'a Bench),
    Proxy(Proxy, Index),
}

impl Receiver<'_> {
    fn url(&self) -> &str {
        match self {
            Self::Counting(bench) => &bench.counting.url,
            Self::Proxy(proxy, _) => &proxy.url,
        }
    }

    fn take_log(&self) -> Vec<Request> {
        match self {
            Self::Counting(bench) => bench.counting.take_log(),
            Self::Proxy(proxy, _) => proxy.log.take(),
        }
    }
}

impl Attempt<'_> {
    fn measure(&self) -> anyhow::Result<Figures> {
        let receiver = match self.end {
            End::Counting => {
                self.bench.counting.start_log();
                Receiver::Counting(self.bench)
            }
            End::Elasticsearch => {
                let index = Index::new(&self.bench.elasticsearch());
                index.delete();
                Receiver::Proxy(Proxy::start(&self.bench.elasticsearch())?, index)
            }
        };
        let topic = Topic::create(&self.bench.brokers, 1);
        let configuration =
            Configuration { topics: &[&topic.name], url: receiver.url(), sink: self.sink, ..Default::default() };
        let mut gateway = self.bench.folder.gateway(&configuration, &[])?;
        let mut producer = topic.producer(PRODUCER_LINGER_MS)?;
        let first = self.probe(&receiver, &mut gateway, &mut producer)?;

        let watch = matches!(receiver, Receiver::Proxy(..)).then(|| Watch::start(&self.bench.elasticsearch()));
        let counted_from = first + (self.rate * WARM_UP.as_secs_f64()) as u64;
        let end = counted_from + (self.rate * self.seconds) as u64;
        let schedule = Schedule { first, end, begin: Instant::now(), rate: self.rate };
        let late = producer.send_on_time(&schedule, self.pool)?;
        let answered = self.collect(&receiver, &mut gateway, &schedule)?;
        let seen = watch.map(|watch| self.finish(watch, &receiver, &schedule)).transpose()?;
        let run = gateway.stop()?;
        match &receiver {
            Receiver::Counting(bench) => bench.counting.stop_log(),
            Receiver::Proxy(_, index) => index.delete(),
        }

        let counted = || (counted_from..end).filter(|n| self.pool.is_kept(*n));
        let since_due = |n: u64, time: Instant| time.saturating_duration_since(schedule.time_of(n));
        let answered_at = |n: u64| answered[(n - first) as usize].unwrap_or(schedule.begin);
        let acknowledged = counted().map(|n| since_due(n, answered_at(n))).collect();
        let searchable = seen.map(|seen| {
            let found = |n: u64| {
                let place = seen.partition_point(|(_, newest)| *newest < n);
                seen.get(place).map_or(answered_at(n), |(time, _)| answered_at(n).max(*time))
            };
            table::percentiles(counted().map(|n| since_due(n, found(n))).collect())
        });
        Ok(Figures { acknowledged: table::percentiles(acknowledged), searchable, late, peak_mib: run.peak_mib })
    }

    /// Sends records slowly until the first document arrives. Returns the number of the next event.
    fn probe(
        &self,
        to: &Receiver<'_>,
        gateway: &mut Process,
        producer: &mut RecordProducer<'_>,
    ) -> anyhow::Result<u64> {
        let begin = Instant::now();
        let mut event = Vec::new();
        for n in 0.. {
            self.pool.write(n, &mut event);
            producer.send(n, &event)?;
            std::thread::sleep(PROBE_INTERVAL);
            if !to.take_log().is_empty() {
                return Ok(n + 1);
            }
            gateway.check_running()?;
            ensure!(begin.elapsed() < PATIENCE, "the gateway writes no document");
        }
        bail!("the gateway writes no document")
    }

    /// Waits until all documents of the schedule were answered. Returns when, by the place in the schedule.
    fn collect(
        &self,
        from: &Receiver<'_>,
        gateway: &mut Process,
        schedule: &Schedule,
    ) -> anyhow::Result<Vec<Option<Instant>>> {
        let Schedule { first, end, .. } = *schedule;
        let mut missing = (first..end).filter(|n| self.pool.is_kept(*n)).count();
        let mut answered = vec![None; (end - first) as usize];
        let begin = Instant::now();
        while missing > 0 {
            for request in from.take_log() {
                for n in request.events.into_iter().map(u64::from).filter(|n| (first..end).contains(n)) {
                    let answer = &mut answered[(n - first) as usize];
                    missing -= usize::from(answer.is_none());
                    answer.get_or_insert(request.answered);
                }
            }
            gateway.check_running()?;
            ensure!(begin.elapsed() < PATIENCE, "{missing} documents did not arrive");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(answered)
    }

    /// Waits until a search finds the last document of the schedule, and stops to ask.
    fn finish(
        &self,
        watch: Watch,
        receiver: &Receiver<'_>,
        schedule: &Schedule,
    ) -> anyhow::Result<Vec<(Instant, u64)>> {
        let last = (schedule.first..schedule.end).rev().find(|n| self.pool.is_kept(*n)).unwrap_or(schedule.first);
        let begin = Instant::now();
        if let Receiver::Proxy(_, index) = receiver {
            while index.newest().is_none_or(|newest| newest < last) {
                ensure!(begin.elapsed() < PATIENCE, "a search does not find event {last}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        watch.stop()
    }
}
