//! One thread's connections: sends what is due, reads what comes, judges it.
//!
//! ```text
//!                 ┌─ is a request due, and a connection free? ──▶ render, send
//!   loop of one ──┤
//!   thread        └─ epoll: answers, or the moment of the next request ──▶ read, judge, count
//! ```
//! A request that is due while no connection is free waits here, and its time runs: latency is counted from the moment
//! when it was meant to be sent. So a server that stalls is charged for everybody who would have come meanwhile.
//!
//! Epoll by hand, because the generator shares the machine with what it measures: a request costs one write, one read
//! and a share of a wait, and the timer is finer than the millisecond of async runtimes.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};

use crate::{
    body::{self, ANY_KEY, Stamp},
    ledger::{Broken, Expected, Ledger},
    mix::Kind,
    response::{self, Response},
    schedule::Schedule,
    tally::Tally,
    target::Target,
    workload::{Key, Request, Workload},
};

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// After so many connections in a row that could not be made, the server is gone.
const CONNECT_FAILURES_MAX: u32 = 100;
/// How often requests are looked at that may have waited for too long.
const SWEEP_NANOS: u64 = 50_000_000;
/// Bytes of an answer that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of an answer at most: the largest body, its head, and what chunks add.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Events that one wait takes.
const EVENTS: usize = 256;
/// The timer's place among the numbers of connections.
const TIMER: u64 = u64::MAX;

/// What is the same for every thread of a phase.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
    /// Headers that every write has, each line with its end.
    pub(crate) write_headers: String,
    /// Which run this is.
    pub(crate) run: u32,
    /// What all times are counted from.
    pub(crate) origin: Instant,
    /// Nanoseconds since `origin`: what is meant to be sent in here is counted. The end is also the last moment for
    /// which a request is scheduled.
    pub(crate) window: (u64, u64),
    /// How long an answer may take, in nanoseconds; and how long what is due at the end may still wait to be sent.
    pub(crate) patience: u64,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
}

/// When requests are sent.
#[derive(Debug)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// At these times.
    Open(Schedule),
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Job {
    request: Request,
    expected: Expected,
    /// Nanoseconds since the origin.
    intended: u64,
    sent: u64,
}

#[derive(Debug, Default)]
struct Connection {
    stream: Option<TcpStream>,
    job: Option<Job>,
    output: Vec<u8>,
    written: usize,
    /// The socket took no more, and epoll watches for when it does.
    stuck: bool,
    input: Vec<u8>,
    received: usize,
    ever_open: bool,
}

/// What there is to send next.
enum Due {
    Now { intended: u64 },
    At(u64),
    Nothing,
}

/// How a request ended without an answer.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Connect,
    Closed,
    Timeout,
    Malformed,
}

/// The state of one thread.
#[derive(Debug)]
pub(crate) struct Drive {
    phase: Phase,
    pace: Pace,
    /// The next time of an open loop.
    scheduled: u64,
    workload: Workload,
    /// Drawn, but there was no free connection or no time yet.
    ready: Option<Request>,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_at: u64,
    swept: u64,
    connect_failures: u32,
    key: String,
    tally: Tally,
}

