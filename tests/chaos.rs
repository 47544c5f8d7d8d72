//! Kills the node at random moments under load, again and again: nothing that was acknowledged is lost, nothing that was
//! deleted comes back, and no start says of a live session that it is not there.
//!
//! ```text
//!   SOLERA_KILLS=5000 cargo test --profile ci --workspace --test solera chaos:: -- --nocapture
//! ```

use std::{
    collections::BTreeSet,
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::harness::{Connection, Node, Response, message};

const KILLS: u32 = 100;
const WRITERS: u64 = 3;
pub(crate) const KEYS: usize = 20;

/// How long the node runs before it is killed, at most.
const LIFE_MS_MAX: u64 = 300;

const PINNED: &str = "/sessions/v1/pinned";

#[test]
fn a_hundred_kills_lose_nothing_and_bring_nothing_back() {
    let kills = env::var("SOLERA_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (address, stop) = (node.address, Arc::clone(&stop));
            thread::spawn(move || Writer::new(n, address).run(&stop))
        })
        .collect();
    let poller = {
        let (address, stop) = (node.address, Arc::clone(&stop));
        thread::spawn(move || poll_pinned(address, &stop))
    };

    let mut chance = StdRng::seed_from_u64(1);
    let mut starts = Vec::new();
    for _ in 0..kills {
        // Not a wait for anything: the moment of the kill is what is drawn.
        thread::sleep(Duration::from_millis(chance.random_range(0..LIFE_MS_MAX)));
        node.kill9();
        let begun = Instant::now();
        node.restart();
        starts.push(begun.elapsed());
        let died = writers.iter().any(thread::JoinHandle::is_finished) || poller.is_finished();
        assert!(!died, "somebody has seen what must not be");
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for writer in writers {
        let mut writer = writer.join().expect("a writer saw what must not be");
        (0..KEYS).for_each(|key| writer.read(key));
        assert!(100 < writer.acknowledged, "a writer got along: {}", writer.acknowledged);
        acknowledged += writer.acknowledged;
    }
    let (found, refused) = poller.join().expect("the pinned session was gone");
    assert!(0 < found && 0 < refused, "it was seen ready ({found}) and starting ({refused})");
    starts.sort_unstable();
    println!(
        "{kills} kills, {acknowledged} acknowledged writes; from kill to ready {:?}, at most {:?}; the pinned session \
         was read {found} times, and refused {refused} times",
        starts[starts.len() / 2],
        starts.last().expect("it was killed")
    );
}

/// Every 5 ms: the session, or "not ready", or nobody; never "not found".
fn poll_pinned(address: SocketAddr, stop: &AtomicBool) -> (u32, u32) {
    let (mut found, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let asked = Connection::open(address).and_then(|mut c| c.exchange(message("GET", PINNED, &[], b"")));
        match asked {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.text(), "pinned");
                found += 1;
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.everything());
                refused += 1;
            }
            Err(_) => {}
        }
        thread::sleep(Duration::from_millis(5));
    }
    (found, refused)
}

/// Writes, deletes and reads keys of its own, and knows what each may hold.
#[derive(Debug)]
pub(crate) struct Writer {
    n: u64,
    /// Any of them may answer.
    addresses: Vec<SocketAddr>,
    /// Whether a node that is not ready is left alone, as a load balancer leaves it alone.
    is_balanced: bool,
    /// To the node that answers at the moment, if there are several.
    connection: Option<Connection>,
    chance: StdRng,
    /// What a read may find; `None` is "not found". More than one after a write whose answer did not come.
    possible: Vec<BTreeSet<Option<u64>>>,
    /// Whether a write was answered "unknown" by a process that lives on, or may have left one that does not: it may yet
    /// take effect.
    pending: Vec<bool>,
    next_value: u64,
    /// Shared by writers: what is acknowledged is counted here, too, while they work.
    counter: Arc<AtomicUsize>,
    /// Writes and deletes that were answered with success.
    pub(crate) acknowledged: usize,
    /// The versions that writes were acknowledged with.
    pub(crate) versions: BTreeSet<String>,
    /// Writes and deletes that were refused: what they asked for must never be seen.
    pub(crate) refused: usize,
    /// Requests that were sent and got no answer.
    pub(crate) unanswered: usize,
    /// The statuses of answers that say "not now".
    pub(crate) failures: Vec<u16>,
    /// Reads that were answered with what the session held, or that it is not there.
    pub(crate) read: usize,
}

