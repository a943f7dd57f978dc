//! Indices that are set apart: their preparation, their own requests, and what becomes of their documents.

use std::time::{Duration, Instant};

use rowmill_engine::IndexNumber;

use super::{Event, Writer};
use crate::config::IndexErrorPolicy;
use crate::metrics::IndexLabel;
use crate::sink::elasticsearch::index_states::{Step, Verdict};
use crate::sink::elasticsearch::outcome::IndexProblem;
use crate::sink::elasticsearch::prepare::{self, Failure, Needs};

/// The most requests and preparations of indices that are set apart at a time.
const MAX_REQUESTS: usize = 4;
/// The most indices that are prepared for the first time at a time, beside these.
const MAX_NEW: usize = 8;
/// The trouble of an index is forgotten after this many of the longest waits without a document for it.
const IDLE_WAITS: u32 = 4;
/// The most indices that the health report names.
const MAX_REPORTED: usize = 5;
/// The most documents that become dead letters at a time.
const MAX_REJECTED: usize = 1000;

/// The result of a preparation.
pub(super) struct Prepared {
    index: IndexNumber,
    stored_script: bool,
    is_probe: bool,
    /// Whether it is the first of its index.
    is_first: bool,
    result: Result<(), Failure>,
}

impl Writer {
    /// Takes the next steps for the indices that are set apart.
    pub(super) fn send_apart(&mut self) -> anyhow::Result<()> {
        for index in self.indices.troubled() {
            let now = Instant::now();
            let has_documents = self.pending.ready_apart(index) > 0;
            if self.indices.forget_idle(index, has_documents, now, self.idle_limit()) {
                self.note_forgotten(index);
                continue;
            }
            let verdict = self.indices.verdict(index, self.bulk.on_index_error, now);
            if let Verdict::Stop(reason) = verdict {
                anyhow::bail!("index {}: {reason}", self.context.indices.name(index));
            }
            let step = self.indices.step(index, now);
            if self.pending.ready_apart(index) > 0 && self.may_take_step(index, now) {
                match step {
                    Step::Prepare => {
                        let is_first = self.indices.is_new(index);
                        self.indices.begin(index, step);
                        self.prepare(index, is_first);
                    }
                    Step::Send(documents) => {
                        let documents = documents.min(self.flow.documents(&self.bulk));
                        let entries = self.pending.take(Some(index), self.flow.bytes(), documents);
                        if !entries.is_empty() {
                            self.indices.begin(index, step);
                            self.request(entries, Some(index));
                        }
                    }
                    Step::Wait => {}
                }
            }
            if let (Verdict::DeadLetters(reason), Step::Wait) = (verdict, step) {
                self.reject_all(index, &reason);
            }
        }
        Ok(())
    }

    /// Returns true if there may be one more request or preparation of an index that is set apart. The documents of the
    /// others are preferred for asking whether the cluster is back.
    fn may_take_step(&self, index: IndexNumber, now: Instant) -> bool {
        self.is_turn_free(index) && self.flow.may_send(now) && (self.flow.is_open() || self.pending.ready() == 0)
    }

    /// Returns true if the limits on such requests and preparations leave room for one of this index.
    pub(super) fn is_turn_free(&self, index: IndexNumber) -> bool {
        if self.indices.is_new(index) { self.n_new < MAX_NEW } else { self.n_apart < MAX_REQUESTS }
    }

    /// Everything that waits for an index becomes dead letters.
    fn reject_all(&mut self, index: IndexNumber, reason: &str) {
        while self.pending.ready_apart(index) > 0 {
            let entries = self.pending.take(Some(index), usize::MAX, MAX_REJECTED);
            entries.into_iter().for_each(|entry| self.reject(entry, reason));
        }
    }

    fn prepare(&mut self, index: IndexNumber, is_first: bool) {
        let indices = &self.context.indices;
        let needs = Needs {
            name: indices.name(index).to_string(),
            mapping: indices.mapping(index).map(|mapping| mapping.to_string()),
            may_create: self.bulk.create_indices,
            script: !self.has_script && self.pending.is_merged(index),
        };
        if is_first {
            self.n_new += 1;
        } else {
            self.n_apart += 1;
        }
        let is_probe = self.flow.begin();
        let client = self.client.clone();
        self.tasks.spawn(async move {
            let result = prepare::prepare(&client, &needs).await;
            Event::Prepared(Prepared { index, stored_script: needs.script, is_probe, is_first, result })
        });
    }

