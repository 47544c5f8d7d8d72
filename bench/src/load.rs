//! Loads a server: the preloading, then the measured time.

use std::{
    process,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, anyhow};

use crate::{
    arguments::Load,
    drive::{Drive, Pace, Phase},
    ledger::Ledger,
    process::Cost,
    report::{Costs, Preload, Report},
    schedule::{Rate, Schedule},
    tally::Tally,
    target::Target,
    workload::Workload,
};

/// Between the making of the connections and the first request, so that all threads begin together.
const RUN_UP: Duration = Duration::from_millis(20);

/// Loads the server as asked, and reports.
///
/// # Errors
/// When the server cannot be reached, ends meanwhile, or a process to watch is not there.
pub(crate) fn run(target: &Target, load: &Load) -> anyhow::Result<Report> {
    Cost::of(&load.server_pid)?;
    let run = run_number();
    let phase = Phase {
        target: target.clone(),
        address: target.resolve()?,
        write_headers: write_headers(load.ttl),
        run,
        origin: Instant::now(),
        window: (0, u64::MAX),
        patience: nanos(load.timeout),
        ledger: Arc::new(Mutex::new(Ledger::new(load.keys, run, load.sparse))),
    };
    let mut preload = None;
    if load.preload {
        let tally = preloading(&phase, load)?;
        preload = Some(Preload::new(load.keys, &tally));
    }
    let (tally, costs) = if load.duration.is_zero() {
        let now = Cost::default();
        (Tally::new(), Costs { server: None, generator: (now, now) })
    } else {
        measured(&phase, load)?
    };
    Ok(Report::new(target, load, preload, &tally, &costs))
}

fn preloading(phase: &Phase, load: &Load) -> anyhow::Result<Tally> {
    let drives = drives(phase, load, |thread, threads| {
        (Pace::Closed, Workload::fill(load.keys, load.size, load.seed, thread, threads))
    });
    let running = start(drives)?;
    running.join()
}

fn measured(phase: &Phase, load: &Load) -> anyhow::Result<(Tally, Costs)> {
    let from = nanos(load.warmup);
    let phase = Phase { window: (from, from + nanos(load.duration)), ..phase.clone() };
    let drives = drives(&phase, load, |thread, threads| {
        let pace = match load.rate {
            Rate::Max => Pace::Closed,
            #[expect(clippy::cast_precision_loss, reason = "at most 256")]
            Rate::PerSecond(rate) => {
                let (thread, threads) = (thread as f64, threads as f64);
                Pace::Open(Schedule::new(rate / threads, load.arrivals, thread / threads))
            }
        };
        let what = (load.mix.clone(), load.distribution);
        let of = (load.keys, load.miss, load.size);
        (pace, Workload::draw(what, of, load.seed, (thread, threads)))
    });
    let running = start(drives)?;
    let began = running.origin + load.warmup;
    let mut looks = Vec::new();
    for moment in [began, began + load.duration] {
        running.wait_until(moment);
        let server = (!load.server_pid.is_empty()).then(|| Cost::of(&load.server_pid));
        looks.push((server.transpose().context("the server ended")?, Cost::of(&[process::id()])?));
    }
    let tally = running.join()?;
    let [(server_before, before), (server_after, after)] = looks[..] else {
        unreachable!("one look at each end")
    };
    Ok((tally, Costs { server: server_before.zip(server_after), generator: (before, after) }))
}

type Drives = Vec<(Phase, Pace, Workload, usize)>;

/// One for each thread, with its share of the connections.
fn drives(phase: &Phase, load: &Load, part: impl Fn(u64, u64) -> (Pace, Workload)) -> Drives {
    let threads = load.threads.min(load.connections);
    let share = |thread: u32| (load.connections / threads) + u32::from(thread < load.connections % threads);
    let one = |thread: u32| {
        let (pace, workload) = part(u64::from(thread), u64::from(threads));
        (phase.clone(), pace, workload, share(thread) as usize)
    };
    (0..threads).map(one).collect()
}

/// Threads that are at work.
struct Running {
    origin: Instant,
    threads: Vec<thread::JoinHandle<anyhow::Result<Tally>>>,
    /// Nothing is ever sent: it closes when the last thread has ended.
    ended: mpsc::Receiver<()>,
}

fn start(drives: Drives) -> anyhow::Result<Running> {
    let mut ready = Vec::new();
    let (alive, ended) = mpsc::channel();
    let origin = {
        let mut connected = Vec::new();
        for (phase, pace, workload, connections) in drives {
            let mut drive = Drive::new(phase, pace, workload, connections)?;
            drive.connect()?;
            connected.push(drive);
        }
        let origin = Instant::now() + RUN_UP;
        ready.extend(connected.into_iter().map(|drive| drive.from(origin)));
        origin
    };
    let begin = |drive: Drive| {
        let alive: mpsc::Sender<()> = alive.clone();
        thread::spawn(move || {
            let _alive = alive;
            // Until the beginning there is nothing to do and nothing to wait for but the beginning.
            thread::sleep(origin.saturating_duration_since(Instant::now()));
            drive.run()
        })
    };
    let threads = ready.into_iter().map(begin).collect();
    Ok(Running { origin, threads, ended })
}

impl Running {
    /// Returns early when all threads have ended.
    fn wait_until(&self, moment: Instant) {
        let left = moment.saturating_duration_since(Instant::now());
        // Either way there is nothing more to wait for.
        let (Ok(()) | Err(_)) = self.ended.recv_timeout(left);
    }

    fn join(self) -> anyhow::Result<Tally> {
        let mut sum = Tally::new();
        for thread in self.threads {
            let tally = thread.join().map_err(|_| anyhow!("a thread of the generator panicked"))??;
            sum.add(&tally);
        }
        Ok(sum)
    }
}

/// Headers that every write has, each line with its end.
pub(crate) fn write_headers(ttl: Option<u64>) -> String {
    let mut headers = "Content-Type: application/octet-stream\r\n".to_owned();
    if let Some(seconds) = ttl {
        headers.push_str(&format!("Session-Ttl: {seconds}\r\n"));
    }
    headers
}

/// Tells runs apart: the sequence numbers of two have nothing to do with each other.
pub(crate) fn run_number() -> u32 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of the last 49 days tell runs apart")]
    let run = since.as_millis() as u32;
    run ^ process::id().rotate_left(16)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("at most a week")
}
