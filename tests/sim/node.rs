//! A node that can crash: the real store, on the simulation's log, disk, clock and chance.

use std::{
    cell::Cell,
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use eventlog::{EventLog, LogClock};
use futures::FutureExt;
use materializer::{
    CellCache, Metrics, Replay, Successor, View,
    memory::{Contents, MemoryView},
};
use rand::Rng;
use schemas::{Dc, KeyId, MacKey, SessionTtl, Version, WriterId, caps::DEBT_AGE};
use server::{
    Comeback, MayServe,
    config::ReadConsistency,
    store::{Parts, StoreNode},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use writer::{Deadline, LocalView, Retention, Rhythm, Writer, peer::Peer};

use super::{
    broker::Broker,
    chance::Chance,
    clock::SimClock,
    defect::Defect,
    log::{Connection, Line},
    misled::{Misled, misled_writer},
    seen::Seen,
    view::{CrashingView, Disk},
};

/// The longest session of the simulation.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(3600);

/// How long its events may matter.
pub(crate) const RETENTION_RULE: Retention = Retention::Expiring { ttl_max: TTL_MAX };

/// So many copies of a disk are kept.
const COPIES_MAX: usize = 4;

/// How often a node says that it is alive: when it writes, and when it does not.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const RHYTHM: Rhythm = Rhythm { busy: Duration::ZERO, quiet: Duration::from_secs(10) };

/// How often somebody who pays debts looks for them.
const LOOK_FOR_DEBTS_EVERY: Duration = Duration::from_millis(500);

/// How soon a view that could not be made anew is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What stays of a node while it is down.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What its view's disk holds.
    pub(crate) disk: Disk,
    /// What its disk held at some moments: backups, checkpoints.
    pub(crate) copies: Mutex<Vec<Contents>>,
    /// How far its wall clock is ahead of true time.
    pub(crate) ahead_ms: Arc<AtomicI64>,
    /// What connects it with the broker.
    pub(crate) line: Arc<Line>,
    /// The data centres that it alone was told are down: a defect.
    pub(crate) whispered: Arc<Mutex<BTreeSet<Dc>>>,
}

impl Machine {
    /// A machine with an empty disk.
    pub(crate) fn new(site: &Site, ahead_ms: i64) -> Self {
        Self {
            disk: Arc::new(Mutex::new(empty_disk(site))),
            copies: Mutex::default(),
            ahead_ms: Arc::new(ahead_ms.into()),
            line: Line::new(&site.repair_began),
            whispered: Arc::default(),
        }
    }

    /// Keeps what the disk holds now.
    pub(crate) fn copy_disk(&self) {
        let copy = self.disk.lock().unwrap().clone();
        let mut copies = self.copies.lock().unwrap();
        copies.push(copy);
        if COPIES_MAX < copies.len() {
            copies.remove(0);
        }
    }
}

/// What every node of a data centre shares.
#[derive(Clone)]
pub(crate) struct Site {
    /// The topic that they write.
    pub(crate) broker: Arc<Broker>,
    /// The copies of other data centres' topics.
    pub(crate) copies: Vec<Arc<Broker>>,
    /// The other data centres.
    pub(crate) peers: Vec<Arc<dyn Peer>>,
    /// Chance.
    pub(crate) chance: Chance,
    /// When the world began.
    pub(crate) began: Instant,
    /// How fresh reads are.
    pub(crate) read_consistency: ReadConsistency,
    /// What is broken.
    pub(crate) defect: Option<Defect>,
    /// What happened that a run is made for, and how often.
    pub(crate) seen: Arc<Seen>,
    /// Learns when a repair goes out.
    pub(crate) repair_began: Arc<Notify>,
    /// Learns when a process has ended by itself.
    pub(crate) ended: Arc<Notify>,
}

impl Site {
    /// All topics of the data centre, its own first.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Broker>> {
        [&self.broker].into_iter().chain(&self.copies)
    }
}

/// How far a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes no requests yet, or none at the moment.
    Unready,
    /// Its data centre is declared down: only other data centres are answered.
    DeclaredDown,
    /// It takes requests.
    Ready,
    /// It has ended by itself, and why.
    Ended(Arc<str>),
}

/// A process. Dropped, it has crashed: all its tasks are gone, and what was only in memory with them.
pub(crate) struct Process {
    /// The store at work.
    pub(crate) store: Arc<StoreNode>,
    /// Who answers other data centres: its writer.
    pub(crate) asked_by_peers: Arc<Writer>,
    /// Why the view had to be made anew at the start, if so.
    pub(crate) began_anew: Option<String>,
    state: watch::Receiver<State>,
    tasks: JoinSet<()>,
}

