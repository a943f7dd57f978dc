//! The pipeline's threads: one list that starts them, watches them, and waits for their ends.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crate::shutdown::Shutdown;

/// Stack of a stage's thread, in bytes. Only what is used takes memory.
const STACK: usize = 4 << 20;

type Work = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// Stages in the order of the data. Each ends when those before it have ended, since their channels are then closed.
pub(crate) struct Stages {
    shutdown: Shutdown,
    list: Vec<(String, Work)>,
}

impl Stages {
    /// An empty list. A stage that fails or panics aborts the run through `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, list: Vec::new() }
    }

    /// Adds a stage behind those that were added before.
    pub fn add(&mut self, name: impl Into<String>, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
        self.list.push((name.into(), Box::new(work)));
    }

    /// Runs all stages. Returns once all have ended.
    pub fn run(self) {
        let Self { shutdown, list } = self;
        let mut threads = Vec::new();
        // The last stage first, so that each finds the next one running.
        for (name, work) in list.into_iter().rev() {
            match spawn(&name, &shutdown, work) {
                Ok(thread) => threads.push(thread),
                // The run ends: this drops the stage, and with it the stage's ends of the channels to the others.
                Err(error) => {
                    shutdown.fail(anyhow::Error::new(error).context(format!("cannot start the thread {name}")))
                }
            }
        }
        for thread in threads.into_iter().rev() {
            // A thread catches its own panic.
            let _ = thread.join();
        }
    }
}

/// Starts a thread that aborts the run if it fails or panics.
///
/// # Errors
/// The system cannot start a thread.
pub(crate) fn spawn(
    name: &str,
    shutdown: &Shutdown,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let (thread_name, shutdown) = (name.to_string(), shutdown.clone());
    std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
        // Nothing that the work has touched is used after a panic: the run ends.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shutdown.fail(error),
            Err(panic) => shutdown.fail(anyhow::anyhow!(
                "the thread {thread_name} panicked: {}; this is a bug in Rowmill. Records that were not settled are read \
                 again by the next run",
                message(&*panic)
            )),
        }
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_run_with_its_message() {
        let shutdown = Shutdown::default();
        let mut stages = Stages::new(shutdown.clone());
        let (sender, receiver) = crossbeam_channel::bounded::<u8>(1);
        let until_aborted = shutdown.clone();
        stages.add("source", move || {
            // Like a source: it sends until it is asked to end.
            while !until_aborted.is_requested() {
                let _ = sender.send_timeout(1, std::time::Duration::from_millis(1));
            }
            Ok(())
        });
        stages.add("worker", move || {
            let number = receiver.recv()?;
            assert_eq!(number, 2, "the worker expects 2");
            Ok(())
        });
        stages.run();
        let failure = shutdown.take_failure().expect("the run failed").to_string();
        assert!(failure.contains("worker") && failure.contains("the worker expects 2"), "{failure}");
    }

    #[test]
    fn an_error_ends_the_run_as_it_is() {
        let shutdown = Shutdown::default();
        let mut stages = Stages::new(shutdown.clone());
        stages.add("fails", || Err(anyhow::anyhow!("no space left")));
        stages.add("works", || Ok(()));
        stages.run();
        assert_eq!(shutdown.take_failure().expect("the run failed").to_string(), "no space left");
    }
}
