//! HTTP/1.1 with blocking sockets: a server with a thread for each connection, and a client. Both are cheap, so that the
//! benchmark measures the gateway and not its own ends. Bodies have a `Content-Length` or are chunked; connections stay open.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// The read buffer of a connection. Larger parts of a body are read past it.
const BUFFER: usize = 64 << 10;

/// A request or an answer.
#[derive(Default)]
pub struct Message {
    /// The head and the body as they were sent.
    raw: Vec<u8>,
    /// The length of the head.
    head: usize,
    /// The body, if it was chunked.
    dechunked: Option<Vec<u8>>,
}

impl Message {
    /// The first line: method and path of a request, status of an answer.
    pub fn first_line(&self) -> &str {
        let line = self.raw[..self.head].split(|byte| *byte == b'\r').next().unwrap_or_default();
        std::str::from_utf8(line).unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.dechunked.as_deref().unwrap_or(&self.raw[self.head..])
    }

    /// Head and body as they were sent.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Replaces this message by the next one of the connection. `has_body` is false for answers to `HEAD`. Returns false if
    /// the connection was closed before the message.
    fn read(&mut self, from: &mut BufReader<TcpStream>, has_body: bool) -> io::Result<bool> {
        self.raw.clear();
        self.dechunked = None;
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let start = self.raw.len();
            if from.read_until(b'\n', &mut self.raw)? == 0 {
                return if start == 0 { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let line = std::str::from_utf8(&self.raw[start..]).unwrap_or_default().trim();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().map_err(io::Error::other)?;
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    is_chunked = value.trim().eq_ignore_ascii_case("chunked");
                }
            }
        }
        self.head = self.raw.len();
        match (has_body, is_chunked) {
            (false, _) => {}
            (true, true) => self.read_chunks(from)?,
            (true, false) => read_exactly(from, length, &mut self.raw)?,
        }
        Ok(true)
    }

    fn read_chunks(&mut self, from: &mut BufReader<TcpStream>) -> io::Result<()> {
        let mut body = Vec::new();
        loop {
            let start = self.raw.len();
            from.read_until(b'\n', &mut self.raw)?;
            let line = std::str::from_utf8(&self.raw[start..]).unwrap_or_default();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            let start = self.raw.len();
            read_exactly(from, size + 2, &mut self.raw)?; // with the line break
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.raw[start..start + size]);
        }
        self.dechunked = Some(body);
        Ok(())
    }
}

fn read_exactly(from: &mut BufReader<TcpStream>, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
    to.reserve(length);
    let read = from.take(length as u64).read_to_end(to)?;
    if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Answers the requests of one connection.
pub trait Handler: Send + 'static {
    /// Writes the complete answer to `answer`, which is empty.
    ///
    /// # Errors
    /// The connection cannot be served any more and is closed.
    fn answer(&mut self, request: &Message, answer: &mut Vec<u8>) -> io::Result<()>;

    /// Called when the answer has been handed to the socket.
    fn answered(&mut self, request: &Message);
}

/// Serves on a free port of 127.0.0.1 until the process ends. `handler` makes the handler of a connection. Returns the URL.
///
/// # Errors
/// There is no free port.
pub fn serve<H: Handler>(mut handler: impl FnMut() -> H + Send + 'static) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = handler();
            // A client that breaks off is the client's own business: its connection ends.
            std::thread::spawn(move || drop(connection(stream, handler)));
        }
    });
    Ok(url)
}

fn connection<H: Handler>(stream: TcpStream, mut handler: H) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    let (mut request, mut answer) = (Message::default(), Vec::new());
    while request.read(&mut reader, true)? {
        answer.clear();
        handler.answer(&request, &mut answer)?;
        writer.write_all(&answer)?;
        handler.answered(&request);
    }
    Ok(())
}

/// A connection to a server.
pub struct Client {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    answer: Message,
}

impl Client {
    /// Connects to the server of an `http://` URL.
    ///
    /// # Errors
    /// It does not accept the connection.
    pub fn connect(url: &str) -> io::Result<Self> {
        let writer = TcpStream::connect(host(url))?;
        writer.set_nodelay(true)?;
        let reader = BufReader::with_capacity(BUFFER, writer.try_clone()?);
        Ok(Self { writer, reader, answer: Message::default() })
    }

    /// Sends a request, given in parts, and returns the answer.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, request: &[&[u8]], is_head: bool) -> io::Result<&Message> {
        for part in request {
            self.writer.write_all(part)?;
        }
        if !self.answer.read(&mut self.reader, !is_head)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&self.answer)
    }
}

/// Host and port of a URL.
pub fn host(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}
