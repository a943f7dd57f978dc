//! Replacement, order, and what is in flight.

use std::sync::Arc;

use proptest::prelude::*;
use rowmill_engine::{Action, IndexNumber, Operation, Operations};
use rowmill_rows::{Format, RecordBatch, Span, TopicPartition};

use super::*;
use crate::budget::Budget;
use crate::checkpoint::Progress;
use crate::operation::{OperationBatch, SourceBatch};

/// A batch of operations on documents `d0`, `d1`, …: action, document, version, table.
fn batch(operations: &[(Action, u32, u64, u16)]) -> Arc<OperationBatch> {
    let partition = TopicPartition { topic: "t".into(), partition: 0 };
    let progress = Progress::new(partition.clone(), 0);
    let records = RecordBatch::new(partition, Format::Auto);
    let source = SourceBatch::new(records, progress.ticket(1), &Budget::new(1));
    let mut made = Operations { tables: vec!["a".into(), "b".into()], ..Operations::default() };
    for &(action, document, version, table) in operations {
        let start = made.bytes.len() as u32;
        made.bytes.extend_from_slice(format!("d{document}").as_bytes());
        let id = Span { start, end: made.bytes.len() as u32 };
        let operation = Operation {
            action,
            index: IndexNumber(0),
            id,
            routing: None,
            item: Span::default(),
            body: Span::default(),
            version,
            record: 0,
            table,
            producer: u16::MAX,
            outlives_truncates: false,
            is_soft_delete: false,
        };
        made.list.push(operation);
    }
    Arc::new(OperationBatch::new(source, made, Vec::new()))
}

fn add_all(pending: &mut Pending, batch: &Arc<OperationBatch>) {
    for number in 0..batch.operations.list.len() {
        pending.add(OperationRef::new(batch, number), Instant::now());
    }
}

fn versions(entries: &[Entry]) -> Vec<Vec<u64>> {
    entries.iter().map(|entry| entry.operations().map(|operation| operation.operation().version).collect()).collect()
}

#[test]
fn the_newest_of_a_document_is_sent_whatever_the_order() {
    let mut pending = Pending::new();
    add_all(
        &mut pending,
        &batch(&[
            (Action::Index, 1, 5, 0),
            (Action::Delete, 1, 7, 0),
            (Action::Index, 1, 6, 0),
            (Action::Index, 2, 1, 0),
        ]),
    );
    let taken = pending.take(None, usize::MAX, usize::MAX);
    assert_eq!(versions(&taken), [vec![7], vec![1]]);
    assert_eq!(taken[0].parts[0].superseded.len(), 2);
}

#[test]
fn of_equal_versions_the_later_counts() {
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Delete, 1, 5, 0), (Action::Index, 1, 5, 0)]));
    assert_eq!(pending.take(None, usize::MAX, usize::MAX)[0].first().operation().action, Action::Index);
}

#[test]
fn of_equal_versions_a_write_beats_a_removal_unless_both_are_of_one_record() {
    let other_record = |action| batch(&[(action, 1, 5, 0)]);
    for order in [[Action::Delete, Action::Index], [Action::Index, Action::Delete]] {
        let mut pending = Pending::new();
        order.map(other_record).iter().for_each(|batch| add_all(&mut pending, batch));
        assert_eq!(
            pending.take(None, usize::MAX, usize::MAX)[0].first().operation().action,
            Action::Index,
            "{order:?}"
        );
    }
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Index, 1, 5, 0), (Action::Delete, 1, 5, 0)]));
    assert_eq!(pending.take(None, usize::MAX, usize::MAX)[0].first().operation().action, Action::Delete);
}

#[test]
fn a_rejected_operation_makes_room_for_the_newest_that_it_replaced() {
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Index, 1, 5, 0), (Action::Index, 1, 4, 0), (Action::Index, 1, 7, 0)]));
    let newest = pending.take(None, usize::MAX, usize::MAX).remove(0);
    assert_eq!(pending.reject(newest).map(|rejected| rejected.operation().version), Some(7));
    let older = pending.take(None, usize::MAX, usize::MAX).remove(0);
    assert_eq!((older.first().operation().version, older.parts[0].superseded.len()), (5, 1));
    // What arrives in the meantime is newer.
    add_all(&mut pending, &batch(&[(Action::Index, 1, 9, 0)]));
    assert_eq!(pending.reject(older).map(|rejected| rejected.operation().version), Some(5));
    let last = pending.take(None, usize::MAX, usize::MAX).remove(0);
    assert_eq!((last.first().operation().version, last.parts[0].superseded.len()), (9, 1));
    pending.settled(&last);
    assert!(pending.is_empty());
    assert_eq!(pending.ready_bytes(), 0);
}

#[test]
fn parts_of_a_merged_document_are_replaced_table_by_table() {
    let mut pending = Pending::new();
    add_all(
        &mut pending,
        &batch(&[
            (Action::Merge, 1, 5, 0),
            (Action::Merge, 1, 9, 1),
            (Action::MergeRemove, 1, 6, 0),
            (Action::Merge, 1, 8, 1),
        ]),
    );
    assert_eq!(versions(&pending.take(None, usize::MAX, usize::MAX)), [vec![6, 9]]);
}

#[test]
fn a_document_in_flight_waits_and_its_neighbours_do_not() {
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Index, 1, 1, 0)]));
    let first = pending.take(None, usize::MAX, usize::MAX);
    add_all(&mut pending, &batch(&[(Action::Index, 1, 2, 0), (Action::Index, 2, 1, 0)]));
    let second = pending.take(None, usize::MAX, usize::MAX);
    assert_eq!(versions(&second), [vec![1]]);
    assert_eq!(second[0].first().id(), b"d2");
    pending.settled(&first[0]);
    let third = pending.take(None, usize::MAX, usize::MAX);
    assert_eq!(versions(&third), [vec![2]]);
    pending.settled(&second[0]);
    pending.settled(&third[0]);
    assert!(pending.is_empty());
    assert_eq!(pending.ready_bytes(), 0);
}

