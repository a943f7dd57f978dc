//! Connections that a fault can reset: the client sees a reset in place of an answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The listener that accepts such connections.
pub(super) struct Connections {
    listener: TcpListener,
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Connections {
        Connections { listener }
    }
}

/// Lets the handler of a request reset the connection on which the request arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    /// Resets the connection at the next attempt to write to it.
    pub(super) fn arm(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    reset: Reset,
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = Reset;

    async fn accept(&mut self) -> (Connection, Reset) {
        let (stream, _) = Listener::accept(&mut self.listener).await;
        // Clients wait for the small answers. A failure only costs time.
        let _ = stream.set_nodelay(true);
        let reset = Reset::default();
        (Connection { stream, reset: reset.clone() }, reset)
    }

    fn local_addr(&self) -> io::Result<Reset> {
        Ok(Reset::default())
    }
}

impl Connected<IncomingStream<'_, Connections>> for Reset {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Reset {
        stream.remote_addr().clone()
    }
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if !self.reset.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        // A socket that does not linger sends a reset when it is closed.
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
