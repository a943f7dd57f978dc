//! Operations that wait to be written: one entry per document, in which a newer operation replaces an older one.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashTable;

use crate::sink::OperationRef;

/// Bytes of an operation's line in a bulk request, beside ID and body.
const LINE_BYTES: usize = 120;

/// Elasticsearch routes a document by its routing value, so the same ID with another value is another document.
fn is_same_document(a: &OperationRef, b: &OperationRef) -> bool {
    a.operation().index == b.operation().index && a.id() == b.id() && a.routing() == b.routing()
}

/// Whether both write the same part of a merged document.
fn is_same_part(a: &OperationRef, b: &OperationRef) -> bool {
    a.table() == b.table() && a.item() == b.item()
}

/// Whether `new`, which arrived later, replaces `known`.
fn replaces(new: &OperationRef, known: &OperationRef) -> bool {
    let (a, b) = (new.operation(), known.operation());
    match a.version.cmp(&b.version) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // The rows of a record are in order. Otherwise a write beats a removal, as in Elasticsearch.
        Ordering::Equal => {
            let is_one_record = Arc::ptr_eq(new.batch(), known.batch()) && a.record == b.record;
            is_one_record || !a.is_removal() || b.is_removal()
        }
    }
}

fn bytes_of(operation: &OperationRef) -> usize {
    operation.operation().body.len() + operation.operation().id.len() + LINE_BYTES
}

/// What is to be written to a document, or to one part of a merged document.
#[derive(Debug)]
pub(super) struct Part {
    /// The operation.
    pub operation: OperationRef,
    /// Older operations that this one replaced. They are settled with it; if it is rejected, the newest of them is sent.
    pub superseded: Vec<OperationRef>,
}

impl Part {
    fn new(operation: OperationRef) -> Self {
        Self { operation, superseded: Vec::new() }
    }

    /// Adds an operation on the same part.
    fn fold(&mut self, new: OperationRef) {
        if replaces(&new, &self.operation) {
            self.superseded.push(std::mem::replace(&mut self.operation, new));
        } else {
            self.superseded.push(new);
        }
    }

    /// Adds what another entry has of the same part.
    fn join(&mut self, other: Self) {
        self.fold(other.operation);
        self.superseded.extend(other.superseded);
    }

    /// What is left without the operation; `None` if it replaced no other.
    fn older(self) -> Option<Self> {
        let mut superseded = self.superseded.into_iter();
        let mut left = Self::new(superseded.next()?);
        superseded.for_each(|operation| left.fold(operation));
        Some(left)
    }
}

/// What is to be written to one document.
#[derive(Debug)]
pub(super) struct Entry {
    /// The document, or the parts of a merged one, one per table and one per item. There is at least one.
    pub parts: Vec<Part>,
    /// How often the entry was sent without success.
    pub attempts: u32,
    slot: u32,
}

impl Entry {
    pub fn bytes(&self) -> usize {
        self.operations().map(bytes_of).sum()
    }

    /// The operations that are sent.
    pub fn operations(&self) -> impl Iterator<Item = &OperationRef> {
        self.parts.iter().map(|part| &part.operation)
    }

    /// The first of these. All are on the same document.
    pub fn first(&self) -> &OperationRef {
        &self.parts[0].operation
    }

    fn new(part: Part, slot: u32) -> Self {
        Self { parts: vec![part], attempts: 0, slot }
    }

    /// Adds what is to be written to the same document; of two operations on the same part the newer one is sent.
    fn fold(&mut self, new: Part) {
        let is_merge = new.operation.operation().action.is_merge();
        match self.parts.iter_mut().find(|known| !is_merge || is_same_part(&known.operation, &new.operation)) {
            None => self.parts.push(new),
            Some(known) => known.join(new),
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
    sequential: VecDeque<Part>,
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
            let entry = Entry::new(Part::new(new.clone()), number);
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
            slot.sequential.push_back(Part::new(new));
            return;
        }
        match &mut slot.waiting {
            Some(entry) => {
                let (before, in_flight) = (entry.bytes(), slot.in_flight);
                entry.fold(Part::new(new));
                let after = entry.bytes();
                // The bytes of a delayed entry are not counted; finding out whether it is delayed is not worth a look-up.
                if !in_flight && entry.attempts == 0 {
                    self.ready_bytes = self.ready_bytes + after - before;
                }
            }
            // The document is in flight: the new operation waits for the answer.
            None => {
                slot.since = now;
                slot.waiting = Some(Entry::new(Part::new(new), number));
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
            slot.waiting = Some(Entry::new(next, number));
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
            newer.parts.into_iter().for_each(|part| entry.fold(part));
        }
        self.slot_mut(number).waiting = Some(entry);
        self.delayed.push(Reverse((due, number)));
    }
}

#[cfg(test)]
mod tests;
