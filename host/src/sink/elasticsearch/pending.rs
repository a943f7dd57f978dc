//! Operations that wait to be written: one entry per document, in which a newer operation replaces an older one.
//!
//! Documents of all indices that accept writes share one queue. An index that does not is set apart: its documents have a
//! queue of their own, so they hold up no others.

mod entry;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashTable;
use rowmill_engine::IndexNumber;

use entry::is_same_document;
pub(super) use entry::{Entry, Part};

use crate::checkpoint::Progress;
use crate::sink::OperationRef;

struct Slot {
    hash: u64,
    /// Any operation on the document; it identifies the document.
    key: OperationRef,
    waiting: Option<Entry>,
    /// Parts of a merged document that are sent one by one, because they were rejected together. Later operations queue
    /// behind them.
    sequential: VecDeque<Part>,
    state: SlotState,
    since: Instant,
}

/// Where the entry of a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// In a queue.
    Ready,
    /// Waiting until it is due for its next attempt.
    Delayed,
    /// In a request. Operations that arrive wait for the answer.
    InFlight,
}

/// Slots whose entry can be sent, oldest first.
#[derive(Default)]
struct Queue {
    slots: VecDeque<u32>,
    bytes: usize,
}

/// All documents that have an operation queued or in flight.
pub(super) struct Pending {
    documents: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// The documents of all indices that are not set apart.
    shared: Queue,
    /// The documents of the indices that are.
    apart: HashMap<IndexNumber, Queue>,
    /// Slots whose entry waits until it is due for its next attempt.
    delayed: BinaryHeap<Reverse<(Instant, u32)>>,
    hasher: foldhash::quality::RandomState,
}

impl Pending {
    pub fn new() -> Self {
        Self {
            documents: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            shared: Queue::default(),
            apart: HashMap::new(),
            delayed: BinaryHeap::new(),
            hasher: Default::default(),
        }
    }

    /// Returns true if no operation is queued or in flight.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The number of documents that can be sent now, without those of indices that are set apart.
    pub fn ready(&self) -> usize {
        self.shared.slots.len()
    }

    /// About how many bytes these take in a request.
    pub fn ready_bytes(&self) -> usize {
        self.shared.bytes
    }

    /// When the oldest of these was added.
    pub fn oldest(&self) -> Option<Instant> {
        self.shared.slots.front().map(|slot| self.slot(*slot).since)
    }

    /// The number of documents of an index that is set apart that can be sent now.
    pub fn ready_apart(&self, index: IndexNumber) -> usize {
        self.apart.get(&index).map_or(0, |queue| queue.slots.len())
    }

    /// When the next delayed entry can be sent.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }

    fn slot(&self, slot: u32) -> &Slot {
        self.slots[slot as usize].as_ref().expect("a queued slot is in use")
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        self.slots[slot as usize].as_mut().expect("a queued slot is in use")
    }

    /// The bytes of all documents that wait in queues of indices that are set apart.
    pub fn bytes_apart(&self) -> usize {
        self.apart.values().map(|queue| queue.bytes).sum()
    }

    /// The partitions that these come from, each once, and the bytes of all batches that have some of them.
    pub fn partitions_apart(&self) -> (Vec<Arc<Progress>>, usize) {
        let (mut partitions, mut batches, mut bytes): (Vec<Arc<Progress>>, HashSet<_>, _) = Default::default();
        for slot in self.apart.values().flat_map(|queue| &queue.slots) {
            let Some(entry) = &self.slot(*slot).waiting else { continue };
            // The operations of one document nearly always come from one partition.
            let batch = entry.first().batch();
            if batches.insert(Arc::as_ptr(batch)) {
                bytes += batch.bytes();
                let progress = batch.source.ticket.progress();
                if !partitions.iter().any(|known| Arc::ptr_eq(known, progress)) {
                    partitions.push(progress.clone());
                }
            }
        }
        (partitions, bytes)
    }

