//! A node that can crash: the real store, on the simulation's log, disk, clock and chance.

use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use eventlog::{EventLog, LogClock, memory::MemoryLog};
use futures::future::BoxFuture;
use materializer::{CellCache, Metrics, View};
use rand::Rng;
use schemas::{KeyId, MacKey, Position, Version, WriterId};
use server::{
    config::ReadConsistency,
    store::{Parts, StoreNode},
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use writer::{FenceFailed, LocalView, LookFailed, Retention};

use super::{
    clock::SimClock,
    log::{Chance, Connection},
    view::{CrashingView, Disk},
    world::Defect,
};

/// The longest session of the simulation, and with it the retention of its log.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(3600);

/// What stays of a node while it is down.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What its view's disk holds.
    pub(crate) disk: Disk,
    /// How far its wall clock is ahead of true time.
    pub(crate) ahead_ms: Arc<AtomicI64>,
}

/// What every node of a world shares.
#[derive(Clone)]
pub(crate) struct Site {
    /// The log.
    pub(crate) broker: Arc<MemoryLog>,
    /// Chance.
    pub(crate) chance: Chance,
    /// When the world began.
    pub(crate) began: Instant,
    /// What is broken.
    pub(crate) defect: Option<Defect>,
}

/// A process. Dropped, it has crashed: all its tasks are gone, and what was only in memory with them.
pub(crate) struct Process {
    /// The store at work.
    pub(crate) store: Rc<StoreNode>,
    /// Its view.
    pub(crate) view: Arc<CrashingView>,
    ready: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl Process {
    /// Starts on what the machine's disk holds.
    pub(crate) fn start(site: &Site, machine: &Machine) -> Self {
        let (connection, wire) = Connection::open(&site.broker, &site.chance);
        let early_position = site.defect == Some(Defect::PositionBeforeData);
        let view = Arc::new(CrashingView::recover(&machine.disk, &site.chance, early_position));
        let clock =
            Arc::new(LogClock::new(Arc::new(SimClock::new(site.began, Arc::clone(&machine.ahead_ms)))));
        let marks = view.saved().unwrap().marks;
        clock.remember(marks.newest_append, marks.read_now);
        let writer_id = WriterId(site.chance.lock().unwrap().random());
        let parts = Parts {
            own: connection as Arc<dyn EventLog>,
            mirrored: Vec::new(),
            view: Arc::clone(&view) as Arc<dyn View>,
            // Room for a few: some reads find their cell there, others do not.
            cells: CellCache::of(8 * 1024),
            clock,
            mac: MacKey::derive(b"the simulation's index secret"),
            retention: Retention::Expiring { ttl_max: TTL_MAX },
            writer_id,
            read_consistency: ReadConsistency::Dc,
            serve_in_outage_for: Duration::ZERO,
            counted: Metrics::register(&prometheus::Registry::new()).unwrap(),
            measured: writer::Metrics::register(&prometheus::Registry::new()).unwrap(),
        };
        let no_look = site.defect == Some(Defect::NoLook);
        let blindfold = |view| if no_look { Arc::new(Blind(view)) as Arc<dyn LocalView> } else { view };
        let (store, follower) = StoreNode::assemble_with(parts, blindfold).unwrap();
        let store = Rc::new(store);

        let (becomes_ready, ready) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn_local(wire);
        tasks.spawn_local(async { follower.run(CancellationToken::new()).await.unwrap() });
        let (coming_up, repairs) = (Rc::clone(&store), site.defect != Some(Defect::NoRepair));
        tasks.spawn_local(async move {
            coming_up.come_up().await.unwrap();
            becomes_ready.send_replace(true);
            if repairs {
                server::repair(&coming_up, writer_id, CancellationToken::new()).await;
            }
        });
        Self { store, view, ready, _tasks: tasks }
    }

    /// Whether it takes requests.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Resolves when it takes requests.
    pub(crate) fn becomes_ready(&self) -> impl Future<Output = ()> + use<> {
        let mut ready = self.ready.clone();
        async move {
            ready.wait_for(|ready| *ready).await.unwrap();
        }
    }
}

/// A writer that does not look before it chooses a version.
#[derive(Debug)]
struct Blind(Arc<dyn LocalView>);

impl LocalView for Blind {
    fn look(&self, _: KeyId, _: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        Box::pin(async { Ok(None) })
    }

    fn applied(&self, position: Position, patience: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        self.0.applied(position, patience)
    }
}
