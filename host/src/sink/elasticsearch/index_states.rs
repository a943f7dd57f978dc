//! A state for each index: whether it accepts writes, and what is tried while it does not.
//!
//! ```text
//!   first document ──▶ blocked ──wait──▶ prepared ──▶ open
//!                         ▲                             │ an item fails because of the index
//!            all failed   │                             ▼
//!                         └──────────────────────── half open ──all succeed──▶ open
//! ```
//!
//! The documents of an open index share requests with others. All other indices have requests of their own, one at a time:
//! a half-open index begins with a few documents and gets more while they succeed; a blocked one gets none until its wait
//! ends, and its waits grow. So an index that is closed, read-only, red or refused costs the others nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rowmill_engine::IndexNumber;

use super::outcome::{IndexProblem, ProblemKind};
use super::retry::backoff;
use crate::config::{BulkConfig, IndexErrorPolicy};

/// The documents of the first request to an index that is half open.
const PROBE_DOCUMENTS: usize = 16;
/// How much more documents each request has than the one before.
const GROWTH: usize = 4;
/// After a request with this many documents the index is open.
const ENOUGH_DOCUMENTS: usize = 1024;
/// If no index accepted a document for this time while access was refused, the credentials are wrong for all of them.
const NONE_WRITTEN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Requests have at most this many documents.
    HalfOpen {
        documents: usize,
    },
    /// Nothing is sent until then.
    Blocked {
        until: Instant,
    },
    /// A request of the index, with at most this many documents, is in flight, or what it needs is prepared.
    Waiting {
        documents: usize,
    },
}

/// Why an index accepts no writes, and since when.
#[derive(Debug)]
struct Trouble {
    problem: IndexProblem,
    since: Instant,
    /// The same was found again.
    is_confirmed: bool,
    /// Since when no document waits for the index.
    idle_since: Option<Instant>,
}

impl Trouble {
    fn new(problem: IndexProblem) -> Self {
        Self { problem, since: Instant::now(), is_confirmed: false, idle_since: None }
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Whether the index must be looked up or created, and what it needs be stored.
    needs_preparation: bool,
    /// Attempts without success.
    attempts: u32,
    /// When a step was taken last, as a number that grows with every step; 0 before the first.
    turn: u64,
    trouble: Option<Trouble>,
}

/// What to do next for an index that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until something is answered or a wait has ended.
    Wait,
    /// Look up or create what the index needs.
    Prepare,
    /// Send a request with at most this many documents.
    Send(usize),
}

/// What becomes of the documents of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They wait.
    Wait,
    /// They become dead letters, for this reason, until the index is accepted.
    DeadLetters(String),
    /// The run ends with this message.
    Stop(String),
}

/// The states of all indices.
#[derive(Debug, Default)]
pub(super) struct IndexStates {
    states: Vec<Option<State>>,
    /// The indices that are not open.
    troubled: BTreeSet<IndexNumber>,
    /// Whether any index has accepted a document.
    has_written: bool,
    /// The number of steps taken.
    turns: u64,
}

impl IndexStates {
    /// Returns true if the index is known.
    pub fn is_known(&self, index: IndexNumber) -> bool {
        self.states.get(index.0 as usize).is_some_and(Option::is_some)
    }

    /// Adds an index. It is not open until what it needs is prepared.
    pub fn add(&mut self, index: IndexNumber, now: Instant) {
        let place = index.0 as usize;
        if self.states.len() <= place {
            self.states.resize_with(place + 1, || None);
        }
        let phase = Phase::Blocked { until: now };
        self.states[place] = Some(State { phase, needs_preparation: true, attempts: 0, turn: 0, trouble: None });
        self.troubled.insert(index);
    }

    fn state(&mut self, index: IndexNumber) -> &mut State {
        self.states[index.0 as usize].as_mut().expect("the index of an operation is known")
    }

    fn get(&self, index: IndexNumber) -> Option<&State> {
        self.states.get(index.0 as usize)?.as_ref()
    }

    /// The indices that are not open; first those that have waited longest since their last step.
    pub fn troubled(&self) -> Vec<IndexNumber> {
        let mut indices: Vec<IndexNumber> = self.troubled.iter().copied().collect();
        indices.sort_by_key(|index| self.get(*index).map(|state| state.turn));
        indices
    }

    /// Returns true if no step was taken for the index: it is new.
    pub fn is_new(&self, index: IndexNumber) -> bool {
        self.get(index).is_some_and(|state| state.turn == 0)
    }

    /// The indices that accept no writes, with the reasons.
    pub fn problems(&self) -> impl Iterator<Item = (IndexNumber, &str)> {
        self.troubled.iter().filter_map(|index| {
            let trouble = self.get(*index)?.trouble.as_ref()?;
            Some((*index, trouble.problem.reason.as_str()))
        })
    }

