//! Forwards requests to Elasticsearch, and notes when each bulk request was answered and which documents it wrote.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::bulk::{Log, Request};
use crate::http::{self, Client, Handler, Message};

/// The running proxy.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    /// The bulk requests that it forwarded.
    pub log: Arc<Log>,
}

impl Proxy {
    /// Starts a proxy in front of the server of this URL.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(server: &str) -> io::Result<Self> {
        let log = Arc::<Log>::default();
        let (server, shared) = (server.to_string(), log.clone());
        let url = http::serve(move || Connection {
            server: server.clone(),
            client: None,
            log: shared.clone(),
            arrived: None,
        })?;
        Ok(Self { url, log })
    }
}

/// A connection of the gateway, with a connection of its own to the server.
struct Connection {
    server: String,
    client: Option<Client>,
    log: Arc<Log>,
    /// When the bulk request that is being answered had arrived.
    arrived: Option<Instant>,
}

impl Handler for Connection {
    fn answer(&mut self, request: &Message, answer: &mut Vec<u8>) -> io::Result<()> {
        let line = request.first_line();
        self.arrived = line.starts_with("POST /_bulk").then(Instant::now);
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(Client::connect(&self.server)?),
        };
        answer.extend_from_slice(client.send(&[request.raw()], line.starts_with("HEAD "))?.raw());
        Ok(())
    }

    fn answered(&mut self, request: &Message) {
        if let Some(arrived) = self.arrived.take() {
            self.log.add(Request::new(arrived, request.body()));
        }
    }
}
