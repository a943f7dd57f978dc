//! The ceiling of a sink: the same bulk bodies, sent as fast as the server accepts them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::bulk;
use crate::counting::Captured;
use crate::http::{self, Client};

/// The same operations in bodies of about `bytes` bytes.
pub fn cut(captured: &Captured, bytes: usize) -> Captured {
    let mut bodies = Vec::new();
    let mut body = Vec::with_capacity(bytes);
    for operation in captured.bodies.iter().flat_map(|body| bulk::operations(body)) {
        if body.len() + operation.len() > bytes && !body.is_empty() {
            bodies.push(std::mem::replace(&mut body, Vec::with_capacity(bytes)));
        }
        body.extend_from_slice(operation);
    }
    if !body.is_empty() {
        bodies.push(body);
    }
    Captured { path: captured.path.clone(), bodies }
}

/// Sends the bodies with this many requests in flight. Returns the seconds that it took.
///
/// # Errors
/// The server rejected a request or a document.
pub fn send(url: &str, requests: &Captured, in_flight: usize) -> anyhow::Result<f64> {
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..in_flight).map(|_| scope.spawn(|| send_next(url, requests, &next))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| anyhow::bail!("a sender panicked")))
    })?;
    Ok(begin.elapsed().as_secs_f64())
}

fn send_next(url: &str, requests: &Captured, next: &AtomicUsize) -> anyhow::Result<()> {
    let mut client = Client::connect(url).with_context(|| url.to_string())?;
    while let Some(body) = requests.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            requests.path,
            http::host(url),
            body.len()
        );
        let answer = client.send(&[head.as_bytes(), body], false)?;
        let text = String::from_utf8_lossy(&answer.body()[..answer.body().len().min(300)]).into_owned();
        ensure!(
            answer.first_line().contains(" 200") && text.contains("\"errors\":false"),
            "the raw sender's request was rejected: {} {text}",
            answer.first_line()
        );
    }
    Ok(())
}