    /// Notes that an index has accepted a document.
    pub fn note_written(&mut self) {
        self.has_written = true;
    }

    /// When the next step can be taken for an index that has something to send.
    pub fn next_due(&self, now: Instant, has_documents: impl Fn(IndexNumber) -> bool) -> Option<Instant> {
        let due = |index: &IndexNumber| match self.get(*index)?.phase {
            Phase::Blocked { until } if has_documents(*index) => Some(until),
            Phase::HalfOpen { .. } if has_documents(*index) => Some(now),
            _ => None,
        };
        self.troubled.iter().filter_map(due).min()
    }

    /// What to do next for an index that is not open.
    pub fn step(&self, index: IndexNumber, now: Instant) -> Step {
        let Some(state) = self.get(index) else { return Step::Wait };
        match state.phase {
            Phase::Blocked { until } if until <= now && state.needs_preparation => Step::Prepare,
            Phase::Blocked { until } if until <= now => Step::Send(PROBE_DOCUMENTS),
            Phase::HalfOpen { documents } => Step::Send(documents),
            _ => Step::Wait,
        }
    }

    /// A step is taken; the index waits for its result.
    pub fn begin(&mut self, index: IndexNumber, step: Step) {
        let documents = if let Step::Send(documents) = step { documents } else { PROBE_DOCUMENTS };
        self.turns += 1;
        let turn = self.turns;
        let state = self.state(index);
        (state.phase, state.turn) = (Phase::Waiting { documents }, turn);
    }

    /// Everything that the index needs exists. Returns true if it is open now.
    pub fn prepared(&mut self, index: IndexNumber) -> bool {
        let state = self.state(index);
        state.needs_preparation = false;
        if state.trouble.is_none() {
            return self.open(index);
        }
        state.phase = Phase::HalfOpen { documents: PROBE_DOCUMENTS };
        false
    }

    fn open(&mut self, index: IndexNumber) -> bool {
        let state = self.state(index);
        (state.phase, state.attempts, state.trouble) = (Phase::Open, 0, None);
        self.troubled.remove(&index);
        true
    }

    /// An item of a shared request failed because of its index. Returns true if that is new.
    pub fn trouble(&mut self, index: IndexNumber, problem: IndexProblem) -> bool {
        let state = self.state(index);
        if state.phase != Phase::Open {
            return false;
        }
        state.phase = Phase::HalfOpen { documents: PROBE_DOCUMENTS };
        if problem.kind == ProblemKind::Missing {
            state.needs_preparation = true;
            state.phase = Phase::Blocked { until: Instant::now() };
        }
        state.trouble = Some(Trouble::new(problem));
        self.troubled.insert(index);
        true
    }

    /// The index' own request, or its preparation, failed entirely because of the index. Returns true if that is news that
    /// a person should read.
    pub fn block(&mut self, index: IndexNumber, problem: IndexProblem, bulk: &BulkConfig) -> bool {
        let state = self.state(index);
        state.needs_preparation |= problem.kind == ProblemKind::Missing;
        state.phase = Phase::Blocked { until: Instant::now() + backoff(bulk, state.attempts) };
        state.attempts = state.attempts.saturating_add(1);
        match &mut state.trouble {
            Some(known) if known.problem.kind == problem.kind => {
                let is_news = !known.is_confirmed && problem.kind.is_refusal();
                known.is_confirmed = true;
                known.problem = problem;
                is_news
            }
            _ => {
                state.trouble = Some(Trouble::new(problem));
                true
            }
        }
    }

    /// Forgets the trouble of an index for which no document has waited for this time: nothing would show that it is over.
    /// Returns true if it is forgotten now.
    pub fn forget_idle(&mut self, index: IndexNumber, has_documents: bool, now: Instant, limit: Duration) -> bool {
        let state = self.state(index);
        let is_waiting = matches!(state.phase, Phase::Waiting { .. });
        let Some(trouble) = &mut state.trouble else { return false };
        if has_documents || is_waiting {
            trouble.idle_since = None;
            return false;
        }
        let since = *trouble.idle_since.get_or_insert(now);
        if now.saturating_duration_since(since) < limit {
            return false;
        }
        if state.needs_preparation {
            (state.phase, state.attempts, state.trouble) = (Phase::Blocked { until: now }, 0, None);
        } else {
            self.open(index);
        }
        true
    }

    /// When the trouble of an index without documents is forgotten next.
    pub fn next_forgotten(&self, limit: Duration) -> Option<Instant> {
        let idle = |index: &IndexNumber| self.get(*index)?.trouble.as_ref()?.idle_since;
        self.troubled.iter().filter_map(idle).min().map(|since| since + limit)
    }

