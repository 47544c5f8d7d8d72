//! Minimal servers with Kask's calls: one that keeps what it is given, and ways not to.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Faithful,
    /// As Go does with bodies above 2 KB.
    InChunks,
    /// `Connection: close` with every tenth answer.
    ClosesOften,
    FlipsABit,
    ReturnsAnother,
    CutsShort,
    /// Every tenth read of a session that is there is a 404.
    Forgets,
    /// An overwrite is acknowledged and dropped.
    KeepsTheFirst,
    /// There is a session for every key.
    Invents,
    /// Every tenth request is a 500.
    Fails,
    /// Every tenth request gets no answer and the connection is closed.
    HangsUp,
    /// Every tenth answer is none.
    Babbles,
    /// Every hundredth request is never answered.
    SaysNothing,
    /// One answer comes a second late.
    StallsOnce,
    /// Every answer takes 20 ms.
    Slow,
    /// A session is to be seen 30 ms after it was written, as if another node had to hear of it.
    ShowsLate,
}

/// How long `ShowsLate` takes.
pub(super) const LATE: Duration = Duration::from_millis(30);

#[derive(Debug)]
struct State {
    manner: Manner,
    sessions: Mutex<HashMap<String, Session>>,
    requests: AtomicU32,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Session {
    body: Vec<u8>,
    written: Instant,
}

/// A server on a port of its own. Its threads end with the connections and with the process.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            manner,
            sessions: Mutex::default(),
            requests: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepting);
                thread::spawn(move || state.talk(&stream));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/sessions/v1", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // One more connection, for the listener to notice.
        drop(TcpStream::connect(self.address));
    }
}

impl State {
    /// Until either side has enough.
    fn talk(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream);
        while let Some((method, target, body)) = read_request(&mut reader) {
            let Some(answer) = self.answer(&method, &target, body) else { return };
            let closes = answer.windows(17).any(|bytes| bytes == b"Connection: close");
            let mut writer = stream;
            if writer.write_all(&answer).is_err() || closes {
                return;
            }
        }
    }

    /// `None` closes the connection without one.
    fn answer(&self, method: &str, target: &str, body: Vec<u8>) -> Option<Vec<u8>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let tenth = number % 10 == 9;
        match self.manner {
            Manner::Fails if tenth => return Some(message("500 Internal Server Error", b"", "")),
            Manner::HangsUp if tenth => return None,
            Manner::Babbles if tenth => return Some(b"what was the question?\r\n\r\n".to_vec()),
            Manner::SaysNothing if number % 100 == 99 => thread::park_timeout(Duration::from_secs(5)),
            Manner::StallsOnce if number == 50 => thread::park_timeout(Duration::from_secs(1)),
            Manner::Slow => thread::park_timeout(Duration::from_millis(20)),
            _ => {}
        }
        let headers = if self.manner == Manner::ClosesOften && tenth { "Connection: close\r\n" } else { "" };
        let mut sessions = self.sessions.lock().unwrap();
        Some(match method {
            "POST" => {
                if self.manner != Manner::KeepsTheFirst || !sessions.contains_key(target) {
                    sessions.insert(target.to_owned(), Session { body, written: Instant::now() });
                }
                message("201 Created", b"", headers)
            }
            "DELETE" => {
                sessions.remove(target);
                format!("HTTP/1.1 204 No Content\r\n{headers}\r\n").into_bytes()
            }
            _ => match self.read(&sessions, target, tenth) {
                Some(body) if self.manner == Manner::InChunks => chunked(&body),
                Some(body) => message("200 OK", &body, headers),
                None => message("404 Not Found", b"{}", headers),
            },
        })
    }

    fn read(&self, sessions: &HashMap<String, Session>, target: &str, tenth: bool) -> Option<Vec<u8>> {
        let shown =
            |session: &&Session| self.manner != Manner::ShowsLate || LATE <= session.written.elapsed();
        let mut found = sessions.get(target).filter(shown).map(|session| session.body.clone());
        match (self.manner, &mut found) {
            (Manner::Invents, None) => return Some(b"of course".to_vec()),
            (Manner::Forgets, _) if tenth => return None,
            (Manner::FlipsABit, Some(body)) => body[1000] ^= 4,
            (Manner::CutsShort, Some(body)) => body.truncate(1000),
            (Manner::ReturnsAnother, Some(body)) => {
                let other = sessions.iter().find(|(key, _)| *key != target);
                other.map(|(_, theirs)| &theirs.body)?.clone_into(body);
            }
            _ => {}
        }
        found
    }
}

/// Method, target, body; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| 0 < *bytes)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, target, body))
}

fn message(status: &str, body: &[u8], headers: &str) -> Vec<u8> {
    let length = body.len();
    let mut message = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    message.extend_from_slice(body);
    message
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(700) {
        message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        message.extend_from_slice(chunk);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    message
}
