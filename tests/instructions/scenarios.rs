//! What is counted. Each scenario runs on one thread, all of it once to warm up and once to be counted; what log and
//! follower do on their own threads is not counted, and neither is the client.

use std::{io, path::Path, sync::Arc};

use eventlog::{Clock, EventLog, Incarnation, LogClock, SystemClock, memory::MemoryLog};
use materializer::{
    Frontiers, Replay, View,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use schemas::{
    Change, Event, Headers, Hlc, KeyId, MacKey, PartitionCount, Record, Sealed, Sequence, Topic, Until,
    Version, WriterId,
};
use tokio::{net::TcpStream, runtime::Runtime};

use crate::in_process::{self, Cells, InProcess, answer_bytes};

/// What callgrind counts, with everything that these call.
pub(crate) const COUNTED: [&str; 2] = ["counted_requests", "counted_fold"];

/// What it leaves out of that, with everything that this calls.
pub(crate) const LEFT_OUT: &str = "left_out";

/// Enough for what happens once in a while, a page of memory or a longer wait, to vanish in the mean.
const REQUESTS: u64 = 256;

/// Two batches, of about as many as the embedded log hands over at once.
const EVENTS: u64 = 1000;
const PARTITIONS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    GetCached,
    GetCold,
    Post,
    Apply,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [Self::GetCached, Self::GetCold, Self::Post, Self::Apply];

    /// Under which it is recorded.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GetCached => "get_cached",
            Self::GetCold => "get_cold",
            Self::Post => "post",
            Self::Apply => "apply",
        }
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::GetCached => "a GET of 2 KB whose cell is in memory",
            Self::GetCold => "a GET of 2 KB whose cell RocksDB reads from a block in memory",
            Self::Post => "a POST of 2 KB over a session that exists",
            Self::Apply => "an event of 2 KB over a cell that exists, folded into a view",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::GetCached | Self::GetCold | Self::Post => "a request",
            Self::Apply => "an event",
        }
    }

    /// How many requests or events are counted.
    pub(crate) fn repeats(self) -> u64 {
        match self {
            Self::GetCached | Self::GetCold | Self::Post => REQUESTS,
            Self::Apply => EVENTS,
        }
    }

    /// How many times it is run for one count. A POST waits for the thread of the log, and whether that answers before
    /// the wait begins or after it moves a whole run by up to 2 %. Nothing else depends on another thread.
    pub(crate) fn runs(self) -> usize {
        match self {
            Self::Post => 5,
            Self::GetCached | Self::GetCold | Self::Apply => 1,
        }
    }

    pub(crate) fn run(self) {
        let dir = tempfile::tempdir().unwrap();
        match self {
            Self::GetCached => requests(dir.path(), Cells::Kept, in_process::get, b"HTTP/1.1 200"),
            Self::GetCold => requests(dir.path(), Cells::Forgotten, in_process::get, b"HTTP/1.1 200"),
            Self::Post => requests(dir.path(), Cells::Kept, in_process::post, b"HTTP/1.1 201"),
            Self::Apply => apply(dir.path()),
        }
    }
}

/// Stores sessions, moves them to disk, and asks for each of them twice.
fn requests(dir: &Path, cells: Cells, request: fn(&str) -> Vec<u8>, status: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(InProcess::open(dir, cells));
    let stream = runtime.block_on(node.connect());
    let mut client = Client { stream, answer: Vec::with_capacity(8192), is_counting: false };
    let keys: Vec<_> = (0..REQUESTS).map(|n| format!("enwiki:MWSession:{n:032x}")).collect();
    let every = |request: fn(&str) -> Vec<u8>| keys.iter().map(|key| request(key)).collect::<Vec<_>>();

    runtime.block_on(client.ask_all(&every(in_process::post), b"HTTP/1.1 201"));
    // Waits until the view holds them.
    runtime.block_on(node.store.come_up()).unwrap();
    node.view.flush().unwrap();

    runtime.block_on(client.ask_all(&every(request), status));
    client.is_counting = true;
    counted_requests(&runtime, &mut client, &every(request), status);
}