    pub(super) fn note_prepared(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let Prepared { index, stored_script, is_probe, is_first, result } = prepared;
        if is_first {
            self.n_new -= 1;
        } else {
            self.n_apart -= 1;
        }
        match result {
            Ok(()) => {
                self.has_script |= stored_script;
                self.note_answer(is_probe);
                if self.indices.prepared(index) {
                    self.note_open(index);
                }
            }
            Err(Failure::NoAnswer(reason)) => {
                // The index may be the reason: others are sent as before.
                if is_probe {
                    self.note_no_answer(&reason);
                    self.flow.failed(&self.bulk, Instant::now(), is_probe);
                }
                let problem = prepare::unreachable(&self.context.indices.name(index), &reason);
                self.block(index, problem);
            }
            Err(Failure::Index(problem)) => {
                self.note_answer(is_probe);
                self.block(index, problem);
            }
            Err(Failure::Fatal(error)) => return Err(error),
        }
        Ok(())
    }

    /// An item of a request for several indices failed because of its index: the index is set apart.
    pub(super) fn trouble(&mut self, index: IndexNumber, problem: IndexProblem) {
        let reason = problem.reason.clone();
        if self.indices.trouble(index, problem) {
            self.pending.set_apart(index);
            self.note_trouble(index, &reason);
        }
    }

    /// An index' own request or preparation failed because of the index.
    pub(super) fn block(&mut self, index: IndexNumber, problem: IndexProblem) {
        let (reason, is_refusal) = (problem.reason.clone(), problem.kind.is_refusal());
        let was_known = self.indices.problems().any(|(known, _)| known == index);
        if !self.indices.block(index, problem, &self.bulk) {
            return;
        }
        if !was_known || !is_refusal {
            self.note_trouble(index, &reason);
            return;
        }
        let name = self.context.indices.name(index);
        let retry_max = humantime::format_duration(self.bulk.retry_wait_max);
        match self.bulk.on_index_error {
            IndexErrorPolicy::DeadLetter => tracing::error!(
                index = %name,
                reason,
                "the index is refused: its documents become dead letters until it is accepted; fix what the reason says, then \
                 replay them. Rowmill asks again at least every {retry_max}; sink.on_index_error = \"pause\" lets them wait instead"
            ),
            IndexErrorPolicy::Pause | IndexErrorPolicy::Stop => tracing::error!(
                index = %name,
                reason,
                "the index is refused: its documents wait until it is accepted; fix what the reason says. Rowmill asks again at \
                 least every {retry_max}; sink.on_index_error = \"dead_letter\" makes dead letters of them instead"
            ),
        }
    }

    fn note_trouble(&mut self, index: IndexNumber, reason: &str) {
        let name = self.context.indices.name(index);
        self.context.metrics.index_blocked.get_or_create(&IndexLabel { index: name.to_string() }).set(1);
        tracing::warn!(index = %name, reason, "the index accepts no writes at present; its documents wait, others are written");
        self.report_health();
    }

    /// The index is open: its documents share requests with others again.
    pub(super) fn note_open(&mut self, index: IndexNumber) {
        self.pending.rejoin(index);
        let label = IndexLabel { index: self.context.indices.name(index).to_string() };
        if self.context.metrics.index_blocked.remove(&label) {
            tracing::info!(index = label.index, "the index accepts writes again");
        }
        self.report_health();
    }

    /// After this time without documents, the trouble of an index is forgotten.
    pub(super) fn idle_limit(&self) -> Duration {
        self.bulk.retry_wait_max * IDLE_WAITS
    }

    /// Nothing has waited for the index for a while. Whether it accepts writes is seen with the next document.
    fn note_forgotten(&mut self, index: IndexNumber) {
        if self.indices.is_open(index) {
            self.pending.rejoin(index);
        }
        let label = IndexLabel { index: self.context.indices.name(index).to_string() };
        if self.context.metrics.index_blocked.remove(&label) {
            tracing::info!(index = label.index, "no document waits for the index any more");
        }
        self.report_health();
    }

    /// Reports what keeps documents from being written.
    pub(super) fn report_health(&self) {
        let problem = self.unreachable.clone().or_else(|| {
            let names = self.indices.problems().take(MAX_REPORTED);
            let problems: Vec<_> =
                names.map(|(index, reason)| format!("index {}: {reason}", self.context.indices.name(index))).collect();
            (!problems.is_empty()).then(|| problems.join("; "))
        });
        self.context.health.report_sink(problem);
    }
}