    /// Returns true if the index is open.
    pub fn is_open(&self, index: IndexNumber) -> bool {
        self.get(index).is_some_and(|state| state.phase == Phase::Open)
    }

    /// The index' own request was not sent to the end, for a reason that is not the index'. It may be sent again.
    pub fn again(&mut self, index: IndexNumber, smaller: bool) {
        let state = self.state(index);
        state.phase = match state.phase {
            _ if state.needs_preparation => Phase::Blocked { until: Instant::now() },
            Phase::Waiting { documents } if smaller => Phase::HalfOpen { documents: (documents / 2).max(1) },
            Phase::Waiting { documents } => Phase::HalfOpen { documents },
            phase => phase,
        };
    }

    /// Elasticsearch has too much to do for any document of the index' own request: the next one waits.
    pub fn rest(&mut self, index: IndexNumber, bulk: &BulkConfig) {
        let state = self.state(index);
        state.phase = Phase::Blocked { until: Instant::now() + backoff(bulk, state.attempts) };
        state.attempts = state.attempts.saturating_add(1);
    }

    /// The index' own request succeeded: entirely, or for some documents. `is_last` if nothing is left to send. Returns true
    /// if the index is open now.
    pub fn succeeded(&mut self, index: IndexNumber, entirely: bool, is_last: bool) -> bool {
        let state = self.state(index);
        let Phase::Waiting { documents } = state.phase else { return false };
        state.attempts = 0;
        if !entirely {
            state.phase = Phase::HalfOpen { documents };
            return false;
        }
        if is_last || documents >= ENOUGH_DOCUMENTS {
            return self.open(index);
        }
        state.phase = Phase::HalfOpen { documents: documents * GROWTH };
        false
    }

    /// What becomes of the documents of an index that is not open.
    pub fn verdict(&self, index: IndexNumber, policy: IndexErrorPolicy, now: Instant) -> Verdict {
        let trouble = self.get(index).and_then(|state| state.trouble.as_ref());
        let Some(Trouble { problem, since, is_confirmed: true, .. }) = trouble else { return Verdict::Wait };
        if !problem.kind.is_refusal() {
            return Verdict::Wait;
        }
        if problem.kind == ProblemKind::Access && !self.has_written {
            // Either all indices are refused, or the others' documents are yet to come.
            return match now.saturating_duration_since(*since) >= NONE_WRITTEN {
                true => Verdict::Stop(problem.reason.clone()),
                false => Verdict::Wait,
            };
        }
        match policy {
            IndexErrorPolicy::DeadLetter => Verdict::DeadLetters(problem.reason.clone()),
            IndexErrorPolicy::Pause => Verdict::Wait,
            IndexErrorPolicy::Stop => {
                Verdict::Stop(format!("{} (the run ends because sink.on_index_error = \"stop\")", problem.reason))
            }
        }
    }
}

impl ProblemKind {
    /// Returns true if the index is refused until somebody changes something.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Access | Self::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: IndexNumber = IndexNumber(3);

    fn problem(kind: ProblemKind) -> IndexProblem {
        IndexProblem { kind, counted: "test", reason: "reason".into() }
    }

    fn open() -> IndexStates {
        let mut states = IndexStates::default();
        assert!(!states.is_known(INDEX));
        let now = Instant::now();
        states.add(INDEX, now);
        assert_eq!(states.step(INDEX, now), Step::Prepare);
        states.begin(INDEX, Step::Prepare);
        assert_eq!(states.step(INDEX, now), Step::Wait);
        assert!(states.prepared(INDEX));
        assert!(states.troubled().is_empty());
        states
    }

    #[test]
    fn an_index_in_trouble_is_probed_and_opens_by_steps() {
        let bulk = BulkConfig::default();
        let mut states = open();
        assert!(states.trouble(INDEX, problem(ProblemKind::Temporary)));
        assert!(!states.trouble(INDEX, problem(ProblemKind::Temporary)), "an item of the same request");
        let now = Instant::now();
        let probe = states.step(INDEX, now);
        assert_eq!(probe, Step::Send(PROBE_DOCUMENTS));
        states.begin(INDEX, probe);
        assert!(!states.block(INDEX, problem(ProblemKind::Temporary), &bulk), "nobody need read it twice");
        let due = states.next_due(now, |_| true).expect("a wait");
        assert_eq!(states.next_due(now, |_| false), None);
        assert!(due <= now + bulk.retry_wait * 2);
        assert_eq!(states.step(INDEX, due), probe);
        states.begin(INDEX, probe);
        assert!(!states.succeeded(INDEX, false, true), "a part of its shards");
        assert_eq!(states.step(INDEX, now), probe);
        for documents in [16, 64, 256] {
            assert_eq!(states.step(INDEX, now), Step::Send(documents));
            states.begin(INDEX, Step::Send(documents));
            assert!(!states.succeeded(INDEX, true, false));
        }
        states.begin(INDEX, Step::Send(1024));
        assert!(states.succeeded(INDEX, true, false));
        assert!(states.troubled().is_empty());
    }