    /// Returns true if the documents of an index that is set apart are merged.
    pub fn is_merged(&self, index: IndexNumber) -> bool {
        let first = self.apart.get(&index).and_then(|queue| queue.slots.front());
        first.is_some_and(|slot| self.slot(*slot).key.operation().action.is_merge())
    }

    fn queue_mut(&mut self, slot: u32) -> &mut Queue {
        if self.apart.is_empty() {
            return &mut self.shared;
        }
        let index = self.slot(slot).key.operation().index;
        self.apart.get_mut(&index).unwrap_or(&mut self.shared)
    }

    fn push(&mut self, number: u32, end: End) {
        let slot = self.slot_mut(number);
        slot.state = SlotState::Ready;
        let bytes = slot.waiting.as_ref().map_or(0, Entry::bytes);
        let queue = self.queue_mut(number);
        queue.bytes += bytes;
        match end {
            End::Back => queue.slots.push_back(number),
            End::Front => queue.slots.push_front(number),
        }
    }

    /// Gives an index a queue of its own.
    pub fn set_apart(&mut self, index: IndexNumber) {
        if self.apart.contains_key(&index) {
            return;
        }
        let mut own = Queue::default();
        let mut shared = std::mem::take(&mut self.shared);
        shared.slots.retain(|number| {
            let slot = self.slot(*number);
            let is_own = slot.key.operation().index == index;
            if is_own {
                let bytes = slot.waiting.as_ref().map_or(0, Entry::bytes);
                own.slots.push_back(*number);
                own.bytes += bytes;
                shared.bytes -= bytes;
            }
            !is_own
        });
        self.shared = shared;
        self.apart.insert(index, own);
    }

    /// Returns the documents of an index to the shared queue, before those that arrived later.
    pub fn rejoin(&mut self, index: IndexNumber) {
        if let Some(mut own) = self.apart.remove(&index) {
            own.slots.append(&mut self.shared.slots);
            self.shared.slots = own.slots;
            self.shared.bytes += own.bytes;
        }
    }

    /// Adds an operation.
    pub fn add(&mut self, new: OperationRef, now: Instant) {
        self.add_part(Part::new(new), now);
    }

    /// Adds an operation with those that it replaced.
    pub fn add_part(&mut self, part: Part, now: Instant) {
        let new = &part.operation;
        let hash = {
            let mut hasher = self.hasher.build_hasher();
            new.operation().index.hash(&mut hasher);
            hasher.write(new.id());
            hasher.finish()
        };
        let slots = &self.slots;
        let known = self
            .documents
            .find(hash, |slot| slots[*slot as usize].as_ref().is_some_and(|slot| is_same_document(&slot.key, new)))
            .copied();
        let Some(number) = known else {
            let number = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
            self.slots[number as usize] = Some(Slot {
                hash,
                key: new.clone(),
                waiting: Some(Entry::new(part, number)),
                sequential: VecDeque::new(),
                state: SlotState::Ready,
                since: now,
            });
            let slots = &self.slots;
            self.documents
                .insert_unique(hash, number, |slot| slots[*slot as usize].as_ref().map_or(0, |slot| slot.hash));
            self.push(number, End::Back);
            return;
        };
        let slot = self.slot_mut(number);
        if !slot.sequential.is_empty() {
            slot.sequential.push_back(part);
            return;
        }
        match &mut slot.waiting {
            Some(entry) => {
                let before = entry.bytes();
                entry.fold(part);
                let after = entry.bytes();
                if slot.state == SlotState::Ready {
                    let queue = self.queue_mut(number);
                    queue.bytes = queue.bytes + after - before;
                }
            }
            // The document is in flight: the new operation waits for the answer.
            None => {
                slot.since = now;
                slot.waiting = Some(Entry::new(part, number));
            }
        }
    }

