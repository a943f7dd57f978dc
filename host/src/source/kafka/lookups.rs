//! Questions about offsets that go to the brokers: what the group has committed, where a partition begins and ends.
//!
//! A thread of its own asks, with a client of its own. The poll loop must never wait for a broker; and its client has
//! fetches that wait at the broker, behind which other requests would wait too. Questions are repeated until they are
//! answered, and each partition by itself: one without a leader does not keep the others from being read.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rowmill_rows::TopicPartition;

use super::PROPERTIES;
use super::offsets::{self, Committed};
use crate::checkpoint::Watermark;
use crate::config::Start;
use crate::kafka::AccessContext;
use crate::pipeline::stages;
use crate::shutdown::Shutdown;

/// How long a request to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before questions without an answer are asked again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a question without an answer is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How much the clocks of gateway, producers and brokers may differ where records are found by time.
const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// A question about a partition. `epoch` tells assignments of the same partition apart.
#[derive(Debug)]
pub(super) enum Question {
    /// The partition is assigned: where does reading begin, and which offsets exist?
    Assigned { partition: TopicPartition, epoch: u64 },
    /// Which offsets exist?
    Range { partition: TopicPartition, epoch: u64 },
    /// The partition is lost: its questions need no answer any more.
    Revoked(TopicPartition),
}

/// The answer to a question.
#[derive(Debug)]
pub(super) struct Answer {
    pub partition: TopicPartition,
    pub epoch: u64,
    pub found: Found,
}

/// What was found out about a partition.
#[derive(Debug)]
pub(super) enum Found {
    /// The group has committed this.
    Committed(Committed),
    /// The group has committed nothing; reading begins here.
    Start(Committed),
    /// The first offset that exists, and the one after the last.
    Range { low: i64, end: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Committed,
    Start,
    Range,
}

/// Answers questions in a thread of its own.
pub(super) struct Lookups {
    client: BaseConsumer<AccessContext>,
    start: Start,
    /// The topics of the source: names, and expressions that begin with `^`.
    topics: Vec<String>,
    answers: Sender<Answer>,
    open: HashMap<TopicPartition, (u64, Need)>,
    /// When the group first started with `start = "latest"`, once that is known.
    began: Option<i64>,
    logged: Option<Instant>,
}

impl Lookups {
    /// Starts the thread. It ends when the sender of the questions is dropped.
    ///
    /// # Errors
    /// The client or the thread cannot be created.
    pub fn spawn(
        client: &ClientConfig,
        start: Start,
        topics: Vec<String>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Sender<Question>, Receiver<Answer>)> {
        let mut client = client.clone();
        client.remove("group.instance.id");
        client.set("statistics.interval.ms", "0");
        let (to_thread, questions) = crossbeam_channel::unbounded();
        let (answers, from_thread) = crossbeam_channel::unbounded();
        let mut lookups = Self {
            client: client.create_with_context(AccessContext::new(PROPERTIES))?,
            start,
            topics,
            answers,
            open: HashMap::new(),
            began: None,
            logged: None,
        };
        stages::spawn("offsets", shutdown, move || {
            lookups.run(&questions);
            Ok(())
        })?;
        Ok((to_thread, from_thread))
    }

    fn run(&mut self, questions: &Receiver<Question>) {
        loop {
            let first = match self.open.is_empty() {
                true => questions.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => questions.recv_timeout(RETRY),
            };
            match first {
                Ok(question) => self.note(question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            questions.try_iter().for_each(|question| self.note(question));
            // The client's events are served while it is polled.
            while self.client.poll(Duration::ZERO).is_some() {}
            if let Err(error) = self.ask(questions) {
                self.log(&error);
            }
        }
    }

    fn note(&mut self, question: Question) {
        match question {
            Question::Assigned { partition, epoch } => self.open.insert(partition, (epoch, Need::Committed)),
            Question::Range { partition, epoch } => self.open.insert(partition, (epoch, Need::Range)),
            Question::Revoked(partition) => self.open.remove(&partition),
        };
    }

    fn log(&mut self, error: &KafkaError) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            let reason = self.client.context().take_message();
            let (partition, need) = self.open.iter().next().map(|(partition, (_, need))| (partition, *need)).unzip();
            let partition = partition.map(|partition| format!("{} [{}]", partition.topic, partition.partition));
            tracing::warn!(%error, reason, open = self.open.len(), partition, ?need, "the brokers do not answer a question about offsets; asking again");
        }
    }

