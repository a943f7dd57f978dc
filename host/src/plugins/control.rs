//! How other threads send requests to the supervisor thread.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rowmill_engine::Route;

use super::status::{CommandError, OperatorCommand, Status};
use crate::config::PluginConfig;

/// The longest wait for a reply. A new configuration is validated before it is answered, and may queue behind other
/// validations.
const REPLY_TIMEOUT: Duration = Duration::from_secs(300);

/// A request, with the sender for its reply.
#[derive(Debug)]
pub enum Request {
    /// Asks for the status of all plugins.
    Status(Sender<Status>),
    /// Executes a command on the named plugin; the reply is a sentence for the operator.
    Command(String, OperatorCommand, Sender<Result<String, CommandError>>),
    /// Applies a new configuration, or refuses it as a whole with the reason. The reply lists the keys that changed.
    Configure(Box<(PluginConfig, Vec<Route>)>, Sender<Result<Vec<String>, String>>),
}

/// Sends requests to the supervisor thread. Cheap to clone. Calls block until the reply; do not make them from async tasks.
#[derive(Clone, Debug)]
pub struct Control(Sender<Request>);

const SHUTTING_DOWN: &str = "the gateway is shutting down";

impl Control {
    /// A control and the receiver of its requests.
    pub fn channel() -> (Self, Receiver<Request>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = bounded(1);
        self.0.send(request(reply)).ok()?;
        answer.recv_timeout(REPLY_TIMEOUT).ok()
    }

    /// The status of all plugins; `None` if the gateway is shutting down.
    pub fn status(&self) -> Option<Status> {
        self.ask(Request::Status)
    }

    /// Executes a command on a plugin. Returns a sentence for the operator.
    ///
    /// # Errors
    /// No plugin has that name, or the command is not possible now.
    pub fn command(&self, plugin: &str, command: OperatorCommand) -> Result<String, CommandError> {
        self.ask(|reply| Request::Command(plugin.into(), command, reply))
            .unwrap_or_else(|| Err(CommandError::Conflict(SHUTTING_DOWN.into())))
    }

    /// Applies a new configuration of plugins and routes as a whole. Returns the keys that changed.
    ///
    /// # Errors
    /// A part of it is refused. Then nothing is applied, and the message says why.
    pub fn configure(&self, plugins: PluginConfig, routes: Vec<Route>) -> Result<Vec<String>, String> {
        self.ask(|reply| Request::Configure(Box::new((plugins, routes)), reply))
            .unwrap_or_else(|| Err(SHUTTING_DOWN.into()))
    }
}
