//! Clients at work on all four nodes, who write down what they asked and what they were told.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::history::{Asked, At, Dc, Key, Moment, Op, Told, Value};
use crate::harness::{Connection, Response, eventually, message};

/// So many clients ask each data centre, and half of them never delete: those go on while a cut makes deletes slow.
const CLIENTS_PER_DC: usize = 4;

/// Between two requests of a client: neither a flood nor a wait for anything.
const PACE: Duration = Duration::from_millis(3);

/// Clients meet on so many sessions.
const SESSIONS_AT_ONCE: u64 = 16;

/// After so many requests they go on with others: what happened to one stays short enough to weigh.
const REQUESTS_TOGETHER: u64 = 640;

/// A client that waits for longer than the load as a whole has stopped.
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);

/// Where the nodes are, and what all clients of a run share.
#[derive(Debug)]
pub(super) struct Clients {
    began: Instant,
    nodes: [SocketAddr; 4],
    seed: u64,
    started: AtomicU64,
    requests: AtomicU64,
    deletes: AtomicU64,
    /// At work now, by node.
    deletes_at: [AtomicU64; 4],
    values: AtomicU64,
    /// Connections from before are not used any more: their node may have died.
    generation: AtomicU64,
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Load {
    clients: Arc<Clients>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Op>>>,
}

impl Clients {
    /// Of nodes in the order of [`At::ALL`].
    pub(super) fn of(nodes: [SocketAddr; 4], seed: u64) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            began: Instant::now(),
            nodes,
            seed,
            started: zero(),
            requests: zero(),
            deletes: zero(),
            deletes_at: At::ALL.map(|_| zero()),
            values: zero(),
            generation: zero(),
        })
    }

    pub(super) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// From now on clients connect anew.
    pub(super) fn connect_anew(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// How many requests were begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many of them were deletes.
    pub(super) fn deletes(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }

    /// How many deletes a node is at work on.
    pub(super) fn deletes_at(&self, at: At) -> u64 {
        self.deletes_at[at.number()].load(Ordering::SeqCst)
    }

    /// Reads these sessions at all nodes.
    pub(super) fn read_everywhere(self: &Arc<Self>, keys: &[Key]) -> Vec<Op> {
        let read = |at: At| {
            let (mut client, keys) = (Client::new(Arc::clone(self), 0), keys.to_vec());
            thread::spawn(move || {
                keys.into_iter().map(|key| client.ask(key, at, Asked::Get)).collect::<Vec<_>>()
            })
        };
        let threads = At::ALL.map(read);
        threads.into_iter().flat_map(|thread| thread.join().expect("a reader does not panic")).collect()
    }

    /// One request of the test itself.
    pub(super) fn ask(self: &Arc<Self>, key: Key, at: At, asked: Asked) -> Op {
        Client::new(Arc::clone(self), 0).ask(key, at, asked)
    }

    /// Contents that nobody has written.
    pub(super) fn next_value(&self) -> Value {
        Value(self.values.fetch_add(1, Ordering::Relaxed))
    }

    /// A session that no load meets.
    pub(super) fn own_key(&self) -> Key {
        Key(u64::MAX / 2 + self.next_value().0)
    }

    /// What clients ask next is about sessions that nobody has asked for.
    pub(super) fn go_on_with_others(&self) {
        self.requests.fetch_add(REQUESTS_TOGETHER, Ordering::Relaxed);
    }
}

impl Load {
    pub(super) fn start(clients: &Arc<Clients>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |(dc, n): (Dc, usize)| {
            let number = clients.started.fetch_add(1, Ordering::Relaxed);
            let mut client = Client::new(Arc::clone(clients), number);
            let (stop, deletes) = (Arc::clone(&stop), n % 2 == 0);
            thread::spawn(move || client.work(dc, deletes, &stop))
        };
        let of_dc = |dc: Dc| (0..CLIENTS_PER_DC).map(move |n| (dc, n));
        let threads = Dc::BOTH.into_iter().flat_map(of_dc).map(client).collect();
        Self { clients: Arc::clone(clients), stop, threads }
    }

    /// Waits until so many more requests were begun.
    pub(super) fn goes_on_by(&self, requests: u64) {
        let before = self.clients.requests();
        eventually("the load goes on", GOES_ON_WITHIN, || {
            (before + requests <= self.clients.requests()).then_some(())
        });
    }