    /// Asks everything that is open, once. Returns the last error.
    fn ask(&mut self, questions: &Receiver<Question>) -> Result<(), KafkaError> {
        let mut result = Ok(());
        let wanted = self.which(Need::Committed);
        if !wanted.is_empty() {
            for (partition, committed) in wanted.iter().zip(offsets::load(&self.client, &wanted, TIMEOUT)?) {
                match committed {
                    Some(committed) => self.answer(partition, Found::Committed(committed), Some(Need::Range)),
                    None => self.need(partition, Need::Start),
                }
            }
        }
        let wanted = self.which(Need::Start);
        if !wanted.is_empty() {
            let began = self.first_start()?;
            for partition in wanted {
                match self.start_of(&partition, began) {
                    Ok(start) => self.answer(&partition, Found::Start(start), Some(Need::Range)),
                    Err(error) => result = Err(error),
                }
            }
        }
        for partition in self.which(Need::Range) {
            match self.client.fetch_watermarks(&partition.topic, partition.partition, TIMEOUT) {
                Ok((low, end)) => self.answer(&partition, Found::Range { low, end }, None),
                Err(error) => result = Err(error),
            }
            if !questions.is_empty() {
                break;
            }
        }
        result
    }

    fn which(&self, need: Need) -> Vec<TopicPartition> {
        self.open.iter().filter(|(_, open)| open.1 == need).map(|(partition, _)| partition.clone()).collect()
    }

    fn need(&mut self, partition: &TopicPartition, need: Need) {
        if let Some(open) = self.open.get_mut(partition) {
            open.1 = need;
        }
    }

    fn answer(&mut self, partition: &TopicPartition, found: Found, next: Option<Need>) {
        let Some(&(epoch, _)) = self.open.get(partition) else { return };
        match next {
            Some(next) => self.need(partition, next),
            None => drop(self.open.remove(partition)),
        }
        // A reader that is gone needs no answer.
        let _ = self.answers.send(Answer { partition: partition.clone(), epoch, found });
    }

    /// With `start = "latest"`: when the group first started, in milliseconds since 1970; `None` if it starts now.
    ///
    /// A partition that is created later is read from that time on, that is from its beginning.
    fn first_start(&mut self) -> Result<Option<i64>, KafkaError> {
        if self.start != Start::Latest || self.began.is_some() {
            return Ok(self.began);
        }
        let metadata = self.client.fetch_metadata(None, TIMEOUT)?;
        let mut partitions = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| self.may_read(topic.name())) {
            let name: std::sync::Arc<str> = topic.name().into();
            partitions.extend(
                topic.partitions().iter().map(|one| TopicPartition { topic: name.clone(), partition: one.id() }),
            );
        }
        let committed = offsets::load(&self.client, &partitions, TIMEOUT)?;
        // A group that has offsets without the time has started before this was recorded.
        self.began = committed.into_iter().flatten().map(|committed| committed.began.unwrap_or(0)).min();
        let known = self.began;
        if known.is_none() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.began = i64::try_from(now.saturating_sub(CLOCK_SKEW).as_millis()).ok();
        }
        Ok(known)
    }

    /// Whether the source may read this topic. For an expression the literal text before its first operator must fit; a
    /// topic too many has no offsets of this group.
    fn may_read(&self, topic: &str) -> bool {
        self.topics.iter().any(|wanted| match wanted.strip_prefix('^') {
            Some(pattern) => topic.starts_with(&super::literal_prefix(pattern)),
            None => topic == wanted,
        })
    }

    /// Where a partition begins for which the group has committed nothing.
    fn start_of(&self, partition: &TopicPartition, began: Option<i64>) -> Result<Committed, KafkaError> {
        let (low, end) = self.client.fetch_watermarks(&partition.topic, partition.partition, TIMEOUT)?;
        let position = match (self.start, began) {
            (Start::Earliest, _) => low,
            (Start::Latest, None) => end,
            (Start::Latest, Some(time)) | (Start::At(time), _) => self.first_since(partition, time)?.unwrap_or(end),
        };
        let TopicPartition { topic, partition } = partition;
        tracing::info!(%topic, partition, position, low, end, "nothing is committed; reading begins here");
        Ok(Committed { watermark: Watermark { position, clock: 0 }, began: self.began })
    }

    /// The first offset whose record is not older than `milliseconds` since 1970, if there is one.
    fn first_since(&self, partition: &TopicPartition, milliseconds: i64) -> Result<Option<i64>, KafkaError> {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(milliseconds))?;
        let offsets = self.client.offsets_for_times(times, TIMEOUT)?;
        let element = offsets.find_partition(&partition.topic, partition.partition);
        if let Some(element) = &element {
            element.error()?;
        }
        Ok(element.and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }
}