    #[test]
    fn indices_take_turns() {
        let (mut states, now) = (IndexStates::default(), Instant::now());
        let [a, b, c] = [1, 2, 3].map(IndexNumber);
        states.add(a, now);
        states.add(b, now);
        states.begin(a, Step::Prepare);
        states.begin(b, Step::Prepare);
        states.add(c, now);
        assert_eq!(states.troubled(), [c, a, b], "a new one first");
        assert!(states.is_new(c) && !states.is_new(a));
        states.begin(c, Step::Prepare);
        states.begin(a, Step::Prepare);
        assert_eq!(states.troubled(), [b, c, a]);
    }

    #[test]
    fn an_index_whose_documents_meet_an_overload_rests() {
        let bulk = BulkConfig::default();
        let mut states = open();
        states.trouble(INDEX, problem(ProblemKind::Temporary));
        let now = Instant::now();
        states.begin(INDEX, states.step(INDEX, now));
        states.rest(INDEX, &bulk);
        assert_eq!(states.step(INDEX, now), Step::Wait);
        let due = states.next_due(now, |_| true).expect("a wait");
        assert_eq!(states.step(INDEX, due), Step::Send(PROBE_DOCUMENTS));
    }

    #[test]
    fn a_refusal_counts_once_it_is_confirmed() {
        let bulk = BulkConfig::default();
        for kind in [ProblemKind::Access, ProblemKind::Refused] {
            let mut states = open();
            states.note_written();
            let now = Instant::now();
            assert!(states.trouble(INDEX, problem(kind)));
            assert_eq!(states.verdict(INDEX, IndexErrorPolicy::Stop, now), Verdict::Wait);
            states.begin(INDEX, Step::Send(1));
            assert!(states.block(INDEX, problem(kind), &bulk));
            assert!(matches!(states.verdict(INDEX, IndexErrorPolicy::Stop, now), Verdict::Stop(_)));
            assert!(matches!(states.verdict(INDEX, IndexErrorPolicy::DeadLetter, now), Verdict::DeadLetters(_)));
            assert_eq!(states.verdict(INDEX, IndexErrorPolicy::Pause, now), Verdict::Wait);
        }
    }

    #[test]
    fn refused_access_to_all_indices_ends_the_run() {
        let bulk = BulkConfig::default();
        let mut states = open();
        states.trouble(INDEX, problem(ProblemKind::Access));
        states.begin(INDEX, Step::Send(1));
        states.block(INDEX, problem(ProblemKind::Access), &bulk);
        let now = Instant::now();
        for policy in [IndexErrorPolicy::DeadLetter, IndexErrorPolicy::Pause] {
            assert_eq!(states.verdict(INDEX, policy, now), Verdict::Wait);
            assert!(matches!(states.verdict(INDEX, policy, now + NONE_WRITTEN), Verdict::Stop(_)));
        }
    }

    #[test]
    fn the_trouble_of_an_index_without_documents_is_forgotten() {
        let limit = Duration::from_secs(60);
        for kind in [ProblemKind::Access, ProblemKind::Missing] {
            let mut states = open();
            states.trouble(INDEX, problem(kind));
            let now = Instant::now();
            assert!(!states.forget_idle(INDEX, false, now, limit));
            assert_eq!(states.next_forgotten(limit), Some(now + limit));
            assert!(!states.forget_idle(INDEX, true, now + limit, limit), "a document waits");
            assert!(!states.forget_idle(INDEX, false, now + limit, limit));
            assert!(states.forget_idle(INDEX, false, now + limit * 2, limit));
            assert_eq!((states.problems().count(), states.next_forgotten(limit)), (0, None));
            assert_eq!(states.is_open(INDEX), kind == ProblemKind::Access, "a missing index is prepared first");
        }
    }

    #[test]
    fn a_missing_index_is_prepared_again() {
        let mut states = open();
        states.trouble(INDEX, problem(ProblemKind::Missing));
        let now = Instant::now();
        assert_eq!(states.step(INDEX, now), Step::Prepare);
        states.begin(INDEX, Step::Prepare);
        assert!(!states.prepared(INDEX), "it has to show that it accepts documents");
        assert_eq!(states.step(INDEX, now), Step::Send(PROBE_DOCUMENTS));
    }
}
