//! One run: one machine or two, three clients, a hand that kills and restarts, pauses in which the broker cleans.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use server::{config::ReadConsistency, store::StoreNode};
use tokio::{
    sync::Notify,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    broker::Broker,
    chance::{one_in, some_ms},
    checkers,
    defect::Defect,
    node::{Machine, Process, Site},
    pause::Role,
    seen::Seen,
    workload::{Asked, Operation, clients},
};

const CLIENTS: usize = 3;

/// A run is made of phases in which everybody is busy, with pauses in between.
const PHASES: usize = 4;

/// Operations of one client in one phase.
const OPERATIONS: usize = 10;

/// Clocks are this far off at most: more than the spacing of operations, and more than the clamp lets through.
const AHEAD_MS_MAX: i64 = 8_000;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long a phase may take. Longer says that nobody is ready for long.
const PHASE_MAX: Duration = Duration::from_secs(120);

/// What a run showed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What happened, in order.
    pub(crate) trace: Vec<String>,
    /// Broken promises.
    pub(crate) violations: Vec<String>,
    /// Operations that were answered with success.
    pub(crate) successes: usize,
    /// What happened that a run is made for, and how often.
    pub(crate) seen: BTreeMap<&'static str, usize>,
}

/// Everything that a run shares.
pub(crate) struct World {
    pub(super) site: Site,
    pub(super) machines: Vec<Machine>,
    pub(super) running: Vec<RefCell<Option<Running>>>,
    /// What each machine does at the moment.
    pub(super) roles: RefCell<Vec<Role>>,
    pub(super) violations: RefCell<Vec<String>>,
    /// Whose memory of what readers were told each machine has.
    memories: RefCell<Vec<usize>>,
    memories_made: Cell<usize>,
    /// Whose clock was stepped since it started.
    pub(super) stepped: RefCell<Vec<bool>>,
    trace: RefCell<Vec<String>>,
    history: RefCell<Vec<Operation>>,
    steps: Cell<u64>,
}

/// A process of a machine.
pub(super) struct Running {
    pub(super) process: Process,
    crashed: CancellationToken,
}

