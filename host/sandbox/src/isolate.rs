//! Isolates bad rows: a batch that makes a guest fail is bisected until only the bad rows fail.

use std::time::{Duration, Instant};

use crate::contract::{Batch, CallError, Guest};
use crate::output::{Expect, Output};

/// The answer to a part of a batch.
#[derive(Debug)]
pub struct Part {
    /// The first image of the part.
    pub first: u32,
    /// The number of images.
    pub count: u32,
    /// Their verdicts; or, for a single image, why it failed.
    pub result: Result<Output, String>,
}

/// Transforms a batch, with a new instance after each trap.
///
/// The answers are appended to `parts` in the batch's order; together they cover every image exactly once. `renew` starts a
/// new instance that knows the table; if it fails, all remaining images fail with its reason. Returns how often the guest
/// trapped or returned a malformed answer.
pub fn transform(
    guest: &mut Box<dyn Guest>,
    batch: &Batch,
    cells_per_image: usize,
    expect: Expect<'_>,
    renew: &mut dyn FnMut() -> Result<Box<dyn Guest>, String>,
    parts: &mut Vec<Part>,
) -> u32 {
    transform_within(Duration::MAX, guest, batch, cells_per_image, expect, renew, parts)
}

/// As [`transform`], but after bisecting for `max_time` all remaining images fail. Otherwise a guest that exceeds its time
/// limit on every image would do so twice per image.
pub fn transform_within(
    max_time: Duration,
    guest: &mut Box<dyn Guest>,
    batch: &Batch,
    cells_per_image: usize,
    expect: Expect<'_>,
    renew: &mut dyn FnMut() -> Result<Box<dyn Guest>, String>,
    parts: &mut Vec<Part>,
) -> u32 {
    match attempt(guest.as_mut(), batch, expect) {
        Ok(output) => {
            parts.push(Part { first: 0, count: batch.count, result: Ok(output) });
            0
        }
        Err(reason) => {
            let end = Instant::now().checked_add(max_time);
            let mut isolation = Isolation { guest, batch, cells_per_image, expect, renew, parts, faults: 0, end };
            isolation.split(0, batch.count, reason);
            isolation.faults
        }
    }
}

fn attempt(guest: &mut dyn Guest, batch: &Batch, expect: Expect<'_>) -> Result<Output, String> {
    let raw = guest.transform(batch).map_err(|error| match error {
        CallError::Trapped(reason) | CallError::Refused(reason) => reason,
    })?;
    Output::check(raw, Expect { count: batch.count, ..expect })
}

struct Isolation<'a, 'b> {
    guest: &'a mut Box<dyn Guest>,
    batch: &'a Batch,
    cells_per_image: usize,
    expect: Expect<'a>,
    renew: &'a mut (dyn FnMut() -> Result<Box<dyn Guest>, String> + 'b),
    parts: &'a mut Vec<Part>,
    faults: u32,
    /// When to stop bisecting.
    end: Option<Instant>,
}

impl Isolation<'_, '_> {
    /// Bisects the images `from..to`, which failed with `reason` and used up the instance.
    fn split(&mut self, from: u32, to: u32, reason: String) {
        self.faults += 1;
        match (self.renew)() {
            Ok(guest) => *self.guest = guest,
            Err(error) => {
                return self.fail(from, to, &format!("{reason}; then no new instance could be started: {error}"));
            }
        }
        if to - from <= 1 {
            return self.fail(from, to, &reason);
        }
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return self.fail(
                from,
                to,
                &format!("{reason}; isolating the bad rows took too long, so all remaining rows of the batch fail"),
            );
        }
        let middle = from + (to - from) / 2;
        for (from, to) in [(from, middle), (middle, to)] {
            match attempt(self.guest.as_mut(), &self.batch.slice(from, to, self.cells_per_image), self.expect) {
                Ok(output) => self.parts.push(Part { first: from, count: to - from, result: Ok(output) }),
                Err(reason) => self.split(from, to, reason),
            }
        }
    }

    fn fail(&mut self, from: u32, to: u32, reason: &str) {
        for image in from..to {
            self.parts.push(Part { first: image, count: 1, result: Err(reason.to_string()) });
        }
    }
}

#[cfg(test)]
mod tests;
