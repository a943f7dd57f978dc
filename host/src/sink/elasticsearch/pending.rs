//! Operations that wait to be written: one entry per document, in which a newer operation replaces an older one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Instant;

use hashbrown::HashTable;

use crate::sink::OperationRef;

/// Bytes of an operation's line in a bulk request, beside ID and body.
const LINE_BYTES: usize = 120;

fn is_same_document(a: &OperationRef, b: &OperationRef) -> bool {
    a.operation().index == b.operation().index && a.id() == b.id()
}

/// Whether both write the same part of a merged document.
fn is_same_part(a: &OperationRef, b: &OperationRef) -> bool {
    a.table() == b.table() && a.item() == b.item()
}

fn bytes_of(operation: &OperationRef) -> usize {
    operation.operation().body.len() + operation.operation().id.len() + LINE_BYTES
}

/// What is to be written to one document.
#[derive(Debug)]
pub(super) struct Entry {
    /// The operation; for a merged document its parts, one per table and one per item.
    pub operations: Vec<OperationRef>,
    /// Operations that newer ones replaced. They are settled with the entry.
    pub superseded: Vec<OperationRef>,
    /// How often the entry was sent without success.
    pub attempts: u32,
    slot: u32,
}

impl Entry {
    pub fn bytes(&self) -> usize {
        self.operations.iter().map(bytes_of).sum()
    }

    fn new(operations: Vec<OperationRef>, slot: u32) -> Self {
        Self { operations, superseded: Vec::new(), attempts: 0, slot }
    }

    /// Adds an operation on the same document; of two on the same part the newer one remains.
    fn fold(&mut self, new: OperationRef) {
        let is_merge = new.operation().action.is_merge();
        match self.operations.iter_mut().find(|known| !is_merge || is_same_part(known, &new)) {
            None => self.operations.push(new),
            // Equal versions come from one record, whose rows are in order: the later one counts.
            Some(known) if new.operation().version >= known.operation().version => {
                let old = std::mem::replace(known, new);
                self.superseded.push(old);
            }
            Some(_) => self.superseded.push(new),
        }
    }
}

struct Slot {
    hash: u64,
    /// Any operation on the document; it identifies the document.
    key: OperationRef,
    waiting: Option<Entry>,
    /// Parts of a merged document that are sent one by one, because they were rejected together. Later operations queue
    /// behind them.
    sequential: VecDeque<OperationRef>,
    in_flight: bool,
    since: Instant,
}

/// All documents that have an operation queued or in flight.
pub(super) struct Pending {
    documents: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots whose entry can be sent, oldest first.
    ready: VecDeque<u32>,
    /// Slots whose entry waits until it is due for its next attempt.
    delayed: BinaryHeap<Reverse<(Instant, u32)>>,
    ready_bytes: usize,
    hasher: foldhash::quality::RandomState,
}

impl Pending {
    pub fn new() -> Self {
        Self {
            documents: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            ready_bytes: 0,
            hasher: Default::default(),
        }
    }

    /// Returns true if no operation is queued or in flight.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The number of documents that can be sent now.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// About how many bytes these take in a request.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// When the oldest of these was added.
    pub fn oldest(&self) -> Option<Instant> {
        self.ready.front().map(|slot| self.slot(*slot).since)
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

    /// Adds an operation.
    pub fn add(&mut self, new: OperationRef, now: Instant) {
        let hash = {
            let mut hasher = self.hasher.build_hasher();
            new.operation().index.hash(&mut hasher);
            hasher.write(new.id());
            hasher.finish()
        };
        let slots = &self.slots;
        let known = self
            .documents
            .find(hash, |slot| slots[*slot as usize].as_ref().is_some_and(|slot| is_same_document(&slot.key, &new)))
            .copied();
        let Some(number) = known else {
            let bytes = bytes_of(&new);
            let number = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
            let entry = Entry::new(vec![new.clone()], number);
            self.slots[number as usize] = Some(Slot {
                hash,
                key: new,
                waiting: Some(entry),
                sequential: VecDeque::new(),
                in_flight: false,
                since: now,
            });
            let slots = &self.slots;
            self.documents
                .insert_unique(hash, number, |slot| slots[*slot as usize].as_ref().map_or(0, |slot| slot.hash));
            self.ready.push_back(number);
            self.ready_bytes += bytes;
            return;
        };
        let slot = self.slot_mut(number);
        if !slot.sequential.is_empty() {
            slot.sequential.push_back(new);
            return;
        }
        match &mut slot.waiting {
            Some(entry) => {
                let (before, in_flight) = (entry.bytes(), slot.in_flight);
                entry.fold(new);
                let after = entry.bytes();
                // The bytes of a delayed entry are not counted; finding out whether it is delayed is not worth a look-up.
                if !in_flight && entry.attempts == 0 {
                    self.ready_bytes = self.ready_bytes + after - before;
                }
            }
            // The document is in flight: the new operation waits for the answer.
            None => {
                slot.since = now;
                slot.waiting = Some(Entry::new(vec![new], number));
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
                let bytes = self.slot(slot).waiting.as_ref().map_or(0, Entry::bytes);
                self.ready_bytes += bytes;
                // To the front: it is older than the others.
                self.ready.push_front(slot);
            }
        }
    }

    /// Takes entries for a request of at most this many bytes and documents; at least one if any is ready.
    pub fn take(&mut self, max_bytes: usize, max_documents: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(&number) = self.ready.front() {
            let entry_bytes = self.slot(number).waiting.as_ref().map_or(0, Entry::bytes);
            if !taken.is_empty() && (bytes + entry_bytes > max_bytes || taken.len() >= max_documents) {
                break;
            }
            self.ready.pop_front();
            bytes += entry_bytes;
            let slot = self.slot_mut(number);
            slot.in_flight = true;
            taken.extend(slot.waiting.take());
        }
        self.ready_bytes = self.ready_bytes.saturating_sub(bytes);
        taken
    }

    /// An entry is settled: the operations that arrived in the meantime can be sent.
    pub fn settled(&mut self, entry: &Entry) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        slot.in_flight = false;
        if let Some(next) = slot.sequential.pop_front() {
            slot.waiting = Some(Entry::new(vec![next], number));
        }
        match slot.waiting.as_ref().map(Entry::bytes) {
            Some(bytes) => {
                self.ready.push_back(number);
                self.ready_bytes += bytes;
            }
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

    /// Several parts of a merged document were rejected together: from now on each is sent alone, so that only those are
    /// rejected that must be.
    pub fn send_sequentially(&mut self, mut entry: Entry) {
        let newer = self.slot_mut(entry.slot).waiting.take();
        let slot = self.slot_mut(entry.slot);
        slot.sequential.extend(entry.operations.drain(1..));
        if let Some(newer) = newer {
            entry.superseded.extend(newer.superseded);
            slot.sequential.extend(newer.operations);
        }
        slot.in_flight = false;
        let (number, bytes) = (entry.slot, entry.bytes());
        slot.waiting = Some(entry);
        self.ready.push_back(number);
        self.ready_bytes += bytes;
    }

    /// An entry is to be sent again, not before `due`, together with the operations that arrived in the meantime.
    pub fn retry(&mut self, mut entry: Entry, due: Instant) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        slot.in_flight = false;
        if let Some(newer) = slot.waiting.take() {
            entry.superseded.extend(newer.superseded);
            for operation in newer.operations {
                entry.fold(operation);
            }
        }
        self.slot_mut(number).waiting = Some(entry);
        self.delayed.push(Reverse((due, number)));
    }
}

#[cfg(test)]
mod tests;
