//! How soon another node of a data centre shows what one was given.
//!
//! ```text
//!   node A   ── POST ────────────────────────────────────▶ 201
//!   node B             ── GET ──▶ 404   ── GET ──▶ 200
//!            └─────────────────────┄┄┄┄┄┘ it appeared in between
//! ```
//! What is measured is how long after the sending of a POST a GET has to be *sent* to find the session. There are about two
//! looks for each session, at times that [`Looks`] chooses: to ask without a pause would keep a processor busy, and awake,
//! while both nodes and the log want one. The way of the GET to B counts in B's favour, some tens of microseconds on one
//! machine.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use serde::Serialize;

use crate::{
    arguments::Load,
    body::{self, Stamp},
    load::{run_number, write_headers},
    looks::{self, Looks},
    report::Latency,
    response,
    tally::Times,
    target::Target,
    workload::Key,
};

/// What came out, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    visible_at: String,
    size: String,
    duration_s: f64,
    warmup_s: f64,
    /// From the sending of a POST to that of a GET that finds the session. Below the share that was found at once it says
    /// only "not later".
    visible: Latency,
    /// The share of sessions that the first look found: a third. Near a half, there were too few to tell.
    found_at_once: f64,
    /// Looks for each session.
    looks: f64,
}

/// Writes sessions and looks for them, one after the other, for as long as a load would have been measured.
///
/// # Errors
/// When a node cannot be reached, does not answer, or answers with anything else than it should.
pub(crate) fn run(target: &Target, other: &Target, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    let mut pair = Pair {
        written: Client::connect(target, load.timeout)?,
        read: Client::connect(other, load.timeout)?,
        timer: Timer::new()?,
        looks: Looks::new(),
        run: run_number(),
        load,
    };
    let (mut times, mut at_once, mut count) = (Times::new(), 0, 0);
    let from = Instant::now() + load.warmup;
    for number in 0.. {
        let began = Instant::now();
        if from + load.duration <= began {
            break;
        }
        let Found { after, looks } = pair.write_and_look(number)?;
        if from <= began {
            times.record(u64::try_from(after.as_nanos()).context("a time of centuries")?);
            at_once += u64::from(looks == 1);
            count += u64::from(looks);
        }
    }
    let share = |count: u64| ratio(count, times.count().max(1));
    let report = Report {
        url: target.to_string(),
        visible_at: other.to_string(),
        size: load.size.to_string(),
        duration_s: load.duration.as_secs_f64(),
        warmup_s: load.warmup.as_secs_f64(),
        visible: Latency::of(&times),
        found_at_once: share(at_once),
        looks: share(count),
    };
    let mut text = if load.json { serde_json::to_string(&report)? } else { report.text()? };
    text.push('\n');
    out.write_all(text.as_bytes()).context("write the report")
}

impl Report {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let Self { url, visible_at, size, found_at_once, looks, .. } = self;
        let mut text = format!("{url}, sessions of {size} bytes, looked for at {visible_at}\n");
        Latency::write_head(&mut text)?;
        self.visible.write("visible", &mut text)?;
        text.push_str(&format!("{looks:.1} looks for each; {found_at_once:.2} were found at once"));
        Ok(text)
    }
}

/// Two nodes, with a connection to each.
struct Pair<'a> {
    written: Client,
    read: Client,
    timer: Timer,
    looks: Looks,
    run: u32,
    load: &'a Load,
}

/// A session that was there.
struct Found {
    /// How long after it was sent.
    after: Duration,
    /// After so many looks.
    looks: u32,
}

impl Pair<'_> {
    fn write_and_look(&mut self, number: u64) -> anyhow::Result<Found> {
        let Load { size, ttl, timeout, .. } = self.load;
        let mut key = String::new();
        Key::New(number).append(&mut key, self.run);
        let mut value = Vec::new();
        body::append(&mut value, Stamp { key: number, run: self.run, sequence: 1 }, size.max());
        let head = format!("{}Content-Length: {}\r\n", write_headers(*ttl), value.len());

        let sent = Instant::now();
        self.written.send("POST", &key, &head, &value)?;
        let (mut missed, mut wait, mut looks) = (None, self.looks.first(), 1);
        let after = loop {
            self.timer.wait(wait.saturating_sub(sent.elapsed()))?;
            let looked = sent.elapsed();
            let is_there = self.read.has(&key, number)?;
            if looks == 1 {
                self.looks.learn(is_there);
            }
            if is_there {
                break looks::appeared(missed, looked);
            }
            ensure!(looked < *timeout, "{key} was not to be seen at {}", self.read.target);
            (missed, wait, looks) = (Some(looked), Looks::again(looked), looks + 1);
        };
        let (status, _) = self.written.answer()?;
        ensure!(status == 201, "{} was answered with {status}", self.written.target);
        Ok(Found { after, looks })
    }
}

/// A connection on which one thing is asked at a time.
struct Client {
    target: Target,
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Client {
    fn connect(target: &Target, patience: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.resolve()?).with_context(|| format!("connect to {target}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { target: target.clone(), stream, output: Vec::new(), input: Vec::new() })
    }

    /// One write, so that the whole request is on its way at once.
    fn send(&mut self, method: &str, key: &str, headers: &str, body: &[u8]) -> anyhow::Result<()> {
        let (path, authority) = (self.target.path(), self.target.authority());
        self.output.clear();
        write!(self.output, "{method} {path}{key} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n")?;
        self.output.extend_from_slice(body);
        self.stream.write_all(&self.output).with_context(|| format!("ask {}", self.target))
    }

    /// Whether a session is there, and is what was written.
    fn has(&mut self, key: &str, number: u64) -> anyhow::Result<bool> {
        self.send("GET", key, "", &[])?;
        match self.answer()? {
            (200, value) => body::check(&value, number).map(|_| true).with_context(|| format!("read {key}")),
            (404, _) => Ok(false),
            (status, _) => bail!("{} was answered with {status}", self.target),
        }
    }

    /// Status and body.
    fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        self.input.clear();
        let mut piece = [0; 16 * 1024];
        loop {
            let bytes = self.stream.read(&mut piece).with_context(|| format!("hear from {}", self.target))?;
            ensure!(0 < bytes, "{} closed the connection", self.target);
            self.input.extend_from_slice(&piece[..bytes]);
            if let Some(answer) = response::parse(&self.input)? {
                return Ok((answer.status, answer.body.into_owned()));
            }
        }
    }
}

/// Finer than a sleep, which the system lengthens by 50 us to save wake-ups.
struct Timer(File);

impl Timer {
    fn new() -> anyhow::Result<Self> {
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC);
        Ok(Self(OwnedFd::into(timer.context("create a timer")?)))
    }

    fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let it_value = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).context("set the timer")?;
        self.0.read_exact(&mut [0; 8]).context("wait for the timer")
    }
}

fn ratio(count: u64, of: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (count, of) = (count as f64, of as f64);
    count / of
}
