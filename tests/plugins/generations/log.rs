//! The warnings of the gateways in this process, line by line.

use std::fmt;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Starts recording. A gateway has many threads, so the warnings of all threads are recorded; parallel tests distinguish their
/// lines by the names of their folders.
pub fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let listener = tracing_subscriber::registry().with(Warnings);
        tracing::subscriber::set_global_default(listener).expect("nobody else listens in this process");
    });
}

/// Returns true if a warning contains all of these words.
pub fn warned(words: &[&str]) -> bool {
    let warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    warnings.iter().any(|line| words.iter().all(|words| line.contains(words)))
}

struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}
