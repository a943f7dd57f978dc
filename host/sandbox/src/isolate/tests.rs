//! Bisection with scripted guests: exactly the poisoned images fail, and all others keep their verdicts.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::contract::{RawOutput, Table};
use crate::output::Verdict;
use crate::rules::NameRules;

const CELLS: usize = 2;

/// How a guest fails the call in which it sees a poisoned image.
#[derive(Clone, Copy, Debug)]
enum Spoils {
    Traps,
    AnswersTooMuch,
}

/// A guest whose verdict on each image contains the image's number, which is the first cell.
struct Scripted {
    poisoned: BTreeSet<u32>,
    spoils: Spoils,
}

impl Guest for Scripted {
    fn define_table(&mut self, _: &Table) -> Result<Vec<u32>, CallError> {
        Ok(vec![0, 1])
    }

    fn transform(&mut self, batch: &Batch) -> Result<RawOutput, CallError> {
        let mut answer = RawOutput { bytes: batch.bytes.clone(), ..RawOutput::default() };
        let mut start = 0;
        for image in batch.cells.chunks_exact(CELLS) {
            let text = std::str::from_utf8(&batch.bytes[start as usize..image[0] as usize]).expect("cells are numbers");
            if self.poisoned.contains(&text.parse().expect("cells are numbers")) {
                match self.spoils {
                    Spoils::Traps => return Err(CallError::Trapped(format!("trapped at {text}"))),
                    Spoils::AnswersTooMuch => answer.verdicts.push(0),
                }
            }
            answer.verdicts.extend([4, start, image[0] - start]);
            start = image[1];
        }
        Ok(answer)
    }
}

/// Images 0, 1, 2 … with cells of different lengths.
fn batch(count: u32) -> Batch {
    let mut batch = Batch { table: 1, count, ..Batch::default() };
    for image in 0..count {
        batch.bytes.extend_from_slice(image.to_string().as_bytes());
        batch.cells.push(batch.bytes.len() as u32);
        batch.bytes.extend(std::iter::repeat_n(b'x', image as usize % 3));
        batch.cells.push(batch.bytes.len() as u32);
    }
    batch
}

const EXPECT: Expect<'static> = Expect {
    count: 0,
    columns: 2,
    indices: &[],
    change_mode: false,
    documents_per_image: 1,
    rules: &NameRules::STRICTEST,
};

/// Checks that exactly the poisoned images failed and that all others have their verdicts.
#[track_caller]
fn check(count: u32, poisoned: &[u32], spoils: Spoils) -> u32 {
    let poisoned: BTreeSet<u32> = poisoned.iter().copied().filter(|&image| image < count).collect();
    let make = || -> Box<dyn Guest> { Box::new(Scripted { poisoned: poisoned.clone(), spoils }) };
    let mut guest = make();
    let mut parts = Vec::new();
    let mut renewed = 0;
    let mut renew = || {
        renewed += 1;
        Ok(make())
    };
    let faults = transform(&mut guest, &batch(count), CELLS, EXPECT, &mut renew, &mut parts);
    assert_eq!(faults, renewed, "one new instance for each that was spent");
    let mut next = 0;
    let mut failed = BTreeSet::new();
    for part in &parts {
        assert_eq!(part.first, next, "parts cover the batch in order");
        next += part.count;
        match &part.result {
            Ok(output) => {
                for image in 0..part.count {
                    let Verdict::Fail(reason) = output.verdict(image) else { panic!("{:?}", output.verdict(image)) };
                    assert_eq!(reason, (part.first + image).to_string(), "a verdict belongs to its image");
                }
            }
            Err(_) => {
                assert_eq!(part.count, 1);
                failed.insert(part.first);
            }
        }
    }
    assert_eq!(next, count);
    assert_eq!(failed, poisoned);
    faults
}

#[test]
fn one_of_512_costs_ten_calls() {
    for image in [0, 1, 255, 256, 511] {
        assert_eq!(check(512, &[image], Spoils::Traps), 10);
    }
    assert_eq!(check(1, &[0], Spoils::Traps), 1);
    assert_eq!(check(512, &[], Spoils::Traps), 0);
    assert_eq!(check(0, &[], Spoils::Traps), 0);
}

#[test]
fn without_a_new_instance_all_that_is_left_fails() {
    let mut guest: Box<dyn Guest> = Box::new(Scripted { poisoned: [5].into(), spoils: Spoils::Traps });
    let mut parts = Vec::new();
    let faults = transform(&mut guest, &batch(8), CELLS, EXPECT, &mut || Err("no memory".into()), &mut parts);
    assert_eq!((faults, parts.len()), (1, 8));
    for (image, part) in parts.iter().enumerate() {
        assert_eq!((part.first, part.count), (image as u32, 1));
        let reason = part.result.as_ref().expect_err("it has no verdict");
        assert_eq!(reason, "trapped at 5; then no new instance could be started: no memory");
    }
}

#[test]
fn all_remaining_images_fail_when_bisecting_takes_too_long() {
    let mut guest: Box<dyn Guest> = Box::new(Scripted { poisoned: [5].into(), spoils: Spoils::Traps });
    let (mut parts, mut renewed) = (Vec::new(), 0);
    let mut renew = || {
        renewed += 1;
        Ok(Box::new(Scripted { poisoned: [5].into(), spoils: Spoils::Traps }) as Box<dyn Guest>)
    };
    let faults = transform_within(Duration::ZERO, &mut guest, &batch(8), CELLS, EXPECT, &mut renew, &mut parts);
    assert_eq!((faults, parts.len(), renewed), (1, 8, 1));
    for part in &parts {
        let reason = part.result.as_ref().expect_err("it has no verdict");
        assert!(reason.starts_with("trapped at 5; isolating the bad rows took too long"), "{reason}");
    }
}

#[test]
fn a_slice_has_the_cells_of_its_images() {
    let mut whole = batch(10);
    whole.operations = (0..10).collect();
    let part = whole.slice(3, 5, CELLS);
    assert_eq!((part.table, part.count, &part.operations[..]), (1, 2, &[3, 4][..]));
    assert_eq!((&part.bytes[..], &part.cells[..]), (&b"34x"[..], &[1, 1, 2, 3][..]));
    let all = whole.slice(0, 10, CELLS);
    assert_eq!(
        (all.bytes, all.cells, all.operations),
        (whole.bytes.clone(), whole.cells.clone(), whole.operations.clone())
    );
    let none = whole.slice(4, 4, CELLS);
    assert_eq!((none.count, none.bytes.len(), none.cells.len()), (0, 0, 0));
}

#[test]
fn images_without_cells_can_be_sliced() {
    let whole = Batch { table: 1, count: 9, ..Batch::default() };
    let part = whole.slice(2, 6, 0);
    assert_eq!((part.count, part.cells.len(), part.bytes.len()), (4, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_poisoned_fail(count in 1_u32..200, poisoned in prop::collection::vec(0_u32..200, 0..12), traps: bool) {
        check(count, &poisoned, if traps { Spoils::Traps } else { Spoils::AnswersTooMuch });
    }

    #[test]
    fn slices_joined_are_the_whole(count in 0_u32..50, cut in 0_u32..50) {
        let whole = batch(count);
        let cut = cut.min(count);
        let (left, right) = (whole.slice(0, cut, CELLS), whole.slice(cut, count, CELLS));
        let shift = left.bytes.len() as u32;
        prop_assert_eq!([left.bytes, right.bytes].concat(), whole.bytes);
        prop_assert_eq!([left.cells, right.cells.iter().map(|end| end + shift).collect()].concat(), whole.cells);
    }
}