impl World {
    /// Runs one seed.
    pub(crate) fn run(seed: u64, defect: Option<Defect>) -> Outcome {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (world, broker) = Self::new(seed, defect);
            let world = Rc::new(world);
            let mut beside = JoinSet::new();
            beside.spawn_local(broker);
            beside.spawn_local(Rc::clone(&world).supervise());
            for phase in 0..PHASES {
                world.busy(phase).await;
                if phase + 1 < PHASES {
                    world.pause().await;
                }
            }
            let mut violations = world.violations.take();
            violations.extend(checkers::violations(&world.history.borrow()));
            violations.extend(world.settle_and_compare().await);
            for running in &world.running {
                running.take();
            }
            let successes = world.history.borrow().iter().filter(|op| op.answer.is_some()).count();
            Outcome { trace: world.trace.take(), violations, successes, seen: world.site.seen.all() }
        })
    }

    fn new(seed: u64, defect: Option<Defect>) -> (Self, impl Future<Output = ()>) {
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let began = Instant::now();
        let seen = Arc::new(Seen::default());
        let (broker, work) = Broker::new(began, &chance, &seen, defect);
        // Reads of what a node has applied are right where there is one.
        let (machines, read_consistency) =
            if one_in(&chance, 4) { (1, ReadConsistency::Node) } else { (2, ReadConsistency::Dc) };
        let (repair_began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (copies, peers) = (Vec::new(), Vec::new());
        let site = Site {
            broker,
            copies,
            peers,
            chance,
            began,
            read_consistency,
            defect,
            seen,
            repair_began,
            ended,
        };
        let machine = |_| {
            let ahead_ms = site.chance.lock().unwrap().random_range(-AHEAD_MS_MAX..=AHEAD_MS_MAX);
            Machine::new(&site, ahead_ms)
        };
        let world = Self {
            machines: (0..machines).map(machine).collect(),
            running: (0..machines).map(|_| RefCell::new(None)).collect(),
            site,
            roles: RefCell::new(vec![Role::Up; machines]),
            violations: RefCell::default(),
            memories: RefCell::new((0..machines).collect()),
            memories_made: Cell::new(machines),
            stepped: RefCell::new(vec![false; machines]),
            trace: RefCell::default(),
            history: RefCell::default(),
            steps: Cell::default(),
        };
        (world, work)
    }

    /// Clients work while machines crash; ends when every client has done its share.
    async fn busy(self: &Rc<Self>, phase: usize) {
        self.choose_who_is_away();
        self.start_all();
        let work = clients(phase, (CLIENTS, OPERATIONS), |client, first_value| {
            let world = Rc::clone(self);
            async move { world.client(client, first_value).await }
        });
        tokio::select! {
            biased;
            done = timeout(PHASE_MAX, work) => if done.is_err() {
                self.violate(format!("nobody was ready for long in {PHASE_MAX:?}"));
            },
            () = self.hand() => {}
            () = self.kill_who_repairs() => {}
        }
    }

    async fn client(&self, client: usize, first_value: u64) {
        let mut done = 0;
        while done < OPERATIONS {
            sleep(some_ms(&self.site.chance, 60)).await;
            let n = self.some_machine();
            let Some((store, crashed)) = self.ready(n) else { continue };
            let (key, asked) = Asked::choose(&self.site.chance, first_value + done as u64);
            let (memory, began, began_at) =
                (self.memories.borrow()[n], self.step(), self.site.began.elapsed());
            let expires_at = asked.expires_at(&store);
            let asking = asked.ask(store, key, expires_at, PATIENCE);
            let answer = crashed.run_until_cancelled(asking).await.flatten();
            let (ended, ended_at) = (self.step(), self.site.began.elapsed());
            let operation =
                Operation { key, dc: 0, memory, asked, expires_at, answer, began, ended, began_at, ended_at };
            self.note(format!("client {client} at machine {n}: {operation}"));
            self.history.borrow_mut().push(operation);
            done += 1;
        }
    }

    /// Starts again what ended by itself. Never ends.
    async fn supervise(self: Rc<Self>) {
        loop {
            self.site.ended.notified().await;
            for n in 0..self.machines.len() {
                let why =
                    self.running[n].borrow().as_ref().and_then(|running| running.process.ended_because());
                if let Some(why) = why {
                    self.note(format!("machine {n} has ended: {why}"));
                    self.site.seen.note("an end by itself");
                    self.crash(n);
                    self.start(n);
                }
            }
        }
    }

    /// Starts every machine that is down.
    pub(super) fn start_all(&self) {
        (0..self.machines.len()).for_each(|n| self.start(n));
    }

    /// Starts a machine, if it is down and need not be.
    pub(super) fn start(&self, n: usize) {
        if self.running[n].borrow().is_some() || self.roles.borrow()[n] == Role::Down {
            return;
        }
        self.note(format!("machine {n} starts"));
        let process = Process::start(&self.site, &self.machines[n]);
        if let Some(why) = &process.began_anew {
            self.note(format!("machine {n} makes its view anew: {why}"));
            self.site.seen.note("a view that is behind the log at a start");
            self.forget_what_readers_were_told(n);
        }
        // A kill and a clock that is set back together are more than the log can make good: it knows what readers were
        // told within the clamp, no better.
        if std::mem::take(&mut self.stepped.borrow_mut()[n]) {
            self.forget_what_readers_were_told(n);
        }
        *self.running[n].borrow_mut() = Some(Running { process, crashed: CancellationToken::new() });
    }

    /// Ends a machine's process, with all that is only in memory.
    pub(super) fn crash(&self, n: usize) {
        if let Some(Running { crashed, process }) = self.running[n].take() {
            let line = &self.machines[n].line;
            self.note(format!("machine {n} crashes"));
            if 0 < line.repairs() {
                self.site.seen.note("a crash with a repair on its way");
            }
            if 0 < process.store.debts.count() {
                self.site.seen.note("a crash with debts");
            }
            crashed.cancel();
            drop(process);
            line.forget();
        }
    }

    /// What a machine's disk knew is gone, and with it what its readers were told.
    pub(super) fn forget_what_readers_were_told(&self, n: usize) {
        let memory = self.memories_made.get();
        self.memories_made.set(memory + 1);
        self.memories.borrow_mut()[n] = memory;
    }

    fn ready(&self, n: usize) -> Option<(Arc<StoreNode>, CancellationToken)> {
        let running = self.running[n].borrow();
        let Running { process, crashed } = running.as_ref().filter(|running| running.process.is_ready())?;
        Some((Arc::clone(&process.store), crashed.clone()))
    }

    pub(super) fn some_machine(&self) -> usize {
        self.site.chance.lock().unwrap().random_range(0..self.machines.len())
    }

    pub(super) fn violate(&self, what: String) {
        self.note(what.clone());
        self.violations.borrow_mut().push(what);
    }

    fn step(&self) -> u64 {
        self.steps.set(self.steps.get() + 1);
        self.steps.get()
    }

    pub(super) fn note(&self, what: String) {
        let at = self.site.began.elapsed().as_millis();
        self.trace.borrow_mut().push(format!("{at:>6} ms  {what}"));
    }
}
