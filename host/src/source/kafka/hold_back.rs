//! Partitions that are not read for a while, because much of what was read of them waits for an index that accepts no writes.
//!
//! Others are read meanwhile. If there are none, nothing is gained, and no partition is paused: reading then ends where the
//! budget is full, and other documents of the same partitions are written until then.

use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rowmill_rows::TopicPartition;

use super::partitions::Phase;
use super::reader::Reader;

impl Reader {
    /// Pauses the partitions that the sink holds back, and resumes those that it no longer does.
    pub(super) fn follow_sink(&mut self) {
        let is_held_back = |partition: &TopicPartition| {
            let progress = self.partitions.all.get(partition).and_then(|assigned| assigned.progress.as_ref());
            progress.is_some_and(|progress| progress.is_held_back())
        };
        let all = &self.partitions.all;
        let are_others = all.iter().any(|(name, one)| one.phase == Phase::Reading && !is_held_back(name));
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for name in all.keys() {
            let (is_wanted, is_paused) = (are_others && is_held_back(name), self.paused.contains(name));
            match (is_wanted, is_paused) {
                (true, false) => pause.push(name.clone()),
                (false, true) => resume.push(name.clone()),
                _ => {}
            }
        }
        if !pause.is_empty() {
            match self.consumer.pause(&list(&pause)) {
                Ok(()) => {
                    tracing::debug!(partitions = ?pause, "not read while an index accepts no writes");
                    self.paused.extend(pause);
                }
                // They are read on, at the expense of the others.
                Err(error) => tracing::warn!(%error, "cannot pause partitions; trying again"),
            }
        }
        if !resume.is_empty() {
            match self.consumer.resume(&list(&resume)) {
                Ok(()) => self.paused.retain(|name| !resume.contains(name)),
                Err(error) => tracing::warn!(%error, "cannot resume partitions; trying again"),
            }
        }
        let are_paused = self.paused.iter().any(|name| self.partitions.all.contains_key(name));
        if are_paused || !resume.is_empty() {
            // While something is not read, it is not known whether there is more.
            self.last_record = Instant::now();
        }
        self.intake.set_held_back(are_paused);
    }
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for one in partitions {
        list.add_partition(&one.topic, one.partition);
    }
    list
}