#[test]
fn a_retried_entry_includes_newer_operations_and_waits_until_it_is_due() {
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Index, 1, 1, 0)]));
    let entry = pending.take(None, usize::MAX, usize::MAX).remove(0);
    add_all(&mut pending, &batch(&[(Action::Index, 1, 2, 0)]));
    let due = Instant::now() + std::time::Duration::from_secs(60);
    pending.retry(entry, due);
    assert_eq!(pending.ready(), 0);
    assert_eq!(pending.next_due(), Some(due));
    pending.wake(due);
    let retried = pending.take(None, usize::MAX, usize::MAX);
    assert_eq!(versions(&retried), [vec![2]]);
    assert_eq!(retried[0].parts[0].superseded.len(), 1);
}

#[test]
fn an_index_that_is_set_apart_holds_up_no_others() {
    let of_index = |index| {
        let batch = batch(&[(Action::Index, 1, 1, 0), (Action::Index, 2, 1, 0)]);
        let mut batch = Arc::into_inner(batch).expect("the only reference");
        batch.operations.list.iter_mut().for_each(|operation| operation.index = IndexNumber(index));
        Arc::new(batch)
    };
    let mut pending = Pending::new();
    add_all(&mut pending, &of_index(0));
    add_all(&mut pending, &of_index(1));
    let bytes = pending.ready_bytes();
    pending.set_apart(IndexNumber(0));
    assert_eq!((pending.ready(), pending.ready_apart(IndexNumber(0))), (2, 2));
    assert_eq!((pending.ready_bytes(), pending.bytes_apart()), (bytes / 2, bytes / 2));
    assert_eq!(pending.partitions_apart().0.len(), 1);
    let of_others = pending.take(None, usize::MAX, usize::MAX);
    assert!(of_others.iter().all(|entry| entry.first().operation().index == IndexNumber(1)));
    // What comes back goes to the front, what is folded meanwhile is counted.
    let own = pending.take(Some(IndexNumber(0)), usize::MAX, 1).remove(0);
    add_all(&mut pending, &of_index(0));
    pending.return_unsent(own);
    assert_eq!((pending.ready_apart(IndexNumber(0)), pending.bytes_apart()), (2, bytes / 2));
    pending.rejoin(IndexNumber(0));
    assert_eq!((pending.ready(), pending.ready_bytes(), pending.bytes_apart()), (2, bytes / 2, 0));
    assert_eq!(pending.take(None, usize::MAX, usize::MAX)[0].first().id(), b"d1");
}

#[test]
fn a_request_stays_within_its_limits_but_holds_at_least_one_entry() {
    let mut pending = Pending::new();
    add_all(&mut pending, &batch(&[(Action::Index, 1, 1, 0), (Action::Index, 2, 1, 0), (Action::Index, 3, 1, 0)]));
    assert_eq!(pending.take(None, 1, 10).len(), 1);
    assert_eq!(pending.take(None, usize::MAX, 1).len(), 1);
    assert_eq!(pending.take(None, usize::MAX, 10).len(), 1);
}

proptest! {
    /// However operations are added, taken, settled and retried: at the end the newest version of each document is
    /// written, no document was in flight twice at a time, and every operation was accounted for exactly once.
    #[test]
    fn every_operation_is_accounted_for(steps in proptest::collection::vec((0..4_u8, 0..5_u32, 1..50_u64), 1..200)) {
        let mut pending = Pending::new();
        let mut in_flight: Vec<Entry> = Vec::new();
        let mut newest = HashMap::new();
        let mut written: HashMap<Vec<u8>, u64> = Default::default();
        let (mut added, mut accounted) = (0, 0);
        let mut settle = |pending: &mut Pending, entry: Entry| {
            accounted += entry.parts.iter().map(|part| 1 + part.superseded.len()).sum::<usize>();
            let version = written.entry(entry.first().id().to_vec()).or_default();
            *version = entry.first().operation().version.max(*version);
            pending.settled(&entry);
        };
        for (step, document, version) in steps {
            match step {
                0 | 1 => {
                    add_all(&mut pending, &batch(&[(Action::Index, document, version, 0)]));
                    added += 1;
                    let known = newest.entry(format!("d{document}").into_bytes()).or_insert(0);
                    *known = version.max(*known);
                }
                2 => {
                    in_flight.extend(pending.take(None, usize::MAX, 2));
                    let mut ids: Vec<&[u8]> = in_flight.iter().map(|entry| entry.first().id()).collect();
                    let n = ids.len();
                    ids.sort_unstable();
                    ids.dedup();
                    prop_assert_eq!(ids.len(), n, "a document is in flight twice");
                }
                _ if in_flight.is_empty() => {}
                _ if version % 2 == 0 => pending.retry(in_flight.remove(0), Instant::now()),
                _ => settle(&mut pending, in_flight.remove(0)),
            }
            pending.wake(Instant::now());
        }
        while !pending.is_empty() {
            pending.wake(Instant::now());
            in_flight.extend(pending.take(None, usize::MAX, usize::MAX));
            for entry in in_flight.drain(..) {
                settle(&mut pending, entry);
            }
        }
        prop_assert_eq!(accounted, added);
        prop_assert_eq!(written, newest);
    }
}
