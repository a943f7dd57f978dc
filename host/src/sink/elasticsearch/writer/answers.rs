//! What the answers to bulk requests mean for their operations, the indices, and what is sent next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rowmill_engine::IndexNumber;

use super::Writer;
use crate::config::IndexErrorPolicy;
use crate::metrics::Kind;
use crate::sink::Outcome;
use crate::sink::elasticsearch::bulk::{self, Item};
use crate::sink::elasticsearch::client::{Answer, NoAnswer};
use crate::sink::elasticsearch::flow::Load;
use crate::sink::elasticsearch::outcome::{self, IndexProblem, ItemResult, ProblemKind, RequestResult};
use crate::sink::elasticsearch::pending::{Entry, Part};
use crate::sink::elasticsearch::retry::backoff;

/// A request that was answered, or not.
pub(super) struct Finished {
    pub number: u64,
    pub entries: Vec<Entry>,
    /// The bytes of the entries.
    pub bytes: usize,
    /// The index that all entries are for, if it is set apart.
    pub index: Option<IndexNumber>,
    /// Whether the request asks if the cluster is back.
    pub is_probe: bool,
    pub answer: anyhow::Result<Answer>,
    pub begin: Instant,
    pub duration: Duration,
}

/// What a request, whose items have their results, says about its index and the cluster.
struct Tally {
    load: Load,
    /// Items that the index took, or refused for a reason of their own.
    accepted: usize,
    problem: Option<IndexProblem>,
}

