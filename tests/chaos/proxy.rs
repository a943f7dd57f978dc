//! A proxy in front of the store that breaks connections in the ways of a network: bytes are late, come one by one, are cut off, or
//! go nowhere.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It forwards everything.
    Fine,
    /// New connections are closed at once, and existing ones too.
    Down,
    /// Each part of an answer is late by this time.
    Late(Duration),
    /// Answers come in pieces of this many bytes, with a millisecond between them.
    Drip(usize),
    /// The server gets the requests, and the answers disappear; no connection is closed.
    HalfOpen,
    /// Of each answer only this many bytes arrive; then the connection is closed.
    Truncated(usize),
}

/// The running proxy; it stops with the process.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    network: Arc<Mutex<Network>>,
}

impl Proxy {
    /// Starts a proxy to a port of this machine.
    pub fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let proxy = Self { url, network: Arc::new(Mutex::new(Network::Fine)) };
        let network = proxy.network.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if current(&network) == Network::Down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let copies = [client.try_clone(), server.try_clone()];
                let [Ok(client_end), Ok(server_end)] = copies else { continue };
                let (up, down) = (network.clone(), network.clone());
                thread::spawn(move || {
                    forward(client, server, |bytes, to| {
                        if current(&up) == Network::Down {
                            return false;
                        }
                        to.write_all(bytes).is_ok()
                    })
                });
                thread::spawn(move || forward(server_end, client_end, |bytes, to| answer(current(&down), bytes, to)));
            }
        });
        Ok(proxy)
    }

    /// Changes what it does, also for connections that exist.
    pub fn set(&self, network: Network) {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = network;
    }
}

fn current(network: &Mutex<Network>) -> Network {
    *network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands what arrives to `send` until one side closes the connection or `send` returns false; then closes both.
fn forward(mut from: TcpStream, mut to: TcpStream, mut send: impl FnMut(&[u8], &mut TcpStream) -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !send(&buffer[..count], &mut to) {
            break;
        }
    }
    // Closed already, in most cases.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Sends a part of an answer. Returns false if the connection is to be closed.
fn answer(network: Network, bytes: &[u8], to: &mut TcpStream) -> bool {
    match network {
        Network::Fine => to.write_all(bytes).is_ok(),
        Network::Down => false,
        Network::Late(time) => {
            thread::sleep(time);
            to.write_all(bytes).is_ok()
        }
        Network::Drip(size) => bytes.chunks(size).all(|piece| {
            thread::sleep(Duration::from_millis(1));
            to.write_all(piece).is_ok()
        }),
        Network::HalfOpen => true,
        Network::Truncated(size) => {
            let _ = to.write_all(&bytes[..size.min(bytes.len())]);
            false
        }
    }
}
