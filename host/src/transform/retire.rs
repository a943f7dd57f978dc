//! Drops what workers no longer use in another thread, because returning its memory takes longer than a batch should wait.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rowmill_engine::{Chain, PluginInstance};

/// Plugin instances and chains that a worker no longer uses.
#[derive(Debug)]
pub struct Retired {
    _plugins: Vec<PluginInstance>,
    _chains: Vec<Arc<Chain>>,
}

impl Retired {
    pub(super) fn new(plugins: Vec<PluginInstance>, chains: Vec<Arc<Chain>>) -> Self {
        Self { _plugins: plugins, _chains: chains }
    }
}

/// Sends what is retired to the thread that drops it. The default drops it at once.
#[derive(Clone, Debug, Default)]
pub struct Retire(Option<Sender<Retired>>);

impl Retire {
    /// The sender, and the receiver for the thread that drops.
    pub fn channel() -> (Self, Receiver<Retired>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Self(Some(sender)), receiver)
    }

    pub(super) fn take(&self, retired: Retired) {
        if let Some(sender) = &self.0 {
            // A closed channel returns the value, which is then dropped here.
            let _ = sender.send(retired);
        }
    }
}
