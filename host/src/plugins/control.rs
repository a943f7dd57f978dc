//! How other threads speak to the one that owns the plugins.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::status::{CommandError, OperatorCommand, Status};
use crate::config::PluginConfig;
use rowmill_engine::Route;

/// How long an answer may take. A changed configuration is proven before it is answered, so it waits for that too.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked, with the place for the answer.
#[derive(Debug)]
pub enum Request {
    /// What there is.
    Status(Sender<Status>),
    /// Do something to a plugin; the answer is a sentence for a person.
    Command(String, OperatorCommand, Sender<Result<String, CommandError>>),
    /// Take over another configuration, or refuse it as a whole with the reason. The answer tells what changed.
    Configure(Box<(PluginConfig, Vec<Route>)>, Sender<Result<Vec<String>, String>>),
}

/// Asks the thread that owns the plugins. Cheap to clone; for plain threads, not for tasks: a call waits for its answer.
#[derive(Clone, Debug)]
pub struct Control(Sender<Request>);

const GONE: &str = "the gateway is ending";

impl Control {
    /// A control, and where its requests arrive.
    pub fn channel() -> (Self, Receiver<Request>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = bounded(1);
        self.0.send(request(reply)).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// What there is; `None` when the gateway is ending.
    pub fn status(&self) -> Option<Status> {
        self.ask(Request::Status)
    }

    /// Does something to a plugin. The answer is a sentence for a person.
    ///
    /// # Errors
    /// There is no such plugin, or it cannot be done now.
    pub fn command(&self, plugin: &str, command: OperatorCommand) -> Result<String, CommandError> {
        self.ask(|reply| Request::Command(plugin.into(), command, reply))
            .unwrap_or_else(|| Err(CommandError::Conflict(GONE.into())))
    }

    /// Takes over another configuration of plugins and routes, as a whole; tells what changed.
    ///
    /// # Errors
    /// Something in it is refused: nothing of it is applied, and the text says why.
    pub fn configure(&self, plugins: PluginConfig, routes: Vec<Route>) -> Result<Vec<String>, String> {
        self.ask(|reply| Request::Configure(Box::new((plugins, routes)), reply)).unwrap_or_else(|| Err(GONE.into()))
    }
}
