//! Dead letters that are replayed beside live traffic: the latency of the live documents before and during the replay, the end
//! state against a model, and what further replays change.
//!
//! Every letter is of an older state of its document: a part of the documents had a state before it, and live events write newer
//! states of a part before, during and after the replay. The model is computed (the newest event of each document), and its
//! content is what a gateway without failures writes into another index.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::{Bench, setting};
use crate::broker::{Schedule, Topic};
use crate::bulk::Request;
use crate::events::{Pool, event_of};
use crate::index::{Index, Stored};
use crate::process::{Configuration, Process, Run};
use crate::proxy::Proxy;
use crate::table;

/// The index of the gateway without failures.
const MODEL: &str = "trade-model";
/// An ID that no row has, so that every record becomes a dead letter.
const WRONG_ID: &str = "{no_such_column}";
/// How long live events flow before their latency counts, and after the replay.
const FLOW: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
/// Live events write documents of letters in steps of this many, a prime, so that they do not meet the letters in their order.
const STRIDE: u64 = 7_919;

struct Settings {
    letters: u64,
    /// Letters per second; 0 for no limit.
    replay_rate: u32,
    /// Live events per second.
    rate: f64,
    /// How long the latency is measured before the replay.
    before: Duration,
}

/// The events of the benchmark: event `n` has position `n`.
struct Plan {
    pool: Pool,
    /// The first events write states that are older than the letters, one for every fourth letter.
    older: u64,
    letters: u64,
}

/// Live traffic, with its times.
struct Live {
    schedule: Schedule,
    /// The number after the last event's.
    end: u64,
    /// When each event's document was answered, from the first one on.
    answered: Vec<Option<Instant>>,
    late: Duration,
    began: Instant,
    replay_began: Instant,
    replay_ended: Instant,
}

/// Replays letters beside live traffic, and prints what it measured.
///
/// # Errors
/// A server does not do its part, a gateway fails, or the end state differs from the model.
pub fn measure(bench: &Bench) -> anyhow::Result<()> {
    let settings = Settings {
        letters: setting("LETTERS", 100_000)?,
        replay_rate: setting("REPLAY_RATE", 2_000)?,
        rate: setting("RATE", 2_000.0)?,
        before: Duration::from_secs_f64(setting("LATENCY_SECONDS", 20.0)?),
    };
    let (pool, older) = (Pool::of_kept(bench.seed, None), settings.letters / 4);
    let plan = Plan { pool, older, letters: settings.letters };
    table::heading(&format!(
        "{} letters replayed {} beside{} live",
        table::thousands(plan.letters as f64),
        match settings.replay_rate {
            0 => "without a limit".to_string(),
            rate => format!("at {} per second", table::thousands(f64::from(rate))),
        },
        table::rate(settings.rate, "events"),
    ));
    let url = bench.elasticsearch();
    let index = Index::new(&url);
    index.delete();
    Index::named(&url, MODEL).delete();
    let [older, rejected, live] = [(); 3].map(|()| Topic::create(&bench.brokers, 1));
    fill(&plan, &older, 0..plan.older)?;
    fill(&plan, &rejected, plan.older..plan.older + plan.letters)?;
    make_letters(bench, &plan, &older, &rejected)?;

    let (run, times) = beside_live(bench, &settings, &plan, &live)?;
    report(&settings, &plan, &run, &times);
    let topics = [&older, &rejected, &live].map(|topic| topic.name.as_str());
    let state = check_model(bench, &plan, &topics, times.end)?;
    check_further_replays(bench, &plan, &index, &state)?;
    index.delete();
    Index::named(&url, MODEL).delete();
    Ok(())
}

impl Plan {
    /// The document that event `n` writes.
    fn document(&self, n: u64) -> u64 {
        let first_live = self.older + self.letters;
        match n {
            n if n < self.older => n * 4,
            n if n < first_live => n - self.older,
            n if n % 2 == 0 => self.letters + (n - first_live) / 2,
            n => (n - first_live) / 2 * STRIDE % self.letters,
        }
    }

    /// The newest event of each document.
    fn newest(&self, end: u64) -> BTreeMap<u64, u64> {
        (0..end).map(|n| (self.document(n), n)).collect()
    }

    fn write(&self, n: u64, event: &mut Vec<u8>) -> u64 {
        let document = self.document(n);
        self.pool.write_document(n, document, event);
        document
    }
}

