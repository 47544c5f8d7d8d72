//! One run: two machines, three clients, a hand that kills and restarts, and what must hold at the end.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use eventlog::{EventLog, Incarnation, memory::MemoryLog};
use materializer::{
    Cell, State,
    memory::{Contents, MemoryView},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use schemas::{KeyId, Offset, Partition, PartitionCount, Topic};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use writer::Retention;

use super::{
    checkers,
    clock::SimClock,
    log::some_ms,
    node::{Machine, Process, Site, TTL_MAX},
    workload::{Asked, Operation},
};

const MACHINES: usize = 2;
const CLIENTS: usize = 3;
const OPERATIONS: usize = 30;

/// Clocks are this far off at most: more than the spacing of operations, and more than the clamp lets through.
const AHEAD_MS_MAX: i64 = 8_000;

/// How far a clock that is stepped may be off from then on.
const STEPPED_MS_MAX: i64 = 26 * 3_600_000;

/// Until when the machines must agree after everybody has stopped.
const SETTLE_PATIENCE: Duration = Duration::from_secs(120);

/// A mistake that the checkers must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Versions are chosen without looking at what was acknowledged.
    NoLook,
    /// A view's positions reach the disk before its cells.
    PositionBeforeData,
    /// Nobody appends the winner again where a loser stands last.
    NoRepair,
}

/// What a run showed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What happened, in order.
    pub(crate) trace: Vec<String>,
    /// Broken promises.
    pub(crate) violations: Vec<String>,
    /// Operations that were answered with success.
    pub(crate) successes: usize,
}

/// Everything that a run shares.
pub(crate) struct World {
    site: Site,
    machines: Vec<Machine>,
    running: Vec<RefCell<Option<Running>>>,
    trace: RefCell<Vec<String>>,
    history: RefCell<Vec<Operation>>,
    steps: RefCell<u64>,
}

struct Running {
    process: Process,
    crashed: CancellationToken,
}

/// What a view says of a key, apart from contents that may have been stripped already.
type Said = BTreeMap<KeyId, (schemas::Version, Option<schemas::Until>)>;