impl Drive {
    /// # Errors
    /// When the system gives no more file descriptors.
    pub(crate) fn new(
        phase: Phase,
        pace: Pace,
        mut workload: Workload,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("create an epoll")?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).context("create a timer")?;
        // Edge-triggered: setting it again is enough, nobody needs to read it.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)
            .context("watch the timer")?;
        let mut pace = pace;
        let scheduled = match &mut pace {
            Pace::Closed => 0,
            Pace::Open(schedule) => schedule.next(workload.rng()),
        };
        let ready = workload.next();
        Ok(Self {
            phase,
            pace,
            scheduled,
            workload,
            ready,
            connections: (0..connections).map(|_| Connection::default()).collect(),
            free: (0..connections).collect(),
            epoll,
            timer,
            timer_at: 0,
            swept: 0,
            connect_failures: 0,
            key: String::new(),
            tally: Tally::new(),
        })
    }

    /// Makes all connections, so that the first requests do not pay for them.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) fn connect(&mut self) -> anyhow::Result<()> {
        for at in 0..self.connections.len() {
            self.open(at).with_context(|| format!("connect to {}", self.phase.address))?;
        }
        Ok(())
    }

    /// The same, with all times counted from here.
    pub(crate) fn from(mut self, origin: Instant) -> Self {
        self.phase.origin = origin;
        self
    }

    /// Until everything was sent and answered, or given up.
    ///
    /// # Errors
    /// When the system refuses to wait, or the server is gone.
    pub(crate) fn run(mut self) -> anyhow::Result<Tally> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let due = self.send_what_is_due();
            if self.connect_failures == CONNECT_FAILURES_MAX {
                anyhow::bail!(
                    "{} is gone: {CONNECT_FAILURES_MAX} connections in a row failed",
                    self.phase.address
                );
            }
            if matches!(due, Due::Nothing) && self.free.len() == self.connections.len() {
                break;
            }
            self.set_timer(&due)?;
            events.clear();
            let pause = Timespec { tv_sec: 0, tv_nsec: i64::try_from(SWEEP_NANOS).expect("below a second") };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for answers"),
            }
            for event in &events {
                let which = event.data.u64();
                if which != TIMER {
                    self.go_on(usize::try_from(which).expect("the number of a connection"));
                }
            }
            self.sweep();
        }
        self.tally.elapsed = Duration::from_nanos(self.now());
        Ok(self.tally)
    }

    fn now(&self) -> u64 {
        // Before the origin it is 0, and the first request is due there.
        u64::try_from(self.phase.origin.elapsed().as_nanos()).expect("less than 500 years")
    }

    fn in_window(&self, at: u64) -> bool {
        self.phase.window.0 <= at && at < self.phase.window.1
    }

    /// Sends as long as something is due and somebody free to send it.
    fn send_what_is_due(&mut self) -> Due {
        loop {
            let now = self.now();
            let intended = match self.due(now) {
                Due::Now { intended } => intended,
                later => return later,
            };
            let Some(at) = self.free.pop_front() else { return Due::Now { intended } };
            let request = self.ready.take().expect("due says that there is one");
            self.ready = self.workload.next();
            if let Pace::Open(schedule) = &mut self.pace {
                self.scheduled = schedule.next(self.workload.rng());
            }
            self.start(at, request, intended);
            if self.connect_failures == CONNECT_FAILURES_MAX {
                return Due::Nothing;
            }
        }
    }

    fn due(&mut self, now: u64) -> Due {
        let end = self.phase.window.1;
        if self.ready.is_none() {
            return Due::Nothing;
        }
        let Pace::Open(schedule) = &mut self.pace else {
            return if now < end { Due::Now { intended: now } } else { Due::Nothing };
        };
        if end <= self.scheduled {
            Due::Nothing
        } else if now < self.scheduled {
            Due::At(self.scheduled)
        } else if end.saturating_add(self.phase.patience) < now {
            while self.scheduled < end {
                self.tally.errors.unsent += 1;
                self.scheduled = schedule.next(self.workload.rng());
            }
            Due::Nothing
        } else {
            Due::Now { intended: self.scheduled }
        }
    }

    /// Wakes the wait when the next request is due, if anybody is free to send it.
    fn set_timer(&mut self, due: &Due) -> anyhow::Result<()> {
        let Due::At(at) = due else { return Ok(()) };
        if self.free.is_empty() || self.timer_at == *at {
            return Ok(());
        }
        self.timer_at = *at;
        // Zero would switch it off.
        let left = at.saturating_sub(self.now()).max(1);
        let nanos = |n: u64| i64::try_from(n).expect("a schedule of less than 200 years");
        let it_value = Timespec { tv_sec: nanos(left / 1_000_000_000), tv_nsec: nanos(left % 1_000_000_000) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .context("set the timer")?;
        Ok(())
    }

    fn start(&mut self, at: usize, request: Request, intended: u64) {
        let expected = lock(&self.phase.ledger).begin(request);
        let sent = self.now();
        self.connections[at].job = Some(Job { request, expected, intended, sent });
        if self.connections[at].stream.is_none() && self.open(at).is_err() {
            self.connect_failures += 1;
            self.fail(at, Failure::Connect);
            return;
        }
        if self.in_window(intended) {
            self.tally.lag.record(sent - intended);
        }
        self.render(at, request, expected);
        self.send(at);
    }

    fn open(&mut self, at: usize) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&self.phase.address, CONNECT_PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        self.connect_failures = 0;
        let connection = &mut self.connections[at];
        if connection.ever_open {
            self.tally.reconnects += 1;
        }
        connection.ever_open = true;
        connection.stuck = false;
        connection.stream = Some(stream);
        Ok(())
    }

    fn render(&mut self, at: usize, request: Request, expected: Expected) {
        self.key.clear();
        request.key.append(&mut self.key, self.phase.run);
        let Connection { output, written, received, .. } = &mut self.connections[at];
        output.clear();
        (*written, *received) = (0, 0);
        let method = match request.kind {
            Kind::Get => "GET ",
            Kind::Post | Kind::New => "POST ",
            Kind::Delete => "DELETE ",
        };
        let target = &self.phase.target;
        for part in [method, target.path(), &self.key, " HTTP/1.1\r\nHost: ", target.authority(), "\r\n"] {
            output.extend_from_slice(part.as_bytes());
        }
        if request.bytes == 0 {
            output.extend_from_slice(b"\r\n");
            return;
        }
        output.extend_from_slice(self.phase.write_headers.as_bytes());
        write!(output, "Content-Length: {}\r\n\r\n", request.bytes).expect("a Vec takes everything");
        let stamp = Stamp { key: request.key.number(), run: self.phase.run, sequence: expected.sequence };
        body::append(output, stamp, request.bytes);
    }

    /// Writes as much as the socket takes; asks to be told when it takes more.
    fn send(&mut self, at: usize) {
        let Connection { stream: Some(stream), output, written, stuck, .. } = &mut self.connections[at]
        else {
            return;
        };
        while *written < output.len() {
            match stream.write(&output[*written..]) {
                Ok(bytes) => *written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let both = EventFlags::IN | EventFlags::OUT;
                    *stuck = true;
                    if epoll::modify(&self.epoll, &*stream, EventData::new_u64(at as u64), both).is_err() {
                        self.fail(at, Failure::Closed);
                    }
                    return;
                }
                Err(_) => return self.fail(at, Failure::Closed),
            }
        }
        if *stuck {
            *stuck = false;
            if epoll::modify(&self.epoll, &*stream, EventData::new_u64(at as u64), EventFlags::IN).is_err() {
                self.fail(at, Failure::Closed);
            }
        }
    }

    /// Something happened on a connection.
    fn go_on(&mut self, at: usize) {
        if self.connections[at].stream.is_none() {
            return;
        }
        if self.connections[at].job.is_some()
            && self.connections[at].written < self.connections[at].output.len()
        {
            self.send(at);
        }
        self.receive(at);
    }

    fn receive(&mut self, at: usize) {
        loop {
            let Connection { stream: Some(stream), input, received, job, .. } = &mut self.connections[at]
            else {
                return;
            };
            if input.len() < *received + READ_BYTES {
                input.resize(*received + READ_BYTES, 0);
            }
            match stream.read(&mut input[*received..]) {
                // Between two requests a server may close as it likes.
                Ok(0) if job.is_none() => return self.connections[at].stream = None,
                Ok(0) => return self.fail(at, Failure::Closed),
                Ok(_) if job.is_none() => return self.connections[at].stream = None,
                Ok(bytes) => *received += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) if job.is_none() => return self.connections[at].stream = None,
                Err(_) => return self.fail(at, Failure::Closed),
            }
            // Out of the connection while it is judged, so that the judgement may change the rest.
            let input = std::mem::take(&mut self.connections[at].input);
            let received = self.connections[at].received;
            let done = match response::parse(&input[..received]) {
                Ok(None) if ANSWER_BYTES_MAX < received => Err(Failure::Malformed),
                Ok(None) => Ok(false),
                Ok(Some(response)) => {
                    self.answered(at, &response);
                    Ok(true)
                }
                Err(_) => Err(Failure::Malformed),
            };
            self.connections[at].input = input;
            match done {
                Ok(false) => {}
                Ok(true) => return,
                Err(failure) => return self.fail(at, failure),
            }
        }
    }

    fn answered(&mut self, at: usize, response: &Response<'_>) {
        let Some(job) = self.connections[at].job.take() else { return };
        let now = self.now();
        if self.in_window(now) {
            self.tally.answered += 1;
        }
        if self.in_window(job.intended) {
            self.tally.latency_of(job.request.kind).record(now - job.intended);
            *self.tally.statuses.entry(response.status).or_default() += 1;
            self.tally.body_bytes += (job.request.bytes + response.body.len()) as u64;
        }
        self.judge(job, response);
        if response.last {
            self.connections[at].stream = None;
        }
        self.free.push_back(at);
    }

    fn judge(&mut self, job: Job, response: &Response<'_>) {
        let Job { request, expected, .. } = job;
        let mut ledger = lock(&self.phase.ledger);
        let errors = &mut self.tally.errors;
        let mut strange = || *self.tally.strange.entry(response.status).or_default() += 1;
        match (request.kind, response.status) {
            (Kind::Post | Kind::New, 201) | (Kind::Delete, 204) => ledger.changed(request, expected, true),
            (Kind::Post | Kind::New | Kind::Delete, _) => {
                ledger.changed(request, expected, false);
                errors.status += 1;
                strange();
            }
            (Kind::Get, 200) => match body::check(&response.body, request.key.number()) {
                // A floor knows one body and no sessions.
                Ok(stamp) if stamp.key == ANY_KEY => {}
                Ok(stamp) => count(errors, ledger.found(request, expected, stamp)),
                Err(_) if matches!(request.key, Key::Missing(_)) => errors.phantom += 1,
                Err(_) => errors.corrupt += 1,
            },
            (Kind::Get, 404) => count(errors, ledger.not_found(request, expected)),
            (Kind::Get, _) => {
                errors.status += 1;
                strange();
            }
        }
    }

    /// A request came to nothing. Its connection is given up: nobody knows what would come on it.
    fn fail(&mut self, at: usize, failure: Failure) {
        self.connections[at].stream = None;
        let Some(job) = self.connections[at].job.take() else { return };
        let errors = &mut self.tally.errors;
        match failure {
            Failure::Connect => errors.connect += 1,
            Failure::Closed => errors.closed += 1,
            Failure::Timeout => errors.timeout += 1,
            Failure::Malformed => errors.malformed += 1,
        }
        if self.in_window(job.intended) {
            let waited = self.now() - job.intended;
            self.tally.latency_of(job.request.kind).record(waited);
        }
        if job.request.kind != Kind::Get {
            lock(&self.phase.ledger).changed(job.request, job.expected, false);
        }
        self.free.push_back(at);
    }

    /// Gives up requests whose answer takes too long.
    fn sweep(&mut self) {
        let now = self.now();
        if now < self.swept + SWEEP_NANOS {
            return;
        }
        self.swept = now;
        for at in 0..self.connections.len() {
            if self.connections[at].job.is_some_and(|job| job.sent + self.phase.patience < now) {
                self.fail(at, Failure::Timeout);
            }
        }
    }
}

fn count(errors: &mut crate::tally::Errors, broken: Option<Broken>) {
    match broken {
        None => {}
        Some(Broken::Lost) => errors.lost += 1,
        Some(Broken::Stale) => errors.stale += 1,
        Some(Broken::Phantom) => errors.phantom += 1,
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    // A thread that panicked ends the run; until then the others may count on.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
