//! A node that is asked: the real store and the real peer listener, on the simulated network.

use std::{
    collections::BTreeSet,
    future::pending,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::turmoil::net::TcpListener;
use api::{
    AnswerRoom, App, BodyRoom, BuildInfo, Comparisons, Dcs, DiskRoom, Fingerprints, Jobs, Limits, PeerApp,
    Readiness, Stores, admin::Counting,
};
use eventlog::{EventLog, LogClock};
use futures::future::BoxFuture;
use materializer::{CellCache, Gaps, View, memory::MemoryView};
use prometheus::Registry;
use schemas::{Dc, Declaration, KeyId, Partition, Position, SessionTtl, Version, WriterId};
use server::{
    config::ReadConsistency,
    store::{Parts, StoreNode},
};
use tokio::{task::spawn_local, time::sleep};
use tokio_util::sync::CancellationToken;
use writer::{FenceFailed, LocalView, LookFailed, Retention};

use super::{log::NodeLog, site::Site};
use crate::in_process::unopened;

/// Where peers listen.
pub(crate) const PORT: u16 = 7081;

/// The data centre that asks.
pub(crate) const ASKING: &str = "eqiad";

/// What all say of the secret that they share.
pub(crate) const FINGERPRINT: &str = "aa";

/// The longest session.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// How long the node itself allows for any request.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2_500);

/// What stays of a node while its process is down.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Its name on the network.
    pub(crate) name: String,
    /// Of which data centre.
    pub(crate) site: Arc<Site>,
    /// Its way to the log.
    pub(crate) log: Arc<NodeLog>,
    /// What a process does that starts now.
    pub(crate) next: Mutex<Next>,
    /// This machine among all.
    pub(crate) number: u64,
}

/// What a process does that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Listens at once, and is ready after that time.
    Serve(Duration),
    /// Does not listen.
    Nothing,
}

/// A process of that machine, until it is killed.
pub(crate) async fn run(machine: Arc<Machine>) -> ::turmoil::Result {
    let next = *machine.next.lock().unwrap();
    let Next::Serve(starts_for) = next else {
        return pending().await;
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let app = app(&machine.site.dc, &Registry::new());
    let routes = api::peer_routes(peer_app(&machine.site.dc, app.clone()));
    spawn_local(async move {
        sleep(starts_for).await;
        open(&machine, &app).await;
    });
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(api::serve_connection(stream, routes.clone(), CancellationToken::new()));
    }
}

/// Makes the view from the log, and takes requests after that.
async fn open(machine: &Machine, app: &App) {
    let Machine { site, log, number, .. } = machine;
    let latch = app.readiness.latch("store sessions", "opening");
    let clock = Arc::new(LogClock::new(Arc::clone(&site.clock) as _));
    let view = MemoryView::new([(log.topic().clone(), log.incarnation())]);
    let parts = Parts {
        own: Arc::clone(log) as Arc<dyn EventLog>,
        mirrored: Vec::new(),
        view: Arc::new(view) as Arc<dyn View>,
        cells: CellCache::of(8 * 1024),
        clock,
        mac: site.mac.clone(),
        retention: Retention::Expiring { ttl_max: TTL_MAX },
        writer_id: WriterId(*number),
        peers: Vec::new(),
        read_consistency: ReadConsistency::Dc,
        max_ttl: SessionTtl::Never,
        serve_in_outage_for: Duration::ZERO,
        gaps: Arc::new(Gaps::none()),
        counted: materializer::Metrics::register(&Registry::new()).unwrap(),
        measured: writer::Metrics::register(&Registry::new()).unwrap(),
    };
    let watched = |view| Arc::new(Watched { view, site: Arc::clone(site) }) as Arc<dyn LocalView>;
    let (store, follower) = StoreNode::assemble_with(parts, watched).unwrap();
    spawn_local(async move { follower.run(CancellationToken::new()).await.unwrap() });
    store.catch_up().await.unwrap();
    let served = app.stores.iter().next().expect("the one store");
    served.open(store.backend());
    latch.release();
    // What works behind the store is gone with it.
    pending::<()>().await;
}

fn app(dc: &Dc, registry: &Registry) -> App {
    let (store, ring) = unopened();
    let build = BuildInfo { version: "0", build_date: "", build_host: "", go_version: "" };
    App {
        access: None,
        ring,
        counting: Counting::default(),
        stores: Arc::new(Stores::new(vec![store])),
        readiness: Arc::new(Readiness::default()),
        metrics: api::Metrics::register(registry, &build).unwrap(),
        registry: registry.clone(),
        build,
        limits: Limits {
            key_bytes_max: 1024,
            request_timeout: REQUEST_TIMEOUT,
            read_patience: Duration::from_secs(5),
        },
        body_room: BodyRoom::of(16 << 20),
        answer_room: AnswerRoom::of(16 << 20),
        disk_room: DiskRoom::default(),
        dcs: Dcs { us: dc.clone(), peers: Arc::new([]) },
        jobs: Jobs::new().0,
        comparisons: Comparisons::new().0,
        salt: || [0; 16],
        openapi: "".into(),
    }
}

fn peer_app(dc: &Dc, app: App) -> PeerApp {
    PeerApp {
        fingerprints: Fingerprints::of(FINGERPRINT, Arc::clone(&app.ring)),
        app,
        dc: dc.clone(),
        peers: [(ASKING.parse().unwrap(), None)].into(),
        log: "kafka",
        rules: [].into(),
        wall_ms: || 0,
    }
}

/// The view as the writer sees it; notes what a node has applied of what was asked of it.
#[derive(Debug)]
struct Watched {
    view: Arc<dyn LocalView>,
    site: Arc<Site>,
}

impl LocalView for Watched {
    fn look(&self, key: KeyId, patience: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        self.view.look(key, patience)
    }

    fn applied(&self, position: Position, patience: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        Box::pin(async move {
            self.view.applied(position, patience).await?;
            self.site.applied(position);
            Ok(())
        })
    }

    fn down_in(&self, partition: Partition) -> BTreeSet<Dc> {
        self.view.down_in(partition)
    }

    fn newest_declaration(&self, dc: &Dc) -> Option<Declaration> {
        self.view.newest_declaration(dc)
    }

    fn stands_still(&self) -> Option<Arc<str>> {
        self.view.stands_still()
    }
}