impl Writer {
    pub(super) fn settle(&mut self, finished: Finished) -> anyhow::Result<()> {
        let Finished { number, entries, bytes, index, is_probe, answer, begin, duration } = finished;
        self.requests.remove(&number);
        match index {
            None => {
                self.n_shared -= 1;
                self.in_flight_bytes -= bytes;
            }
            Some(_) => self.n_apart -= 1,
        }
        let metrics = &self.context.metrics;
        metrics.bulk_in_flight.set(self.requests.len() as i64);
        metrics.bulk_seconds.observe(duration.as_secs_f64());
        tracing::debug!(documents = entries.len(), seconds = duration.as_secs_f64(), "bulk answer");
        let Answer { status, body } = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if error.downcast_ref::<NoAnswer>().is_some_and(|error| error.is_timeout) {
                    self.note_timeout(entries, index, begin, is_probe, &error.to_string());
                } else {
                    self.note_no_answer(&error.to_string());
                    self.send_again(entries, index, begin, is_probe, "no answer");
                }
                return Ok(());
            }
        };
        match outcome::of_request(status, &body) {
            RequestResult::Items => match bulk::items(&body, entries.len()) {
                Ok(items) => {
                    self.note_answer(is_probe);
                    self.settle_items(entries, items, index, (begin, duration))?;
                }
                // It broke off on its way: nobody knows what was written.
                Err(error) => {
                    self.note_no_answer(&error.to_string());
                    self.send_again(entries, index, begin, is_probe, "no answer");
                }
            },
            RequestResult::Retry(reason) => {
                self.note_refused_for_now(&format!("status {status}: {}", outcome::reason(&body)));
                self.send_again(entries, index, begin, is_probe, reason);
            }
            RequestResult::Split(reason) => {
                self.note_answer(is_probe);
                self.split(entries, index, &reason);
            }
            RequestResult::Fatal(reason) => anyhow::bail!(reason),
        }
        Ok(())
    }

    /// A request was not answered in time. One of its indices may be the reason, so each gets requests of its own.
    fn note_timeout(
        &mut self,
        entries: Vec<Entry>,
        index: Option<IndexNumber>,
        begin: Instant,
        is_probe: bool,
        error: &str,
    ) {
        self.flow.timed_out(&self.bulk, begin, is_probe);
        self.count_retries("no answer", entries.len());
        let problem = |kind| {
            let reason = format!("no answer within sink.timeout: {error}");
            IndexProblem { kind, counted: "no answer", reason }
        };
        if let Some(index) = index {
            self.return_unsent(entries);
            self.block(index, problem(ProblemKind::Temporary));
            return;
        }
        self.note_no_answer(error);
        let indices: BTreeSet<_> = entries.iter().map(|entry| entry.first().operation().index).collect();
        for index in indices {
            if self.indices.trouble(index, problem(ProblemKind::Unanswered)) {
                self.pending.set_apart(index);
            }
        }
        self.return_unsent(entries);
    }

    pub(super) fn note_no_answer(&mut self, error: &str) {
        if self.unreachable.is_none() {
            tracing::warn!(%error, "no answer from Elasticsearch; retrying until there is one");
        }
        self.note_unreachable(error);
    }

    /// The cluster answers that it cannot take the request at present.
    fn note_refused_for_now(&mut self, error: &str) {
        if self.unreachable.is_none() {
            tracing::warn!(%error, "Elasticsearch takes no requests at present; retrying until it does");
        }
        self.note_unreachable(error);
    }

    fn note_unreachable(&mut self, error: &str) {
        self.unreachable = Some(error.into());
        self.report_health();
    }

    pub(super) fn note_answer(&mut self, is_probe: bool) {
        self.flow.answered(is_probe);
        if self.unreachable.is_some() && self.flow.is_open() {
            tracing::info!("Elasticsearch takes requests again");
            self.unreachable = None;
            self.report_health();
        }
    }

    /// Returns entries to their queue: the request was not answered, or not taken.
    fn send_again(
        &mut self,
        entries: Vec<Entry>,
        index: Option<IndexNumber>,
        begin: Instant,
        is_probe: bool,
        reason: &str,
    ) {
        self.flow.failed(&self.bulk, begin, is_probe);
        self.count_retries(reason, entries.len());
        self.return_unsent(entries);
        if let Some(index) = index {
            self.indices.again(index, false);
        }
    }

    fn return_unsent(&mut self, entries: Vec<Entry>) {
        entries.into_iter().rev().for_each(|entry| self.pending.return_unsent(entry));
    }

    /// The request as a whole is too large, or invalid.
    fn split(&mut self, mut entries: Vec<Entry>, index: Option<IndexNumber>, reason: &str) {
        let is_single = entries.len() == 1;
        if is_single {
            entries.into_iter().for_each(|entry| self.reject(entry, reason));
        } else {
            self.count_retries("split", entries.len());
            match index {
                Some(_) => self.return_unsent(entries),
                None => {
                    let rest = entries.split_off(entries.len() / 2);
                    self.request(entries, None);
                    self.request(rest, None);
                }
            }
        }
        if let Some(index) = index {
            self.indices.again(index, !is_single);
        }
    }

    fn settle_items(
        &mut self,
        entries: Vec<Entry>,
        items: Vec<Item>,
        index: Option<IndexNumber>,
        (begin, duration): (Instant, Duration),
    ) -> anyhow::Result<()> {
        let mut tally = Tally { load: Load::Fine, accepted: 0, problem: None };
        let mut returned = Vec::new();
        for (entry, item) in entries.into_iter().zip(items) {
            if let Some(entry) = self.settle_item(entry, &item, index, &mut tally)? {
                returned.push(entry);
            }
        }
        if tally.accepted > 0 {
            self.indices.note_written();
        }
        match index {
            None => {
                self.return_unsent(returned);
                self.flow.observe(&self.bulk, begin, duration, tally.load);
            }
            Some(index) => {
                if tally.load == Load::Overloaded {
                    self.flow.observe(&self.bulk, begin, duration, tally.load);
                }
                self.settle_apart(index, returned, tally);
            }
        }
        Ok(())
    }

    /// The items of an index' own request have their results.
    fn settle_apart(&mut self, index: IndexNumber, returned: Vec<Entry>, tally: Tally) {
        match tally.problem {
            None if tally.accepted == 0 => {
                self.return_unsent(returned);
                self.indices.rest(index, &self.bulk);
            }
            None => {
                self.return_unsent(returned);
                let is_last = self.pending.ready_apart(index) == 0;
                if self.indices.succeeded(index, tally.load != Load::Overloaded, is_last) {
                    self.note_open(index);
                }
            }
            // A part of its shards works: documents of the others wait, each for itself.
            Some(problem) if tally.accepted > 0 && problem.kind == ProblemKind::Temporary => {
                returned.into_iter().for_each(|entry| self.delay(entry));
                self.indices.succeeded(index, false, false);
            }
            Some(problem) => {
                self.return_unsent(returned);
                self.block(index, problem);
            }
        }
    }

    /// Gives the entry's operations their outcome. Returns the entry if it was not written because of its index.
    fn settle_item(
        &mut self,
        mut entry: Entry,
        item: &Item,
        apart: Option<IndexNumber>,
        tally: &mut Tally,
    ) -> anyhow::Result<Option<Entry>> {
        let operation = entry.first().operation();
        let (index, action) = (operation.index, entry.parts[0].action());
        let (error_type, reason) = item.error();
        match outcome::of_item(action, item.status, error_type, &reason) {
            ItemResult::Settled(Outcome::Rejected(reason))
                if outcome::is_field_limit(&reason) && self.bulk.on_index_error != IndexErrorPolicy::DeadLetter =>
            {
                let problem = IndexProblem { kind: ProblemKind::Refused, counted: "refused", reason };
                return Ok(Some(self.note_problem(entry, index, apart, problem, tally)));
            }
            ItemResult::Index(problem) => {
                return Ok(Some(self.note_problem(entry, index, apart, problem, tally)));
            }
            ItemResult::Settled(outcome) => {
                tally.accepted += 1;
                match outcome {
                    Outcome::Written if item.is_noop() => self.finish(entry, &Outcome::Stale),
                    Outcome::Rejected(reason) => self.reject(entry, &reason),
                    outcome => self.finish(entry, &outcome),
                }
            }
            ItemResult::Retry(reason) => {
                if reason == "rejected" {
                    tally.load = tally.load.max(Load::Overloaded);
                }
                self.count_retries(reason, 1);
                self.delay(entry);
            }
            ItemResult::Unknown(reason) => {
                tally.load = tally.load.max(Load::Impaired);
                entry.unknown_errors += 1;
                if entry.unknown_errors < outcome::UNKNOWN_ATTEMPTS {
                    self.count_retries("unknown", 1);
                    // Its reason may take its time to pass.
                    let wait = self.bulk.retry_wait_max / 2;
                    self.pending.retry(entry, Instant::now() + wait + backoff(&self.bulk, u32::MAX) / 2);
                    return Ok(None);
                }
                self.context.metrics.unknown_errors.inc();
                tracing::error!(
                    index = %self.context.indices.name(index),
                    reason,
                    "Elasticsearch rejects a document for a reason that Rowmill does not know; its record becomes a dead letter"
                );
                self.reject(entry, &reason);
            }
            ItemResult::Fatal(reason) => anyhow::bail!("index {}: {reason}", self.context.indices.name(index)),
        }
        Ok(None)
    }

    /// An item was not written because of its index.
    fn note_problem(
        &mut self,
        entry: Entry,
        index: IndexNumber,
        apart: Option<IndexNumber>,
        problem: IndexProblem,
        tally: &mut Tally,
    ) -> Entry {
        tally.load = tally.load.max(Load::Impaired);
        self.count_retries(problem.counted, 1);
        // What is missing may be the script.
        self.has_script &= problem.kind != ProblemKind::Missing;
        match apart {
            Some(_) => tally.problem = Some(problem),
            None => self.trouble(index, problem),
        }
        entry
    }

    /// Gives the entry's operations this outcome; those that they replaced are superseded. Rows of tables whose truncates are
    /// applied get it once it is known that no truncate has deleted them.
    fn finish(&mut self, mut entry: Entry, outcome: &Outcome) {
        for part in entry.parts.drain(..) {
            match part.truncated {
                Some(_) => self.settle_part(&part, Outcome::Stale),
                None if self.truncates.may_delete(&part.operation) => {
                    self.truncates.confirm_later(part, outcome.clone());
                }
                None => self.settle_part(&part, outcome.clone()),
            }
        }
        self.pending.settled(&entry);
    }

    pub(super) fn settle_part(&mut self, part: &Part, outcome: Outcome) {
        self.settlement.outcome(&part.operation, outcome);
        for operation in &part.superseded {
            self.settlement.outcome(operation, Outcome::Superseded);
        }
    }

    /// The entry is rejected: of several parts each is sent alone, and an operation that the rejected one replaced is sent
    /// in its place.
    pub(super) fn reject(&mut self, entry: Entry, reason: &str) {
        if entry.parts.len() > 1 {
            self.pending.send_sequentially(entry);
        } else if let Some(rejected) = self.pending.reject(entry) {
            self.settlement.outcome(&rejected, Outcome::Rejected(reason.into()));
        }
    }

    fn count_retries(&self, reason: &str, entries: usize) {
        self.context.metrics.retries.get_or_create(&Kind { kind: reason.into() }).inc_by(entries as u64);
    }

    /// The entry is sent again after a wait of its own.
    fn delay(&mut self, mut entry: Entry) {
        let due = Instant::now() + backoff(&self.bulk, entry.attempts);
        entry.attempts = entry.attempts.saturating_add(1);
        self.pending.retry(entry, due);
    }
}
