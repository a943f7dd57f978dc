//! The nodes of the cluster: requests go to them in turn, without those that did not answer lately.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use elasticsearch::http::transport::Transport;

/// How long a node gets no requests after it did not answer; it doubles each time.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest such time.
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Node {
    transport: Transport,
    /// Until when the node gets no requests, in milliseconds since `Nodes::started`.
    rests_until: AtomicU64,
    /// How often in succession it did not answer.
    failures: AtomicU32,
}

/// The nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// The number of the next request.
    next: AtomicUsize,
    started: Instant,
}

impl Nodes {
    /// Nodes, of which there is at least one.
    pub fn new(transports: Vec<Transport>) -> Self {
        let node = |transport| Node { transport, rests_until: AtomicU64::new(0), failures: AtomicU32::new(0) };
        Self { nodes: transports.into_iter().map(node).collect(), next: AtomicUsize::new(0), started: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The numbers of the nodes to try for one request: those that do not rest, in turn; if all do, the one whose rest ends
    /// first.
    pub fn candidates(&self) -> Vec<usize> {
        let (n, now) = (self.nodes.len(), self.now());
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let rests_until = |node: &usize| self.nodes[*node].rests_until.load(Ordering::Relaxed);
        let turn = (0..n).map(|place| (start % n + place) % n);
        let mut awake: Vec<usize> = turn.filter(|node| rests_until(node) <= now).collect();
        if awake.is_empty() {
            awake.extend((0..n).min_by_key(rests_until));
        }
        awake
    }

    pub fn transport(&self, node: usize) -> &Transport {
        &self.nodes[node].transport
    }

    /// Notes whether a node has answered.
    pub fn note(&self, node: usize, has_answered: bool) {
        let node = &self.nodes[node];
        if has_answered {
            // Nearly always nothing changes, and then nothing is written to memory that is shared.
            if node.failures.load(Ordering::Relaxed) > 0 {
                node.failures.store(0, Ordering::Relaxed);
                node.rests_until.store(0, Ordering::Relaxed);
            }
            return;
        }
        let failures = node.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let rest = FIRST_REST.saturating_mul(1 << failures).min(LONGEST_REST);
        node.rests_until.store(self.now() + rest.as_millis() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_answer_rests() {
        let transport = || Transport::single_node("http://127.0.0.1:1").expect("a transport");
        let nodes = Nodes::new(vec![transport(), transport(), transport()]);
        assert_eq!(nodes.candidates(), [0, 1, 2]);
        assert_eq!(nodes.candidates(), [1, 2, 0]);
        nodes.note(1, false);
        assert_eq!(nodes.candidates(), [2, 0]);
        nodes.note(2, false);
        nodes.note(2, false);
        nodes.note(0, false);
        nodes.note(0, false);
        assert_eq!(nodes.candidates(), [1], "all rest: the one that rests shortest is tried");
        nodes.note(2, true);
        assert_eq!(nodes.candidates(), [2]);
    }
}