    /// Ends it, and says what happened.
    pub(super) fn stop(self) -> Vec<Op> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

/// Asks one thing after the other.
#[derive(Debug)]
struct Client {
    clients: Arc<Clients>,
    chance: StdRng,
    connections: [Option<Connection>; 4],
    generation: u64,
}

impl Client {
    fn new(clients: Arc<Clients>, number: u64) -> Self {
        let chance = StdRng::seed_from_u64(clients.seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self { clients, chance, connections: [const { None }; 4], generation: 0 }
    }

    fn work(&mut self, dc: Dc, deletes: bool, stop: &AtomicBool) -> Vec<Op> {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let request = self.clients.requests.fetch_add(1, Ordering::Relaxed);
            let first = request / REQUESTS_TOGETHER * SESSIONS_AT_ONCE;
            let key = Key(first + self.chance.random_range(0..SESSIONS_AT_ONCE));
            let at = dc.nodes()[self.chance.random_range(0..2)];
            let asked = self.choose(deletes);
            done.push(self.ask(key, at, asked));
            thread::park_timeout(PACE);
        }
        done
    }

    fn choose(&mut self, deletes: bool) -> Asked {
        match self.chance.random_range(0..10) {
            0..5 => Asked::Get,
            5..8 if deletes => {
                self.clients.deletes.fetch_add(1, Ordering::Relaxed);
                Asked::Delete
            }
            _ => Asked::Set(self.clients.next_value()),
        }
    }

    fn ask(&mut self, key: Key, at: At, asked: Asked) -> Op {
        // IMPORTANT: the time before the generation. Who began after a restart was over uses no connection from before.
        let invoked = self.clients.now();
        let generation = self.clients.generation.load(Ordering::SeqCst);
        if self.generation != generation {
            self.generation = generation;
            self.connections = [const { None }; 4];
        }
        let is_delete = u64::from(asked == Asked::Delete);
        self.clients.deletes_at[at.number()].fetch_add(is_delete, Ordering::SeqCst);
        let (told, has_ended) = self.exchange(key, at, asked);
        self.clients.deletes_at[at.number()].fetch_sub(is_delete, Ordering::SeqCst);
        let ended = if has_ended { self.clients.now() } else { Moment::MAX };
        Op { key, at, asked, told, invoked, ended }
    }

    /// What came of a request, and whether it can be said to have ended.
    fn exchange(&mut self, key: Key, at: At, asked: Asked) -> (Told, bool) {
        let slot = &mut self.connections[at.number()];
        if slot.is_none() {
            match Connection::open(self.clients.nodes[at.number()]) {
                Ok(open) => *slot = Some(open),
                Err(error) => return (Told::Refused(format!("nobody listens: {error}")), true),
            }
        }
        let connection = slot.as_mut().expect("just opened");
        match connection.exchange(request(key, asked)) {
            Ok(answer) => {
                if answer.header("connection") == Some("close") {
                    *slot = None;
                }
                (understand(asked, &answer), true)
            }
            Err(error) => {
                *slot = None;
                let gave_up = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind());
                (Told::Unknown(format!("no answer: {error}")), !gave_up)
            }
        }
    }
}

fn request(key: Key, asked: Asked) -> Vec<u8> {
    let target = format!("/sessions/v1/s{}", key.0);
    match asked {
        Asked::Get => message("GET", &target, &[], b""),
        Asked::Delete => message("DELETE", &target, &[], b""),
        Asked::Set(Value(value)) => message("POST", &target, &[], value.to_string().as_bytes()),
    }
}

fn understand(asked: Asked, answer: &Response) -> Told {
    match (asked, answer.status) {
        (Asked::Set(_), 201) | (Asked::Delete, 204) => Told::Done,
        (Asked::Get, 404) => Told::Found(None),
        (Asked::Get, 200) => match answer.text().parse() {
            Ok(value) => Told::Found(Some(Value(value))),
            Err(_) => Told::Strange(answer.everything()),
        },
        (_, 503 | 504) => of_problem(answer),
        _ => Told::Strange(answer.everything()),
    }
}

fn of_problem(answer: &Response) -> Told {
    let problem = answer.json();
    let told = || format!("{} {}: {}", answer.status, problem["type"], problem["detail"]);
    match problem["outcome"].as_str() {
        Some("refused") => Told::Refused(told()),
        Some("unknown" | "stored") => Told::Unknown(told()),
        Some("partial") => {
            let named = problem["unconfirmed"].as_array().into_iter().flatten();
            let dc = |entry: &serde_json::Value| Dc::BOTH.into_iter().find(|dc| entry["dc"] == dc.name());
            let named: Option<Vec<_>> = named.map(dc).collect();
            named.map_or_else(|| Told::Strange(answer.everything()), Told::Unconfirmed)
        }
        _ => Told::Strange(answer.everything()),
    }
}