    /// Makes delayed entries ready once they are due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, _))) = self.delayed.peek() {
            if *due > now {
                return;
            }
            if let Some(Reverse((_, slot))) = self.delayed.pop() {
                // It is older than the others.
                self.push(slot, End::Front);
            }
        }
    }

    /// Takes entries for a request of at most this many bytes and documents, at least one if any is ready: from the queue of
    /// an index that is set apart, or from the shared one.
    pub fn take(&mut self, index: Option<IndexNumber>, max_bytes: usize, max_documents: usize) -> Vec<Entry> {
        let Self { shared, apart, slots, .. } = self;
        let queue = match index {
            None => shared,
            Some(index) => match apart.get_mut(&index) {
                Some(queue) => queue,
                None => return Vec::new(),
            },
        };
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(&number) = queue.slots.front() {
            let Some(slot) = slots[number as usize].as_mut() else { break };
            let entry_bytes = slot.waiting.as_ref().map_or(0, Entry::bytes);
            if !taken.is_empty() && (bytes + entry_bytes > max_bytes || taken.len() >= max_documents) {
                break;
            }
            queue.slots.pop_front();
            bytes += entry_bytes;
            slot.state = SlotState::InFlight;
            taken.extend(slot.waiting.take());
        }
        queue.bytes = queue.bytes.saturating_sub(bytes);
        taken
    }

    /// An entry is settled: the operations that arrived in the meantime can be sent.
    pub fn settled(&mut self, entry: &Entry) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        if let Some(next) = slot.sequential.pop_front() {
            slot.waiting = Some(Entry::new(next, number));
        }
        match slot.waiting {
            Some(_) => self.push(number, End::Back),
            None => {
                let hash = slot.hash;
                if let Ok(found) = self.documents.find_entry(hash, |slot| *slot == number) {
                    found.remove();
                }
                self.slots[number as usize] = None;
                self.free.push(number);
            }
        }
    }

    /// The only part of an entry was rejected: an operation that it replaced is sent in its place. Returns the rejected
    /// operation.
    pub fn reject(&mut self, mut entry: Entry) -> Option<OperationRef> {
        let part = entry.parts.pop()?;
        let rejected = part.operation.clone();
        if let Some(older) = part.older() {
            let slot = self.slot_mut(entry.slot);
            match &mut slot.waiting {
                _ if !slot.sequential.is_empty() => slot.sequential.push_front(older),
                Some(waiting) => waiting.fold(older),
                None => slot.waiting = Some(Entry::new(older, entry.slot)),
            }
        }
        self.settled(&entry);
        Some(rejected)
    }

    /// Several parts of a merged document were rejected together: from now on each is sent alone, so that only those are
    /// rejected that must be.
    pub fn send_sequentially(&mut self, mut entry: Entry) {
        let slot = self.slot_mut(entry.slot);
        let newer = slot.waiting.take();
        slot.sequential.extend(entry.parts.drain(1..));
        slot.sequential.extend(newer.into_iter().flat_map(|newer| newer.parts));
        let number = entry.slot;
        slot.waiting = Some(entry);
        self.push(number, End::Back);
    }

    /// An entry is to be sent again, not before `due`, together with the operations that arrived in the meantime.
    pub fn retry(&mut self, entry: Entry, due: Instant) {
        let number = entry.slot;
        self.put_back(entry);
        self.slot_mut(number).state = SlotState::Delayed;
        self.delayed.push(Reverse((due, number)));
    }

    /// An entry was not written, for a reason that is not its own: it can be sent again, before those that arrived later.
    pub fn return_unsent(&mut self, entry: Entry) {
        let number = entry.slot;
        self.put_back(entry);
        self.push(number, End::Front);
    }

    fn put_back(&mut self, mut entry: Entry) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        if let Some(newer) = slot.waiting.take() {
            newer.parts.into_iter().for_each(|part| entry.fold(part));
        }
        slot.waiting = Some(entry);
    }
}

/// An end of a queue.
enum End {
    Front,
    Back,
}

#[cfg(test)]
mod tests;
