//! An HTTP/1.1 client that sends the bytes it is given and hides nothing of the answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a client waits for bytes before the test fails. Far above every deadline of the server.
const PATIENCE: Duration = Duration::from_secs(20);
/// What one read of the socket takes at most.
const READ_BYTES: usize = 64 * 1024;

/// One answer, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// Names and values exactly as sent, in order, repeats included.
    pub(crate) headers: Vec<(String, String)>,
    /// Freed from its chunks.
    pub(crate) body: Vec<u8>,
    /// Statuses of the 1xx answers that came before.
    pub(crate) interim: Vec<u16>,
}

impl Response {
    /// The value of the first header of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// When it is no UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a textual body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("a JSON body, not {:?}: {error}", String::from_utf8_lossy(&self.body))
        })
    }

    /// Everything that was sent, head and body, for searches.
    pub(crate) fn everything(&self) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {} {}\r\n{headers}\r\n{body}", self.version, self.status, self.reason)
    }
}

/// The bytes of a request with a `Host`, the given headers, and a `Content-Length` when there is a body.
pub(crate) fn message(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: solera.test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// What bytes go through: a socket, or TLS over one.
pub(crate) trait Transport: Read + Write + std::fmt::Debug + Send {
    /// Says that no more bytes will come.
    ///
    /// # Errors
    ///
    /// When the server has gone.
    fn finish_sending(&mut self) -> io::Result<()>;
}

impl Transport for TcpStream {
    fn finish_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A socket to the server, with the patience of a test.
///
/// # Errors
///
/// What the socket says: nobody listens, as a rule.
pub(crate) fn socket(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection, and what it has received but not yet handed out.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Box<dyn Transport>,
    received: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// What the socket says: nobody listens, as a rule.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(socket(address)?))
    }

    /// HTTP over something that is connected already.
    pub(crate) fn over(stream: impl Transport + 'static) -> Self {
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    /// Sends exactly these bytes.
    ///
    /// # Errors
    ///
    /// When the server has gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Says that no more bytes will come, and goes on reading.
    ///
    /// # Errors
    ///
    /// When the server has gone.
    pub(crate) fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.finish_sending()
    }

    /// Reads the answer to a request that is not `HEAD`, past any 1xx.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the server closes before the whole answer, `InvalidData` when it is no HTTP, and
    /// `WouldBlock` or `TimedOut` when nothing comes.
    pub(crate) fn receive(&mut self) -> io::Result<Response> {
        self.receive_final(BodyRule::ByHeaders)
    }

    /// Reads the answer to a `HEAD` request.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`].
    pub(crate) fn receive_head(&mut self) -> io::Result<Response> {
        self.receive_final(BodyRule::Never)
    }

    /// Reads a 1xx answer, and returns its status.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive`]; `InvalidData` when the answer is a final one.
    pub(crate) fn receive_interim(&mut self) -> io::Result<u16> {
        let head = self.read_head()?;
        if is_interim(head.status) {
            Ok(head.status)
        } else {
            Err(invalid(&format!("a final {}", head.status)))
        }
    }

    /// Sends a request and reads its answer; the bytes tell whether it is a `HEAD`.
    ///
    /// A server may answer and close before it has read all. So what went wrong while sending is told only when there
    /// is no answer either.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`] and [`Connection::receive`].
    pub(crate) fn exchange(&mut self, request: impl AsRef<[u8]>) -> io::Result<Response> {
        let request = request.as_ref();
        let sent = self.send(request);
        let rule = if request.starts_with(b"HEAD ") { BodyRule::Never } else { BodyRule::ByHeaders };
        let answer = self.receive_final(rule);
        match (sent, answer) {
            (_, Ok(response)) => Ok(response),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    /// Reads until the server closes, and returns what came.
    ///
    /// # Errors
    ///
    /// `WouldBlock` or `TimedOut` when the server keeps the connection open.
    pub(crate) fn receive_end(&mut self) -> io::Result<Vec<u8>> {
        while 0 < self.fill()? {}
        Ok(std::mem::take(&mut self.received))
    }

    fn receive_final(&mut self, rule: BodyRule) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head()?;
            if is_interim(head.status) {
                interim.push(head.status);
                continue;
            }
            let body = self.read_body(&head, rule)?;
            return Ok(Response { body, interim, ..head });
        }
    }

    fn read_head(&mut self) -> io::Result<Response> {
        let end = self.read_until(b"\r\n\r\n")?;
        let bytes: Vec<u8> = self.received.drain(..end).collect();
        let text = String::from_utf8(bytes).map_err(|_| invalid("a head that is no UTF-8"))?;
        parse_head(text.trim_end_matches("\r\n"))
    }

    fn read_body(&mut self, head: &Response, rule: BodyRule) -> io::Result<Vec<u8>> {
        if rule == BodyRule::Never || matches!(head.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks();
        }
        match head.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| invalid(&format!("Content-Length: {length}")))?;
                self.read_exactly(length)
            }
            None => self.receive_end(),
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| invalid(&format!("chunk size {line:?}")))?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(size)?);
            if !self.read_line()?.is_empty() {
                return Err(invalid("a chunk without its line end"));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let end = self.read_until(b"\r\n")?;
        let line: Vec<u8> = self.received.drain(..end).collect();
        String::from_utf8(line[..end - 2].to_vec()).map_err(|_| invalid("a line that is no UTF-8"))
    }

    fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < length {
            self.fill_some()?;
        }
        Ok(self.received.drain(..length).collect())
    }

    /// Where `mark` ends in what was received, reading on until it is there.
    fn read_until(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.received.windows(mark.len()).position(|window| window == mark) {
                return Ok(at + mark.len());
            }
            self.fill_some()?;
        }
    }

    fn fill_some(&mut self) -> io::Result<()> {
        if self.fill()? == 0 {
            let left = String::from_utf8_lossy(&self.received).into_owned();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed after {left:?}")));
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; READ_BYTES];
        let read = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// Whether the answer has a body at all, which its own head does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyRule {
    ByHeaders,
    Never,
}

fn parse_head(text: &str) -> io::Result<Response> {
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let mut words = status_line.splitn(3, ' ');
    let (Some(version), Some(status)) = (words.next(), words.next()) else {
        return Err(invalid(status_line));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(invalid(status_line));
    }
    Ok(Response {
        version: version.to_owned(),
        status: status.parse().map_err(|_| invalid(status_line))?,
        reason: words.next().unwrap_or_default().to_owned(),
        headers: lines.map(parse_header).collect::<io::Result<_>>()?,
        body: Vec::new(),
        interim: Vec::new(),
    })
}

fn parse_header(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| invalid(line))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn is_interim(status: u16) -> bool {
    (100..200).contains(&status)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an answer: {what}"))
}