impl Process {
    /// Starts on what the machine's disk holds.
    pub(crate) fn start(site: &Site, machine: &Machine) -> Self {
        let clock = || SimClock::new(site.began, Arc::clone(&machine.ahead_ms));
        let (connection, wire) = Connection::open(&site.broker, &machine.line, &site.chance, clock());
        let to_copy = |copy| Connection::to_copy(copy, &machine.line, &site.chance) as Arc<dyn EventLog>;
        let copies: Vec<_> = site.copies.iter().map(to_copy).collect();
        let clock = Arc::new(LogClock::new(Arc::new(clock())));
        let began_anew = make_anew_if_behind(site, &machine.disk);
        let view = CrashingView::recover(site, &machine.disk, &clock);
        let marks = view.saved().unwrap().marks;
        clock.remember(marks.newest_append, marks.read_now);
        let writer_id = WriterId(site.chance.lock().unwrap().random());
        let parts = Parts {
            own: Arc::clone(&connection) as Arc<dyn EventLog>,
            mirrored: copies.clone(),
            view: Arc::new(view) as Arc<dyn View>,
            // Room for a few: some reads find their cell there, others do not.
            cells: CellCache::of(8 * 1024),
            clock: Arc::clone(&clock),
            mac: mac(),
            retention: RETENTION_RULE,
            writer_id,
            peers: site.peers.clone(),
            read_consistency: site.read_consistency,
            max_ttl: SessionTtl::Never,
            serve_in_outage_for: Duration::ZERO,
            gaps: Arc::new(materializer::Gaps::none()),
            counted: Metrics::register(&prometheus::Registry::new()).unwrap(),
            measured: writer::Metrics::register(&prometheus::Registry::new()).unwrap(),
        };
        let mut asked_by_peers = None;
        let mislead = |view: Arc<dyn LocalView>| {
            let Some(defect) = site.defect else { return view };
            let misled = Misled::of(Arc::clone(&view), defect, &machine.whispered);
            if defect != Defect::PeerAnswersBeforeItApplied {
                return misled;
            }
            let own = Arc::clone(&connection) as Arc<dyn EventLog>;
            asked_by_peers = Some(misled_writer(own, misled, &clock));
            view
        };
        let (store, follower) = StoreNode::assemble_with(parts, mislead).unwrap();
        let asked_by_peers = asked_by_peers.unwrap_or_else(|| Arc::clone(&store.writer));
        let store = Arc::new(store);

        let (says, state) = watch::channel(State::Unready);
        let says = Says {
            state: Rc::new(says),
            has_view: Rc::default(),
            may_serve: Rc::default(),
            ended: Arc::clone(&site.ended),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn_local(wire);
        let at_work = Work {
            site: site.clone(),
            disk: Arc::clone(&machine.disk),
            connection,
            copies,
            store: Arc::clone(&store),
            says: says.clone(),
        };
        tasks.spawn_local(async move {
            let ended = follower.run(CancellationToken::new()).await;
            says.that_it_ends(&ended.err().map_or("the follower ended".into(), |error| error.to_string()));
        });
        tasks.spawn_local(at_work.run(writer_id));
        Self { store, asked_by_peers, began_anew, state, tasks }
    }

    /// Runs this, too, for as long as the process lives.
    pub(crate) fn run(&mut self, work: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(work);
    }

    /// How far it is, for whoever runs beside it.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Whether it takes requests.
    pub(crate) fn is_ready(&self) -> bool {
        *self.state.borrow() == State::Ready
    }

    /// Why it has ended by itself, if it has.
    pub(crate) fn ended_because(&self) -> Option<Arc<str>> {
        match &*self.state.borrow() {
            State::Ended(why) => Some(Arc::clone(why)),
            State::Unready | State::DeclaredDown | State::Ready => None,
        }
    }

    /// What its view says.
    pub(crate) fn cells(&self) -> Vec<(KeyId, materializer::Cell)> {
        self.store.reads.serving.view().view().scan(None, usize::MAX).unwrap()
    }
}

/// Tells the world how far a process is.
#[derive(Clone)]
struct Says {
    state: Rc<watch::Sender<State>>,
    /// Whether there is a view that has caught up.
    has_view: Rc<Cell<bool>>,
    /// Whether declarations let it serve.
    may_serve: Rc<Cell<bool>>,
    ended: Arc<Notify>,
}

impl Says {
    fn that_it_has_a_view(&self, has_view: bool) {
        self.has_view.set(has_view);
        self.how_far_it_is();
    }

    fn that_it_may_serve(&self, may_serve: bool) {
        self.may_serve.set(may_serve);
        self.how_far_it_is();
    }

    fn how_far_it_is(&self) {
        let how_far = match (self.has_view.get(), self.may_serve.get()) {
            (false, _) => State::Unready,
            (true, false) => State::DeclaredDown,
            (true, true) => State::Ready,
        };
        self.state.send_if_modified(|state| {
            // What has ended does not begin again.
            let is_news = *state != how_far && !matches!(state, State::Ended(_));
            if is_news {
                *state = how_far;
            }
            is_news
        });
    }

