//! Connections that a fault can reset: the answer is cut off and the client sees a reset, not an orderly end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The listener.
pub(super) struct Connections {
    listener: TcpListener,
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Connections {
        Connections { listener }
    }
}

/// The word by which a request's handler resets the connection that it came on.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    /// Resets the connection instead of writing to it any more.
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
        // Answers are small and waited for; a failure costs only time.
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
        // Without time to linger, closing sends a reset.
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