#[inline(never)]
fn counted_requests(runtime: &Runtime, client: &mut Client, requests: &[Vec<u8>], status: &[u8]) {
    runtime.block_on(client.ask_all(requests, status));
}

/// On the thread of the server, so that they take turns in always the same order.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    is_counting: bool,
}

impl Client {
    /// One after the other.
    async fn ask_all(&mut self, requests: &[Vec<u8>], status: &[u8]) {
        for request in requests {
            self.aside(|client| client.send(request));
            loop {
                self.stream.readable().await.unwrap();
                if self.aside(|client| client.receive(status)) {
                    break;
                }
            }
        }
    }

    /// Does work of the client's own.
    fn aside<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        // Callgrind counts while it does not, and the other way round: outside of what is counted, that would count.
        if self.is_counting { left_out(self, work) } else { work(self) }
    }

    fn send(&mut self, request: &[u8]) {
        let sent = self.stream.try_write(request).unwrap();
        assert_eq!(sent, request.len(), "an empty socket takes a request at once");
        self.answer.clear();
    }

    /// Whether the answer is there, in full and with this status.
    fn receive(&mut self, status: &[u8]) -> bool {
        loop {
            match self.stream.try_read_buf(&mut self.answer) {
                Ok(0) => panic!("the server hung up"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let answer = &self.answer;
        if answer_bytes(answer).is_none() {
            return false;
        }
        assert!(answer.starts_with(status), "{}", answer[..answer.len().min(500)].escape_ascii());
        true
    }
}

#[inline(never)]
fn left_out<T>(client: &mut Client, work: impl FnOnce(&mut Client) -> T) -> T {
    work(client)
}

/// Folds every session once, moves that to disk, and folds a newer event of each.
fn apply(dir: &Path) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let log = MemoryLog::new(topic.clone(), partitions, Incarnation("one".into()), Arc::clone(&clock));
    let log_clock = Arc::new(LogClock::new(clock));
    let memory = ViewMemory::of(64 << 20);
    let logs = vec![(topic.clone(), log.incarnation())];
    let options = ViewOptions { memory: &memory, clock: Arc::clone(&log_clock), logs };
    let view = Arc::new(SessionView::open(dir, options).unwrap());

    let mac = MacKey::derive(&[7; 32]);
    let append = |round: u64| {
        for n in 0..EVENTS {
            let event = set(n, round);
            let partition = event.key.partition(partitions);
            let sequence = Sequence { appender: WriterId(1), number: round * EVENTS + n + 1 };
            let record = Record::of_event(event, sequence).unwrap();
            log.append(partition, mac.sign(&topic, partition, record));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let own = Arc::clone(&log) as Arc<dyn EventLog>;
    let into = Arc::clone(&view) as Arc<dyn View>;
    let mut replay = Replay::new(&own, &[], into, mac.clone(), log_clock).unwrap();
    let tails = |replay: &Replay| runtime.block_on(replay.tails()).unwrap();

    append(0);
    let end = tails(&replay);
    runtime.block_on(replay.up_to(&end, |_, _| {})).unwrap();
    view.flush().unwrap();

    append(1);
    let end = tails(&replay);
    counted_fold(&runtime, &mut replay, &end);
    let held = view.saved().unwrap().logs.remove(&topic).unwrap().frontier;
    assert!(held.is_at_least(&end[&topic]), "everything was folded");
}

#[inline(never)]
fn counted_fold(runtime: &Runtime, replay: &mut Replay, end: &Frontiers) {
    runtime.block_on(replay.up_to(end, |_, _| {})).unwrap();
}

fn set(n: u64, round: u64) -> Event {
    // Keys are hashes: spread over partitions and blocks.
    let hash: [u8; 16] = blake3::hash(&n.to_be_bytes()).as_bytes()[..16].try_into().unwrap();
    Event {
        key: KeyId::from_bytes(hash),
        version: Version { hlc: Hlc::from_bits(1 + round * EVENTS + n), writer: WriterId(1) },
        retain_until: Until::Never,
        headers: Headers::default(),
        change: Change::Set { expires_at: Until::Never, sealed: Sealed(in_process::noise(n).into()) },
    }
}