    fn that_it_ends(&self, why: &str) {
        self.state.send_replace(State::Ended(why.into()));
        self.ended.notify_one();
    }
}

/// What a node does beside its follower.
struct Work {
    site: Site,
    disk: Disk,
    connection: Arc<Connection>,
    copies: Vec<Arc<dyn EventLog>>,
    store: Arc<StoreNode>,
    says: Says,
}

impl Work {
    async fn run(self, writer_id: WriterId) {
        let up = if self.site.defect == Some(Defect::ReadyTooEarly) {
            self.store.writer.announce().await.map_err(|error| error.to_string())
        } else {
            self.store.come_up().await.map_err(|error| error.to_string())
        };
        if let Err(why) = up {
            return self.says.that_it_ends(&why);
        }
        self.says.that_it_has_a_view(true);
        let repairs = async {
            match self.site.defect {
                Some(Defect::NoRepair) => {}
                Some(Defect::RepairUsesANewVersion) => repair_with_new_versions(&self.store).await,
                _ => server::repair(&self.store, writer_id, CancellationToken::new()).await,
            }
        };
        let log = self.store.reads.look_for_the_log();
        let renewals = server::renew(std::slice::from_ref(&self.store));
        futures::join!(repairs, self.beat(), log, self.watch_for_loss(), self.come_back(), renewals);
    }

    /// Serves nobody while others declare the data centre down.
    async fn come_back(&self) {
        let others = self.site.peers.iter().map(|peer| peer.dc().clone());
        let us = self.site.broker.log.topic().origin.clone();
        let comeback = Comeback::new([Arc::clone(&self.store)].into(), us, others);
        let tell = |may_serve| self.says.that_it_may_serve(may_serve == MayServe::Yes);
        comeback.follow(tell).await;
    }

    async fn beat(&self) {
        let mut due = interval(BEAT_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            // Another one will say the same.
            let _refused = self.store.writer.beat(RHYTHM).await;
        }
    }

    /// What the node's task of this name does, with a rebuild of its own.
    async fn watch_for_loss(&self) {
        let mut lost = self.store.lost.subscribe();
        while lost.wait_for(Option::is_some).await.is_ok() {
            self.says.that_it_has_a_view(false);
            self.site.seen.note("a view that is behind the log while it is served");
            while self.rebuild().await.is_none() {
                sleep(TRY_AGAIN_AFTER).await;
            }
            tokio::select! {
                biased;
                caught_up = self.store.catch_up() => match caught_up {
                    Ok(()) => self.says.that_it_has_a_view(true),
                    Err(error) => return self.says.that_it_ends(&error.to_string()),
                },
                // Lost again.
                _ = lost.wait_for(Option::is_some) => {}
            }
        }
    }

    /// A view made anew beside the one that is served, and put in its place.
    async fn rebuild(&self) -> Option<()> {
        let own = Arc::clone(&self.connection) as Arc<dyn EventLog>;
        let view = Arc::new(MemoryView::from_contents(empty_disk(&self.site)));
        let clock = &self.store.reads.clock;
        let into = Arc::clone(&view) as Arc<dyn View>;
        let mut replay = Replay::new(&own, &self.copies, into, mac(), Arc::clone(clock)).unwrap();
        let tails = replay.tails().await.ok()?;
        replay.up_to(&tails, |_, _| ()).await.ok()?;
        *self.disk.lock().unwrap() = view.contents();
        let view = CrashingView::recover(&self.site, &self.disk, clock);
        let (served, is_served) = oneshot::channel();
        self.store.successor.send(Successor { view: Arc::new(view), served }).await.ok()?;
        is_served.await.ok()
    }
}

/// A start compares the view's positions with both ends of the logs, and begins with an empty one where it cannot go on.
fn make_anew_if_behind(site: &Site, disk: &Disk) -> Option<String> {
    let mut disk = disk.lock().unwrap();
    let goes_on = |Broker { log, .. }: &Broker| {
        let answered = "a log in memory answers at once";
        let head = log.head().now_or_never().expect(answered).unwrap();
        let tail = log.tail().now_or_never().expect(answered).unwrap();
        server::goes_on(log.topic(), &disk.saved.logs[log.topic()].frontier, &head, &tail)
    };
    let why = site.topics().find_map(|topic| goes_on(topic).err())?;
    *disk = empty_disk(site);
    Some(why.to_string())
}

/// A view that has seen nothing.
pub(crate) fn empty_disk(site: &Site) -> Contents {
    MemoryView::new(site.topics().map(|topic| (topic.log.topic().clone(), topic.log.incarnation())))
        .contents()
}

pub(crate) fn mac() -> MacKey {
    MacKey::derive(b"the simulation's index secret")
}

/// Pays debts as the real one does, but for the version.
async fn repair_with_new_versions(store: &StoreNode) {
    loop {
        sleep(LOOK_FOR_DEBTS_EVERY).await;
        let now = store.reads.clock.now();
        for (key, since) in store.debts.all() {
            let cell = store.reads.serving.view().get(&key).unwrap();
            let Some(cell) = cell.filter(|_| since.saturating_add(DEBT_AGE) <= now) else { continue };
            let mut event = cell.to_event(key);
            event.version = Version { hlc: event.version.hlc.tick(), writer: store.writer.id() };
            // What fails is still owed.
            let _failed = store.writer.repair(event, Deadline::within(DEBT_AGE)).await;
        }
    }
}