fn fill(plan: &Plan, topic: &Topic, events: std::ops::Range<u64>) -> anyhow::Result<()> {
    let (mut producer, mut event) = (topic.producer("20")?, Vec::new());
    for n in events {
        let document = plan.write(n, &mut event);
        producer.send(document, &event)?;
    }
    producer.flush()
}

/// Writes the older states, and lets a gateway with a wrong configuration make the letters.
fn make_letters(bench: &Bench, plan: &Plan, older: &Topic, rejected: &Topic) -> anyhow::Result<()> {
    let url = bench.elasticsearch();
    let configuration = Configuration { topics: &[&older.name], url: &url, ..Default::default() };
    bench.folder.gateway(&configuration, &["--until-caught-up"])?.wait()?;
    let wrong = Configuration { topics: &[&rejected.name], id: WRONG_ID, ..configuration };
    let run = bench.folder.gateway(&wrong, &["--until-caught-up"])?.wait()?;
    let letters = run.summary["dead_letters"].as_u64();
    ensure!(letters == Some(plan.letters), "there are {letters:?} letters: {} {}", run.summary, run.log);
    let sizes = bench.folder.letter_files()?.into_iter().map(|file| std::fs::metadata(file).map(|data| data.len()));
    let bytes: u64 = sizes.sum::<Result<u64, _>>()?;
    let rate = table::rate(plan.letters as f64 / run.seconds, "letters");
    let size = format!("{} MB", table::thousands(bytes as f64 / 1e6));
    table::line("letters written", &[rate, size, table::peak(&run), table::plural(run.log_lines as u64, "log line")]);
    Ok(())
}

/// Live traffic, and the replay in the middle of it.
fn beside_live(bench: &Bench, settings: &Settings, plan: &Plan, topic: &Topic) -> anyhow::Result<(Run, Live)> {
    let url = bench.elasticsearch();
    let proxy = Proxy::start(&url)?;
    let configuration = Configuration { topics: &[&topic.name], url: &proxy.url, ..Default::default() };
    let mut gateway = bench.folder.gateway(&configuration, &[])?;
    let first = plan.older + plan.letters;
    let schedule = Schedule { first, end: u64::MAX, begin: Instant::now(), rate: settings.rate };
    let is_over = AtomicBool::new(false);
    let mut producer = topic.producer("1")?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            producer.send_while(&schedule, || !is_over.load(Ordering::Relaxed), |n, event| plan.write(n, event))
        });
        let mut log = Vec::new();
        let measured = measure_beside(bench, settings, &proxy, &mut gateway, &mut log);
        is_over.store(true, Ordering::Relaxed);
        let (end, late) = sender.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        let (run, [began, replay_began, replay_ended]) = measured?;
        let answered = collect(&proxy, log, first, end, &mut gateway)?;
        gateway.stop()?;
        Ok((run, Live { schedule, end, answered, late, began, replay_began, replay_ended }))
    })
}

/// Waits for the flow, then replays. Returns the replay's run, and when each part began and the replay ended.
fn measure_beside(
    bench: &Bench,
    settings: &Settings,
    proxy: &Proxy,
    gateway: &mut Process,
    log: &mut Vec<Request>,
) -> anyhow::Result<(Run, [Instant; 3])> {
    let begin = Instant::now();
    while log.is_empty() {
        ensure!(begin.elapsed() < PATIENCE, "the gateway writes no document");
        gateway.check_running()?;
        std::thread::sleep(STEP);
        log.extend(proxy.log.take());
    }
    std::thread::sleep(FLOW);
    let began = Instant::now();
    std::thread::sleep(settings.before);
    let rate = settings.replay_rate.to_string();
    let arguments = if settings.replay_rate > 0 { vec!["--rate", rate.as_str()] } else { Vec::new() };
    let replay_began = Instant::now();
    let run = replay(bench, &arguments)?;
    let replay_ended = Instant::now();
    std::thread::sleep(FLOW);
    Ok((run, [began, replay_began, replay_ended]))
}

/// Replays the letters with the right configuration.
fn replay(bench: &Bench, arguments: &[&str]) -> anyhow::Result<Run> {
    let url = bench.elasticsearch();
    bench.folder.replay(&Configuration { url: &url, topics: &["unused"], ..Default::default() }, arguments)?.wait()
}

