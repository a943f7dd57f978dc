//! Bulk requests as the benchmark sees them: the operations of a body, the events in them, and the log of a server that received
//! them.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use memchr::{memchr, memmem};

use crate::events;

/// The operations of a body: each is an action line, with its document where the action has one.
pub fn operations(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let mut end = line_end(rest)?;
        if !rest.starts_with(b"{\"delete\"") {
            end += line_end(&rest[end..])?;
        }
        let (operation, after) = rest.split_at(end);
        rest = after;
        Some(operation)
    })
}

fn line_end(text: &[u8]) -> Option<usize> {
    memchr(b'\n', text).map(|at| at + 1)
}

/// The number of the event of which an operation was made, from its version.
pub fn event(operation: &[u8]) -> Option<u32> {
    const VERSION: &[u8] = b"\"version\":";
    let at = memmem::find(operation, VERSION)? + VERSION.len();
    let digits = operation[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let version = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    events::event_of(version).and_then(|n| u32::try_from(n).ok())
}

/// A bulk request that was answered.
pub struct Request {
    /// When its last byte had arrived.
    pub arrived: Instant,
    /// When the answer had been handed to the socket.
    pub answered: Instant,
    /// The numbers of the events of which its operations were made.
    pub events: Vec<u32>,
}

impl Request {
    /// A request with this body, which has just been answered.
    pub fn new(arrived: Instant, body: &[u8]) -> Self {
        let answered = Instant::now();
        Self { arrived, answered, events: operations(body).filter_map(event).collect() }
    }
}

/// The requests that a server answered since the log was last taken.
#[derive(Default)]
pub struct Log(Mutex<Vec<Request>>);

impl Log {
    /// Adds a request.
    pub fn add(&self, request: Request) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    /// Takes all requests out of the log.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