impl Writer {
    pub(crate) fn new(n: u64, address: SocketAddr) -> Self {
        Self::of_several(n, vec![address])
    }

    /// Asks any of these, which share a log.
    pub(crate) fn of_several(n: u64, addresses: Vec<SocketAddr>) -> Self {
        let possible = vec![BTreeSet::from([None]); KEYS];
        let chance = StdRng::seed_from_u64(100 + n);
        Self {
            n,
            addresses,
            is_balanced: false,
            connection: None,
            chance,
            possible,
            pending: vec![false; KEYS],
            next_value: 1,
            counter: Arc::default(),
            acknowledged: 0,
            versions: BTreeSet::new(),
            refused: 0,
            unanswered: 0,
            failures: Vec::new(),
            read: 0,
        }
    }

    /// Asks no node that says that it is not ready.
    pub(crate) fn balanced(self) -> Self {
        Self { is_balanced: true, ..self }
    }

    /// Counts what is acknowledged with others.
    pub(crate) fn counted_by(self, counter: Arc<AtomicUsize>) -> Self {
        Self { counter, ..self }
    }

    pub(crate) fn run(mut self, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let key = self.chance.random_range(0..KEYS);
            match self.chance.random_range(0..10) {
                0..3 => self.read(key),
                3..5 => self.write(key, None),
                _ => {
                    self.next_value += 1;
                    self.write(key, Some(self.next_value));
                }
            }
        }
        self
    }

    fn write(&mut self, key: usize, value: Option<u64>) {
        let body = value.map(|value| value.to_string()).unwrap_or_default();
        let (method, success) = if value.is_some() { ("POST", 201) } else { ("DELETE", 204) };
        match self.ask(method, key, body.as_bytes()) {
            Some(answer) if answer.status == success => {
                self.possible[key] = BTreeSet::from([value]);
                self.pending[key] = false;
                self.acknowledged += 1;
                self.counter.fetch_add(1, Ordering::Relaxed);
                self.versions.extend(answer.header("etag").map(|etag| etag.trim_matches('"').to_owned()));
            }
            Some(answer) if answer.status == 503 && answer.json()["outcome"] == "refused" => {
                self.refused += 1
            }
            // No answer, or one that leaves it open.
            answer => {
                // A log in the process dies with it; what was sent to a broker does not.
                self.pending[key] |= answer.is_some() || 1 < self.addresses.len();
                if let Some(answer) = answer {
                    assert!(500 <= answer.status, "{}", answer.everything());
                }
                self.possible[key].insert(value);
            }
        }
    }

    /// Reads a session, and checks that it holds what it may.
    pub(crate) fn read(&mut self, key: usize) {
        let Some(answer) = self.ask("GET", key, b"") else { return };
        let found = match answer.status {
            200 => Some(answer.text().parse().expect("a value of ours")),
            404 => None,
            503 => return,
            _ => panic!("{}", answer.everything()),
        };
        self.read += 1;
        let possible = &mut self.possible[key];
        assert!(possible.contains(&found), "writer {} key {key}: {found:?}, not {possible:?}", self.n);
        // A write without an answer died with its process: what a later one shows is what it came to.
        if !self.pending[key] {
            *possible = BTreeSet::from([found]);
        }
    }

    /// `None` when no answer came. What was asked for may have been done, unless nobody listened at all.
    fn ask(&mut self, method: &str, key: usize, body: &[u8]) -> Option<Response> {
        if 1 < self.addresses.len() && self.chance.random_range(0..20) == 0 {
            self.connection = None;
        }
        if self.connection.is_none() {
            let any = self.chance.random_range(0..self.addresses.len());
            self.connection = Connection::open(self.addresses[any]).ok();
            if self.is_balanced {
                let probe = message("GET", "/readyz", &[], b"");
                let ready = |connection: &mut Connection| {
                    connection.exchange(&probe).is_ok_and(|answer| answer.status == 200)
                };
                self.connection = self.connection.take().and_then(|mut to| ready(&mut to).then_some(to));
            }
        }
        let target = format!("/sessions/v1/writer-{}-{key}", self.n);
        let answer = self.connection.as_mut()?.exchange(message(method, &target, &[], body)).ok();
        match &answer {
            None => {
                self.connection = None;
                self.unanswered += 1;
            }
            Some(answer) => {
                self.failures.extend(Some(answer.status).filter(|status| 500 <= *status));
                if answer.header("connection") == Some("close") {
                    self.connection = None;
                }
            }
        }
        answer
    }
}