/// Waits until all live documents are answered. Returns when, by the number of the event from the first on.
fn collect(
    proxy: &Proxy,
    mut log: Vec<Request>,
    first: u64,
    end: u64,
    gateway: &mut Process,
) -> anyhow::Result<Vec<Option<Instant>>> {
    let mut answered = vec![None; (end - first) as usize];
    let (mut missing, begin) = (answered.len(), Instant::now());
    loop {
        for request in log {
            for n in request.events.into_iter().map(u64::from).filter(|n| (first..end).contains(n)) {
                let answer = &mut answered[(n - first) as usize];
                missing -= usize::from(answer.is_none());
                answer.get_or_insert(request.answered);
            }
        }
        if missing == 0 {
            return Ok(answered);
        }
        ensure!(begin.elapsed() < PATIENCE, "{missing} live documents were not written");
        gateway.check_running()?;
        std::thread::sleep(STEP);
        log = proxy.log.take();
    }
}

fn report(settings: &Settings, plan: &Plan, run: &Run, live: &Live) {
    let latencies = |from: Instant, to: Instant| {
        let times = (live.schedule.first..live.end).zip(&live.answered).filter_map(|(n, answered)| {
            let due = live.schedule.time_of(n);
            (from <= due && due < to).then(|| answered.map(|time| time.saturating_duration_since(due)))?
        });
        table::percentiles(times.collect()).join(", ")
    };
    let seconds = (live.replay_ended - live.replay_began).as_secs_f64();
    table::line(
        "replay",
        &[
            format!("{seconds:.1} s with its start"),
            table::rate(plan.letters as f64 / seconds, "letters"),
            table::cpu(run, plan.letters),
            table::peak(run),
        ],
    );
    table::line("replay", &[format!("{}", run.summary["documents"]), format!("{} stale", run.summary["stale"])]);
    let name = format!("live, {} s before", settings.before.as_secs());
    table::line(&name, &[latencies(live.began, live.replay_began)]);
    table::line("live, during the replay", &[latencies(live.replay_began, live.replay_ended)]);
    table::line("live", &[format!("the producer was at most {} late", table::milliseconds(live.late))]);
}

/// Compares the index with the newest event of each document, and with the index of a gateway without failures.
fn check_model(bench: &Bench, plan: &Plan, topics: &[&str], end: u64) -> anyhow::Result<BTreeMap<u64, Stored>> {
    let url = bench.elasticsearch();
    let configuration = Configuration { topics, url: &url, index: MODEL, ..Default::default() };
    bench.folder.gateway(&configuration, &["--until-caught-up"])?.wait()?;
    let (state, model) = (Index::new(&url).documents()?, Index::named(&url, MODEL).documents()?);
    let newest = plan.newest(end);
    let missing = newest.keys().filter(|document| !state.contains_key(document)).count();
    let unknown = state.keys().filter(|document| !newest.contains_key(document)).count();
    let is_old =
        |(document, n): &(&u64, &u64)| state.get(document).is_some_and(|stored| event_of(stored.version) != Some(**n));
    let stale = newest.iter().filter(is_old).count();
    let different = model.iter().filter(|(document, stored)| state.get(document) != Some(stored)).count();
    table::line(
        "against the model",
        &[
            format!("{} documents", table::thousands(state.len() as f64)),
            format!(
                "{missing} missing, {unknown} too many, {stale} with another event than the newest, {different} different"
            ),
        ],
    );
    ensure!(missing + unknown + stale + different == 0, "the end state differs from the model");
    ensure!(model.len() == newest.len(), "the model has {} documents, expected {}", model.len(), newest.len());
    Ok(state)
}

/// Replays twice more: once unchanged, and once after the notes of what was replayed are deleted.
fn check_further_replays(
    bench: &Bench,
    plan: &Plan,
    index: &Index,
    state: &BTreeMap<u64, Stored>,
) -> anyhow::Result<()> {
    let second = replay(bench, &[])?;
    let mut notes = bench.folder.letters().into_os_string();
    notes.push(".replayed");
    std::fs::remove_file(&notes).context("the notes of what was replayed")?;
    let third = replay(bench, &[])?;
    let is_same = *state == index.documents()?;
    let events = |run: &Run| run.summary["events"].as_u64().unwrap_or(u64::MAX);
    let change = if is_same { "no document differs" } else { "documents differ" };
    table::line("second replay", &[format!("{} letters", events(&second))]);
    let rate = table::rate(plan.letters as f64 / third.seconds, "letters");
    let stale = third.summary["stale"].to_string();
    table::line("without its notes", &[format!("{} letters, {stale} stale", events(&third)), rate, change.into()]);
    ensure!(events(&second) == 0 && events(&third) == plan.letters, "{} {}", second.summary, third.summary);
    ensure!(is_same, "a further replay changed documents");
    Ok(())
}