impl World {
    /// Runs one seed.
    pub(crate) fn run(seed: u64, defect: Option<Defect>) -> Outcome {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let world = Rc::new(Self::new(seed, defect));
            world.clients_and_crashes().await;
            let mut violations = checkers::violations(&world.history.borrow());
            violations.extend(world.settle_and_compare().await);
            for running in &world.running {
                running.take();
            }
            let successes = world.history.borrow().iter().filter(|op| op.answer.is_some()).count();
            Outcome { trace: world.trace.take(), violations, successes }
        })
    }

    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let began = Instant::now();
        let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
        let partitions = PartitionCount::new(2).unwrap();
        let clock = Arc::new(SimClock::new(began, Arc::default()));
        let broker = MemoryLog::new(topic, partitions, Incarnation("simulated".into()), clock);
        let machine = |_| {
            let ahead_ms = chance.lock().unwrap().random_range(-AHEAD_MS_MAX..=AHEAD_MS_MAX);
            Machine { disk: Arc::new(Mutex::new(empty_disk(&broker))), ahead_ms: Arc::new(ahead_ms.into()) }
        };
        let machines = (0..MACHINES).map(machine).collect();
        let site = Site { broker, chance, began, defect };
        Self {
            site,
            machines,
            running: (0..MACHINES).map(|_| RefCell::new(None)).collect(),
            trace: RefCell::default(),
            history: RefCell::default(),
            steps: RefCell::default(),
        }
    }

    /// Clients work while machines crash; ends when every client has done its share.
    async fn clients_and_crashes(self: &Rc<Self>) {
        (0..MACHINES).for_each(|n| self.start(n));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let world = Rc::clone(self);
            clients.spawn_local(async move { world.client(client).await });
        }
        let hand = {
            let world = Rc::clone(self);
            async move {
                loop {
                    sleep(some_ms(&world.site.chance, 1_500)).await;
                    let n = world.site.chance.lock().unwrap().random_range(0..MACHINES);
                    // Either while it serves, or while it is down.
                    let stepped = world.site.chance.lock().unwrap().random_range(0..4);
                    if stepped == 0 {
                        world.step_clock(n);
                        continue;
                    }
                    world.crash(n);
                    if stepped == 1 {
                        world.step_clock(n);
                    }
                    sleep(some_ms(&world.site.chance, 300)).await;
                    world.start(n);
                }
            }
        };
        tokio::select! {
            biased;
            () = async { while let Some(ended) = clients.join_next().await { ended.unwrap(); } } => {}
            () = hand => {}
        }
    }

    async fn client(&self, client: usize) {
        let mut done = 0;
        while done < OPERATIONS {
            sleep(some_ms(&self.site.chance, 60)).await;
            let n = self.site.chance.lock().unwrap().random_range(0..MACHINES);
            let Some((store, crashed)) = self.ready(n) else { continue };
            let value = (client * OPERATIONS + done) as u64;
            let (key, asked) = Asked::choose(&self.site.chance, value);
            let began = self.step();
            let answer = crashed.run_until_cancelled(asked.ask(store, key)).await.flatten();
            let operation = Operation { key, machine: n, asked, answer, began, ended: self.step() };
            self.note(format!("client {client} at machine {n}: {operation}"));
            self.history.borrow_mut().push(operation);
            done += 1;
        }
    }

    /// When everybody has stopped: all machines agree, nothing is owed, and a view made anew from the log, even from
    /// what compaction leaves of it, is the view that never stopped.
    async fn settle_and_compare(self: &Rc<Self>) -> Vec<String> {
        for n in 0..MACHINES {
            if self.running[n].borrow().is_none() {
                self.start(n);
            }
        }
        let readiness: Vec<_> = self
            .running
            .iter()
            .map(|running| running.borrow().as_ref().unwrap().process.becomes_ready())
            .collect();
        futures::future::join_all(readiness).await;
        self.pay_all_debts().await;

        let views: Vec<_> = self
            .running
            .iter()
            .map(|running| said(&running.borrow().as_ref().unwrap().process.view.contents()))
            .collect();
        let mut violations = Vec::new();
        if views[0] != views[1] {
            violations.push(format!("the machines disagree: {:?} and {:?}", views[0], views[1]));
        }
        let again = self.rebuild().await;
        if again != views[0] {
            violations.push(format!("a rebuilt view differs: {:?}, and made anew {again:?}", views[0]));
        }
        // One or the other: each drops what the other would have to get right.
        let is_kafkas =
            self.site.defect == Some(Defect::NoRepair) || self.site.chance.lock().unwrap().random();
        if is_kafkas {
            self.compact()
        } else {
            self.clean()
        }
        let from_less = self.rebuild().await;
        if from_less != views[0] {
            let what = if is_kafkas { "compacted" } else { "cleaned" };
            violations
                .push(format!("the {what} log lost a winner: {:?}, and made anew {from_less:?}", views[0]));
        }
        violations
    }

    /// Waits until nothing is owed, as long as somebody repairs at all.
    async fn pay_all_debts(&self) {
        let owed = || -> usize {
            let debts = |running: &RefCell<Option<Running>>| {
                running.borrow().as_ref().unwrap().process.store.debts.count()
            };
            self.running.iter().map(debts).sum()
        };
        let patience = Instant::now() + SETTLE_PATIENCE;
        sleep(Duration::from_secs(1)).await;
        if self.site.defect == Some(Defect::NoRepair) {
            return;
        }
        while 0 < owed() && Instant::now() < patience {
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(owed(), 0, "debts are paid within {SETTLE_PATIENCE:?}");
        // What was appended last has to arrive.
        sleep(Duration::from_secs(1)).await;
    }

    /// A view made from nothing but the log.
    async fn rebuild(&self) -> Said {
        let machine =
            Machine { disk: Arc::new(Mutex::new(empty_disk(&self.site.broker))), ahead_ms: Arc::default() };
        let sound = Site { defect: Some(Defect::NoRepair), ..self.site.clone() };
        let process = Process::start(&sound, &machine);
        process.becomes_ready().await;
        said(&process.view.contents())
    }

    /// What the embedded log's cleaner does: drops what the rule says.
    fn clean(&self) {
        let running = self.running[0].borrow();
        let process = &running.as_ref().expect("everybody runs").process;
        let view = Arc::clone(&process.store.reads.serving);
        let clock = Arc::clone(&process.store.reads.clock);
        let rule = server::droppable(view, clock, Retention::Expiring { ttl_max: TTL_MAX });
        self.site.broker.retain(|_, entry| !rule(entry.append_time, &entry.record));
    }

    /// What Kafka's cleaner does: of every key, the last record stays.
    fn compact(&self) {
        let mut last: BTreeMap<(Partition, bytes::Bytes), Offset> = BTreeMap::new();
        self.site.broker.retain(|partition, entry| {
            last.insert((partition, entry.record.key.clone()), entry.offset);
            true
        });
        self.site
            .broker
            .retain(|partition, entry| last[&(partition, entry.record.key.clone())] == entry.offset);
    }

    fn start(&self, n: usize) {
        self.note(format!("machine {n} starts"));
        let process = Process::start(&self.site, &self.machines[n]);
        *self.running[n].borrow_mut() = Some(Running { process, crashed: CancellationToken::new() });
    }

    /// Sets a machine's wall clock wrong, or right again.
    fn step_clock(&self, n: usize) {
        let ahead_ms = {
            let mut chance = self.site.chance.lock().unwrap();
            if chance.random() { chance.random_range(-STEPPED_MS_MAX..=STEPPED_MS_MAX) } else { 0 }
        };
        self.note(format!("the clock of machine {n} is set {ahead_ms} ms ahead"));
        self.machines[n].ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    fn crash(&self, n: usize) {
        self.note(format!("machine {n} crashes"));
        if let Some(Running { crashed, process }) = self.running[n].take() {
            crashed.cancel();
            drop(process);
        }
    }

    fn ready(&self, n: usize) -> Option<(Rc<server::store::StoreNode>, CancellationToken)> {
        let running = self.running[n].borrow();
        let Running { process, crashed } = running.as_ref().filter(|running| running.process.is_ready())?;
        Some((Rc::clone(&process.store), crashed.clone()))
    }

    fn step(&self) -> u64 {
        let mut steps = self.steps.borrow_mut();
        *steps += 1;
        *steps
    }

    fn note(&self, what: String) {
        let at = self.site.began.elapsed().as_millis();
        self.trace.borrow_mut().push(format!("{at:>6} ms  {what}"));
    }
}

fn empty_disk(broker: &Arc<MemoryLog>) -> Contents {
    MemoryView::new([(broker.topic().clone(), broker.incarnation())]).contents()
}

fn said(contents: &Contents) -> Said {
    let of = |cell: &Cell| match cell.state {
        State::Live { expires_at, .. } | State::Stripped { expires_at } => (cell.version, Some(expires_at)),
        State::Tombstone => (cell.version, None),
    };
    contents.cells.iter().map(|(&key, cell)| (key, of(cell))).collect()
}
