//! One run: two or three data centres of one node to three, clients that ask any of them, hands that kill, cut, step and
//! stop, pauses in which brokers clean.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use eventlog::EventLog;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use schemas::{Dc, Timestamp, caps::CLOCK_DRIFT_MAX};
use server::{config::ReadConsistency, store::StoreNode};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver},
    },
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use writer::peer::Peer;

use super::{
    super::{
        broker::{Broker, Rules, topic_of},
        chance::{Chance, one_in, some_ms},
        clock::SimClock,
        defect::Defect,
        node::{Machine, Process, Site},
        seen::Seen,
        workload::{Answer, Asked, Operation, clients},
        world::Outcome,
    },
    cable::{Address, Cable, Cables, Porter},
    checkers,
    mirror::Mirror,
    pause::Role,
};

pub(super) const NAMES: [&str; 3] = ["eqiad", "codfw", "esams"];

const CLIENTS: usize = 4;

/// A run is made of phases in which everybody is busy, with pauses in between.
const PHASES: usize = 3;

/// Operations of one client in one phase; and where a data centre is declared down and up again meanwhile.
const OPERATIONS: usize = 10;
const OPERATIONS_WITH_OPERATOR: usize = 25;

/// How long a client waits for an answer: two rounds between data centres, mostly.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Clocks are this far off at most, those of brokers and those of machines.
pub(super) const AHEAD_MS_MAX: i64 = 3_600_000;

/// The same where data centres are declared down: a delete that goes on without one is stamped a minute ahead, and that
/// has to be above whatever clock it may have had.
const NEARLY_RIGHT_MS: i64 = 20_000;

/// How long a phase may take. Longer says that nobody is ready for long.
const PHASE_MAX: Duration = Duration::from_secs(120);

/// What the logs of a world are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Topics of a cluster that several nodes of a data centre share, each with a barrier before it reads.
    Kafka,
    /// Logs of the only node, which reads what it has applied. Their time is that of the node's clock when it started.
    Embedded,
}

/// Everything that a run shares.
pub(crate) struct World {
    pub(super) chance: Chance,
    pub(super) began: Instant,
    pub(super) seen: Arc<Seen>,
    pub(super) kind: Kind,
    pub(super) dcs: Vec<DataCentre>,
    pub(super) nodes: Vec<Node>,
    pub(super) mirrors: Vec<Rc<Mirror>>,
    pub(super) cables: Arc<Cables>,
    pub(super) repair_began: Arc<Notify>,
    ended: Arc<Notify>,
    pub(super) defect: Option<Defect>,
    /// How far clocks are off at most.
    pub(super) ahead_ms_max: i64,
    /// Whether data centres are declared down.
    pub(super) has_operator: bool,
    /// The data centre that no client is sent to, since it is, or may be, declared down.
    pub(super) depooled: Cell<Option<usize>>,
    /// Whether it certainly is.
    pub(super) is_declared: Cell<bool>,
    memories_made: Cell<usize>,
    violations: RefCell<Vec<String>>,
    trace: RefCell<Vec<String>>,
    history: RefCell<Vec<Operation>>,
    steps: Cell<u64>,
}

/// A data centre.
pub(super) struct DataCentre {
    pub(super) site: Site,
    /// How far its broker's clock is ahead of true time.
    ahead_ms: Arc<AtomicI64>,
    /// The latest moment that this clock has shown, as far as somebody looked.
    latest: Cell<Timestamp>,
    /// How many clients wait for an answer of it.
    pub(super) asked: Cell<usize>,
}

/// A node: a machine, and the process that runs on it.
pub(super) struct Node {
    /// Its data centre, and which of that one's nodes it is.
    pub(super) at: Address,
    pub(super) machine: Machine,
    pub(super) running: RefCell<Option<Running>>,
    pub(super) role: Cell<Role>,
    /// Whose memory of what readers were told it has.
    memory: Cell<usize>,
    /// Whether its clock was stepped since it started.
    pub(super) stepped: Cell<bool>,
}

