//! Whether the pipeline makes progress, and what holds it up: the answers of `/readyz` and `/healthz`.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rowmill_rows::TopicPartition;

/// A source that reports nothing for this long is stuck itself.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the source reports, about once per second.
#[derive(Clone, Debug, Default)]
pub struct SourceReport {
    /// Records between the watermarks and the ends of the partitions.
    pub lag: i64,
    /// The sum of the watermarks; it changes whenever something is settled.
    pub settled: i64,
    /// The oldest record that is not settled: its partition, and for how long it has been in the pipeline.
    pub oldest: Option<(TopicPartition, Duration)>,
    /// What the source waits for, each as a clause.
    pub waits_for: Vec<String>,
}

/// The state of a run. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stalled_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    is_running: bool,
    source: SourceReport,
    /// When the source last reported; `None` for a source that reports nothing.
    reported: Option<Instant>,
    /// When something was last settled, or there was nothing to settle.
    progressed: Instant,
    /// Why the sink cannot write, and since when.
    sink: Option<(String, Instant)>,
}

impl Health {
    /// A run that has not started. It counts as stalled when nothing is settled for `stalled_after` although there is lag.
    pub fn new(stalled_after: Duration) -> Self {
        let state = State {
            is_running: false,
            source: SourceReport::default(),
            reported: None,
            progressed: Instant::now(),
            sink: None,
        };
        Self(Arc::new(Inner { stalled_after, state: Mutex::new(state) }))
    }

    /// Notes that the run has begun, or that it ends.
    pub fn set_running(&self, is_running: bool) {
        let mut state = self.lock();
        state.is_running = is_running;
        state.progressed = Instant::now();
    }

    /// Takes the source's report.
    pub fn report_source(&self, report: SourceReport) {
        let mut state = self.lock();
        let is_idle = report.lag == 0 && report.oldest.is_none() && report.waits_for.is_empty();
        if is_idle || report.settled != state.source.settled {
            state.progressed = Instant::now();
        }
        state.reported = Some(Instant::now());
        state.source = report;
    }

    /// Notes why the sink cannot write, or that it can again.
    pub fn report_sink(&self, problem: Option<String>) {
        let mut state = self.lock();
        state.sink = problem.map(|problem| {
            let since = state.sink.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            (problem, since)
        });
    }

    /// Returns true if the gateway does its work: the run has begun, and nothing is stalled.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        state.is_running && !self.is_stalled(&state)
    }

    /// The state in words, some lines of text: `ok`, `starting` or `stalled`, followed by what is known.
    pub fn text(&self) -> String {
        let state = self.lock();
        let is_stalled = self.is_stalled(&state);
        let mut text = String::from(match (state.is_running, is_stalled) {
            (false, _) => "starting\n",
            (true, false) => "ok\n",
            (true, true) => "stalled\n",
        });
        // Writing into a String cannot fail.
        if is_stalled {
            let _ = writeln!(text, "nothing was settled for {} s", state.progressed.elapsed().as_secs());
        }
        if let Some(silent) = state.reported.map(|at| at.elapsed()).filter(|silent| *silent > SOURCE_TIMEOUT) {
            let _ = writeln!(text, "the source has not reported for {} s", silent.as_secs());
        }
        if state.source.lag > 0 {
            let _ = writeln!(text, "{} records behind", state.source.lag);
        }
        if let Some((TopicPartition { topic, partition }, age)) = &state.source.oldest {
            let age = age.as_secs_f64();
            let _ =
                writeln!(text, "oldest record in the pipeline: {age:.1} s, of topic {topic}, partition {partition}");
        }
        for wait in &state.source.waits_for {
            let _ = writeln!(text, "{wait}");
        }
        if let Some((problem, since)) = &state.sink {
            let _ =
                writeln!(text, "the sink has not been able to write for {} s: {problem}", since.elapsed().as_secs());
        }
        text
    }

    fn is_stalled(&self, state: &State) -> bool {
        let limit = self.0.stalled_after;
        state.reported.is_some_and(|at| at.elapsed() > SOURCE_TIMEOUT.max(limit))
            || state.reported.is_some() && state.progressed.elapsed() >= limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lag: i64, settled: i64) -> SourceReport {
        SourceReport { lag, settled, ..SourceReport::default() }
    }

    #[test]
    fn lag_without_progress_is_a_stall() {
        let health = Health::new(Duration::ZERO);
        assert!(!health.is_ready());
        assert_eq!(health.text(), "starting\n");
        health.set_running(true);
        assert!(health.is_ready(), "a source that reports nothing is trusted");
        health.report_source(report(5, 10));
        health.report_source(report(5, 10));
        health.report_sink(Some("no answer".into()));
        assert!(!health.is_ready());
        let text = health.text();
        assert!(text.starts_with("stalled\n") && text.contains("5 records behind"), "{text}");
        assert!(text.contains("not been able to write") && text.contains("no answer"), "{text}");
    }

    #[test]
    fn progress_or_nothing_to_do_is_no_stall() {
        let health = Health::new(Duration::from_secs(60));
        health.set_running(true);
        for settled in 0..3 {
            health.report_source(report(5, settled));
            assert!(health.is_ready());
        }
        health.report_source(report(0, 3));
        assert_eq!(health.text(), "ok\n");
    }
}
