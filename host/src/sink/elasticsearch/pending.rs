//! Operations that wait to be written: one entry a document, in which a newer operation takes the place of an older.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hashbrown::HashTable;

use crate::operation::{Operation, OperationBatch};

/// An operation in its batch.
#[derive(Clone, Debug)]
pub(in crate::sink) struct OperationRef {
    pub batch: Arc<OperationBatch>,
    number: u32,
}

impl OperationRef {
    pub fn new(batch: &Arc<OperationBatch>, number: usize) -> Self {
        Self { batch: batch.clone(), number: number as u32 }
    }

    /// To be called once a batch, before any of its operations has an outcome.
    pub fn begin(batch: OperationBatch) -> Arc<OperationBatch> {
        batch.without_outcome.store(batch.operations.len() as u32, Ordering::Relaxed);
        Arc::new(batch)
    }

    /// Its place in the batch.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn operation(&self) -> &Operation {
        &self.batch.operations[self.number as usize]
    }

    pub fn id(&self) -> &[u8] {
        self.operation().id.of(&self.batch.bytes)
    }

    pub fn body(&self) -> &[u8] {
        self.operation().body.of(&self.batch.bytes)
    }

    /// Of an item of a merged document: see [`Operation::item`].
    pub fn item(&self) -> &[u8] {
        self.operation().item.of(&self.batch.bytes)
    }

    /// Whether both write the same part of one merged document.
    fn is_same_part(&self, other: &Self) -> bool {
        self.table() == other.table() && self.item() == other.item()
    }

    pub fn table(&self) -> &Arc<str> {
        &self.batch.tables[self.operation().table as usize]
    }

    /// The operation has an outcome. Returns whether all of its batch have one now.
    pub fn has_outcome(&self) -> bool {
        self.batch.without_outcome.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn is_same_document(&self, other: &Self) -> bool {
        self.operation().index == other.operation().index && self.id() == other.id()
    }

    fn bytes(&self) -> usize {
        // The action's line beside id and body.
        self.operation().body.len() + self.operation().id.len() + 120
    }
}

/// What is to be done to one document.
#[derive(Debug)]
pub(super) struct Entry {
    /// The operation; of a merged document the parts: one a table, and one an item.
    pub operations: Vec<OperationRef>,
    /// Operations that were overtaken; they are settled with the entry.
    pub folded: Vec<OperationRef>,
    /// How often it was sent.
    pub attempts: u32,
    slot: u32,
}

impl Entry {
    pub fn bytes(&self) -> usize {
        self.operations.iter().map(OperationRef::bytes).sum()
    }

    /// Takes in an operation of the same document; the newer of two stays.
    fn fold(&mut self, new: OperationRef) {
        let merge = new.operation().action.is_merge();
        match self.operations.iter_mut().find(|known| !merge || known.is_same_part(&new)) {
            None => self.operations.push(new),
            // Equal versions come from one record, whose rows are in order: the later one holds.
            Some(known) if new.operation().version >= known.operation().version => {
                let old = std::mem::replace(known, new);
                self.folded.push(old);
            }
            Some(_) => self.folded.push(new),
        }
    }
}

struct Slot {
    hash: u64,
    /// Any operation of the document: its key.
    key: OperationRef,
    waiting: Option<Entry>,
    /// Parts of a merged document that are sent one by one, since they were refused together. What comes meanwhile
    /// queues up behind them.
    apart: VecDeque<OperationRef>,
    in_flight: bool,
    since: Instant,
}

/// All that waits.
pub(super) struct Pending {
    documents: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots whose entry can be sent, oldest first.
    ready: VecDeque<u32>,
    /// Slots whose entry waits for its next attempt.
    delayed: BinaryHeap<Reverse<(Instant, u32)>>,
    ready_bytes: usize,
    hasher: foldhash::quality::RandomState,
    /// Operations that were overtaken while they waited.
    pub n_folded: u64,
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
            n_folded: 0,
        }
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Documents that can be sent now.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Their bytes in a request, about.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Since when the oldest of them waits.
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
            .find(hash, |slot| slots[*slot as usize].as_ref().is_some_and(|slot| slot.key.is_same_document(&new)))
            .copied();
        let Some(number) = known else {
            let bytes = new.bytes();
            let number = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
            let entry = Entry { operations: vec![new.clone()], folded: Vec::new(), attempts: 0, slot: number };
            self.slots[number as usize] = Some(Slot {
                hash,
                key: new,
                waiting: Some(entry),
                apart: VecDeque::new(),
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
        if !slot.apart.is_empty() {
            slot.apart.push_back(new);
            return;
        }
        match &mut slot.waiting {
            Some(entry) => {
                let (before, in_flight) = (entry.bytes(), slot.in_flight);
                let overtaken = entry.folded.len();
                entry.fold(new);
                let (after, overtaken) = (entry.bytes(), entry.folded.len() - overtaken);
                // An entry in the delay heap counts no bytes; it is not worth a look-up to know.
                if !in_flight && entry.attempts == 0 {
                    self.ready_bytes = self.ready_bytes + after - before;
                }
                self.n_folded += overtaken as u64;
            }
            // It is in flight: the new one waits until that is known.
            None => {
                slot.since = now;
                slot.waiting = Some(Entry { operations: vec![new], folded: Vec::new(), attempts: 0, slot: number });
            }
        }
    }

    /// Makes delayed entries ready that are due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, _))) = self.delayed.peek() {
            if *due > now {
                return;
            }
            if let Some(Reverse((_, slot))) = self.delayed.pop() {
                let bytes = self.slot(slot).waiting.as_ref().map_or(0, Entry::bytes);
                self.ready_bytes += bytes;
                // First: it is older than what came since.
                self.ready.push_front(slot);
            }
        }
    }

    /// Takes entries for a request of at most so many bytes and documents; at least one if any is ready.
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

    /// An entry is settled: its document is free for what came meanwhile.
    pub fn settled(&mut self, entry: &Entry) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        slot.in_flight = false;
        if let Some(next) = slot.apart.pop_front() {
            slot.waiting = Some(Entry { operations: vec![next], folded: Vec::new(), attempts: 0, slot: number });
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

    /// Several parts of a merged document were refused together: each is sent alone from now on, so that only those are
    /// refused that must be.
    pub fn apart(&mut self, mut entry: Entry) {
        let newer = self.slot_mut(entry.slot).waiting.take();
        let slot = self.slot_mut(entry.slot);
        slot.apart.extend(entry.operations.drain(1..));
        if let Some(newer) = newer {
            entry.folded.extend(newer.folded);
            slot.apart.extend(newer.operations);
        }
        slot.in_flight = false;
        let (number, bytes) = (entry.slot, entry.bytes());
        slot.waiting = Some(entry);
        self.ready.push_back(number);
        self.ready_bytes += bytes;
    }

    /// An entry is to be sent again, not before `due`; what came meanwhile is folded into it.
    pub fn again(&mut self, mut entry: Entry, due: Instant) {
        let number = entry.slot;
        let slot = self.slot_mut(number);
        slot.in_flight = false;
        if let Some(newer) = slot.waiting.take() {
            let overtaken = entry.folded.len();
            entry.folded.extend(newer.folded);
            for operation in newer.operations {
                entry.fold(operation);
            }
            let overtaken = entry.folded.len() - overtaken;
            self.n_folded += overtaken as u64;
        }
        self.slot_mut(number).waiting = Some(entry);
        self.delayed.push(Reverse((due, number)));
    }
}

#[cfg(test)]
mod tests;