/// A process of a node.
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
            let mut beside = JoinSet::new();
            let world = Self::new(seed, defect, &mut beside);
            for phase in 0..PHASES {
                world.busy(phase).await;
                if phase + 1 < PHASES {
                    world.pause().await;
                }
            }
            let mut violations = world.violations.take();
            violations.extend(checkers::violations(&world.history.borrow()));
            violations.extend(world.settle_and_compare().await);
            for node in &world.nodes {
                node.running.take();
            }
            let successes = world.history.borrow().iter().filter(|op| op.answer.is_some()).count();
            Outcome { trace: world.trace.take(), violations, successes, seen: world.seen.all() }
        })
    }

    fn new(seed: u64, defect: Option<Defect>, beside: &mut JoinSet<()>) -> Rc<Self> {
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let (began, seen) = (Instant::now(), Arc::new(Seen::default()));
        let kind = if one_in(&chance, 3) { Kind::Embedded } else { Kind::Kafka };
        let has_operator = one_in(&chance, 3);
        let count = if one_in(&chance, if has_operator { 2 } else { 3 }) { 3 } else { 2 };
        let ahead_ms_max = if has_operator { NEARLY_RIGHT_MS } else { AHEAD_MS_MAX };
        let (doomed, dying) = mpsc::unbounded_channel();
        let mut addresses = Vec::new();
        for dc in 0..count {
            let nodes = match kind {
                Kind::Kafka => chance.lock().unwrap().random_range(1..=3),
                Kind::Embedded => 1,
            };
            addresses.extend((0..nodes).map(|node| (dc, node)));
        }
        let (cables, work) = Cables::new(&chance, &seen, defect, addresses.clone(), doomed);
        beside.spawn_local(work);
        let (repair_began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let dcs: Vec<_> = (0..count)
            .map(|dc| {
                let ahead_ms = Arc::new(AtomicI64::new(some_ahead_ms(&chance, ahead_ms_max)));
                let clock = SimClock::new(began, Arc::clone(&ahead_ms));
                let mut topics: Vec<_> = NAMES[..count]
                    .iter()
                    .enumerate()
                    .map(|(origin, name)| {
                        let rules = match kind {
                            Kind::Kafka => Rules::of_kafka(&chance, defect),
                            Kind::Embedded => Rules::of_embedded(),
                        };
                        let by_origins_time = origin != dc && defect == Some(Defect::CopiesByTheOriginsTime);
                        let (topic, work) = Broker::keeping(
                            topic_of(name),
                            clock.clone(),
                            rules,
                            by_origins_time,
                            &chance,
                            &seen,
                        );
                        beside.spawn_local(work);
                        topic
                    })
                    .collect();
                let cable = |to: usize| -> Arc<dyn Peer> {
                    let name: Dc = NAMES[to].parse().unwrap();
                    Arc::new(Cable { cables: Arc::clone(&cables), from: dc, to, dc: name })
                };
                let site = Site {
                    broker: topics.remove(dc),
                    copies: topics,
                    peers: (0..count).filter(|to| *to != dc).map(cable).collect(),
                    chance: Arc::clone(&chance),
                    began,
                    read_consistency: match kind {
                        Kind::Kafka => ReadConsistency::Dc,
                        Kind::Embedded => ReadConsistency::Node,
                    },
                    defect,
                    seen: Arc::clone(&seen),
                    repair_began: Arc::clone(&repair_began),
                    ended: Arc::clone(&ended),
                };
                DataCentre { latest: Cell::new(site.broker.now()), site, ahead_ms, asked: Cell::default() }
            })
            .collect();
        let nodes: Vec<_> = addresses
            .into_iter()
            .enumerate()
            .map(|(n, at)| Node {
                at,
                machine: Machine::new(&dcs[at.0].site, some_ahead_ms(&chance, ahead_ms_max)),
                running: RefCell::default(),
                role: Cell::new(Role::Up),
                memory: Cell::new(n),
                stepped: Cell::new(false),
            })
            .collect();
        let mut mirrors = Vec::new();
        for (from, origin) in dcs.iter().enumerate() {
            let topic = origin.site.broker.log.topic();
            for (to, dc) in dcs.iter().enumerate().filter(|(to, _)| *to != from) {
                let is_its = |copy: &&Arc<Broker>| copy.log.topic() == topic;
                let copy = dc.site.copies.iter().find(is_its).expect("every data centre has every topic");
                let loses = one_in(&chance, 4);
                let mirror = Mirror::new((from, &origin.site.broker), (to, copy), loses, &chance, &seen);
                beside.spawn_local(Rc::clone(&mirror).run());
                mirrors.push(mirror);
            }
        }
        let world = Rc::new(Self {
            chance,
            began,
            seen,
            kind,
            memories_made: Cell::new(nodes.len()),
            dcs,
            nodes,
            mirrors,
            cables,
            repair_began,
            ended,
            defect,
            ahead_ms_max,
            has_operator,
            depooled: Cell::default(),
            is_declared: Cell::default(),
            violations: RefCell::default(),
            trace: RefCell::default(),
            history: RefCell::default(),
            steps: Cell::default(),
        });
        world.note(format!("{kind:?}: {}", world.who_is_there()));
        beside.spawn_local(Rc::clone(&world).supervise());
        beside.spawn_local(Rc::clone(&world).kill_the_doomed(dying));
        world
    }

    fn who_is_there(&self) -> String {
        let dc = |(n, dc): (usize, &DataCentre)| {
            let nodes = self.nodes.iter().filter(|node| node.at.0 == n).count();
            format!("{} with {nodes} nodes, {} ms ahead", NAMES[n], dc.ahead_ms.load(Ordering::Relaxed))
        };
        self.dcs.iter().enumerate().map(dc).collect::<Vec<_>>().join("; ")
    }

    /// Clients work while nodes crash and lines are cut; ends when every client has done its share.
    async fn busy(self: &Rc<Self>, phase: usize) {
        self.choose_who_is_away();
        self.start_all();
        let operations = self.operations();
        let work = clients(phase, (CLIENTS, operations), |client, first_value| {
            let world = Rc::clone(self);
            async move { world.client(client, first_value).await }
        });
        tokio::select! {
            biased;
            done = timeout(PHASE_MAX, work) => if done.is_err() {
                self.violate(format!("nobody was ready for long in {PHASE_MAX:?}"));
            },
            () = self.hand() => {}
            () = self.weather() => {}
            () = self.kill_who_repairs() => {}
            () = self.operator() => {}
        }
        // Whoever still waited has given up.
        self.dcs.iter().for_each(|dc| dc.asked.set(0));
    }

    async fn client(&self, client: usize, first_value: u64) {
        let mut done = 0;
        while done < self.operations() {
            sleep(some_ms(&self.chance, 60)).await;
            let (key, asked) = Asked::choose(&self.chance, first_value + done as u64);
            let Some(answer) = self.operate(client, self.some_node(), key, asked).await else { continue };
            done += 1;
            if asked == Asked::Delete {
                self.after_a_delete(client, key, answer.is_some()).await;
            }
        }
    }

    fn operations(&self) -> usize {
        if self.has_operator { OPERATIONS_WITH_OPERATOR } else { OPERATIONS }
    }

    /// Looks at once, here and there, whether it is gone; or asks again.
    async fn after_a_delete(&self, client: usize, key: u8, is_deleted: bool) {
        let times = self.chance.lock().unwrap().random_range(0..3);
        for _ in 0..times {
            let asked = if is_deleted { Asked::Get } else { Asked::Delete };
            self.operate(client, self.some_node(), key, asked).await;
        }
    }

    /// `None` when the node takes no requests.
    async fn operate(&self, client: usize, n: usize, key: u8, asked: Asked) -> Option<Option<Answer>> {
        let node = &self.nodes[n];
        let (store, crashed) = self.ready(n).filter(|_| self.depooled.get() != Some(node.at.0))?;
        let asked_here = &self.dcs[node.at.0].asked;
        asked_here.set(asked_here.get() + 1);
        let (memory, began, began_at) = (node.memory.get(), self.step(), self.began.elapsed());
        let expires_at = asked.expires_at(&store);
        let stands_still = self.mirrors.iter().any(|mirror| mirror.line.is_cut());
        let asking = crashed.run_until_cancelled(asked.ask(store, key, expires_at, PATIENCE));
        let answer = tokio::select! {
            biased;
            answer = asking => answer.flatten(),
            () = self.perhaps_die(n, asked, &crashed) => unreachable!("who dies cancels what it was asked"),
        };
        asked_here.set(asked_here.get() - 1);
        let (ended, ended_at) = (self.step(), self.began.elapsed());
        if answer == Some(Answer::Done) && asked == Asked::Delete {
            self.seen.note("a delete");
            if self.is_declared.get() {
                self.seen.note("a delete that went on without a data centre");
            }
            if stands_still {
                self.seen.note("a delete while a mirror stood still");
            }
        }
        if let Some(Answer::Found { told_at, .. } | Answer::NotFound { told_at }) = answer {
            self.check_clock(node.at.0, told_at);
        }
        let dc = node.at.0;
        let operation =
            Operation { key, dc, memory, asked, expires_at, answer, began, ended, began_at, ended_at };
        self.note(format!("client {client} at node {n}: {operation}"));
        self.history.borrow_mut().push(operation);
        Some(answer)
    }

    /// A node sometimes dies of a delete. Never ends.
    async fn perhaps_die(&self, n: usize, asked: Asked, crashed: &CancellationToken) {
        if asked == Asked::Delete && one_in(&self.chance, 15) {
            sleep(some_ms(&self.chance, 60)).await;
            if !crashed.is_cancelled() {
                self.seen.note("a crash in a delete");
                self.crash(n);
                self.lose_disk(n);
                self.start(n);
            }
        }
        pending().await
    }

    /// Readers are told no time that their data centre's broker has not come to, but for what nodes' clocks may be off: or
    /// everything that is missing could be said to have expired.
    fn check_clock(&self, dc: usize, told_at: Timestamp) {
        self.dcs[dc].looks_at_its_clock();
        let latest = self.dcs[dc].latest.get();
        if latest.saturating_add(CLOCK_DRIFT_MAX).saturating_add(Duration::from_secs(1)) < told_at {
            self.violate(format!("ahead: readers in {} are told {told_at} before {latest}", NAMES[dc]));
        }
    }

    /// Starts again what ended by itself. Never ends.
    async fn supervise(self: Rc<Self>) {
        loop {
            self.ended.notified().await;
            for (n, node) in self.nodes.iter().enumerate() {
                let why = node.running.borrow().as_ref().and_then(|running| running.process.ended_because());
                if let Some(why) = why {
                    self.note(format!("node {n} has ended: {why}"));
                    self.seen.note("an end by itself");
                    self.crash(n);
                    self.start(n);
                }
            }
        }
    }

    /// Kills nodes while they are asked by another data centre. Never ends.
    async fn kill_the_doomed(self: Rc<Self>, mut dying: UnboundedReceiver<(Address, Duration)>) {
        let mut deaths = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some((at, within)) = dying.recv() => {
                    let world = Rc::clone(&self);
                    deaths.spawn_local(async move {
                        sleep(within).await;
                        let Some(n) = world.nodes.iter().position(|node| node.at == at) else { return };
                        world.crash(n);
                        world.lose_disk(n);
                        sleep(some_ms(&world.chance, 300)).await;
                        world.start(n);
                    });
                }
                Some(died) = deaths.join_next() => died.unwrap(),
            }
        }
    }

    /// Starts every node that is down.
    pub(super) fn start_all(&self) {
        (0..self.nodes.len()).for_each(|n| self.start(n));
    }

    /// Starts a node, if it is down and need not be.
    pub(super) fn start(&self, n: usize) {
        let node = &self.nodes[n];
        if node.running.borrow().is_some() || node.role.get() == Role::Down {
            return;
        }
        self.note(format!("node {n} starts"));
        let dc = &self.dcs[node.at.0];
        if self.kind == Kind::Embedded {
            dc.looks_at_its_clock();
            dc.ahead_ms.store(node.machine.ahead_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let mut process = Process::start(&dc.site, &node.machine);
        if let Some(why) = &process.began_anew {
            self.note(format!("node {n} makes its view anew: {why}"));
            self.seen.note("a view that is behind the log at a start");
            self.forget_what_readers_were_told(n);
        }
        // A kill and a clock that is set back together are more than the log can make good.
        if node.stepped.take() {
            self.forget_what_readers_were_told(n);
        }
        let porter = Porter {
            writer: Arc::clone(&process.asked_by_peers),
            store: Arc::clone(&process.store),
            line: Arc::clone(&node.machine.line),
            us: NAMES[node.at.0].parse().unwrap(),
            state: process.state(),
            defect: self.defect,
        };
        process.run(porter.answer_all(self.cables.open(node.at)));
        *node.running.borrow_mut() = Some(Running { process, crashed: CancellationToken::new() });
    }

    /// Ends a node's process, with all that is only in memory.
    pub(super) fn crash(&self, n: usize) {
        let node = &self.nodes[n];
        if let Some(Running { crashed, process }) = node.running.take() {
            self.note(format!("node {n} crashes"));
            if 0 < node.machine.line.repairs() {
                self.seen.note("a crash with a repair on its way");
            }
            if 0 < process.store.debts.count() {
                self.seen.note("a crash with debts");
            }
            crashed.cancel();
            self.cables.close(node.at);
            drop(process);
            node.machine.line.forget();
        }
    }

    /// What a node's disk knew is gone, and with it what its readers were told.
    pub(super) fn forget_what_readers_were_told(&self, n: usize) {
        let memory = self.memories_made.get();
        self.memories_made.set(memory + 1);
        self.nodes[n].memory.set(memory);
    }

    pub(super) fn ready(&self, n: usize) -> Option<(Arc<StoreNode>, CancellationToken)> {
        let running = self.nodes[n].running.borrow();
        let Running { process, crashed } = running.as_ref().filter(|running| running.process.is_ready())?;
        Some((Arc::clone(&process.store), crashed.clone()))
    }

    pub(super) fn some_node(&self) -> usize {
        self.chance.lock().unwrap().random_range(0..self.nodes.len())
    }

    /// Two data centres.
    pub(super) fn some_pair(&self) -> (usize, usize) {
        let all: Vec<_> = (0..self.dcs.len()).collect();
        let mut pair = all.choose_multiple(&mut *self.chance.lock().unwrap(), 2).copied();
        let two = "there are two data centres at least";
        (pair.next().expect(two), pair.next().expect(two))
    }

    pub(super) fn some_mirror(&self) -> &Mirror {
        let n = self.chance.lock().unwrap().random_range(0..self.mirrors.len());
        &self.mirrors[n]
    }

    pub(super) fn violate(&self, what: String) {
        self.note(what.clone());
        self.violations.borrow_mut().push(what);
    }

    pub(super) fn take_violations(&self) -> Vec<String> {
        self.violations.take()
    }

    fn step(&self) -> u64 {
        self.steps.set(self.steps.get() + 1);
        self.steps.get()
    }

    pub(super) fn note(&self, what: String) {
        let at = self.began.elapsed().as_millis();
        self.trace.borrow_mut().push(format!("{at:>6} ms  {what}"));
    }
}

impl DataCentre {
    fn looks_at_its_clock(&self) {
        self.latest.set(self.latest.get().max(self.site.broker.now()));
    }
}

/// Right, nearly right, or wrong.
pub(super) fn some_ahead_ms(chance: &Chance, max: i64) -> i64 {
    let mut chance = chance.lock().unwrap();
    match chance.random_range(0..4) {
        0 => 0,
        1 => chance.random_range(-8_000..=8_000),
        _ => chance.random_range(-max..=max),
    }
}
